"""The service's port under slow, greedy and malicious clients, over raw sockets."""

import asyncio
import contextlib
import json
import re
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import psutil
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.port import Server
from app.server.protocol import LINGERING
from app.settings import ServiceSettings
from tests.harness.cluster import prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.receiver import Gate, Receiver
from tests.harness.service import Service, finished
from tests.harness.trickle import trickling
from tests.harness.waiting import until

pytestmark = pytest.mark.quiet

HEAD = 16_384  # bytes, as DELIVERY_MAX_HEAD has it
HASTE = 1.0  # seconds, as DELIVERY_READ_TIMEOUT of the hasty service
CALLERS = 60  # as DELIVERY_MAX_CALLERS of the hasty service
MEBIBYTE = 1024 * 1024

CLOSE = b"Host: x\r\nConnection: close\r\n\r\n"
NEXT = b"GET /healthz HTTP/1.1\r\n" + CLOSE
JSON = b"Content-Type: application/json\r\n"
EVENT = b'{"namespace": "research", "team": "absent"}'
LENGTH = b"Content-Length: %d\r\n" % len(EVENT)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT)
POST = b"POST /deliveries HTTP/1.1\r\nHost: x\r\n" + JSON
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
READ = b"GET /deliveries/research/smuggled HTTP/1.1\r\n"


@dataclass(frozen=True)
class Ports:
    """A service with the default limits, one with short limits, and the API behind both."""

    patient: Service
    hasty: Service
    cluster: FakeCluster
    kube: Kube


@pytest.fixture(scope="module")
async def ports(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ports]:
    """Start both once."""
    async with FakeCluster() as fake, prepared(fake, tmp_path_factory.mktemp("ports")) as cluster:
        patient = Service(cluster.kubeconfig)
        patient.covered = False  # the tests measure its speed and size
        hasty = Service(cluster.kubeconfig, read_timeout=HASTE, max_callers=CALLERS)
        async with patient, hasty:
            yield Ports(patient, hasty, fake, cluster.kube)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 * MEBIBYTE)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def said(port: int, *packets: bytes) -> bytes:
    """Send these pieces, one per packet, and return everything that the service answers until it closes."""
    async with connected(port) as (reader, writer):
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0.02)  # so that each is a separate packet
        return await asyncio.wait_for(reader.read(), 20)


