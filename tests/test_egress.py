"""The only HTTP client: what it dials, how it handles answers and TLS, what it logs."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import tracemalloc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.connector import _DNSCacheTable
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.egress.client import HttpClient, Response
from app.egress.guard import NOT_PERMITTED
from tests.certificates import (
    asked_names,
    expired,
    good,
    not_valid_yet,
    of_an_unknown_authority,
    of_another_address,
    of_another_name,
    self_signed,
    with_the_unknown_authority,
    without_a_link,
)
from tests.examples import CANARY, unhurried
from tests.harness.receiver import Receiver
from tests.harness.waiting import until
from tests.logged import everything_logged
from tests.posting import HEADERS, Lookups, client, named, outcome, post, refused, trusted
from tests.sockets import OK, Bare, Speak, answering, closing, endless, listening, resetting, saying, silent


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> Lookups:
    """No DNS query leaves the machine."""
    return named(monkeypatch)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a certificate authority."""
    return trustme.CA()


@pytest.fixture(autouse=True)
def trusting(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trust this certificate authority instead of the public ones."""
    trusted(monkeypatch, authority, tmp_path)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_closed_client_leaves_no_file_open() -> None:
    before = open_files()
    async with client() as http:
        assert http.resolver
        assert open_files() > before
    await until(lambda: open_files() <= before, 20)


# ---------------------------------------------------------------------------------------------------------
# Checks without a request


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["127.0.0.66"], Reason.EGRESS_DENIED),
        (["10.0.0.1", "::1"], Reason.EGRESS_DENIED),
        (["10.0.0.1", "127.0.0.1"], None),
        ([], Reason.CONNECTION_FAILED),
    ],
)
async def test_a_check_of_a_name_gives_the_same_result_as_a_request_and_connects_to_nothing(
    names: Lookups, addresses: list[str], reason: Reason | None
) -> None:
    if addresses:
        names["hooks.test"] = addresses
    async with listening(answering(OK)) as bare, client(egress_deny="127.0.0.66") as http:
        judged = http.judge(http.guard.check(f"http://hooks.test:{bare.port}/"))
        if reason is None:
            await judged
        else:
            with pytest.raises(TargetError) as caught:
                await judged
            assert caught.value.reason is reason
        assert bare.accepted == 0


async def test_behind_a_proxy_the_proxy_checks_the_address() -> None:
    async with client(egress_proxy="http://127.0.0.1:1") as http:
        await http.judge(http.guard.check("https://hooks.test/"))


# ---------------------------------------------------------------------------------------------------------
# Connections


async def test_a_name_that_resolves_to_an_internal_address_is_denied_without_a_connection(
    names: Lookups,
) -> None:
    names["inside.test"] = ["127.0.0.1"]
    async with listening(answering(OK)) as bare:
        error = await refused(f"http://inside.test:{bare.port}/{CANARY}", egress_allow="")
    assert (error.reason, error.retryable, error.attempted) == (Reason.EGRESS_DENIED, False, False)
    assert error.message == NOT_PERMITTED
    assert bare.accepted == 0


OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.3"
"""A "public" and an "internal" address: the settings distinguish them, and both are on loopback."""


@pytest.fixture
async def both() -> AsyncIterator[Bare]:
    """Listen at both addresses, on the same port, and close after each answer."""
    speak = saying(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    async with listening(speak, addresses=(OUTSIDE, INSIDE)) as bare:
        yield bare


async def test_a_name_with_only_denied_addresses_is_denied(names: Lookups, both: Bare) -> None:
    names["inside.test"] = ["127.0.0.4", INSIDE, "::1"]
    error = await refused(f"http://inside.test:{both.port}/", egress_allow=OUTSIDE)
    assert error.reason is Reason.EGRESS_DENIED
    assert both.reached == []


@pytest.mark.parametrize(
    "answer",
    [
        [OUTSIDE, INSIDE],
        [INSIDE, OUTSIDE],
        [INSIDE, "127.0.0.4", OUTSIDE, INSIDE],
        ["::1", OUTSIDE],
        [f"::ffff:{INSIDE}", OUTSIDE],
    ],
)
async def test_of_several_addresses_only_permitted_ones_are_dialled(
    answer: list[str], names: Lookups, both: Bare
) -> None:
    names["mixed.test"] = answer
    response = await post(f"http://mixed.test:{both.port}/", egress_allow=OUTSIDE)
    assert response.status == 200
    assert both.reached == [OUTSIDE]
    assert f"host: mixed.test:{both.port}\r\n".encode() in both.heads[0].lower()


async def test_if_a_permitted_address_does_not_answer_a_denied_one_is_not_tried(names: Lookups) -> None:
    async with listening(answering(OK), addresses=(INSIDE,)) as bare:
        for order in ([OUTSIDE, INSIDE], [INSIDE, OUTSIDE]):
            names["mixed.test"] = order
            error = await refused(f"http://mixed.test:{bare.port}/", egress_allow=OUTSIDE)
            assert error.reason in {Reason.CONNECTION_FAILED, Reason.EGRESS_DENIED}
    assert bare.reached == []


async def test_a_denied_address_is_not_dialled_even_if_it_is_allowed_as_well(
    names: Lookups, both: Bare
) -> None:
    names["mixed.test"] = [INSIDE, OUTSIDE]
    await post(f"http://mixed.test:{both.port}/", egress_allow="127.0.0.0/8", egress_deny=INSIDE)
    assert both.reached == [OUTSIDE]


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cached DNS answers expire immediately, not after some seconds."""
    monkeypatch.setattr(_DNSCacheTable, "expired", lambda _, __: True)


@pytest.mark.usefixtures("forgetful")
async def test_a_name_that_changes_to_an_internal_address_between_two_posts_is_denied(
    names: Lookups, both: Bare
) -> None:
    url = f"http://rebound.test:{both.port}/"
    async with client(egress_allow=OUTSIDE) as http:
        names["rebound.test"] = [OUTSIDE]
        assert (await http.post(url, b"{}", HEADERS)).status == 200
        names["rebound.test"] = [INSIDE]
        with pytest.raises(TargetError) as caught:
            await http.post(url, b"{}", HEADERS)
        assert caught.value.reason is Reason.EGRESS_DENIED
        names["rebound.test"] = [OUTSIDE]
        assert (await http.post(url, b"{}", HEADERS)).status == 200
    assert both.reached == [OUTSIDE, OUTSIDE]


async def test_an_address_is_checked_at_every_connection_despite_caching(names: Lookups, both: Bare) -> None:
    names["cached.test"] = [OUTSIDE]
    url = f"http://cached.test:{both.port}/"
    async with client(egress_allow=OUTSIDE) as http:
        assert (await http.post(url, b"{}", HEADERS)).status == 200
        http.guard._allow = ()  # noqa: SLF001  # as if the settings had changed since the check
        with pytest.raises(TargetError) as caught:
            await http.post(url, b"{}", HEADERS)
    assert caught.value.reason is Reason.EGRESS_DENIED
    assert both.reached == [OUTSIDE]


@pytest.mark.parametrize("answer", [[INSIDE, OUTSIDE], [OUTSIDE, INSIDE]])
async def test_the_checked_address_is_dialled_with_the_name_in_host_and_sni(
    answer: list[str], authority: trustme.CA, names: Lookups
) -> None:
    names["hooks.test"] = answer
    context = good(authority, "hooks.test")
    asked = asked_names(context)
    async with listening(answering(OK), context, addresses=(OUTSIDE, INSIDE)) as bare:
        response = await post(f"https://hooks.test:{bare.port}/x", egress_allow=OUTSIDE)
    assert response.status == 200
    assert bare.reached == [OUTSIDE]
    assert asked == ["hooks.test"]
    assert f"host: hooks.test:{bare.port}\r\n".encode() in bare.heads[0].lower()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
async def test_an_internal_ip_literal_is_never_dialled(host: str) -> None:
    async with listening(answering(OK)) as bare:
        error = await refused(f"http://{host}:{bare.port}/", egress_allow="")
    assert (error.reason, error.attempted) == (Reason.EGRESS_DENIED, False)
    assert bare.accepted == 0


async def test_a_name_that_does_not_resolve_is_a_failed_connection() -> None:
    error = await refused(f"https://{CANARY}.test/")
    assert (error.reason, error.retryable, error.attempted) == (Reason.CONNECTION_FAILED, True, True)
    assert error.message == "the host name does not resolve"


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "a..test", ".test"])
async def test_a_name_that_no_resolver_accepts_is_not_a_valid_url(host: str) -> None:
    with pytest.raises(ValueError, match="is not a valid URL"):
        await post(f"https://{host}/")


