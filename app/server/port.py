"""The service's port: uvicorn behind our own listener, from the first connection to the last answer."""

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp

from app.domain.errors import SettingsError
from app.server.door import Door
from app.server.protocol import LINGERING, Limits, Protocol
from app.server.tls import Certificate
from app.server.waiting import WaitingRoom
from app.settings import ServiceSettings
from app.telemetry.metrics import Metrics
from app.timers import within

__all__ = ["run"]

log = structlog.get_logger(__name__)


async def run(
    app: ASGIApp,
    settings: ServiceSettings,
    *,
    drain: Callable[[], Awaitable[None]],
    abandon: Callable[[], None],
    metrics: Metrics,
) -> bool:
    """Serve until a signal, keep serving while the application drains, then close.

    If draining takes longer than the settings allow, abandon the rest.

    Returns:
        Whether it ever served; the application may fail to start.

    Raises:
        SettingsError: the certificate or the port cannot be used.
    """
    certificate = Certificate.of(settings)
    if certificate:
        metrics.show_certificate(lambda: certificate.not_after)
    _raise_file_limit()
    listener = _listen(settings)
    server = Server(app, settings, listener, certificate)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, port = listener.getsockname()[:2]
    log.info("serving", host=host, port=port, tls=certificate is not None)
    rotating = asyncio.create_task(certificate.keep_fresh()) if certificate else None
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if server.started and not serving.done():
        log.info("draining", seconds=settings.drains)
        try:
            with within(settings.drains):
                await drain()
        except TimeoutError:
            log.warning("drain_cut_short", seconds=settings.drains)
            abandon()
    server.should_exit = True
    await serving
    if rotating:
        rotating.cancel()
    if server.started:
        log.info("stopped")
    return server.started


class Server(uvicorn.Server):
    """uvicorn without its own port and signal handlers: at a signal it would close the port immediately."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServiceSettings,
        listener: socket.socket,
        certificate: Certificate | None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # otherwise callers could choose the address by which they are known
                timeout_graceful_shutdown=int(LINGERING),
            )
        )
        self._limits = Limits(settings.max_head, settings.read_timeout)
        self._room = WaitingRoom(settings.max_callers)
        self._door = Door(listener, certificate, self._room, handshake_timeout=settings.read_timeout)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept callers."""
        await super().startup(sockets or [])
        self._door.open(self._protocol)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, then close the remaining connections."""
        self._door.close()
        self._room.empty()  # an incomplete request has nothing to wait for
        await super().shutdown(sockets)

    def _protocol(self) -> Protocol:
        return Protocol(
            self.config, self.server_state, self.lifespan.state, limits=self._limits, room=self._room
        )


def _raise_file_limit() -> None:
    """Raise the limit of open files to the maximum: each connection is one, and shells allow few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listen(settings: ServiceSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise SettingsError(f"cannot listen on {where} ({error.strerror}); set DELIVERY_PORT") from None