def statuses(answers: bytes) -> list[int]:
    """Return the status of each answer, in order."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def problem(answers: bytes) -> str:
    """Return the slug of the only problem in the answer."""
    head, _, body = answers.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines, answers
    assert b"connection: close" in lines, answers
    assert b"content-length: %d" % len(body) in lines, answers
    document = json.loads(body)
    assert document["status"] == int(head.split()[1])
    assert document["title"]
    assert document["detail"]
    return str(document["type"]).removeprefix("urn:agentteam-delivery:")


class TestHead:
    """Request line and headers, and what surrounds a body's content, are bounded in bytes."""

    @pytest.mark.parametrize("size", [HEAD, HEAD + 1])
    @pytest.mark.parametrize("packet", [HEAD * 2, 5000], ids=["at-once", "in-packets"])
    @pytest.mark.parametrize("where", ["url", "one-header", "headers"])
    async def test_the_head_may_have_max_head_bytes_and_not_one_more(
        self, size: int, packet: int, where: str, ports: Ports
    ) -> None:
        start, end = b"GET /healthz HTTP/1.1\r\n", CLOSE
        room = size - len(start) - len(end)
        if where == "url":
            head = b"GET /healthz?" + b"x" * (room - 1) + b" HTTP/1.1\r\n" + end
        elif where == "one-header":
            head = start + b"X: " + b"x" * (room - 5) + b"\r\n" + end
        else:
            lines, rest = divmod(room, 10)
            head = start + b"X: 12345\r\n" * (lines - 1) + b"X: 12345" + b"6" * rest + b"\r\n" + end
        assert len(head) == size
        pieces = [head[start : start + packet] for start in range(0, len(head), packet)]
        answers = await said(ports.patient.port, *pieces)
        if size == HEAD:
            assert statuses(answers) == [200]
        else:
            assert statuses(answers) == [431]
            assert problem(answers) == "head-too-large"
            assert str(HEAD) in answers.decode()

    @pytest.mark.parametrize(
        ("begin", "more"),
        [
            pytest.param(b"GET /", b"x" * 65_536, id="url"),
            pytest.param(READ, b"X-Large: " + b"x" * 1000 + b"\r\n", id="headers"),
            pytest.param(READ + b"X: ", b"x" * 65_536, id="one-header"),
            pytest.param(READ + b"X:", b" " * 65_536, id="white-space"),
            pytest.param(b"", b"\r\n" * 32_768, id="empty-lines"),
            pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x" * 65_536, id="chunk-extension"),
            pytest.param(
                POST + b"Transfer-Encoding: chunked\r\n\r\n",
                b"1;" + b"x" * 4096 + b"\r\n{\r\n",
                id="chunk-extensions",
            ),
            pytest.param(
                POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
                b"X: " + b"x" * 1000 + b"\r\n",
                id="trailers",
            ),
        ],
    )
    async def test_a_head_of_200_mb_is_refused_and_costs_no_memory(
        self, begin: bytes, more: bytes, ports: Ports
    ) -> None:
        process = psutil.Process(ports.patient.pid)
        before = process.memory_info().rss
        most = before
        async with connected(ports.patient.port) as (reader, writer):
            writer.write(begin)
            left = 200_000_000
            answering = asyncio.create_task(reader.readuntil(b"}"))
            with contextlib.suppress(
                ConnectionError
            ):  # the service resets a client that still sends after two seconds
                while left > 0:
                    writer.write(more * 16)
                    left -= len(more * 16)
                    await writer.drain()
                    await asyncio.sleep(0)  # so that the answer is read before the reset
                    most = max(most, process.memory_info().rss)
            assert problem(await asyncio.wait_for(answering, 20)) == "head-too-large"
        assert most - before < 20 * MEBIBYTE
        assert not [path for _, path in ports.cluster.requests if "smuggled" in path]

    async def test_chunks_of_a_single_byte_are_not_excessive(self, ports: Ports) -> None:
        body = EVENT + b" " * HEAD
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        answers = await said(
            ports.patient.port, POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
        )
        assert statuses(answers) == [404]
        assert b"team-not-found" in answers

    async def test_a_trailer_is_never_read_as_a_header(self, ports: Ports) -> None:
        untyped = b"POST /deliveries HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + CLOSE
        answers = await said(ports.patient.port, untyped + CHUNKED.removesuffix(b"\r\n") + JSON + b"\r\n")
        assert statuses(answers) == [422]