@settings(unhurried, max_examples=60)
@given(host=st.text("abz09.-_%é漢[]:@", max_size=20), path=st.text(max_size=10))
def test_any_url_raises_only_errors_of_ours(host: str, path: str) -> None:
    async def once() -> None:
        error = await outcome(post(f"https://{host}{CANARY}.test/{path}", egress_allow=""))
        assert not isinstance(error, Response)
        assert CANARY not in str(error)
        if isinstance(error, TargetError):
            assert error.reason in {Reason.CONNECTION_FAILED, Reason.EGRESS_DENIED}

    with asyncio.Runner() as runner:
        runner.run(once())


# ---------------------------------------------------------------------------------------------------------
# Answers


async def test_a_post_arrives_unchanged() -> None:
    async with Receiver() as receiver:
        response = await post(f"{receiver.url}/a/b?c=d", body=b'{"x": "\xc3\xa4"}')
    received = receiver.requests[0]
    assert (response.status, response.body, response.retry_after) == (200, b"ok", None)
    assert (received.method, received.path, received.body) == ("POST", "/a/b?c=d", b'{"x": "\xc3\xa4"}')
    assert received.headers["content-type"] == "application/json"
    assert received.headers["authorization"] == f"Bearer {CANARY}"
    assert received.headers["content-length"] == "11"
    assert "transfer-encoding" not in received.headers


