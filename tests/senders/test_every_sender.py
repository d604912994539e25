"""For every sender: no output contains a secret or a receiver's text, whatever the sender meets."""

import asyncio
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
import trustme
from aiohttp.client_reqrep import ConnectionKey

from app.domain.errors import SettingsError, TargetError
from app.domain.reasons import Reason
from app.domain.receipts import Phase, Report
from app.kube.cluster import Secret
from app.senders.credentials import Credentials
from app.senders.envelopes import Verdict
from app.senders.registry import build_senders
from app.settings import ServiceSettings
from app.telemetry.metrics import Metrics
from tests import canaries
from tests.canaries import EVERYTHING, assert_absent, secret_url, telling
from tests.examples import loopback_settings
from tests.harness.drive import service_account
from tests.logged import everything_logged
from tests.posting import named
from tests.senders import sending
from tests.senders.sending import Delivered, faked, outlets
from tests.sockets import Bare, Speak, answering, closing, endless, listening, resetting, saying, silent

SENDERS: dict[str, tuple[dict[str, Any], str, dict[str, str | bytes]]] = {
    # The target, the key of the Secret that holds its URL, and the Secret's other keys.
    "slack": ({"type": "slack", "credentialsSecret": "keys"}, "slack-webhook-url", {}),
    "webhook": (
        {"type": "webhook", "credentialsSecret": "keys"},
        "url",
        {"authorization": canaries.AUTHORIZATION, "signing-secret": canaries.SIGNING_KEY},
    ),
}


def mail_secret(url: str) -> dict[str, str | bytes]:
    """Return a Secret that names a relay at a URL; every value in it is secret."""
    parts = urlsplit(url)
    return {
        "smtp-host": parts.hostname or "",
        "smtp-port": str(parts.port or 587),
        "smtp-tls": "tls" if parts.scheme == "https" else "none",
        "smtp-username": f"{canaries.STEM}-mail",
        "smtp-password": canaries.AUTHORIZATION,
        "from": f"{canaries.STEM} <{canaries.STEM}@{canaries.HOST}>",
    }


def drive_secret(url: str) -> dict[str, str | bytes]:
    """Return a Secret with a service account whose tokens come from a URL."""
    return {"service-account.json": service_account(token_uri=url, client_email=f"{canaries.STEM}@g.example")}


SWITCHED_ON: dict[str, tuple[dict[str, Any], Callable[[str], dict[str, str | bytes]]]] = {
    # The target, and the Secret that leads it to a URL.
    "email": ({"type": "email", "to": ["ann@example.com"], "credentialsSecret": "keys"}, mail_secret),
    "google-drive": (
        {"type": "google-drive", "folder": "1AbC", "credentialsSecret": "keys"},
        drive_secret,
    ),
}
INSIDE = f"inside-{canaries.HOST}"
"""A name that leads to an address which is not public."""


async def test_this_module_covers_every_sender() -> None:
    async with outlets(ServiceSettings.load(email="smtp", google_drive="api")) as senders:
        assert set(senders) == {*SENDERS, *SWITCHED_ON}
    async with outlets(ServiceSettings.load()) as senders:
        assert set(senders) == set(SENDERS)
    assert callable(build_senders)


counted = cache(Metrics)
"""The metrics of all these deliveries: to make and to render them costs more than a delivery."""

loopback = cache(loopback_settings)


@pytest.fixture(scope="module", autouse=True)
def metrics() -> Iterator[None]:
    """Check at the end that no secret is in the metrics."""
    yield
    assert_absent("the metrics", counted().render()[0].decode())


