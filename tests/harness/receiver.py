"""A receiver of notifications: an HTTP server on loopback that remembers every request."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web


@dataclass(frozen=True)
class Received:
    """A complete request."""

    method: str
    path: str  # with the query
    headers: dict[str, str]  # with lower-case names
    body: bytes
    at: float = field(default_factory=time.monotonic)


Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def ok(_: web.Request) -> web.StreamResponse:
    """Answer as Slack's incoming webhooks do."""
    return web.Response(text="ok")


class Gate:
    """Delays every answer until it is opened."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        await self._opened.wait()
        return await ok(request)

    def open(self) -> None:
        self._opened.set()


class Receiver:
    """Accepts every request; `respond` answers after the body has been read."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        respond: Respond = ok,
    ) -> None:
        self.host = host
        self.port = port
        self.requests: list[Received] = []
        self.connections: set[int] = set()  # the callers' ports
        self.respond = respond
        self._tls = tls

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, ssl_context=self._tls).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.transport is not None:
            self.connections.add(request.transport.get_extra_info("peername")[1])
        self.requests.append(Received(request.method, request.path_qs, headers, await request.read()))
        return await self.respond(request)
