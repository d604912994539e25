"""All exceptions of this service.

DeliveryError
├── Problem                     an error answer to a caller (RFC 9457)
│   ├── BadRequest              400
│   ├── Unauthenticated         401
│   ├── Forbidden               403
│   ├── NoSuchPath              404
│   ├── TeamNotFound            404
│   ├── MethodNotAllowed        405
│   ├── UidChanged              409
│   ├── TeamNotFinished         409
│   ├── ClaimInFlight           409
│   ├── ReadTimeout             408
│   ├── BodyTooLarge            413
│   ├── Malformed               422
│   ├── PhaseNotTerminal        422
│   ├── UnknownTarget           422
│   ├── TooManyTargets          422
│   ├── HeadTooLarge            431
│   ├── Internal                500
│   ├── LedgerNotKept           500
│   ├── LedgerRefused           500
│   ├── TooBusy                 503
│   ├── RateLimited             503
│   ├── Draining                503
│   └── ClusterUnavailable      503
├── ClusterError                an error from the Kubernetes API
│   ├── ObjectNotFound
│   │   └── NoSuchKind
│   ├── Conflict
│   ├── AccessDenied
│   ├── Rejected
│   └── ApiUnavailable
├── TargetError                 why one attempt at a target failed, with its Reason
└── SettingsError               invalid or contradicting settings
"""

from typing import ClassVar

from app.domain.reasons import Reason


class DeliveryError(Exception):
    """The root: `except DeliveryError` catches all exceptions of this service and no others."""


class Problem(DeliveryError):
    """An answer that is an error: a stable `slug`, an HTTP `status`, and a `detail` that says what to do."""

    slug: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(
        self, detail: str, *, retry_after: float | None = None, recorded: bool | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after  # seconds
        self.recorded = recorded


class BadRequest(Problem):
    """Not HTTP/1.1, or an ambiguous request."""

    slug, status, title = "bad-request", 400, "Bad request"


class Unauthenticated(Problem):
    """Missing or invalid token."""

    slug, status, title = "unauthenticated", 401, "Unknown caller"


class Forbidden(Problem):
    """Authenticated, but not permitted."""

    slug, status, title = "forbidden", 403, "Caller not allowed"


class NoSuchPath(Problem):
    """This path does not exist."""

    slug, status, title = "no-such-path", 404, "No such path"


class TeamNotFound(Problem):
    """The AgentTeam does not exist, or the service does not serve its namespace."""

    slug, status, title = "team-not-found", 404, "No such team"


class MethodNotAllowed(Problem):
    """This path exists, but not with this method; `Allow` lists its methods."""

    slug, status, title = "method-not-allowed", 405, "Method not allowed"


class UidChanged(Problem):
    """The team was deleted and recreated."""

    slug, status, title = "uid-changed", 409, "Another team of the same name"


class TeamNotFinished(Problem):
    """The team's phase is not terminal yet."""

    slug, status, title = "team-not-finished", 409, "Team not finished"


class ClaimInFlight(Problem):
    """A delivery of one of the targets is in progress."""

    slug, status, title = "claim-in-flight", 409, "Delivery in flight"


class ReadTimeout(Problem):
    """The request did not arrive completely in time."""

    slug, status, title = "request-timeout", 408, "Request not complete in time"


class BodyTooLarge(Problem):
    """The body is larger than `DELIVERY_MAX_BODY`."""

    slug, status, title = "body-too-large", 413, "Body too large"


class Malformed(Problem):
    """The request cannot be understood."""

    slug, status, title = "malformed", 422, "Malformed request"


class PhaseNotTerminal(Problem):
    """The caller gave a phase that is not terminal."""

    slug, status, title = "phase-not-terminal", 422, "Phase not terminal"


class UnknownTarget(Problem):
    """The caller named a target that the team does not have."""

    slug, status, title = "unknown-target", 422, "No such target"


class TooManyTargets(Problem):
    """The team has more targets than allowed; nothing is sent."""

    slug, status, title = "too-many-targets", 422, "Too many targets"


class HeadTooLarge(Problem):
    """The request line and headers, or the framing of the body, are too large."""

    slug, status, title = "head-too-large", 431, "Request head too large"


class Internal(Problem):
    """An unexpected error; see the log."""

    slug, status, title = "internal", 500, "Internal error"


class LedgerNotKept(Problem):
    """The cluster's CRD drops what the service records, so nothing is sent."""

    slug, status, title = "ledger-not-kept", 500, "Ledger not kept"


class LedgerRefused(Problem):
    """The API server rejects the claims permanently: they are too large, or a policy forbids them."""

    slug, status, title = "ledger-refused", 500, "Ledger refused"


class TooBusy(Problem):
    """The capacity of the service, or of the namespace, is in use."""

    slug, status, title = "too-busy", 503, "Too busy"


class RateLimited(Problem):
    """The caller exceeds its rate limit."""

    slug, status, title = "rate-limited", 503, "Too many requests"


class Draining(Problem):
    """The process is shutting down."""

    slug, status, title = "draining", 503, "Draining"


class ClusterUnavailable(Problem):
    """The Kubernetes API is unavailable, or refuses the service."""

    slug, status, title = "cluster-unavailable", 503, "Kubernetes API unavailable"


class ClusterError(DeliveryError):
    """An error from the Kubernetes API, translated in one place; the text contains no object's content."""


class ObjectNotFound(ClusterError):
    """404."""


class NoSuchKind(ObjectNotFound):
    """404 because the cluster has no such resource type."""


class Conflict(ClusterError):
    """409: the resourceVersion is no longer the object's."""


class AccessDenied(ClusterError):
    """401 or 403: the service's own account lacks a permission."""


class Rejected(ClusterError):
    """Any other 4xx: retrying will not help."""


class ApiUnavailable(ClusterError):
    """No answer, 429 or 5xx: retrying may help."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


RETRY_SOON = 1.0  # seconds
RETRY_LATER = 30.0  # seconds: an administrator must first grant the service a permission


def patience(error: ClusterError) -> float:
    """Return the seconds after which a caller may retry what this error prevented."""
    if isinstance(error, ApiUnavailable) and error.retry_after:
        return error.retry_after
    return RETRY_LATER if isinstance(error, AccessDenied) else RETRY_SOON


class TargetError(DeliveryError):
    """One attempt at one target failed before the receiver answered; `message` contains no secret.

    `attempted`: whether the network was used; `unreached`: no connection could be made; `retry_after`:
    seconds to wait, as requested by the server that was asked first, such as a token issuer.
    """

    def __init__(  # noqa: PLR0913  # independent facts about one attempt
        self,
        reason: Reason,
        message: str,
        *,
        retryable: bool = False,
        attempted: bool = False,
        unreached: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable
        self.attempted = attempted
        self.unreached = unreached
        self.retry_after = retry_after


class SettingsError(DeliveryError):
    """Settings that contradict each other; the text says which to change."""
