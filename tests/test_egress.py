"""The way out: which addresses may be called, and what the one HTTP client does with what it meets there."""

import asyncio
import datetime as dt
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import certifi
import pytest
import trustme
from aiohttp import web
from aiohttp.abc import ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st

from app.egress import HttpClient, Response
from app.errors import TargetError
from app.guard import NOT_PERMITTED, Guard
from app.reasons import Reason
from tests.examples import CANARY, loopback_settings, unhurried
from tests.harness.receiver import Receiver
from tests.logged import everything_logged
from tests.sockets import OK, Bare, Speak, answering, closing, endless, listening, resetting, saying, silent

HEADERS = {"content-type": "application/json", "authorization": f"Bearer {CANARY}"}

Lookups = dict[str, list[str]]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> Lookups:
    """Stand in for DNS, so that no question leaves the machine: names that are not in this table are none."""
    table: Lookups = {}

    async def lookup(
        _: aiohttp.AsyncResolver, host: str, port: int = 0, family: int = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host not in table:
            raise OSError(None, "Domain name not found")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in table[host]
        ]

    monkeypatch.setattr(aiohttp.AsyncResolver, "resolve", lookup)
    return table


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make an authority."""
    return trustme.CA()


@pytest.fixture(autouse=True)
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the machine trust that authority, and no other."""
    authority.cert_pem.write_to_path(str(tmp_path / "authorities.pem"))
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "authorities.pem"))


@asynccontextmanager
async def client(**changes: Any) -> AsyncIterator[HttpClient]:
    async with HttpClient(loopback_settings(**changes)) as http:
        yield http


async def post(url: str, *, body: bytes = b"{}", **changes: Any) -> Response:
    """Post once with a client of its own; what takes more than 5 s hangs."""
    async with asyncio.timeout(5), client(**changes) as http:
        return await http.post(url, body, HEADERS)


async def refused(url: str, **changes: Any) -> TargetError:
    """Return the error that posting ends in."""
    with pytest.raises(TargetError) as caught:
        await post(url, **changes)
    assert CANARY not in repr(caught.value) + caught.value.message
    return caught.value


async def outcome(posting: Awaitable[Response]) -> Response | ValueError | TargetError:
    """Return the answer, or the error where it is one of those that may come out."""
    try:
        return await posting
    except (ValueError, TargetError) as error:
        return error


# ---------------------------------------------------------------------------------------------------------
# Addresses

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.167.255.255",
    "192.169.0.1",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]