TWO_WAYS = {
    "length-and-coding": POST + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "coding-and-length": POST + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + CHUNKED,
    "two-lengths": POST + LENGTH + b"Content-Length: 0\r\n\r\n" + EVENT,
    "two-equal-lengths": POST + LENGTH * 2 + b"\r\n" + EVENT,
    "list-of-lengths": POST + b"Content-Length: 5, 5\r\n\r\n12345",
    "signed-length": POST + b"Content-Length: +5\r\n\r\n12345",
    "hexadecimal-length": POST + b"Content-Length: 0x5\r\n\r\n12345",
    "no-length": POST + b"Content-Length:\r\n\r\n",
    "unknown-coding": READ + b"Host: x\r\nTransfer-Encoding: xchunked\r\n\r\n" + CHUNKED,
    "identity": READ + b"Host: x\r\nTransfer-Encoding: identity\r\n\r\n",
    "quoted-coding": READ + b'Host: x\r\nTransfer-Encoding: "chunked"\r\n\r\n' + CHUNKED,
    "chunked-not-last": READ + b"Host: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n" + CHUNKED,
    "another-coding": READ + b"Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKED,
    "chunked-twice": READ + b"Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "vertical-tab": READ + b"Host: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKED,
    "folded-coding": READ + b"Host: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKED,
    "folded-header": READ + b"Host: x\r\nA: b\r\n c\r\n\r\n",
    "coding-in-1.0": READ.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "line-feeds-alone": READ.replace(b"\r", b"") + b"Host: x\n\n",
    "one-line-feed-alone": READ + b"Host: x\nA: b\r\n\r\n",
    "carriage-return-alone": READ + b"Host: x\rA: b\r\n\r\n",
    "head-ends-in-line-feed": READ + b"Host: x\r\n\n",
    "nul": READ + b"Host: x\r\nA: b\x00c\r\n\r\n",
    "nul-in-a-name": READ + b"Host: x\r\nA\x00: b\r\n\r\n",
    "space-before-colon": READ + b"Host: x\r\nTransfer-Encoding : chunked\r\n\r\n" + CHUNKED,
    "space-before-the-first-header": READ + b" Host: x\r\n\r\n",
    "no-version": b"GET /deliveries/research/smuggled\r\n\r\n",
    "version-0.9": READ.replace(b"1.1", b"0.9") + b"Host: x\r\n\r\n",
    "version-2.0": READ.replace(b"1.1", b"2.0") + b"Host: x\r\n\r\n",
    "no-host": READ + b"\r\n",
    "two-hosts": READ + b"Host: x\r\nHost: y\r\n\r\n",
    "user-in-host": READ + b"Host: me@x\r\n\r\n",
    "authority-form": b"GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "unknown-method": b"SMUGGLE /deliveries/research/smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
}

FRAMED_IN_TWO_WAYS = {
    "line-feeds": b"%x\n%s\n0\n\n" % (len(EVENT), EVENT),
    "line-feed-after-extension": b"%x;a\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT),
    "space": b"%x \r\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT),
    "negative": b"-1\r\n",
    "prefix": b"0x5\r\n12345\r\n0\r\n\r\n",
    "overflow": b"f" * 17 + b"\r\n",
    "longer-than-it-says": b"5\r\n123456\r\n0\r\n\r\n",
    "length-in-a-trailer": CHUNKED.removesuffix(b"\r\n") + b"Content-Length: 5\r\n\r\n",
}


