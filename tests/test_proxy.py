"""The forward proxy: what uses it, what does not, and what it never receives."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from aiohttp import web

from app.domain.errors import SettingsError, TargetError
from app.domain.reasons import Reason
from app.egress.guard import NOT_PERMITTED
from tests.certificates import asked_names, good, of_another_name
from tests.examples import CANARY, loopback_settings
from tests.harness.receiver import Receiver
from tests.logged import everything_logged
from tests.posting import HEADERS, Lookups, client, named, outcome, post, refused, trusted
from tests.sockets import OK, Bare, Speak, closing, endless, listening, saying, silent

PASSWORD = "canary-0f81e2aa6c"
NO_HOP = (b"proxy-authorization", b"proxy-connection")  # headers that a proxy does not pass on


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> Lookups:
    """No DNS query leaves the machine, and the client knows only the names that a test adds."""
    return named(monkeypatch)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a certificate authority."""
    return trustme.CA()


@pytest.fixture(autouse=True)
def trusting(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trust this certificate authority instead of the public ones."""
    trusted(monkeypatch, authority, tmp_path)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()


def forwarding(bare: Bare) -> Speak:
    """Act as a forward proxy, for CONNECT and for absolute URLs; every name resolves to loopback."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        bare.heads.append(head)
        first, *headers = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        method, target, _ = first.split(b" ")
        tunnel = method == b"CONNECT"
        url = urlsplit(b"//" + target if tunnel else target)
        there, back = await asyncio.open_connection("127.0.0.1", url.port)
        if tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            kept = [header for header in headers if not header.lower().startswith(NO_HOP)]
            back.write(b"\r\n".join([method + b" " + url.path + b" HTTP/1.1", *kept]) + b"\r\n\r\n")
        pumps = [asyncio.create_task(pump(*way)) for way in ((reader, back), (there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            back.close()

    return talk


def through(proxy: Bare, **changes: Any) -> dict[str, Any]:
    """Settings under which only the proxy can be reached, which the guard does not check."""
    return {
        "egress_proxy": f"http://user:{PASSWORD}@{proxy.authority}",
        "egress_allow": "",
        "egress_http": False,
        **changes,
    }


def asked(proxy: Bare) -> list[str]:
    """Return the first line of each request to the proxy."""
    return [head.partition(b"\r\n")[0].decode() for head in proxy.heads]


@asynccontextmanager
async def receiving(authority: trustme.CA, host: str = "hooks.test") -> AsyncIterator[Receiver]:
    """Receive over TLS under a name that only the proxy can resolve."""
    async with Receiver(tls=good(authority, host)) as receiver:
        yield receiver


# ---------------------------------------------------------------------------------------------------------
# Through the proxy


async def test_https_uses_a_tunnel_and_the_proxy_resolves_the_name(authority: trustme.CA) -> None:
    context = good(authority, "hooks.test")
    names_asked = asked_names(context)
    async with Receiver(tls=context) as receiver, listening(forwarding) as proxy:
        response = await post(f"https://hooks.test:{receiver.port}/a?b=c", **through(proxy))
    assert (response.status, response.body) == (200, b"ok")
    assert asked(proxy) == [f"CONNECT hooks.test:{receiver.port} HTTP/1.1"]
    assert names_asked == ["hooks.test"]
    [received] = receiver.requests
    assert (received.path, received.headers["host"]) == ("/a?b=c", f"hooks.test:{receiver.port}")
    assert received.headers["authorization"] == HEADERS["authorization"]


async def test_http_is_sent_to_the_proxy_with_an_absolute_url() -> None:
    async with Receiver() as receiver, listening(forwarding) as proxy:
        url = f"http://hooks.test:{receiver.port}/a"
        response = await post(url, **through(proxy, egress_http=True))
    assert response.status == 200
    assert asked(proxy) == [f"POST {url} HTTP/1.1"]
    assert receiver.requests[0].path == "/a"


async def test_http_is_denied_with_a_proxy_as_without() -> None:
    async with listening(forwarding) as proxy:
        error = await refused("http://hooks.test/", **through(proxy))
    assert (error.reason, proxy.accepted) == (Reason.EGRESS_DENIED, 0)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (f"user:{PASSWORD}", f"user:{PASSWORD}"),
        ("us%40er:p%3Aa%2Fss%25", "us@er:p:a/ss%"),
        ("user:", "user:"),
    ],
)
async def test_the_proxy_gets_its_credentials_and_the_receiver_does_not(
    written: str, meant: str, authority: trustme.CA
) -> None:
    async with receiving(authority) as receiver, listening(forwarding) as proxy:
        url = f"https://hooks.test:{receiver.port}/{CANARY}"
        await post(url, **through(proxy, egress_proxy=f"http://{written}@{proxy.authority}"))
    told = base64.b64encode(meant.encode()).decode()
    assert f"proxy-authorization: basic {told}".lower() in proxy.heads[0].decode().lower()
    assert "proxy-authorization" not in receiver.requests[0].headers
    assert told not in str(receiver.requests[0])


async def test_the_proxy_sees_only_the_host_of_an_https_url(authority: trustme.CA) -> None:
    async with receiving(authority) as receiver, listening(forwarding) as proxy:
        await post(f"https://hooks.test:{receiver.port}/{CANARY}", **through(proxy))
    assert CANARY.encode() not in b"".join(proxy.heads)


async def test_a_proxy_without_credentials_gets_none(authority: trustme.CA) -> None:
    async with receiving(authority) as receiver, listening(forwarding) as proxy:
        url = f"https://hooks.test:{receiver.port}/"
        await post(url, **through(proxy, egress_proxy=f"http://{proxy.authority}"))
    assert b"proxy-authorization" not in proxy.heads[0].lower()


async def test_a_tunnel_is_reused_for_the_same_host_only(authority: trustme.CA) -> None:
    async with (
        receiving(authority, "a.test") as first,
        receiving(authority, "b.test") as second,
        listening(forwarding) as proxy,
        client(**through(proxy)) as http,
    ):
        for _ in range(2):
            await http.post(f"https://a.test:{first.port}/", b"{}", HEADERS)
            await http.post(f"https://b.test:{second.port}/", b"{}", HEADERS)
    assert asked(proxy) == [
        f"CONNECT a.test:{first.port} HTTP/1.1",
        f"CONNECT b.test:{second.port} HTTP/1.1",
    ]
    assert [len(receiver.requests) for receiver in (first, second)] == [2, 2]


async def test_a_receiver_behind_the_proxy_must_have_a_valid_certificate(
    authority: trustme.CA, tmp_path: Path
) -> None:
    own, path = trustme.CA(), tmp_path / "private.pem"
    own.cert_pem.write_to_path(str(path))
    async with Receiver(tls=of_another_name(authority, "")) as receiver, listening(forwarding) as proxy:
        error = await refused(f"https://hooks.test:{receiver.port}/", **through(proxy))
    assert (error.reason, error.retryable, error.attempted) == (Reason.TLS_FAILED, False, True)
    assert error.message == "the receiver's certificate is for another host name"
    assert not receiver.requests
    async with receiving(own) as receiver, listening(forwarding) as proxy:
        url = f"https://hooks.test:{receiver.port}/"
        assert (await refused(url, **through(proxy))).reason is Reason.TLS_FAILED
        assert (await post(url, **through(proxy, egress_ca_file=str(path)))).status == 200


async def test_a_redirect_through_the_proxy_is_reported_and_not_followed(
    authority: trustme.CA,
) -> None:
    async with (
        receiving(authority) as second,
        receiving(authority) as first,
        listening(forwarding) as proxy,
    ):

        async def elsewhere(_: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"location": f"https://hooks.test:{second.port}/"})

        first.respond = elsewhere
        response = await post(f"https://hooks.test:{first.port}/", **through(proxy))
    assert response.status == 302
    assert len(proxy.heads) == 1
    assert not second.requests


# ---------------------------------------------------------------------------------------------------------
# Past the proxy


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "localhost",
        "a.localhost.",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
    ],
)
async def test_an_internal_ip_literal_is_refused_before_the_proxy_is_contacted(host: str) -> None:
    async with listening(forwarding) as proxy:
        error = await refused(f"https://{host}/", **through(proxy))
    assert (error.reason, error.message, error.attempted) == (Reason.EGRESS_DENIED, NOT_PERMITTED, False)
    assert proxy.accepted == 0