@pytest.mark.parametrize("size", [65_536, 65_537, 1_000_000])
async def test_a_body_of_any_size_arrives_whole_with_its_length(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    async with Receiver() as receiver:
        assert (await post(f"{receiver.url}/", body=body[:size])).status == 200
    (received,) = receiver.requests
    assert received.body == body[:size]
    assert received.headers["content-length"] == str(size)
    assert "transfer-encoding" not in received.headers


async def test_little_of_a_large_body_is_buffered_while_the_receiver_does_not_read() -> None:
    body, reached = bytes(8_000_000), 0

    def full(_: Bare) -> Speak:
        async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            nonlocal reached
            await reader.readexactly(10_000)
            reached += 1
            await asyncio.Event().wait()

        return talk

    async with listening(full) as bare, client() as http:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        posts = [
            asyncio.create_task(outcome(http.post(f"http://{bare.authority}/", body, HEADERS)))
            for _ in range(4)
        ]
        await until(lambda: reached == 4)
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        for task in posts:
            task.cancel()
        await asyncio.gather(*posts, return_exceptions=True)
    assert held < 2_000_000


async def test_one_connection_serves_many_posts() -> None:
    async with listening(answering(OK)) as bare, client() as http:
        for _ in range(10):
            assert (await http.post(f"http://{bare.authority}/", b"{}", HEADERS)).status == 200
        assert bare.accepted == 1
        assert len(bare.heads) == 10


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_reported_and_not_followed(status: int) -> None:
    async with Receiver() as second, Receiver() as first:

        async def elsewhere(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"location": f"{second.url}/"})

        first.respond = elsewhere
        assert (await post(f"{first.url}/")).status == status
    assert len(first.requests) == 1
    assert not second.requests


async def test_the_environment_s_proxy_and_netrc_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login x password {CANARY}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with Receiver() as receiver, listening(answering(OK)) as proxy, client() as http:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.authority}")
        await http.post(f"{receiver.url}/", b"{}", {"content-type": "application/json"})
    assert proxy.accepted == 0
    assert len(receiver.requests) == 1
    assert "authorization" not in receiver.requests[0].headers


async def test_cookies_are_not_kept_between_posts() -> None:
    async def bake(_: web.Request) -> web.StreamResponse:
        return web.Response(headers={"set-cookie": "session=1; Path=/"})

    async with Receiver(respond=bake) as receiver, client() as http:
        for _ in range(2):
            await http.post(f"{receiver.url}/", b"{}", HEADERS)
    assert ["cookie" in request.headers for request in receiver.requests] == [False, False]


