"""Hostile answers: a command ends within a limited time, and reads a limited number of bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from app.console import client
from app.console.client import Client
from app.console.trouble import Trouble
from tests.console.running import run

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b'Transfer-Encoding: chunked\r\n\r\n10000\r\n{"x": "' + b"a" * 0xFFF9 + b"\r\n")
    sent = 0
    while sent < 4 * client.MOST:
        writer.write(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
        await writer.drain()
        sent += 0x10000
    raise AssertionError("all of it was read")


async def deep(writer: asyncio.StreamWriter) -> None:
    body = b"[" * 100_000
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


async def talkative(writer: asyncio.StreamWriter) -> None:
    body = b'{"detail": "' + b"a" * 1_000_000 + b'"}'
    writer.write(b"HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def trickling(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """Answer every request with the same body."""
    failures: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        except OSError:
            pass
        except AssertionError as failure:
            failures.append(failure)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert not failures


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (endless, "sends an endless answer; check --url"),
        (deep, "with something that is not a report; check --url"),
        (talkative, "aaa…"),
    ],
)
async def test_an_endless_answer_ends_the_command(answer: Answer, said: str) -> None:
    async with answering(answer) as url:
        ran = await run("status", "report", "-n", "research", DELIVERY_URL=url)
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err) < 2 * client.SHOWN


async def test_a_slow_answer_ends_the_command_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "WHOLE", 0.5)
    async with answering(trickling) as url:
        with pytest.raises(Trouble, match="does not answer in time; try again"):
            await asyncio.to_thread(Client(url).read, "research", "report")
