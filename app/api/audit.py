"""The audit log: one line per call that can change something, and per refused call.

A line contains the caller's name in Kubernetes, the requested action, the team, and the answer; like every
line of a request, it has a `request_id`. It is written at every `DELIVERY_LOG_LEVEL`.
"""

from collections.abc import Sequence
from http import HTTPStatus

import structlog
from starlette.requests import Request

from app.api.answers import problem_of
from app.api.callers import ANYBODY
from app.domain.announcements import listed
from app.domain.events import CompletionEvent
from app.telemetry.logs import filtering

_log = structlog.wrap_logger(None, wrapper_class=filtering(0), logger_factory_args=(__name__,))

READ, PREVIEW = "read", "preview"
CHANGING = frozenset({"deliver", "redeliver-failed", "redeliver-all", "test"})


def asks(
    request: Request, action: str, namespace: str, team: str, targets: Sequence[str] | None = None
) -> None:
    """Remember what a request turns out to ask for; without `targets`, all targets of the team."""
    named = {} if targets is None else {"targets": listed(targets)}
    request.state.asked = {"action": action, "namespace": namespace, "team": team, **named}


def action_of(event: CompletionEvent) -> str:
    """Return what an event requests, in one word."""
    if event.test:
        return "test"
    return "deliver" if event.redeliver == "none" else f"redeliver-{event.redeliver}"


def answered(request: Request, status: int, problem: str = "") -> None:
    """Write the line if the call requires one."""
    asked = getattr(request.state, "asked", {})
    if status < HTTPStatus.BAD_REQUEST and asked.get("action") not in CHANGING:
        return
    caller = getattr(request.state, "caller", None)
    known = caller is not None and caller is not ANYBODY
    address = {} if known or request.client is None else {"address": request.client.host}
    _log.info(
        "audit",
        caller=caller.name if caller else None,
        **address,
        **(asked or {"action": request.method.lower()}),
        answer=status,
        **({"problem": problem} if problem else {}),
    )


def failed(request: Request, error: Exception) -> None:
    """Write the line of a call that ends with an error."""
    problem = problem_of(error)
    answered(request, problem.status, problem.slug)