async def test_a_denied_ip_literal_is_refused_before_the_proxy_is_contacted() -> None:
    async with listening(forwarding) as proxy:
        error = await refused("https://1.1.1.1/", **through(proxy, egress_deny="1.1.1.0/24"))
    assert (error.reason, proxy.accepted) == (Reason.EGRESS_DENIED, 0)


@pytest.mark.parametrize(
    ("apart", "host"),
    [
        ("in.test", "in.test"),
        ("in.test", "hooks.in.test"),
        ("in.test", "a.b.in.test"),
        (".in.test", "hooks.in.test"),
        ("*.in.test", "hooks.in.test"),
        ("In.Test", "in.test"),
        ("in.test", "IN.TEST"),
        ("other.test,in.test", "in.test"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("10.0.0.0/8,.svc,127.0.0.0/16", "127.0.0.1"),
        ("in.test.", "in.test"),
        ("straße.test", "xn--strae-oqa.test"),
    ],
)
async def test_an_excepted_host_is_called_directly_without_the_proxy_s_credentials(
    apart: str, host: str, authority: trustme.CA, names: Lookups
) -> None:
    names[host.lower()] = ["127.0.0.1"]
    async with receiving(authority, host.lower()) as receiver, listening(forwarding) as proxy:
        changes = through(proxy, egress_no_proxy=apart, egress_allow="127.0.0.1")
        response = await post(f"https://{host}:{receiver.port}/", **changes)
    assert response.status == 200
    assert proxy.accepted == 0
    assert "proxy-authorization" not in receiver.requests[0].headers


@pytest.mark.parametrize("host", ["begin.test", "in.test.example", "test"])
async def test_a_host_that_only_resembles_an_excepted_one_uses_the_proxy(
    host: str, authority: trustme.CA, names: Lookups
) -> None:
    names[host] = ["127.0.0.1"]
    async with receiving(authority, host) as receiver, listening(forwarding) as proxy:
        changes = through(proxy, egress_no_proxy="in.test", egress_allow="127.0.0.1")
        await post(f"https://{host}:{receiver.port}/", **changes)
    assert asked(proxy) == [f"CONNECT {host}:{receiver.port} HTTP/1.1"]


async def test_the_guard_applies_to_an_excepted_host(authority: trustme.CA, names: Lookups) -> None:
    names["in.test"] = ["127.0.0.1"]
    async with receiving(authority, "in.test") as receiver, listening(forwarding) as proxy:
        error = await refused(
            f"https://in.test:{receiver.port}/", **through(proxy, egress_no_proxy="in.test")
        )
    assert (error.reason, error.message) == (Reason.EGRESS_DENIED, NOT_PERMITTED)
    assert proxy.accepted == 0
    assert not receiver.requests


@pytest.mark.parametrize("configured", [True, False])
async def test_the_environment_s_proxies_and_exceptions_are_ignored(
    configured: bool, authority: trustme.CA, names: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    names["hooks.test"] = ["127.0.0.1"]
    async with (
        receiving(authority) as receiver,
        listening(forwarding) as proxy,
        listening(forwarding) as foreign,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{foreign.authority}")
        if configured:  # otherwise they would hide the other proxies' effect
            for name in ("no_proxy", "NO_PROXY"):
                monkeypatch.setenv(name, "hooks.test,*")
        changes = through(proxy) if configured else {}
        assert (await post(f"https://hooks.test:{receiver.port}/", **changes)).status == 200
    assert foreign.accepted == 0
    assert proxy.accepted == configured


# ---------------------------------------------------------------------------------------------------------
# Failures of the proxy

REFUSALS = [
    (403, Reason.EGRESS_DENIED, False, "the forward proxy refuses this address"),
    (
        407,
        Reason.CONNECTION_FAILED,
        False,
        "the forward proxy rejects the credentials of DELIVERY_EGRESS_PROXY",
    ),
    (302, Reason.CONNECTION_FAILED, True, "the forward proxy answered 302"),
    (500, Reason.CONNECTION_FAILED, True, "the forward proxy answered 500"),
    (502, Reason.CONNECTION_FAILED, True, "the forward proxy answered 502"),
    (503, Reason.CONNECTION_FAILED, True, "the forward proxy answered 503"),
]


@pytest.mark.parametrize(("status", "reason", "retryable", "message"), REFUSALS)
async def test_each_failure_of_the_proxy_has_its_own_message(
    status: int, reason: Reason, retryable: bool, message: str
) -> None:
    refusal = f"HTTP/1.1 {status} {CANARY}\r\nLocation: https://{CANARY}.test/\r\nContent-Length: 0\r\n\r\n"
    async with listening(saying(refusal.encode())) as proxy:
        error = await refused(f"https://hooks.test/{CANARY}", **through(proxy))
    assert (error.reason, error.retryable, error.attempted) == (reason, retryable, True)
    assert error.message == message
    assert proxy.accepted == 1


BROKEN: list[tuple[str, Callable[[Bare], Speak], Reason]] = [
    ("closes at once", closing, Reason.CONNECTION_FAILED),
    ("closes instead of answering", saying(), Reason.CONNECTION_FAILED),
    ("closes the tunnel", saying(b"HTTP/1.1 200 OK\r\n\r\n"), Reason.CONNECTION_FAILED),
    ("speaks no HTTP", saying(b"220 mail ESMTP\r\n"), Reason.INVALID_RESPONSE),
    ("speaks plain HTTP in the tunnel", saying(b"HTTP/1.1 200 OK\r\n\r\n", OK), Reason.TLS_FAILED),
    ("says headers without end", endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100), Reason.INVALID_RESPONSE),
]


@pytest.mark.parametrize(("speak", "reason"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_a_broken_proxy_is_its_own_kind_of_failure(
    speak: Callable[[Bare], Speak], reason: Reason
) -> None:
    async with listening(speak) as proxy:
        error = await refused(f"https://hooks.test/{CANARY}", **through(proxy))
    assert (error.reason, error.attempted) == (reason, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "proxy.test"])
async def test_an_unreachable_proxy_is_distinguished_from_an_unreachable_receiver(host: str) -> None:
    async with listening(silent) as gone:
        pass
    proxy = f"http://user:{PASSWORD}@{host}:{gone.port}"
    error = await refused("https://hooks.test/", egress_proxy=proxy)
    assert (error.reason, error.retryable, error.attempted) == (Reason.CONNECTION_FAILED, True, True)
    assert error.message == "no connection to the forward proxy"


async def test_the_caller_s_timeout_ends_a_silent_proxy() -> None:
    async with listening(silent) as proxy, client(**through(proxy)) as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await http.post("https://hooks.test/", b"{}", HEADERS)
    assert proxy.accepted == 1


# ---------------------------------------------------------------------------------------------------------
# The proxy's password


async def test_no_error_log_or_setting_shows_the_proxy_s_password(
    authority: trustme.CA,
) -> None:
    told = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    refusing = saying(b"HTTP/1.1 407 " + PASSWORD.encode() + b"\r\nContent-Length: 0\r\n\r\n")
    said: list[str] = []
    with everything_logged("DEBUG") as logged:
        async with receiving(authority) as receiver:
            for speak in (forwarding, refusing, closing, saying(OK), saying(b"junk\r\n\r\n")):
                async with listening(speak) as proxy:
                    changes = through(proxy, egress_http=True)
                    for scheme in ("https", "http"):
                        url = f"{scheme}://hooks.test:{receiver.port}/"
                        answer = await outcome(post(url, **changes))
                        said.append(f"{answer!r} {answer}")
                        if isinstance(answer, TargetError):
                            said.append(answer.message)
                    settings = loopback_settings(**changes)
                    said += [repr(settings), str(settings), settings.model_dump_json()]
                gone = await outcome(post("https://hooks.test/", **changes))
                said.append(f"{gone!r} {gone}")
    for secret in (PASSWORD, told):
        assert secret not in "\n".join(said)
        assert secret not in logged.text


@pytest.mark.parametrize("form", ["http://user:{}@proxy", "https://user:{}@proxy:1", "http://user:{}@[x:1"])
def test_the_error_about_the_setting_does_not_show_the_proxy_s_password(form: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loopback_settings(egress_proxy=form.format(PASSWORD))
    assert PASSWORD not in str(caught.value)
