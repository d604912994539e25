"""Correlates log lines of one request: its id, from the caller or generated, and the caller's trace."""

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from app.telemetry.tracing import Tracing

HEADER = "x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+=@-]{1,128}")  # no slash, so not a URL
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


class Correlation:
    """Binds `request_id`, and `trace_id` if there is one, to all log lines of a request.

    Work that a request starts keeps them after the answer. The answer has the id in `X-Request-Id`.
    `traceparent` follows W3C Trace Context: https://www.w3.org/TR/trace-context/#traceparent-header
    """

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with both ids bound."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(reversed(scope["headers"]))  # of a repeated header, the first
        given = said.get(HEADER.encode(), b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        bound = {"request_id": request_id}
        if trace_id := trace_of(said.get(b"traceparent", b"").decode("latin-1")):
            bound["trace_id"] = trace_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        # Not unbound at the end: each request has a task of its own, and its failure is logged later.
        clear_contextvars()
        bind_contextvars(**bound)
        with self._tracing.following(Headers(scope=scope)):
            await self._app(scope, receive, send_with_id)


def trace_of(traceparent: str) -> str | None:
    """Return the trace id in a `traceparent`; None if it is invalid."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, parent_id, more = match.groups()
    if version == "ff" or (version == "00" and more):  # later versions may append fields; `ff` is invalid
        return None
    return trace_id if trace_id.strip("0") and parent_id.strip("0") else None


def request_id() -> str:
    """Return the id of the current request."""
    return str(get_contextvars().get("request_id", ""))