async def deliver(
    spec: dict[str, Any],
    secret: Mapping[str, str | bytes],
    settings: ServiceSettings,
    *,
    attempt_timeout: float = 10.0,
) -> Delivered:
    """Deliver to a target with these values in its Secret."""
    return await sending.deliver(spec, secret, settings, attempt_timeout=attempt_timeout, metrics=counted())


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve one name to an internal address, and no other name."""
    named(monkeypatch)[INSIDE] = ["127.0.0.66"]


# ---------------------------------------------------------------------------------------------------------
# Faulty receivers


@dataclass
class Met:
    """What answers at the secret URL, the settings, and the expected result."""

    url: str
    reason: Reason
    settings: dict[str, Any] = field(default_factory=dict)
    attempt_timeout: float = 10.0
    # Heads of the requests that arrived, for cases in which a request must have left the service.
    heads: list[bytes] | None = None


Meeting = Callable[[Path], AbstractAsyncContextManager[Met]]
SOON = 0.3  # seconds: the attempt's time limit, for cases that end by it


def bare(
    reason: Reason,
    speak: Callable[[Bare], Speak],
    *,
    scheme: str = "http",
    reads: bool = True,
    attempt_timeout: float = 10.0,
) -> Meeting:
    """A server without TLS, on bare sockets; `reads`: whether it reads the request."""

    @asynccontextmanager
    async def meeting(_: Path) -> AsyncIterator[Met]:
        async with listening(speak) as far:
            url = secret_url(far.authority, scheme=scheme)
            yield Met(url, reason, attempt_timeout=attempt_timeout, heads=far.heads if reads else None)

    return meeting


def certified(reason: Reason, name: str, *, trusted: bool) -> Meeting:
    """A server with a certificate for this name, from a trusted or an unknown certificate authority."""

    @asynccontextmanager
    async def meeting(folder: Path) -> AsyncIterator[Met]:
        authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(tls)
        authority.cert_pem.write_to_path(str(folder / "authority.pem"))
        settings = {"egress_ca_file": str(folder / "authority.pem")} if trusted else {}
        async with listening(answering(telling(200)), tls) as far:
            heads = far.heads if reason is Reason.DELIVERED else None
            yield Met(secret_url(far.authority), reason, settings, heads=heads)

    return meeting


def nobody(reason: Reason, url: str, **settings: Any) -> Meeting:
    """No server: the URL leads nowhere, or to a denied address."""

    @asynccontextmanager
    async def meeting(_: Path) -> AsyncIterator[Met]:
        yield Met(url, reason, settings)

    return meeting


def proxied(reason: Reason, speak: Callable[[Bare], Speak], *, scheme: str = "https") -> Meeting:
    """A forward proxy that requires a password."""

    @asynccontextmanager
    async def meeting(_: Path) -> AsyncIterator[Met]:
        async with listening(speak) as far:
            settings = {"egress_proxy": proxy_url(far.authority)}
            yield Met(secret_url(scheme=scheme), reason, settings, heads=far.heads)

    return meeting


def proxy_url(authority: str) -> str:
    return f"http://{canaries.PROXY_USER}:{canaries.PROXY_PASSWORD}@{authority}"


@asynccontextmanager
async def refusing(_: Path) -> AsyncIterator[Met]:
    """A port on which nothing listens."""
    with unused() as authority:
        yield Met(secret_url(authority, scheme="http"), Reason.CONNECTION_FAILED)


@asynccontextmanager
async def proxy_refusing(_: Path) -> AsyncIterator[Met]:
    """No forward proxy at the configured address."""
    with unused() as authority:
        yield Met(secret_url(), Reason.CONNECTION_FAILED, {"egress_proxy": proxy_url(authority)})


@contextmanager
def unused() -> Iterator[str]:
    """Hold a port, so that no other program can listen on it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def echoing(status: int) -> Callable[[Bare], Speak]:
    """Return the request: its first line as the reason phrase, its headers, and all of it as the body."""

    def speak(far: Bare) -> Speak:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await far.request(reader)
            first, _, headers = head.partition(b"\r\n")
            kept = [
                line for line in headers.split(b"\r\n") if line and not line.lower().startswith(b"content-")
            ]
            lines = [b"HTTP/1.1 %d %s" % (status, first), *kept, b"Content-Length: %d" % len(head), b"", head]
            writer.write(b"\r\n".join(lines))
            await writer.drain()

        return talk

    return speak