class TestSmuggling:
    """Input that two parsers could read differently is refused, or is one request: never two."""

    @pytest.mark.parametrize("sent", TWO_WAYS.values(), ids=TWO_WAYS)
    async def test_an_ambiguous_head_is_refused_before_the_application_gets_it(
        self, sent: bytes, ports: Ports
    ) -> None:
        for packets in ([sent + NEXT], [sent, NEXT]):
            answers = await said(ports.patient.port, *packets)
            assert statuses(answers) == [400]
            assert problem(answers) == "bad-request"
        assert not [path for _, path in ports.cluster.requests if "smuggled" in path]

    @pytest.mark.parametrize("body", FRAMED_IN_TWO_WAYS.values(), ids=FRAMED_IN_TWO_WAYS)
    async def test_an_ambiguous_body_is_refused(self, body: bytes, ports: Ports) -> None:
        answers = await said(ports.patient.port, POST + b"Transfer-Encoding: chunked\r\n\r\n" + body + NEXT)
        assert statuses(answers) == [400]
        assert problem(answers) == "bad-request"

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            pytest.param([b"GET http://elsewhere/healthz HTTP/1.1\r\n" + CLOSE], 200, id="absolute-form"),
            pytest.param([b"OPTIONS * HTTP/1.1\r\n" + CLOSE], 404, id="asterisk-form"),
            pytest.param([b"GET /healthz HTTP/1.0\r\n\r\n"], 200, id="version-1.0"),
            pytest.param([b"\r\nGET /healthz HTTP/1.1\r\n" + CLOSE], 200, id="line-before"),
            pytest.param([NEXT + b"\r\n\r\n"], 200, id="lines-after"),
            pytest.param([NEXT], 200, id="after-close"),
            pytest.param([b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], 200, id="pipelined"),
            pytest.param([POST + LENGTH + b"\r\n" + EVENT], 404, id="pipelined-behind-a-body"),
            pytest.param([POST + LENGTH + b"\r\n", EVENT], 404, id="body-in-a-second-packet"),
            pytest.param([POST + b"Content-Length:\t%d\t\r\n\r\n" % len(EVENT) + EVENT], 404, id="tabs"),
            pytest.param([POST + b"Transfer-Encoding:\tChunked\r\n\r\n" + CHUNKED], 404, id="chunked"),
            pytest.param(
                [POST + H2C + LENGTH + b"\r\n", EVENT],
                404,
                id="h2c",
            ),
            pytest.param([POST + H2C + LENGTH + b"\r\n" + EVENT], 404, id="h2c-at-once"),
            pytest.param(
                [b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"],
                200,
                id="websocket",
            ),
        ],
    )
    async def test_a_request_stays_one_request_whatever_follows(
        self, sent: list[bytes], status: int, ports: Ports
    ) -> None:
        answers = await said(ports.patient.port, *sent[:-1], sent[-1] + READ + CLOSE)
        assert statuses(answers) == [status]
        assert not [path for _, path in ports.cluster.requests if "smuggled" in path]

    @pytest.mark.parametrize("target", [b"http://elsewhere", b"x:80", b"/\xff", b"\x00"])
    async def test_an_invalid_target_is_refused_on_a_connection_with_earlier_valid_requests(
        self, target: bytes, ports: Ports
    ) -> None:
        async with connected(ports.patient.port) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"}}")
            writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert problem(await asyncio.wait_for(reader.read(), 10)) == "bad-request"

    @pytest.mark.parametrize(("version", "first"), [(b"1.1", [100]), (b"1.0", [])])
    async def test_only_http_1_1_gets_100_continue(
        self, version: bytes, first: list[int], ports: Ports
    ) -> None:
        head = POST.replace(b"1.1", version) + b"Connection: close\r\nExpect: 100-continue\r\n" + LENGTH
        answers = await said(ports.patient.port, head + b"\r\n", EVENT)
        assert statuses(answers) == [*first, 404]

    async def test_a_caller_cannot_choose_its_own_address(self) -> None:
        seen: list[Scope] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope)
            await answer(send)

        async with toy(app) as port:
            await said(
                port, b"GET / HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n" + CLOSE
            )
        assert seen[0]["client"][0] == "127.0.0.1"
        assert seen[0]["scheme"] == "http"