@pytest.mark.quiet
async def test_an_endless_body_is_cut_off_and_its_connection_closed() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with (
        listening(endless(head, b"400\r\n" + b"x" * 1024 + b"\r\n")) as bare,
        client(max_response=1000) as http,
    ):
        started = monotonic()
        response = await http.post(f"http://{bare.authority}/", b"{}", HEADERS)
        assert monotonic() - started < 0.9
        assert (response.status, response.body) == (200, b"x" * 1000)
        await until(lambda: not bare.open)


async def test_a_flood_of_interim_answers_is_cut_off_in_time() -> None:
    async def others() -> float:
        longest = 0.0
        while True:
            before = monotonic()
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                return longest
            longest = max(longest, monotonic() - before)

    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 5000
    async with listening(endless(b"", flood)) as bare, client() as http:
        waiting = asyncio.create_task(others())
        await asyncio.sleep(0)
        with pytest.raises(TargetError) as refused:
            await http.post(f"http://{bare.authority}/", b"{}", HEADERS)
        waiting.cancel()
        assert refused.value.reason is Reason.INVALID_RESPONSE
        assert await waiting < 0.5


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"\r\n" * 32_768),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 60_000),
    ],
    ids=["empty lines", "tiny chunks", "chunk extensions"],
)
async def test_ignored_bytes_are_read_up_to_a_limit(head: bytes, piece: bytes) -> None:
    async with listening(endless(head, piece)) as bare, client() as http:
        answer = await outcome(http.post(f"http://{bare.authority}/", b"{}", HEADERS))
        if head:
            assert isinstance(answer, Response)
            assert answer.status == 200, "the head of the answer decides"
        else:
            assert isinstance(answer, TargetError)
            assert (answer.reason, answer.retryable) == (Reason.INVALID_RESPONSE, False)
        await until(lambda: not bare.open, 5)