def blurting(_: Bare) -> Speak:
    """Answer before the request."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(telling(400))
        await writer.drain()

    return talk


PARTLY = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + EVERYTHING.encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FAILED, BROKEN, DENIED = Reason.CONNECTION_FAILED, Reason.INVALID_RESPONSE, Reason.EGRESS_DENIED

MEETINGS: dict[str, Meeting] = {
    "connection refused": refusing,
    "closed at once": bare(FAILED, closing, reads=False),
    "closed without an answer": bare(FAILED, saying()),
    "reset without an answer": bare(FAILED, resetting(b"")),
    "reset in the head": bare(FAILED, resetting(b"HTTP/1.1 200 " + EVERYTHING.encode())),
    "reset in the body": bare(Reason.DELIVERED, resetting(PARTLY)),
    "closed in the body": bare(Reason.DELIVERED, saying(PARTLY)),
    "invalid chunks": bare(Reason.DELIVERED, saying(CHUNKED, EVERYTHING.encode() + b"\r\n\r\n")),
    "a body without end": bare(Reason.DELIVERED, endless(CHUNKED, b"10\r\n" + b"c" * 16 + b"\r\n", 0.01)),
    "no answer": bare(Reason.TIMEOUT, silent, reads=False, attempt_timeout=SOON),
    "a head that trickles": bare(
        Reason.TIMEOUT, endless(b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n", 0.05), attempt_timeout=SOON
    ),
    "no HTTP": bare(BROKEN, saying(EVERYTHING.encode() + b"\r\n\r\n")),
    "an invalid status": bare(BROKEN, saying(b"HTTP/1.1 2x0 " + EVERYTHING.encode() + b"\r\n\r\n")),
    "an invalid header": bare(BROKEN, saying(b"HTTP/1.1 200 OK\r\n" + EVERYTHING.encode() + b"\r\n\r\n")),
    "a huge head": bare(BROKEN, saying(b"HTTP/1.1 200 OK\r\nX: " + EVERYTHING.encode() * 1000)),
    "interim answers without end": bare(BROKEN, answering(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)),
    "a name that does not resolve": nobody(FAILED, secret_url()),
    "a certificate that is not trusted": certified(Reason.TLS_FAILED, "127.0.0.1", trusted=False),
    "a certificate for another address": certified(Reason.TLS_FAILED, "127.0.0.2", trusted=True),
    "no TLS where it should be": bare(Reason.TLS_FAILED, blurting, scheme="https", reads=False),
    "success over TLS": certified(Reason.DELIVERED, "127.0.0.1", trusted=True),
    "denied by its address": nobody(DENIED, secret_url("127.0.0.66"), slack_hosts="127.0.0.66"),
    "denied by its name's address": nobody(DENIED, secret_url(INSIDE)),
    "denied since it is http": nobody(DENIED, secret_url(scheme="http"), egress_http=False),
    **{
        f"answered {status}": bare(Reason.HTTP_STATUS, answering(telling(status)))
        for status in (400, 404, 410, 500)
    },
    **{f"echoed {status}": bare(Reason.HTTP_STATUS, echoing(status)) for status in (400, 403, 599, 999)},
    "echoed 200": bare(Reason.DELIVERED, echoing(200)),
    **{
        f"redirected {status}": bare(
            Reason.REDIRECTED, answering(telling(status, b"Location: " + secret_url(INSIDE).encode()))
        )
        for status in (301, 307)
    },
    **{
        f"rate limited {odd.decode()[:30]!r}": bare(
            Reason.RATE_LIMITED,
            answering(telling(429, b"Retry-After: " + odd, b"Date: " + EVERYTHING.encode())),
        )
        for odd in (EVERYTHING.encode(), b"-1", b"1e400", b"9" * 4000, b"Sun, 99 Nov 99999 99:99:99 GMT", b"")
    },
    "no forward proxy": proxy_refusing,
    "a forward proxy that refuses": proxied(DENIED, answering(telling(403))),
    "a forward proxy that requires another password": proxied(FAILED, echoing(407)),
    "a forward proxy that fails": proxied(FAILED, answering(telling(502))),
    "a forward proxy that speaks no HTTP": proxied(BROKEN, saying(EVERYTHING.encode() + b"\r\n\r\n")),
    "a forward proxy that answers itself": proxied(Reason.HTTP_STATUS, echoing(418), scheme="http"),
}
"""Each is met over real sockets where there is anybody to meet."""

NO_URLS = {
    "with user info": secret_url("hooks.example.com", user_info=f"{canaries.USER_INFO}@"),
    "with white space": secret_url() + f" {canaries.PATH}",
    "with a backslash": secret_url(f"{canaries.HOST}\\@{canaries.HOST}"),
    "with an invalid port": secret_url(f"{canaries.HOST}:{canaries.STEM}"),
    "with a port that is too large": secret_url(f"{canaries.HOST}:65536"),
    "without a scheme": secret_url().removeprefix("https://"),
    "with another scheme": secret_url(scheme="ftp"),
    "without a host": secret_url(""),
    "with a broken literal": secret_url(f"[{canaries.HOST}]"),
    "with a label that is too long": secret_url("a" * 64 + canaries.HOST),
    "with an empty label": secret_url(f"a..{canaries.HOST}"),
    "that ends in a number": secret_url(f"{canaries.HOST}.0x7f"),
    "with a host that is no name": secret_url(f"{canaries.HOST}^"),
    "that is a command": f"curl -H 'Authorization: {canaries.AUTHORIZATION}' {secret_url()}",
}


class Breaking(httpx.AsyncByteStream):
    """A body that fails while it is read."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield EVERYTHING.encode()
        raise self._error