class TestTime:
    """A request that has started must be complete within a limit; an answer has no limit."""

    async def test_an_incomplete_request_gets_an_error_and_is_closed(self, ports: Ports) -> None:
        begun = {
            "one byte": b"G",
            "half a head": READ,
            "half a body": POST + LENGTH + b"\r\n" + EVENT[:-1],
            "no body": POST + LENGTH + b"Expect: 100-continue\r\n\r\n",
            "no last line": POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED[:-2],
        }
        started = monotonic()
        answers = await asyncio.gather(*[said(ports.hasty.port, sent) for sent in begun.values()])
        assert monotonic() - started >= HASTE
        for name, answered in zip(begun, answers, strict=True):
            assert statuses(answered) == ([100, 408] if name == "no body" else [408]), name
            assert problem(answered[answered.index(b"HTTP/1.1 408") :]) == "request-timeout"

    async def test_single_bytes_do_not_extend_the_time(self, ports: Ports) -> None:
        async with connected(ports.hasty.port) as (reader, writer):
            answering = asyncio.create_task(reader.read())
            writer.write(READ + b"X: ")
            for _ in range(200):
                writer.write(b"x")
                await asyncio.sleep(0.05)
                if answering.done():
                    break
            assert problem(await asyncio.wait_for(answering, 10)) == "request-timeout"

    async def test_a_silent_connection_is_closed_without_an_answer(self, ports: Ports) -> None:
        started = monotonic()
        assert await said(ports.hasty.port) == b""
        assert monotonic() - started >= HASTE

    async def test_a_second_request_on_a_connection_has_the_same_limit_as_the_first(
        self, ports: Ports
    ) -> None:
        async with connected(ports.hasty.port) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"}}")
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"}}")
            writer.write(READ)
            assert problem(await asyncio.wait_for(reader.read(), 10)) == "request-timeout"

    async def test_a_slow_answer_is_not_cut_off_whatever_the_caller_sends(self, ports: Ports) -> None:
        gate = Gate()
        async with Receiver(respond=gate) as hook:

            async def deliver(*meanwhile: bytes) -> list[int]:
                namespace = await finished(ports.kube, {"type": "webhook", "url": hook.url})
                event = json.dumps({"namespace": namespace, "team": "report"}).encode()
                wait = b"Prefer: wait=%d\r\nContent-Length: %d\r\n" % (HASTE * 3, len(event))
                end = b"\r\n" if meanwhile else b"Connection: close\r\n\r\n"
                return statuses(await said(ports.hasty.port, POST + wait + end + event, *meanwhile))

            answers = await asyncio.gather(
                deliver(), deliver(READ), deliver(NEXT), deliver(b"\r\n"), deliver(b"x" * MEBIBYTE)
            )
            assert list(answers) == [[202]] * 5
            gate.open()

    async def test_time_in_which_the_application_does_not_read_the_body_does_not_count(self) -> None:
        size = MEBIBYTE
        reading = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await reading.wait()
            got = 0
            while message := await receive():
                got += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message["more_body"]:
                    break
            await answer(send, str(got).encode())

        async with toy(app, read_timeout=0.5) as port:
            sending = asyncio.create_task(
                said(port, b"POST / HTTP/1.1\r\nContent-Length: %d\r\n" % size + CLOSE + b"x" * size)
            )
            # Twice the caller's time, measured by a request with the same limit.
            for _ in range(2):
                assert statuses(await said(port, b"POST / HTTP/1.1\r\nContent-Length: 1\r\n" + CLOSE)) == [
                    408
                ]
            reading.set()
            answers = await sending
            assert statuses(answers) == [200]
            assert answers.endswith(str(size).encode())

    async def test_a_body_that_continues_after_its_answer_is_cut_off(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await answer(send)

        async with toy(app, read_timeout=0.5) as port, connected(port) as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")

            async def trickle() -> None:
                with contextlib.suppress(ConnectionError):
                    while True:
                        writer.write(b"x")
                        await writer.drain()
                        await asyncio.sleep(0.05)

            sending = asyncio.create_task(trickle())
            assert statuses(await asyncio.wait_for(reader.read(), 10)) == [200]
            sending.cancel()

    async def test_a_caller_that_does_not_read_the_answer_is_cut_off(self) -> None:
        ended = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            try:
                for _ in range(1000):
                    await send({"type": "http.response.body", "body": b"x" * MEBIBYTE, "more_body": True})
            finally:
                ended.set()

        async with toy(app, read_timeout=0.5) as port, connected(port) as (_, writer):
            writer.write(
                b"GET / HTTP/1.1\r\n" + CLOSE
            )  # because of the stream's limit, the rest stays unread
            await asyncio.wait_for(ended.wait(), 10)


class TestCallers:
    """The number of callers with incomplete requests is limited; running out of files ends nothing."""

    @pytest.mark.parametrize("begun", [b"", READ, POST + LENGTH + b"\r\n"], ids=["silent", "head", "body"])
    async def test_one_caller_too_many_closes_only_the_oldest(self, begun: bytes) -> None:
        async with toy(consuming, max_callers=CALLERS) as port, contextlib.AsyncExitStack() as stack:
            callers = []
            for _ in range(CALLERS):
                reader, writer = await stack.enter_async_context(connected(port))
                writer.write(begun)
                callers.append(asyncio.create_task(reader.read()))
            reader, _ = await stack.enter_async_context(connected(port))
            callers.append(asyncio.create_task(reader.read()))
            await asyncio.wait_for(asyncio.wait({callers[0]}), 10)
            assert statuses(await said(port, b"GET / HTTP/1.1\r\n" + CLOSE)) == [200]
            await asyncio.wait_for(asyncio.wait({callers[1]}), 10)  # the valid one came in addition
            assert not any(caller.done() for caller in callers[2:])
            for caller in callers:
                caller.cancel()

    async def test_a_caller_that_is_being_answered_does_not_count(self) -> None:
        answering = asyncio.Event()

        async def app(_: Scope, __: Receive, send: Send) -> None:
            await answering.wait()
            await answer(send)

        async with toy(app, max_callers=1) as port, connected(port) as (reader, writer):
            writer.write(b"GET /first HTTP/1.1\r\n" + CLOSE)
            async with connected(port) as (other, _), connected(port):
                assert await asyncio.wait_for(other.read(), 10) == b""
                answering.set()
                assert statuses(await reader.read()) == [200]

    async def test_an_idle_connection_is_closed_for_a_new_caller(self) -> None:
        async with toy(consuming, max_callers=1) as port, connected(port) as (reader, writer):
            writer.write(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"ok")
            async with connected(port):
                assert await asyncio.wait_for(reader.read(), 10) == b""

    async def test_a_flood_of_1000_slow_callers_delays_no_other(self, ports: Ports) -> None:
        calm = await pace(ports.patient)
        async with trickling(ports.patient.port, 1000):
            flooded = await pace(ports.patient)
        for name, took in flooded.items():
            assert took < calm[name] + 0.5, name
        assert flooded["/healthz"] < 0.5
        assert flooded["/readyz"] < 0.5

    async def test_more_callers_than_the_limit_do_not_lock_others_out(self, ports: Ports) -> None:
        async with trickling(ports.hasty.port, CALLERS * 4):
            flooded = await pace(ports.hasty)
            [*_, line] = await until(lambda: ports.hasty.logged("callers_pushed_out"))
        assert line["level"] == "warning"
        assert max(flooded.values()) < 2

    @pytest.mark.parametrize("request_", [b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nmore"])
    async def test_a_lingering_connection_is_closed_for_a_new_caller(self, request_: bytes) -> None:
        async with toy(consuming, max_callers=1) as port, connected(port) as (reader, writer):
            writer.write(request_)
            assert await reader.read()  # the answer and its end; the caller's own side stays open
            async with connected(port):

                def pushed_out() -> bool:
                    writer.write(b"x")  # answered with a reset once the connection is gone
                    return writer.transport.is_closing()

                await until(pushed_out, LINGERING / 2)

    async def test_running_out_of_files_ends_nothing_and_locks_no_caller_out(self, ports: Ports) -> None:
        service = ports.patient
        process = psutil.Process(service.pid)
        before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        few = process.num_fds() + CALLERS // 3
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (few, before[1]))
        try:
            async with trickling(service.port, CALLERS):
                await until(lambda: service.logged("accept_failed"))
                started = monotonic()
                assert (await service.request("GET", "/healthz")).status == 200
                assert monotonic() - started < 5, "before the others reach their time limit"
        finally:
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        assert (await service.request("GET", "/readyz")).status == 200


async def pace(service: Service) -> dict[str, float]:
    """Return the seconds that 20 requests of a kind took, except for the slowest one."""
    took: dict[str, list[float]] = {"/deliveries": [], "/healthz": [], "/readyz": []}
    for _ in range(20):
        for path, times in took.items():
            started = monotonic()
            if path == "/deliveries":
                assert (await service.deliver("research", "absent")).status == 404
            else:
                assert (await service.request("GET", path)).status == 200
            times.append(monotonic() - started)
    return {path: sorted(times)[-2] for path, times in took.items()}


@asynccontextmanager
async def toy(app: ASGIApp, **settings: Any) -> AsyncIterator[int]:
    """Run the server alone, with a test's application, and yield its port."""

    async def living(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await app(scope, receive, send)

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port: int = listener.getsockname()[1]
    instance = Server(living, ServiceSettings(auth="none", **settings), listener, None)
    serving = asyncio.create_task(instance.serve())
    await until(lambda: instance.started)
    try:
        yield port
    finally:
        instance.should_exit = True
        await serving


async def consuming(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, then answer."""
    while (await receive()).get("more_body"):
        pass
    await answer(send)


async def answer(send: Send, body: bytes = b"ok") -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