@pytest.mark.parametrize("stray", [OK, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", b"x"])
async def test_data_on_an_idle_connection_is_never_read_as_the_next_answer(stray: bytes) -> None:
    said = asyncio.Event()

    def speak(bare: Bare) -> Speak:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await bare.request(reader)
            writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            if bare.accepted == 1:
                await idle.wait()
                writer.write(stray)
                await writer.drain()
                said.set()
            await reader.read()

        return talk

    idle = asyncio.Event()
    async with listening(speak) as bare, client() as http:
        assert (await http.post(f"http://{bare.authority}/", b"{}", HEADERS)).status == 400
        idle.set()
        await said.wait()
        await asyncio.sleep(0.05)  # until the data has arrived, which cannot be observed
        assert (await http.post(f"http://{bare.authority}/", b"{}", HEADERS)).status == 400
    assert bare.accepted == 2


async def test_a_few_interim_answers_are_skipped() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3
    async with listening(answering(interim + OK)) as bare:
        assert (await post(f"http://{bare.authority}/")).status == 200


@pytest.mark.quiet
async def test_a_trickling_body_causes_no_wait() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with listening(endless(head, b"x", pause=0.02)) as bare, client() as http:
        started = monotonic()
        response = await http.post(f"http://{bare.authority}/", b"{}", HEADERS)
        assert monotonic() - started < 1.6
    assert response.status == 200
    assert 0 < len(response.body) < 100


async def test_a_compressed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b"0" * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with listening(answering(head + packed)) as bare:
        response = await post(f"http://{bare.authority}/", max_response=65_536)
    assert response.body == packed
    assert b"ncoding: identity" in bare.heads[0]


BROKEN_BODIES: list[tuple[str, Callable[[Bare], Speak]]] = [
    ("cut short", saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok")),
    ("reset", resetting(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok")),
    ("reset at once", resetting(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")),
    ("bad chunk", saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\nok\r\n")),
    ("chunks cut short", saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok")),
    ("no length", saying(b"HTTP/1.1 200 OK\r\n\r\nok")),
    ("a phrase in another encoding", saying(b"HTTP/1.1 200 Tr\xe8s bien\r\nContent-Length: 2\r\n\r\nok")),
    ("no phrase", saying(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok")),
    ("HTTP/1.0", saying(b"HTTP/1.0 200 OK\r\n\r\nok")),
    ("none", saying(b"HTTP/1.1 204 No Content\r\n\r\n")),
    ("an interim answer first", saying(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK)),
]


@pytest.mark.parametrize(
    "speak", [speak for _, speak in BROKEN_BODIES], ids=[name for name, _ in BROKEN_BODIES]
)
async def test_the_head_alone_decides_even_if_the_body_fails(speak: Callable[[Bare], Speak]) -> None:
    async with listening(speak) as bare:
        assert (await post(f"http://{bare.authority}/")).status in {200, 204}


NO_ANSWERS = [
    ("closed at once", closing, Reason.CONNECTION_FAILED, True),
    ("closed after the request", saying(), Reason.CONNECTION_FAILED, True),
    ("reset after the request", resetting(b""), Reason.CONNECTION_FAILED, True),
    ("half a head", saying(b"HTTP/1.1 200 OK\r\nContent-"), None, None),
    ("junk", saying(b"\x00\x01\x02" + CANARY.encode() + b"\r\n\r\n"), Reason.INVALID_RESPONSE, False),
    ("another protocol", saying(b"220 mail.example.com ESMTP\r\n"), Reason.INVALID_RESPONSE, False),
    ("an invalid status", saying(b"HTTP/1.1 abc OK\r\n\r\n"), Reason.INVALID_RESPONSE, False),
    (
        "a head without end",
        saying(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
        Reason.INVALID_RESPONSE,
        False,
    ),
    (
        "an invalid header",
        saying(b"HTTP/1.1 200 OK\r\n" + CANARY.encode() + b"\r\n\r\n"),
        Reason.INVALID_RESPONSE,
        False,
    ),
    (
        "two lengths",
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
        Reason.INVALID_RESPONSE,
        False,
    ),
]


@pytest.mark.parametrize(
    ("speak", "reason", "retryable"), [row[1:] for row in NO_ANSWERS], ids=[row[0] for row in NO_ANSWERS]
)
async def test_an_invalid_answer_is_reported_in_our_own_words(
    speak: Callable[[Bare], Speak], reason: Reason | None, retryable: bool | None
) -> None:
    async with listening(speak) as bare:
        error = await refused(f"http://{bare.authority}/{CANARY}")
    assert error.attempted
    if reason is None:
        assert error.reason in {Reason.CONNECTION_FAILED, Reason.INVALID_RESPONSE}
    else:
        assert (error.reason, error.retryable) == (reason, retryable)


async def test_a_refused_connection_is_a_failed_connection(free_port: int) -> None:
    error = await refused(f"http://127.0.0.1:{free_port}/{CANARY}")
    assert (error.reason, error.retryable, error.attempted) == (Reason.CONNECTION_FAILED, True, True)
    assert error.message == "no connection to the receiver"


@pytest.fixture
def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_the_caller_s_timeout_ends_a_silent_receiver() -> None:
    async with listening(silent) as bare, client() as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await http.post(f"http://{bare.authority}/", b"{}", HEADERS)
        await until(lambda: not bare.open)


RETRY_AFTERS = [
    (b"7", 7.0),
    (b" 7 ", 7.0),
    (b"0", 0.0),
    (b"-1", None),
    (b"1.5", None),
    (b"soon", None),
    (b"9" * 400, 31_536_000.0),
    (b"Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
    (b"Wed, 21 Oct 2026 07:20:00 GMT", 0.0),
    (b"Wed, 99 Oct 2026 07:20:00 GMT", None),
    (b"\xff\xfe", None),
    (b"", None),
]


@pytest.mark.parametrize(("value", "seconds"), RETRY_AFTERS)
async def test_retry_after_as_a_date_is_relative_to_the_receiver_s_clock(
    value: bytes, seconds: float | None
) -> None:
    head = b"HTTP/1.1 503 Away\r\nDate: Wed, 21 Oct 2026 07:28:00 GMT\r\nContent-Length: 0\r\nRetry-After: "
    async with listening(answering(head + value + b"\r\n\r\n")) as bare:
        assert (await post(f"http://{bare.authority}/")).retry_after == seconds


@settings(unhurried, max_examples=25)
@given(
    st.binary(max_size=40).filter(lambda value: not set(value) & set(b"\r\n\x00")),
    st.binary(max_size=40).filter(lambda value: not set(value) & set(b"\r\n\x00")),
)
def test_no_header_of_a_receiver_crashes_the_client(date: bytes, wait: bytes) -> None:
    async def once() -> None:
        head = b"HTTP/1.1 503 Away\r\nDate: " + date + b"\r\nRetry-After: " + wait
        async with listening(answering(head + b"\r\nContent-Length: 0\r\n\r\n")) as bare:
            answer = await outcome(post(f"http://{bare.authority}/"))
        if isinstance(answer, TargetError):  # some of these are not valid headers
            assert answer.reason is Reason.INVALID_RESPONSE
        else:
            assert isinstance(answer, Response)

    with asyncio.Runner() as runner:
        runner.run(once())


# ---------------------------------------------------------------------------------------------------------
# TLS


async def test_a_trusted_receiver_gets_the_post_over_tls(authority: trustme.CA, names: Lookups) -> None:
    names["hooks.test"] = ["127.0.0.1"]
    async with Receiver(tls=good(authority, "hooks.test")) as receiver:
        response = await post(f"https://hooks.test:{receiver.port}/x", egress_http=False)
    assert response.status == 200
    assert receiver.requests[0].headers["host"] == f"hooks.test:{receiver.port}"


NOT_TRUSTED = (
    "is signed by an untrusted certificate authority, or lacks intermediate certificates; "
    "DELIVERY_EGRESS_CA_FILE adds a certificate authority"
)
BAD_CERTIFICATES = [
    (expired, "has expired"),
    (not_valid_yet, "is not valid yet"),
    (of_another_name, "is for another host name"),
    (self_signed, "is self-signed; DELIVERY_EGRESS_CA_FILE adds trusted certificates"),
    (of_an_unknown_authority, NOT_TRUSTED),
    (with_the_unknown_authority, NOT_TRUSTED),
    (without_a_link, NOT_TRUSTED),
]


@pytest.mark.parametrize(("make", "problem"), BAD_CERTIFICATES)
async def test_a_receiver_with_an_invalid_certificate_gets_nothing_and_the_error_says_why(
    make: Callable[[trustme.CA, str], ssl.SSLContext], problem: str, authority: trustme.CA, names: Lookups
) -> None:
    names["hooks.test"] = ["127.0.0.1"]
    async with Receiver(tls=make(authority, "hooks.test")) as receiver:
        error = await refused(f"https://hooks.test:{receiver.port}/{CANARY}")
    assert (error.reason, error.retryable, error.attempted) == (Reason.TLS_FAILED, False, True)
    assert error.message == f"the receiver's certificate {problem}"
    assert not receiver.requests


async def test_an_address_s_certificate_must_be_for_that_address(authority: trustme.CA) -> None:
    async with Receiver(tls=good(authority, "127.0.0.1")) as receiver:
        assert (await post(f"https://127.0.0.1:{receiver.port}/")).status == 200
    async with Receiver(tls=of_another_address(authority, "127.0.0.1")) as receiver:
        error = await refused(f"https://127.0.0.1:{receiver.port}/{CANARY}")
    assert (error.reason, error.message) == (
        Reason.TLS_FAILED,
        "the receiver's certificate is for another address",
    )
    assert not receiver.requests


def up_to(version: str, authority: trustme.CA) -> ssl.SSLContext:
    """Serve with at most this version of TLS."""
    context = good(authority, "127.0.0.1")
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # otherwise OpenSSL itself omits outdated versions
    with warnings.catch_warnings(action="ignore"):  # Python warns of outdated versions too
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion[version]
    return context


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_receiver_can_use_both_current_versions_of_tls(version: str, authority: trustme.CA) -> None:
    async with Receiver(tls=up_to(version, authority)) as receiver:
        assert (await post(f"https://127.0.0.1:{receiver.port}/")).status == 200


@contextmanager
def one_handshake(context: ssl.SSLContext) -> Iterator[int]:
    """Accept one connection; unlike asyncio's server, report a failure before it closes."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        serving = Thread(target=serve)
        serving.start()
        yield listener.getsockname()[1]
        serving.join()


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
async def test_a_receiver_with_only_outdated_tls_gets_nothing(version: str, authority: trustme.CA) -> None:
    with one_handshake(up_to(version, authority)) as port:
        error = await refused(f"https://127.0.0.1:{port}/{CANARY}")
    said = "the TLS handshake failed: the receiver supports neither TLS 1.2 nor 1.3"
    assert (error.reason, error.message) == (Reason.TLS_FAILED, said)
    assert (error.retryable, error.attempted) == (False, True)


@pytest.fixture
def private(tmp_path: Path) -> tuple[trustme.CA, str]:
    """Make a private certificate authority, and write its certificate to the file of the setting."""
    own = trustme.CA()
    path = tmp_path / "private.pem"
    own.cert_pem.write_to_path(str(path))
    return own, str(path)


async def test_a_private_certificate_authority_is_trusted_only_if_configured(
    private: tuple[trustme.CA, str],
) -> None:
    own, path = private
    async with Receiver(tls=good(own, "127.0.0.1")) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/"
        error = await refused(url)
        assert (error.reason, len(receiver.requests)) == (Reason.TLS_FAILED, 0)
        assert (await post(url, egress_ca_file=path)).status == 200
    assert len(receiver.requests) == 1


async def test_the_public_certificate_authorities_stay_trusted_with_a_private_one(
    private: tuple[trustme.CA, str], authority: trustme.CA
) -> None:
    async with Receiver(tls=good(authority, "127.0.0.1")) as receiver:
        response = await post(f"https://127.0.0.1:{receiver.port}/", egress_ca_file=private[1])
    assert response.status == 200


async def test_a_private_certificate_authority_does_not_make_another_host_s_certificate_valid(
    private: tuple[trustme.CA, str],
) -> None:
    own, path = private
    for make in (expired, of_another_address):
        async with Receiver(tls=make(own, "127.0.0.1")) as receiver:
            error = await refused(f"https://127.0.0.1:{receiver.port}/", egress_ca_file=path)
        assert (error.reason, len(receiver.requests)) == (Reason.TLS_FAILED, 0)


async def test_https_to_a_plain_http_port_is_a_tls_failure() -> None:
    async with Receiver() as receiver:
        error = await refused(f"https://127.0.0.1:{receiver.port}/{CANARY}")
    assert (error.reason, error.retryable) == (Reason.TLS_FAILED, False)


async def test_plain_http_to_a_tls_port_is_an_invalid_answer(authority: trustme.CA) -> None:
    async with listening(answering(OK), tls=good(authority, "127.0.0.1")) as bare:
        error = await refused(f"http://{bare.authority}/{CANARY}")
    assert error.reason in {Reason.CONNECTION_FAILED, Reason.INVALID_RESPONSE}


# ---------------------------------------------------------------------------------------------------------
# Logs


async def test_no_log_line_contains_a_url_a_header_or_a_body(free_port: int, names: Lookups) -> None:
    async def bake(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500, text=CANARY, headers={"set-cookie": f"a={CANARY}", "x": CANARY})

    names["inside.test"] = ["127.0.0.2"]
    calls: list[Callable[[HttpClient, Receiver], Awaitable[Any]]] = [
        lambda http, receiver: http.post(f"{receiver.url}/{CANARY}?q={CANARY}", CANARY.encode(), HEADERS),
        lambda http, _: http.post(f"http://127.0.0.1:{free_port}/{CANARY}", b"{}", HEADERS),
        lambda http, _: http.post(f"http://{CANARY}.test/", b"{}", HEADERS),
        lambda http, _: http.post(f"http://inside.test/{CANARY}", b"{}", HEADERS),
        lambda http, _: http.post(f"https://{CANARY}@inside.test/", b"{}", HEADERS),
        lambda http, receiver: http.post(f"https://127.0.0.1:{receiver.port}/{CANARY}", b"{}", HEADERS),
    ]
    with everything_logged("DEBUG") as logged:
        async with Receiver(respond=bake) as receiver, client() as http:
            for call in calls:
                assert CANARY not in repr(await outcome(call(http, receiver))).replace(
                    f"body=b'{CANARY}'", ""
                )
        async with listening(saying(CANARY.encode() + b"\r\n\r\n")) as bare:
            await refused(f"http://{bare.authority}/{CANARY}")
    assert CANARY not in logged.text