@contextmanager
def logged(form: str, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Check that no secret is in stderr, stdout, or a log record of any library."""
    capsys.readouterr()
    with everything_logged("DEBUG", form) as kept:
        yield
    printed = capsys.readouterr()
    assert "target_settled" in printed.err, "the output was captured"
    assert_absent("stderr", printed.err)
    assert_absent("stdout", printed.out)
    assert_absent("what libraries logged", kept.text)


def assert_silent(delivered: Delivered) -> None:
    """Check that no secret is in the results of a delivery, or in the objects that took part in it."""
    for told in delivered.told:
        if isinstance(told, TargetError):
            for error in chain(told):
                assert_absent(
                    f"its {type(error).__name__}", f"{error} {error!r} {error.args!r} {vars(error)}"
                )
            assert_absent("its traceback", "".join(traceback.format_exception(told)))
        elif isinstance(told, Verdict):
            assert_absent("the verdict", told)
    receipt = delivered.receipt
    report = Report(namespace="research", team="report", uid="uid-1", phase="Failed", targets=(receipt,))
    assert_absent("the record", f"{receipt!r} {receipt} {receipt.to_wire()}")
    assert_absent("the report", f"{report!r} {report.model_dump_json()}")
    for name, shown in delivered.shown.items():
        assert_absent(f"the repr of the {name}", f"{shown!r} {shown}")


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and everything that is shown with it."""
    seen: set[int] = set()
    latest: BaseException | None = error
    while latest is not None and id(latest) not in seen:
        seen.add(id(latest))
        yield latest
        latest = latest.__cause__ or (None if latest.__suppress_context__ else latest.__context__)


ON_THE_CONSOLE = ("connection refused", "a certificate that is not trusted", "echoed 400")
"""Met once more by a service that logs for people: an error of the system, one of a library, an answer."""


@pytest.mark.parametrize(
    ("meeting", "form"),
    [*((meeting, "json") for meeting in MEETINGS), *((meeting, "console") for meeting in ON_THE_CONSOLE)],
)
@pytest.mark.parametrize("sender", SENDERS)
async def test_no_output_contains_a_secret_whatever_the_receiver_does(
    sender: str, meeting: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, key, others = SENDERS[sender]
    async with MEETINGS[meeting](tmp_path) as found:
        hosts = f"127.0.0.1,{canaries.HOST},{INSIDE}"
        settings = loopback(**{"slack_hosts": hosts, **found.settings})
        secret = {**others, key: found.url}
        with logged(form, capsys):
            delivered = await deliver(spec, secret, settings, attempt_timeout=found.attempt_timeout)
    assert delivered.receipt.reason is found.reason
    if found.heads is not None:
        sent = b"".join(found.heads)
        assert canaries.PATH.encode() in sent or canaries.HOST.encode() in sent
    assert_silent(delivered)


@pytest.mark.parametrize("meeting", MEETINGS)
@pytest.mark.parametrize("sender", SWITCHED_ON)
async def test_no_output_of_optional_features_contains_a_secret(
    sender: str, meeting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, secret = SWITCHED_ON[sender]
    async with MEETINGS[meeting](tmp_path) as found:
        settings = loopback(email="smtp", google_drive="api", **found.settings)
        with logged("json", capsys):
            delivered = await deliver(spec, secret(found.url), settings, attempt_timeout=SOON)
    assert delivered.receipt.phase is Phase.FAILED, "none of these servers speaks its protocol"
    assert delivered.receipt.reason not in {Reason.INTERRUPTED, Reason.NOT_IMPLEMENTED}
    if sender == "google-drive" and found.reason in {
        Reason.CONNECTION_FAILED,
        Reason.TLS_FAILED,
        Reason.EGRESS_DENIED,
    }:
        assert delivered.receipt.reason is found.reason
    assert_silent(delivered)


@pytest.mark.parametrize("code", ["250", "334", "421", "451", "535", "550", "999", "abc"])
@pytest.mark.parametrize("stage", range(7))
async def test_no_output_contains_a_secret_when_a_relay_repeats_what_it_receives(
    code: str, stage: int, capsys: pytest.CaptureFixture[str]
) -> None:
    told = canaries.EVERYTHING.encode()

    def repeating(far: Bare) -> Speak:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 " + told + b"\r\n")
            for number in range(20):
                line = await reader.readline()
                far.heads.append(line)
                usual = b"250-relay " + told + b"\r\n250 AUTH PLAIN LOGIN" if number == 0 else b"250 " + told
                usual = b"235 " + told if line.startswith(b"AUTH") else usual
                usual = b"354 " + told if line.startswith(b"DATA") else usual
                writer.write(
                    (f"{code} ".encode() + told + line.strip() if number == stage else usual) + b"\r\n"
                )

        return talk

    spec, secret = SWITCHED_ON["email"]
    async with listening(repeating) as far:
        with logged("json", capsys):
            delivered = await deliver(
                spec, secret(f"http://{far.authority}"), loopback(email="smtp"), attempt_timeout=SOON
            )
    assert far.heads
    assert_silent(delivered)


@pytest.mark.parametrize("value", NO_URLS.values(), ids=NO_URLS)
@pytest.mark.parametrize("sender", SENDERS)
async def test_no_output_contains_an_invalid_secret_url(
    sender: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, key, others = SENDERS[sender]
    with faked() as router, logged("json", capsys):
        settings = loopback(slack_hosts="hooks.example.com")
        delivered = await deliver(spec, {**others, key: value}, settings)
        assert not router.calls
    assert delivered.receipt.reason is Reason.SECRET_INVALID
    assert_silent(delivered)


WRONG_VALUES: dict[str, bytes] = {
    "two lines": f"{canaries.PATH}\n{canaries.PATH}".encode(),
    "a control character": f"{canaries.PATH}\x00".encode(),
    "a reversing mark": f"{canaries.PATH}\u202e".encode(),
    "no text": b"\xff" + canaries.PATH.encode(),
    "text in UTF-16": canaries.PATH.encode("utf-16"),
    "another script": f"ü {canaries.PATH}".encode(),
}


@pytest.mark.parametrize("value", WRONG_VALUES.values(), ids=WRONG_VALUES)
@pytest.mark.parametrize(
    ("sender", "wrong"),
    [(sender, wrong) for sender, (_, key, others) in SENDERS.items() for wrong in (key, *others)],
)
async def test_no_output_contains_a_partly_invalid_secret(
    sender: str, wrong: str, value: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, key, others = SENDERS[sender]
    with faked() as router, logged("json", capsys):
        settings = loopback(slack_hosts=canaries.HOST)
        delivered = await deliver(spec, {key: secret_url(), **others, wrong: value}, settings)
        assert not router.calls
    assert delivered.receipt.reason is Reason.SECRET_INVALID
    assert_silent(delivered)


async def test_no_output_contains_a_secret_without_the_url(capsys: pytest.CaptureFixture[str]) -> None:
    for spec, _, others in SENDERS.values():
        with logged("json", capsys):
            delivered = await deliver(spec, {"uri": secret_url(), **others}, loopback())
        assert delivered.receipt.reason is Reason.SECRET_KEY_MISSING
        assert_silent(delivered)


def raised() -> list[Exception]:
    """Make exceptions as libraries may raise them, each with all secrets in its text."""
    request = httpx.Request("POST", secret_url(), headers={"authorization": canaries.AUTHORIZATION})
    key = ConnectionKey(
        canaries.HOST, 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
    )
    caused = RuntimeError("bare")
    caused.__cause__ = ValueError(EVERYTHING)
    return [
        httpx.ConnectError(EVERYTHING, request=request),
        httpx.ReadError(EVERYTHING, request=request),
        httpx.RemoteProtocolError(EVERYTHING, request=request),
        httpx.UnsupportedProtocol(EVERYTHING, request=request),
        httpx.InvalidURL(EVERYTHING),
        aiohttp.InvalidURL(EVERYTHING, EVERYTHING),
        aiohttp.ClientConnectorError(key, OSError(1, EVERYTHING)),
        aiohttp.ClientConnectorDNSError(key, OSError(1, EVERYTHING)),
        aiohttp.ServerDisconnectedError(EVERYTHING),
        ssl.SSLCertVerificationError(1, EVERYTHING),
        ssl.SSLError(1, EVERYTHING),
        OSError(1, EVERYTHING, secret_url()),
        ValueError(EVERYTHING),
        UnicodeEncodeError("ascii", EVERYTHING, 0, 1, EVERYTHING),
        UnicodeDecodeError("ascii", EVERYTHING.encode(), 0, 1, EVERYTHING),
        KeyError(EVERYTHING),
        RecursionError(EVERYTHING),
        RuntimeError(EVERYTHING),
        ExceptionGroup(EVERYTHING, [ValueError(EVERYTHING)]),
        caused,
    ]


RAISED = [
    pytest.param(number, id=f"{type(error).__name__}-{number}") for number, error in enumerate(raised())
]


@pytest.mark.parametrize("number", RAISED)
@pytest.mark.parametrize("sender", SENDERS)
async def test_no_output_contains_a_secret_from_a_library_s_exception(
    sender: str, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, key, others = SENDERS[sender]
    with faked() as router, logged("json", capsys):
        route = router.post(url__startswith=f"https://{canaries.HOST}/").mock(side_effect=raised()[number])
        settings = loopback(slack_hosts=canaries.HOST)
        delivered = await deliver(spec, {key: secret_url(), **others}, settings)
        assert route.called
    assert delivered.receipt.reason is not Reason.INTERRUPTED
    assert_silent(delivered)


@pytest.mark.parametrize("number", RAISED)
@pytest.mark.parametrize("sender", SENDERS)
async def test_no_output_contains_a_secret_from_a_library_s_exception_in_a_body(
    sender: str, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, key, others = SENDERS[sender]
    with faked() as router, logged("json", capsys):
        route = router.post(url__startswith=f"https://{canaries.HOST}/")
        route.mock(return_value=httpx.Response(200, stream=Breaking(raised()[number])))
        settings = loopback(slack_hosts=canaries.HOST)
        delivered = await deliver(spec, {key: secret_url(), **others}, settings)
        assert route.called
    assert delivered.receipt.reason is Reason.DELIVERED, "the head of the answer decides"
    assert_silent(delivered)


# ---------------------------------------------------------------------------------------------------------
# What is public, and what contains secrets


SPECS = {
    "delivered": (Reason.DELIVERED, "http://{}/public?{query}#{fragment}"),
    "with user info": (Reason.INVALID_TARGET, "http://{user}@{}/public?{query}#{fragment}"),
    "denied": (Reason.EGRESS_DENIED, "http://127.0.0.66/public?{query}#{fragment}"),
    "unknown": (Reason.CONNECTION_FAILED, "http://public.test/public?{query}#{fragment}"),
    "another scheme": (Reason.INVALID_TARGET, "ftp://{user}@{}/public?{query}#{fragment}"),
    "an invalid port": (Reason.INVALID_TARGET, "http://{}1234567/public?{query}#{fragment}"),
    "two lines": (Reason.INVALID_TARGET, "http://{}/public?{query}\n#{fragment}"),
    "no object": (Reason.INVALID_TARGET, "//{user}@{}/public?{query}#{fragment}"),
}


@pytest.mark.parametrize("case", SPECS)
async def test_a_url_in_the_spec_is_shown_up_to_its_path(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reason, form = SPECS[case]
    async with listening(answering(telling(200))) as far:
        parts = {"query": canaries.QUERY, "fragment": canaries.FRAGMENT, "user": canaries.USER_INFO}
        spec = {"type": "webhook", "url": form.format(far.authority, **parts)}
        with logged("json", capsys):
            delivered = await deliver(spec, {}, loopback())
    assert delivered.receipt.reason is reason
    assert_silent(delivered)
    if reason is not Reason.INVALID_TARGET:
        assert delivered.receipt.target.endswith("/public")


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "webhook", "url": [secret_url()]},
        {"type": "webhook", "url": {"secretUrl": secret_url()}},
        {"type": "webhook", "credentialsSecret": secret_url()},
        {"type": "slack", "credentialsSecret": [canaries.SIGNING_KEY]},
        {"type": "slack", "credentialsSecret": "keys", "message": {"text": canaries.AUTHORIZATION}},
        {"type": "email", "to": [{"password": canaries.AUTHORIZATION}]},
    ],
)
async def test_a_value_in_the_wrong_place_is_not_shown(
    spec: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with everything_logged("DEBUG") as kept:
        delivered = await deliver(spec, {}, loopback())
    assert delivered.receipt.reason is Reason.INVALID_TARGET
    assert_silent(delivered)
    assert_absent("the log", capsys.readouterr().err + kept.text)


def test_objects_with_secrets_do_not_show_them() -> None:
    settings = ServiceSettings.load(egress_proxy=proxy_url("proxy.example.com:3128"))
    shown = (
        settings,
        settings.model_dump(),
        Credentials("keys", {"url": secret_url().encode(), "signing-secret": canaries.SIGNING_KEY.encode()}),
        Secret({}, {"url": secret_url().encode(), "key": canaries.SIGNING_BYTES}),
    )
    for one in shown:
        assert_absent(f"the repr of {type(one).__name__}", f"{one!r} {one}")
    assert_absent("the settings as JSON", settings.model_dump_json())


@pytest.mark.parametrize(
    "wrong", ["https://{}@proxy:1", "http://{}@proxy", "{}", "http://{}@:1", "http://{}@p:x"]
)
def test_an_error_about_a_proxy_s_address_does_not_show_its_password(wrong: str) -> None:
    credentials = f"{canaries.PROXY_USER}:{canaries.PROXY_PASSWORD}"
    with pytest.raises(SettingsError) as caught:
        ServiceSettings.load(egress_proxy=wrong.format(credentials))
    for error in chain(caught.value):
        assert_absent("the error", f"{error} {error!r} {error.args!r}")
    assert_absent("its traceback", "".join(traceback.format_exception(caught.value)))
