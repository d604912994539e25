"""Servers on loopback that speak invalid HTTP, or nothing."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Bare:
    """A fake server: its addresses, and what it received."""

    port: int = 0
    open: int = 0
    most_open: int = 0
    sent: int = 0  # bytes sent of endless answers
    reached: list[str] = field(default_factory=list)  # the local address of each connection
    heads: list[bytes] = field(default_factory=list)  # of the requests that were read

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def accepted(self) -> int:
        return len(self.reached)

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request with its body, and return its head."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        return head


@asynccontextmanager
async def listening(
    speak: Callable[[Bare], Speak],
    tls: ssl.SSLContext | None = None,
    *,
    addresses: Sequence[str] = ("127.0.0.1",),
) -> AsyncIterator[Bare]:
    """Listen on a port that the system chooses, the same on each of these addresses.

    The test's function handles each connection, which is then closed.
    """
    bare = Bare()
    talk = speak(bare)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        bare.reached.append(writer.get_extra_info("sockname")[0])
        bare.open += 1
        bare.most_open = max(bare.most_open, bare.open)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await talk(reader, writer)
        finally:
            bare.open -= 1
            writer.close()
            tasks.discard(task)

    servers = []
    for address in addresses:
        servers.append(await asyncio.start_server(serve, address, bare.port, ssl=tls))
        bare.port = servers[0].sockets[0].getsockname()[1]
    try:
        yield bare
    finally:
        for server in servers:
            server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for server in servers:
            await server.wait_closed()


def answering(*pieces: bytes, pause: float = 0.0) -> Callable[[Bare], Speak]:
    """Answer every request on a connection with the same pieces, until the client closes it."""

    def speak(bare: Bare) -> Speak:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await bare.request(reader)
                for piece in pieces:
                    await asyncio.sleep(pause)
                    writer.write(piece)
                    await writer.drain()

        return talk

    return speak


def saying(*pieces: bytes) -> Callable[[Bare], Speak]:
    """Read one request, send these pieces, one per packet, and close the connection."""

    def speak(bare: Bare) -> Speak:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await bare.request(reader)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.02)

        return talk

    return speak


def resetting(head: bytes) -> Callable[[Bare], Speak]:
    """Read one request, send these pieces, and reset the connection."""

    def speak(bare: Bare) -> Speak:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await bare.request(reader)
            writer.write(head)
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()

        return talk

    return speak


def endless(head: bytes, piece: bytes, pause: float = 0.0) -> Callable[[Bare], Speak]:
    """Read one request, answer with this head, and then the same piece without end."""

    def speak(bare: Bare) -> Speak:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await bare.request(reader)
            writer.write(head)
            while True:
                writer.write(piece)
                await writer.drain()
                bare.sent += len(piece)
                await asyncio.sleep(pause)

        return talk

    return speak


def silent(_: Bare) -> Speak:
    """Accept, and send nothing."""

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass

    return talk


def closing(_: Bare) -> Speak:
    """Accept, and close immediately."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    return talk
