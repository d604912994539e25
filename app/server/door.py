"""The listener: accepts connections, with a TLS handshake if there is a certificate."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from app.server.protocol import LINGERING
from app.server.seldom import Seldom
from app.server.tls import Certificate
from app.server.waiting import WaitingRoom

AT_ONCE = 64  # connections accepted before other tasks run
OUT_OF_FILES = 0.01  # seconds until the next attempt to accept, after closing the oldest waiting connections


class Door:
    """Accepts connections on one listening socket.

    asyncio's own server keeps its first TLS context, does not show connections before their handshake ends,
    and (in uvloop) drops new connections when file descriptors run out.
    """

    def __init__(
        self,
        listener: socket.socket,
        certificate: Certificate | None,
        room: WaitingRoom,
        *,
        handshake_timeout: float,
    ) -> None:
        self._listener = listener
        self._certificate = certificate
        self._room = room
        self._handshake_timeout = handshake_timeout  # seconds
        self._greeting: set[asyncio.Task[None]] = set()
        self._warning = Seldom("accept_failed")
        self._again: asyncio.TimerHandle | None = None

    def open(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Start accepting; each connection gets a protocol of its own."""
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._listener.setblocking(False)  # noqa: FBT003  # the standard library's signature
        self._listen()

    def close(self) -> None:
        """Stop accepting, and abort handshakes in progress."""
        self._loop.remove_reader(self._listener)
        if self._again is not None:
            self._again.cancel()
        self._listener.close()
        for task in self._greeting:
            task.cancel()

    def _listen(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:  # no file descriptors or memory: accept(2)
                self._warning.warn(error=error.strerror)
                for _ in range(AT_ONCE):
                    self._room.push_out_oldest()
                self._loop.remove_reader(self._listener)
                self._again = self._loop.call_later(OUT_OF_FILES, self._listen)
                return
            task = self._loop.create_task(self._greet(connection))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket) -> None:
        """Pass a connection to its protocol; close one whose handshake fails or takes too long."""
        task = asyncio.current_task()
        assert task  # noqa: S101  # for the type checker: a running coroutine has a task
        protocol = self._protocol()
        with contextlib.suppress(OSError):
            if self._certificate is None:
                await self._loop.connect_accepted_socket(lambda: protocol, connection)
                return
            # The handshake and the request after it share one place.
            self._room.enter(protocol, task.cancel)
            try:
                await self._loop.connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=self._certificate.context,
                    ssl_handshake_timeout=self._handshake_timeout,
                    ssl_shutdown_timeout=LINGERING,
                )
            except BaseException:
                self._room.leave(protocol)
                raise
