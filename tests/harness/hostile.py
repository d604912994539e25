"""A proxy on loopback to a Kubernetes API that rejects, delays and loses requests."""

import asyncio
import contextlib
import random
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


class Fault(StrEnum):
    """What can happen to a request; those up to `RESET` never reach the API."""

    CONFLICT = "409"  # only for writes
    THROTTLED = "429, try again in a second"
    ERROR = "500"
    UNAVAILABLE = "503, in HTML"
    RESET = "reset before it is passed on"
    LATE = "passed on when nobody waits for the answer any more"
    LOST = "passed on, and reset instead of an answer"
    TRUNCATED = "passed on, and half an answer"


def _refusal(code: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason}
    return web.json_response({**status, "message": message, "code": code}, status=code, headers=headers)


def _page() -> web.Response:
    text = "<html><body><h1>503 Service Unavailable</h1></body></html>"
    return web.Response(status=503, content_type="text/html", text=text)


REFUSALS: dict[Fault | None, Callable[[], web.Response]] = {
    Fault.CONFLICT: lambda: _refusal(409, "Conflict", "the object has been modified"),
    Fault.THROTTLED: lambda: _refusal(429, "TooManyRequests", "try again later", {"Retry-After": "1"}),
    Fault.ERROR: lambda: _refusal(500, "InternalError", "etcdserver: leader changed"),
    Fault.UNAVAILABLE: _page,
}


class Hostile:
    """The proxy. It injects nothing until `rates` gives frequencies; `injected` counts the faults."""

    def __init__(self, kubeconfig: Path, *, seed: int = 0, silence: float = 2.0) -> None:
        self.port = 0
        self.rates: Mapping[Fault, float] = {}
        self.injected: Counter[Fault] = Counter()
        self.silence = silence  # seconds; longer than any client waits
        self.longest_watch: float | None = None  # seconds at most; None: as long as requested
        self._random = random.Random(seed)  # noqa: S311  # reproducible randomness, not for a secret
        self._config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for this proxy; the caller's token is passed on."""
        clusters = [{**self._config["clusters"][0], "cluster": {"server": self.url}}]
        path.write_text(yaml.safe_dump({**self._config, "clusters": clusters}))
        return path

    async def start(self) -> None:
        """Listen, on the same port as last time."""
        cluster = self._config["clusters"][0]["cluster"]
        authority = cluster.get("certificate-authority")
        self._upstream: str = cluster["server"]
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=ssl.create_default_context(cafile=authority) if authority else True, limit=0
            ),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(),
        )
        app = web.Application(client_max_size=3 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Break every connection, and refuse new ones."""
        await self._runner.cleanup()
        await self._http.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.query.get("watch", "").lower() in {"1", "true"}:
            return await self._watch(request)
        fault = self._fault(request.method)
        if fault:
            self.injected[fault] += 1
        if fault in REFUSALS:
            return REFUSALS[fault]()
        if fault is Fault.RESET:
            return _reset(request)
        if fault is Fault.LATE:
            await asyncio.sleep(self.silence)
        async with self._pass_on(request, body) as upstream:
            answer = await upstream.read()
        if fault is Fault.LOST:
            return _reset(request)
        headers = _passing(upstream.headers)
        if fault is Fault.TRUNCATED:
            return await _half(request, web.StreamResponse(status=upstream.status, headers=headers), answer)
        return web.Response(status=upstream.status, headers=headers, body=answer)

    def _fault(self, method: str) -> Fault | None:
        """Draw the fault for a request."""
        drawn = self._random.random()
        for fault, rate in self.rates.items():
            drawn -= rate
            if drawn < 0:
                return None if fault is Fault.CONFLICT and method == "GET" else fault
        return None

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        longest = None if self.longest_watch is None else self._random.uniform(0, self.longest_watch)
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, ConnectionError):
            async with asyncio.timeout(longest), self._pass_on(request, b"") as upstream:
                stream = web.StreamResponse(status=upstream.status, headers=_passing(upstream.headers))
                await stream.prepare(request)
                async for piece in upstream.content.iter_any():
                    await stream.write(piece)
                return stream
        return _reset(request)

    def _pass_on(self, request: web.Request, body: bytes) -> Any:
        address = URL(self._upstream + request.raw_path, encoded=True)
        return self._http.request(request.method, address, data=body, headers=_passing(request.headers))


def _passing(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}


def _reset(request: web.Request) -> web.Response:
    """Break the connection; the returned answer is never sent."""
    if request.transport is not None:
        end: socket.socket = request.transport.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST, not FIN
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, response: web.StreamResponse, answer: bytes) -> web.StreamResponse:
    """Announce the whole answer, but end after half of it."""
    response.content_length = len(answer)
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
