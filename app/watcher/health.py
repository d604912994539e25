"""The watcher's own small server: `/healthz`, `/readyz`, `/metrics`.

Each client has one question and little time for it. An idle connection makes room for others, so clients
cannot exhaust the process's file descriptors.
"""

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, cast

from aiohttp import web

Checks = Callable[[], Mapping[str, str]]
"""Returns the result of each check by name: `ok`, or what is wrong."""

OK = "ok"
MOST_VISITS = 64  # concurrent connections; the oldest makes room
VISIT = 10.0  # seconds per connection


class HealthServer:
    """Answers probes and scrapes inside its `async with`; port 0 takes a free port."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        alive: Checks,
        ready: Checks,
        metrics: Callable[[str], tuple[bytes, str]],
    ) -> None:
        self._host = host
        self.port = port
        self._alive = alive
        self._ready = ready
        self._render = metrics
        self._visits: dict[Visit, asyncio.TimerHandle] = {}

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._visit, self._host, self.port, backlog=2048
            )
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def _visit(self) -> "Visit":
        handler = self._runner.server
        assert handler is not None  # noqa: S101  # created by setup
        return Visit(handler(), self._visits)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _report(self._alive())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _report(self._ready())

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._render(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=body, headers={"Content-Type": content_type})


class Visit(asyncio.Protocol):
    """One connection: it passes everything to aiohttp's protocol, and ends after its time."""

    def __init__(self, inner: asyncio.Protocol, others: "dict[Visit, asyncio.TimerHandle]") -> None:
        self._inner = inner
        self._others = others  # in order of arrival, including this one while it is open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place; if there is none, close the oldest connection."""
        self.end = cast("asyncio.Transport", transport).abort  # on uvloop it is not an instance of it
        if len(self._others) >= MOST_VISITS:
            oldest = next(iter(self._others))
            self._others.pop(oldest).cancel()
            oldest.end()
        self._others[self] = asyncio.get_running_loop().call_later(VISIT, self.end)
        self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Free the place."""
        if timer := self._others.pop(self, None):
            timer.cancel()
        self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Pass the call on."""
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass the call on."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Pass the call on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass the call on."""
        self._inner.resume_writing()


def _report(checks: Mapping[str, str]) -> web.Response:
    well = all(said == OK for said in checks.values())
    body = {"status": OK if well else "failing", "checks": dict(checks)}
    return web.json_response(body, status=200 if well else 503)
