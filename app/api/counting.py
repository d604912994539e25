"""Counts requests by route and status, and measures how long they take."""

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.times import steady
from app.telemetry.metrics import OTHER, ROUTES, Metrics


class Counting:
    """Counts each request that reaches the application; unknown paths count as `other`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = steady(), HTTPStatus.INTERNAL_SERVER_ERROR.value

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            route = getattr(scope.get("route"), "path", scope["path"])
            metrics: Metrics = scope["app"].state.service.metrics
            metrics.count_request(route if route in ROUTES else OTHER, status, steady() - began)
