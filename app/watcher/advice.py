"""What to do if the service refuses a submission; temporary refusals need no advice."""

from http import HTTPStatus

PASSING = {HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE}
"""The team has changed, or the service is busy: the watcher tries again."""

_TO_DO: dict[tuple[int, str], str] = {
    (HTTPStatus.UNAUTHORIZED, ""): (
        "the service does not know this watcher: DELIVERY_TOKEN_FILE must name a file with a token that"
        " Kubernetes made for the audience in the service's DELIVERY_AUDIENCE"
    ),
    (HTTPStatus.FORBIDDEN, ""): (
        "grant this watcher's account create on agentteams/delivery in the team's namespace"
    ),
    (HTTPStatus.NOT_FOUND, ""): "no service accepts deliveries at this address: check DELIVERY_URL",
    (HTTPStatus.UNPROCESSABLE_ENTITY, "too-many-targets"): (
        "give the team fewer targets, or raise the service's DELIVERY_MAX_TARGETS"
    ),
    (HTTPStatus.INTERNAL_SERVER_ERROR, "ledger-not-kept"): (
        "the CRD drops status.delivery: apply the patch that belongs to the operator's release"
    ),
    (HTTPStatus.INTERNAL_SERVER_ERROR, "ledger-refused"): (
        "the Kubernetes API refuses the record: the service's log says why"
    ),
    (HTTPStatus.INTERNAL_SERVER_ERROR, ""): "the service's log says what went wrong",
}


def advice_on(status: int | None, problem: str) -> str:
    """Return what to do about an answer; empty if the event was accepted, or will be without action."""
    if status is None or status in PASSING or status < HTTPStatus.MULTIPLE_CHOICES:
        return ""
    if problem == "team-not-found":  # deleted since
        return ""
    known = _TO_DO.get((status, problem)) or _TO_DO.get((status, ""))
    return known or "this does not answer a submission: check that DELIVERY_URL is a service of this version"
