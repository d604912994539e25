"""The watcher's own small server: `/healthz`, `/readyz`, `/metrics`."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

Checks = Callable[[], Mapping[str, str]]
"""Says of each check by name `ok`, or what is wrong."""

OK = "ok"


class HealthServer:
    """Answers probes and scrapes while it is entered; port 0 takes a free one."""

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

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _report(self._alive())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _report(self._ready())

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._render(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=body, headers={"Content-Type": content_type})


def _report(checks: Mapping[str, str]) -> web.Response:
    well = all(said == OK for said in checks.values())
    body = {"status": OK if well else "failing", "checks": dict(checks)}
    return web.json_response(body, status=200 if well else 503)