INNER = [
    "0.0.0.0",  # noqa: S104  # judged, never bound
    "0.1.2.3",
    "10.0.0.1",
    "10.96.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::a00:1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:a00:1::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff:ffff::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_called(address: str) -> None:
    assert Guard().permits(ip_address(address))


@pytest.mark.parametrize("address", INNER)
def test_an_address_that_is_not_public_may_not_be_called(address: str) -> None:
    assert not Guard().permits(ip_address(address))


ALLOWED = [
    ("10.0.0.0/8", "10.1.2.3", True),
    ("10.0.0.0/8", "11.1.2.3", True),
    ("10.0.0.0/8", "172.16.0.1", False),
    ("10.1.0.0/16", "10.2.0.1", False),
    ("10.0.0.0/8", "::ffff:10.1.2.3", True),
    ("10.0.0.0/8", "64:ff9b::a01:203", True),
    ("10.0.0.0/8", "::ffff:127.0.0.1", False),
    ("127.0.0.1/32", "127.0.0.1", True),
    ("127.0.0.1/32", "127.0.0.2", False),
    ("127.0.0.0/8", "::1", False),
    ("::1/128", "::1", True),
    ("::1/128", "127.0.0.1", False),
    ("fd00::/8", "fd12::1", True),
    ("fd00::/8", "fe80::1", False),
    ("fd00::/8", "10.0.0.1", False),
    ("0.0.0.0/0", "169.254.169.254", True),
    ("0.0.0.0/0", "fd00::1", False),
]


@pytest.mark.parametrize(("network", "address", "permitted"), ALLOWED)
def test_what_the_installation_allows_comes_on_top(network: str, address: str, permitted: bool) -> None:
    assert Guard([ip_network(network)]).permits(ip_address(address)) is permitted


LITERALS = [
    "http://127.0.0.1/",
    "http://127.0.0.1:8080/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.1./",
    "http://127.1./",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7F.0x0.0x0.0x1/",
    "http://017700000001/",
    "http://0x7f.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://127。0。0。1/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1%25lo]/",
    "http://[fd00:ec2::254]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xA9FEA9FE/",
    "http://2852039166/",
    "http://10.0.0.1/",
    "http://192.168.1/",
]


@pytest.mark.parametrize("url", LITERALS)
def test_an_inner_address_is_seen_through_however_it_is_written(url: str) -> None:
    with pytest.raises(TargetError) as caught:
        Guard(http=True).check(url)
    assert caught.value.reason is Reason.EGRESS_DENIED
    assert caught.value.message == NOT_PERMITTED
    assert not caught.value.attempted
    assert not caught.value.retryable


BAD_URLS = [
    ("hooks.example.com/x", "must start with https://"),
    ("//hooks.example.com/x", "must start with https://"),
    ("/x", "must start with https://"),
    ("ftp://hooks.example.com/x", "must start with https://"),
    ("file:///etc/passwd", "must start with https://"),
    ("gopher://hooks.example.com/", "must start with https://"),
    ("javascript:alert(1)", "must start with https://"),
    ("https:hooks.example.com", "names no host"),
    ("https://", "names no host"),
    ("https:///x", "names no host"),
    ("https://:443/x", "names no host"),
    ("https://hooks.example.com:0/", "has a port that is no number from 1 to 65535"),
    ("https://hooks.example.com:65536/", "has a port that is no number from 1 to 65535"),
    ("https://hooks.example.com:-1/", "has a port that is no number from 1 to 65535"),
    (f"https://hooks.example.com:{CANARY}/", "has a port that is no number from 1 to 65535"),
    (f"https://{CANARY}@hooks.example.com/", "must hold no user info"),
    (f"https://{CANARY}:@hooks.example.com/", "must hold no user info"),
    (f"https://:{CANARY}@hooks.example.com/", "must hold no user info"),
    ("https://@hooks.example.com/", "must hold no user info"),
    ("https://hooks.example.com/a b", "must hold no white space or control characters"),
    ("https://hooks.example.com/a\r\nX-Evil: 1", "must hold no white space or control characters"),
    ("ht\ttps://hooks.example.com/", "must hold no white space or control characters"),
    ("https://hooks.example.com/\x00", "must hold no white space or control characters"),
    ("https://hooks.example.com/\u202egpj", "must hold no white space or control characters"),
    ("https://hooks.example.com/\u00a0", "must hold no white space or control characters"),
    ("https://hooks.example.com/\ud800", "must hold no white space or control characters"),
    ("https://[::1", "is no valid URL"),
    ("https://[hooks.example.com]/", "is no valid URL"),
    ("https://①②⑦.⓪.⓪.①/", "is no valid URL"),
    ("https://0177.0.0.1/", "is no valid URL"),
]


@pytest.mark.parametrize(("url", "problem"), BAD_URLS)
def test_a_url_that_cannot_be_used_is_refused_with_what_to_change(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        Guard(http=True).check(url)
    assert CANARY not in str(caught.value)


def test_plain_http_is_denied_unless_the_installation_lifts_that() -> None:
    url = "http://hooks.example.com/x"
    with pytest.raises(TargetError) as caught:
        Guard().check(url)
    assert caught.value.reason is Reason.EGRESS_DENIED
    assert Guard(http=True).check(url).host == "hooks.example.com"


def test_lifting_https_does_not_lift_the_guard() -> None:
    with pytest.raises(TargetError):
        Guard(http=True).check("http://10.0.0.1/")


@pytest.mark.parametrize(
    "url",
    ["https://hooks.example.com", "HTTPS://Hooks.Example.Com:8443/a?b=c#d", "https://bücher.example/ü"],
)
def test_a_usable_url_passes(url: str) -> None:
    assert Guard().check(url).scheme == "https"


@unhurried
@given(st.text(max_size=30), st.text(max_size=20))
def test_no_url_whatsoever_is_quoted_in_an_error(host: str, rest: str) -> None:
    said = ""
    try:
        Guard(http=True).check(f"https://{host}{CANARY}/{rest}")
    except (ValueError, TargetError) as error:
        said = str(error)
    assert CANARY not in said


# ---------------------------------------------------------------------------------------------------------
# What is dialled


async def test_a_name_that_leads_inside_is_denied_without_a_connection(names: Lookups) -> None:
    names["inside.test"] = ["127.0.0.1"]
    async with listening(answering(OK)) as bare:
        error = await refused(f"http://inside.test:{bare.port}/{CANARY}", egress_allow="")
    assert (error.reason, error.retryable, error.attempted) == (Reason.EGRESS_DENIED, False, False)
    assert error.message == NOT_PERMITTED
    assert bare.accepted == 0


async def test_a_name_with_only_denied_addresses_is_denied(names: Lookups) -> None:
    names["inside.test"] = ["127.0.0.2", "127.0.0.3", "::1"]
    async with listening(answering(OK)) as bare:
        error = await refused(f"http://inside.test:{bare.port}/", egress_allow="")
    assert error.reason is Reason.EGRESS_DENIED


async def test_of_several_addresses_only_permitted_ones_are_dialled(names: Lookups) -> None:
    names["mixed.test"] = ["127.0.0.2", "127.0.0.1"]
    async with listening(answering(OK)) as bare:
        response = await post(f"http://mixed.test:{bare.port}/")
    assert response.status == 200
    assert b"Host: mixed.test:" in bare.heads[0] or b"host: mixed.test:" in bare.heads[0]


async def test_an_address_is_judged_at_every_connection_and_not_only_at_the_first(names: Lookups) -> None:
    names["rebound.test"] = ["127.0.0.1"]
    async with listening(saying(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")) as bare, client() as http:
        url = f"http://rebound.test:{bare.port}/"
        assert (await http.post(url, b"{}", HEADERS)).status == 200
        http.guard._allow = ()  # noqa: SLF001  # stands for an answer that changed: what was cached is judged anew
        with pytest.raises(TargetError) as caught:
            await http.post(url, b"{}", HEADERS)
    assert caught.value.reason is Reason.EGRESS_DENIED
    assert bare.accepted == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
async def test_an_inner_literal_is_never_dialled(host: str) -> None:
    async with listening(answering(OK)) as bare:
        error = await refused(f"http://{host}:{bare.port}/", egress_allow="")
    assert error.reason is Reason.EGRESS_DENIED
    assert bare.accepted == 0


async def test_a_name_that_does_not_resolve_is_a_failed_connection() -> None:
    error = await refused(f"https://{CANARY}.test/")
    assert (error.reason, error.retryable, error.attempted) == (Reason.CONNECTION_FAILED, True, True)
    assert error.message == "the host name does not resolve"


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "a..test", ".test"])
async def test_a_name_that_no_resolver_takes_is_no_valid_url(host: str) -> None:
    with pytest.raises(ValueError, match="is no valid URL"):
        await post(f"https://{host}/")


@settings(unhurried, max_examples=60)
@given(host=st.text("abz09.-_%é漢[]:@", max_size=20), path=st.text(max_size=10))
def test_whatever_the_url_only_our_own_errors_come_out(host: str, path: str) -> None:
    async def once() -> None:
        error = await outcome(post(f"https://{host}{CANARY}.test/{path}", egress_allow=""))
        assert not isinstance(error, Response)
        assert CANARY not in str(error)
        if isinstance(error, TargetError):
            assert error.reason in {Reason.CONNECTION_FAILED, Reason.EGRESS_DENIED}

    with asyncio.Runner() as runner:
        runner.run(once())


# ---------------------------------------------------------------------------------------------------------
# What is answered


async def test_a_post_arrives_as_it_was_given() -> None:
    async with Receiver() as receiver:
        response = await post(f"{receiver.url}/a/b?c=d", body=b'{"x": "\xc3\xa4"}')
    received = receiver.requests[0]
    assert (response.status, response.body, response.retry_after) == (200, b"ok", None)
    assert (received.method, received.path, received.body) == ("POST", "/a/b?c=d", b'{"x": "\xc3\xa4"}')
    assert received.headers["content-type"] == "application/json"
    assert received.headers["authorization"] == f"Bearer {CANARY}"
    assert received.headers["content-length"] == "11"
    assert "transfer-encoding" not in received.headers


async def test_one_connection_serves_many_posts() -> None:
    async with listening(answering(OK)) as bare, client() as http:
        for _ in range(10):
            assert (await http.post(f"http://{bare.authority}/", b"{}", HEADERS)).status == 200
        assert bare.accepted == 1
        assert len(bare.heads) == 10


async def test_connections_to_one_host_are_limited() -> None:
    async with (
        listening(answering(OK, pause=0.05)) as bare,
        client(max_connections_per_host=2) as http,
    ):
        answers = (http.post(f"http://{bare.authority}/", b"{}", HEADERS) for _ in range(8))
        assert [answer.status for answer in await asyncio.gather(*answers)] == [200] * 8
    assert bare.most_open <= 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_reported_and_its_second_hop_never_visited(status: int) -> None:
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


async def test_no_cookie_is_carried_from_one_post_to_the_next() -> None:
    async def bake(_: web.Request) -> web.StreamResponse:
        return web.Response(headers={"set-cookie": "session=1; Path=/"})

    async with Receiver(respond=bake) as receiver, client() as http:
        for _ in range(2):
            await http.post(f"{receiver.url}/", b"{}", HEADERS)
    assert ["cookie" in request.headers for request in receiver.requests] == [False, False]


async def test_a_body_without_end_is_cut_and_its_connection_given_up() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with (
        listening(endless(head, b"400\r\n" + b"x" * 1024 + b"\r\n")) as bare,
        client(max_response=1000) as http,
    ):
        started = monotonic()
        response = await http.post(f"http://{bare.authority}/", b"{}", HEADERS)
        assert monotonic() - started < 0.9
        assert (response.status, response.body) == (200, b"x" * 1000)
        async with asyncio.timeout(2):
            while bare.open:  # noqa: ASYNC110  # the far side notices in its own time
                await asyncio.sleep(0.01)


async def test_a_flood_of_interim_answers_is_cut_and_holds_nobody_up() -> None:
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


async def test_a_few_interim_answers_are_read_over() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3
    async with listening(answering(interim + OK)) as bare:
        assert (await post(f"http://{bare.authority}/")).status == 200


async def test_a_trickling_body_holds_nobody_up() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with listening(endless(head, b"x", pause=0.02)) as bare, client() as http:
        started = monotonic()
        response = await http.post(f"http://{bare.authority}/", b"{}", HEADERS)
        assert monotonic() - started < 1.6
    assert response.status == 200
    assert 0 < len(response.body) < 100


async def test_an_answer_that_would_explode_is_not_unpacked() -> None:
    packed = gzip.compress(b"0" * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with listening(answering(head + packed)) as bare:
        response = await post(f"http://{bare.authority}/")
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
async def test_the_head_alone_decides_whatever_befalls_the_body(speak: Callable[[Bare], Speak]) -> None:
    async with listening(speak) as bare:
        assert (await post(f"http://{bare.authority}/")).status in {200, 204}


NO_ANSWERS = [
    ("closed at once", closing, Reason.CONNECTION_FAILED, True),
    ("closed after the request", saying(), Reason.CONNECTION_FAILED, True),
    ("reset after the request", resetting(b""), Reason.CONNECTION_FAILED, True),
    ("half a head", saying(b"HTTP/1.1 200 OK\r\nContent-"), None, None),
    ("junk", saying(b"\x00\x01\x02" + CANARY.encode() + b"\r\n\r\n"), Reason.INVALID_RESPONSE, False),
    ("another protocol", saying(b"220 mail.example.com ESMTP\r\n"), Reason.INVALID_RESPONSE, False),
    ("a status that is none", saying(b"HTTP/1.1 abc OK\r\n\r\n"), Reason.INVALID_RESPONSE, False),
    (
        "a head without end",
        saying(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
        Reason.INVALID_RESPONSE,
        False,
    ),
    (
        "a header that is none",
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
async def test_what_is_no_answer_is_told_in_words_of_ours(
    speak: Callable[[Bare], Speak], reason: Reason | None, retryable: bool | None
) -> None:
    async with listening(speak) as bare:
        error = await refused(f"http://{bare.authority}/{CANARY}")
    assert error.attempted
    if reason is None:
        assert error.reason in {Reason.CONNECTION_FAILED, Reason.INVALID_RESPONSE}
    else:
        assert (error.reason, error.retryable) == (reason, retryable)


async def test_a_refused_connection_is_a_failed_one(free_port: int) -> None:
    error = await refused(f"http://127.0.0.1:{free_port}/{CANARY}")
    assert (error.reason, error.retryable, error.attempted) == (Reason.CONNECTION_FAILED, True, True)
    assert error.message == "no connection to the receiver"


@pytest.fixture
def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_the_caller_s_time_limit_cuts_a_silent_receiver_off() -> None:
    async with listening(silent) as bare, client() as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await http.post(f"http://{bare.authority}/", b"{}", HEADERS)
        async with asyncio.timeout(2):
            while bare.open:  # noqa: ASYNC110  # the far side notices in its own time
                await asyncio.sleep(0.01)


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
async def test_the_wait_that_a_receiver_asks_for_is_counted_by_its_own_clock(
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
def test_no_header_that_a_receiver_writes_brings_the_client_down(date: bytes, wait: bytes) -> None:
    async def once() -> None:
        head = b"HTTP/1.1 503 Away\r\nDate: " + date + b"\r\nRetry-After: " + wait
        async with listening(answering(head + b"\r\nContent-Length: 0\r\n\r\n")) as bare:
            answer = await outcome(post(f"http://{bare.authority}/"))
        if isinstance(answer, TargetError):  # most are read, some are no header
            assert answer.reason is Reason.INVALID_RESPONSE
        else:
            assert isinstance(answer, Response)

    with asyncio.Runner() as runner:
        runner.run(once())


# ---------------------------------------------------------------------------------------------------------
# TLS


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


async def test_a_trusted_receiver_is_posted_to_over_tls(authority: trustme.CA, names: Lookups) -> None:
    names["hooks.test"] = ["127.0.0.1"]
    context = server_context(authority.issue_cert("hooks.test"))
    async with Receiver(tls=context) as receiver:
        response = await post(f"https://hooks.test:{receiver.port}/x", egress_http=False)
    assert response.status == 200
    assert receiver.requests[0].headers["host"] == f"hooks.test:{receiver.port}"


def untrusted(_: trustme.CA) -> ssl.SSLContext:
    return server_context(trustme.CA().issue_cert("hooks.test"))


def of_another_name(authority: trustme.CA) -> ssl.SSLContext:
    return server_context(authority.issue_cert("other.test"))


def expired(authority: trustme.CA) -> ssl.SSLContext:
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    return server_context(authority.issue_cert("hooks.test", not_after=past))


@pytest.mark.parametrize("make", [untrusted, of_another_name, expired])
async def test_a_receiver_whose_tls_is_no_good_gets_nothing(
    make: Callable[[trustme.CA], ssl.SSLContext], authority: trustme.CA, names: Lookups
) -> None:
    names["hooks.test"] = ["127.0.0.1"]
    async with Receiver(tls=make(authority)) as receiver:
        error = await refused(f"https://hooks.test:{receiver.port}/{CANARY}")
    assert (error.reason, error.retryable, error.attempted) == (Reason.TLS_FAILED, False, True)
    assert not receiver.requests


async def test_https_to_a_port_that_speaks_plain_http_is_a_tls_failure() -> None:
    async with Receiver() as receiver:
        error = await refused(f"https://127.0.0.1:{receiver.port}/{CANARY}")
    assert (error.reason, error.retryable) == (Reason.TLS_FAILED, False)


async def test_plain_http_to_a_port_that_speaks_tls_is_no_answer(authority: trustme.CA) -> None:
    context = server_context(authority.issue_cert("127.0.0.1"))
    async with listening(answering(OK), tls=context) as bare:
        error = await refused(f"http://{bare.authority}/{CANARY}")
    assert error.reason in {Reason.CONNECTION_FAILED, Reason.INVALID_RESPONSE}


# ---------------------------------------------------------------------------------------------------------
# What is logged


async def test_no_line_of_any_log_holds_a_url_a_header_or_a_body(free_port: int, names: Lookups) -> None:
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
