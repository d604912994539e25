"""The closed list of reasons for what became of a target: one word for status, metric label and log."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a target is where it is; CamelCase as Kubernetes conditions have it.

    https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
    """

    DELIVERED = "Delivered"
    HTTP_STATUS = "HTTPStatus"
    """The receiver answered with a status that is not 2xx."""
    REFUSED = "Refused"
    """A mail relay refused the message, or some of its recipients."""
    RATE_LIMITED = "RateLimited"
    """The receiver asked to wait longer than the target's remaining time."""
    TIMEOUT = "Timeout"
    CONNECTION_FAILED = "ConnectionFailed"
    """No connection, or one that broke; a name that does not resolve counts too."""
    TLS_FAILED = "TLSFailed"
    REDIRECTED = "Redirected"
    """The receiver answered 3xx; redirects are refused, since a 301 turns a POST into a GET."""
    INVALID_RESPONSE = "InvalidResponse"
    """The answer was not HTTP, or its head was larger than is read."""
    EGRESS_DENIED = "EgressDenied"
    """The address is not one that the installation lets the service call."""
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105  # a reason, not a password
    SECRET_KEY_MISSING = "SecretKeyMissing"  # noqa: S105
    SECRET_INVALID = "SecretInvalid"  # noqa: S105
    """The key is there, but its value is empty, no text, or not what the sender needs."""
    SECRET_FORBIDDEN = "SecretForbidden"  # noqa: S105
    SECRET_UNAVAILABLE = "SecretUnavailable"  # noqa: S105
    """The API server could not be asked for the Secret; retried."""
    INVALID_TARGET = "InvalidTarget"
    NOT_IMPLEMENTED = "NotImplemented"
    """The installation has no backend for this type of target."""
    INTERRUPTED = "Interrupted"
    """Given up without an answer: its holder died too often, or the target left the spec."""
