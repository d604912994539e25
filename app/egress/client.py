"""The only HTTP client for receivers: behind the egress guard, with limits on everything it reads.

None of its texts contains a URL, a resolved address or anything that a receiver wrote.
"""

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

from app import USER_AGENT
from app.domain.bypass import Bypass
from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.times import asked_to_wait
from app.egress.guard import NOT_PERMITTED, ORIGINS, AddressDenied, Checked, Guard
from app.egress.heads import Heads
from app.egress.names import Names, unresolved
from app.egress.trust import TrustAnchors, broken, refused
from app.exchange import Exchange, Origin
from app.settings import ServiceSettings
from app.timers import within
from app.whole import HEAD_LIMIT, Pool, WholeReading

HEADERS = {
    "accept": "*/*",
    "accept-encoding": "identity",  # nothing is decompressed, so an answer cannot grow
    "user-agent": USER_AGENT,
}
BODY_PATIENCE = 0.25  # seconds to read an answer's body; its head alone decides
NOT_CONNECTED = "no connection to the receiver"
PROXY_AWAY = "no connection to the forward proxy"
HEAD_LIMITS: dict[str, Any] = {
    "max_line_size": HEAD_LIMIT,
    "max_field_size": HEAD_LIMIT,
    "max_headers": HEAD_LIMIT,
}
READING = {"auto_decompress": False, "whole": True}
SLICE = 65_536  # bytes of a body that are passed to a connection at once
INTERIM_ANSWERS = 10  # 1xx answers that are read before the final one


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A POST as it would be sent; its URL and headers may contain values from a Secret."""

    url: Checked = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def all_headers(self) -> dict[str, str]:
        """Its headers, including those of every request."""
        return {**HEADERS, **self.headers}


class Response(NamedTuple):
    """A receiver's answer: status, seconds it asked to wait, and the beginning of its body."""

    status: int
    retry_after: float | None
    body: bytes


class HttpClient:
    """Posts to receivers: guarded, with limits, without cookies, redirects or decompression."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.guard = Guard(settings.egress_allow, deny=settings.egress_deny, http=settings.egress_http)
        self._settings = settings
        proxy = settings.egress_proxy
        self._proxy_host = urlsplit(proxy.get_secret_value()).hostname if proxy else None
        self._authorities = TrustAnchors(settings.egress_ca_file)
        self._direct = Transport(lambda: self._session(self.guard.socket), self._authorities)
        # Only the proxy is dialled. The installation's owner named it, so the guard does not check its
        # address.
        url = proxy.get_secret_value() if proxy else None
        self._through = (
            Transport(lambda: self._session(None, proxy=url), self._authorities, by_proxy=True)
            if url
            else None
        )
        self._apart = Bypass.read(settings.egress_no_proxy)

    @property
    def tls(self) -> ssl.SSLContext:
        """What a new connection trusts."""
        return self._authorities.context

    async def judge(self, url: Checked) -> None:
        """Check that a URL has a permitted address, without calling it.

        With a forward proxy, the proxy resolves the name and checks the address.

        Raises:
            TargetError: its name does not resolve, or has no permitted address.
        """
        if self._way(url) is not self._direct:
            return
        try:
            found = await self.resolver.resolve(url.sought, url.port, socket.AF_UNSPEC)
        except OSError as error:
            raise TargetError(Reason.CONNECTION_FAILED, unresolved(error), retryable=True) from None
        if not any(self.guard.permits(ip_address(one["host"].partition("%")[0])) for one in found):
            raise TargetError(Reason.EGRESS_DENIED, NOT_PERMITTED)

    def post(
        self, url: str | Checked, content: bytes, headers: Mapping[str, str]
    ) -> Coroutine[Any, Any, Response]:
        """Post once. Of the answer's body, read only what arrives at once, because the head alone decides."""
        return self.request(
            "POST", url, content, headers, most=self._settings.max_response, patience=BODY_PATIENCE
        )

    async def request(  # noqa: PLR0913  # the parts of a request, and limits for its answer
        self,
        method: str,
        url: str | Checked,
        content: bytes,
        headers: Mapping[str, str],
        *,
        most: int,
        patience: float,
    ) -> Response:
        """Make one request, to a URL as written or as checked by the guard.

        It reads at most `most` bytes of the answer's body (up to 32 KiB), for `patience` seconds.

        Raises:
            ValueError: the URL cannot be used; the text says what to change.
            TargetError: the guard denied it, or there was no answer.
        """
        checked = self.guard.check(url) if isinstance(url, str) else url
        try:
            return await self._way(checked).request(
                method, checked, content, headers, most=most, patience=patience
            )
        except aiohttp.InvalidURL:
            raise ValueError("is not a valid URL") from None
        except Exception as error:  # noqa: BLE001  # aiohttp leaks more kinds than it documents
            raise translated(error, self._proxy_host) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._direct.aclose()
        if self._through:
            await self._through.aclose()
        if "resolver" in self.__dict__:  # otherwise no name was looked up
            await self.resolver.close()

    @functools.cached_property
    def resolver(self) -> Names:
        """Resolves names without the system's resolver, which blocks one of few threads per name.

        A team that lists names whose name servers do not answer would block them all.
        """
        return Names()

    def _way(self, url: Checked) -> "Transport":
        """Return the transport for a URL: through the proxy, if one is set and the host is not excluded."""
        if self._through is None or self._apart.covers(url.host, url.port):
            return self._direct
        return self._through

    def _session(
        self, factory: aiohttp.SocketFactoryType | None, *, proxy: str | None = None
    ) -> aiohttp.ClientSession:
        connector = _Connector(
            self._settings.max_response + HEAD_LIMIT,
            resolver=self.resolver,
            socket_factory=factory,
            limit=0,  # nothing waits here: a request already has a place for its host
        )
        return aiohttp.ClientSession(
            connector=connector,
            proxy=proxy,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )


def endpoint(url: Checked) -> tuple[str, int]:
    """Return the host and port of a URL, in any spelling."""
    return url.host, url.port


async def head_of_body(content: StreamReader, most: int, patience: float) -> bytes:
    """Read at most so many bytes for at most so many seconds; a body may break off anywhere."""
    body = bytearray()
    try:
        if content.is_eof():  # it came with its head, as short ones do: nothing is waited for
            return content.read_nowait()[:most]
        with within(patience):
            async for chunk in content.iter_any():
                body += chunk
                if len(body) >= most:
                    break
    except Exception:  # noqa: BLE001, S110  # the head alone decides, even if the body breaks off
        pass
    return bytes(body[:most])


def _asked_to_wait(headers: CIMultiDictProxy[str]) -> float | None:
    """Return the seconds that an answer's headers ask to wait; a repeated header counts as none."""
    if "Retry-After" not in headers:
        return None
    return asked_to_wait({name: ", ".join(headers.getall(name, ())) for name in ("Retry-After", "Date")})


class Transport:
    """Sends requests through an aiohttp session, which the first request creates.

    No `httpx.AsyncClient`: it handles redirects, cookies and authentication, which nothing here uses, and
    that costs more than the send itself.
    """

    def __init__(
        self,
        make_session: Callable[[], aiohttp.ClientSession],
        authorities: TrustAnchors,
        *,
        by_proxy: bool = False,
    ) -> None:
        self._make_session = make_session
        self._authorities = authorities
        self._by_proxy = by_proxy
        self._origin = functools.lru_cache(ORIGINS)(_origin)

    async def request(  # noqa: PLR0913  # all that a request is made of, and how much of the answer is read
        self,
        method: str,
        url: Checked,
        body: bytes,
        headers: Mapping[str, str],
        *,
        most: int,
        patience: float,
    ) -> Response:
        """Send a request, and read the beginning of its answer.

        Raises:
            Exception: aiohttp's own, whose text must not be shown.
        """
        by = self._by_session if self._by_proxy or len(body) > SLICE else self._by_pool
        async with by(method, url, body, headers) as answer:
            said = await head_of_body(answer.content, most, patience)
            return Response(answer.status, _asked_to_wait(answer.headers), said)

    @functools.cached_property
    def _session(self) -> aiohttp.ClientSession:
        return self._make_session()

    def _by_pool(self, method: str, url: Checked, body: bytes, headers: Mapping[str, str]) -> Exchange:
        """Make a request on a connection of the session's pool, without what a session adds to each."""
        pool = self._session.connector
        assert pool is not None  # noqa: S101  # it is not closed
        origin = self._origin(url.scheme, url.authority(url.sought), self._authorities.context)
        return Exchange(pool, origin, origin.asked(method, url.target, headers, body), READING)

    @asynccontextmanager
    async def _by_session(
        self, method: str, url: Checked, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make a request to a proxy, or one that goes out in slices: aiohttp's session knows how."""
        length = {"content-length": str(len(body))} if len(body) > SLICE else {}
        # A proxy resolves names itself, so it gets no final dot; SNI and `Host` never have one.
        authority = url.authority(url.host if self._by_proxy else url.sought)
        answer = await self._session.request(
            method,
            # As a path only: yarl drops an empty query.
            URL.build(scheme=url.scheme, authority=authority, path=url.target, encoded=True),
            data=body if len(body) <= SLICE else _slices(body),
            headers={**HEADERS, **headers, **length},
            allow_redirects=False,
            ssl=self._authorities.context,
        )
        try:
            yield answer
        finally:
            # Who answers before the request was read to its end is sent no more of it, and a connection whose
            # answer is not at its end is not used again.
            answer.close()

    async def aclose(self) -> None:
        """Close every connection."""
        if "_session" in self.__dict__:  # otherwise nothing was sent
            await self._session.close()


def _origin(scheme: str, authority: str, trusting: ssl.SSLContext) -> Origin:
    return Origin(URL.build(scheme=scheme, authority=authority, encoded=True), HEADERS, ssl=trusting)


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body in slices: as one piece, the connection would copy all of it."""
    for start in range(0, len(body), SLICE):
        yield body[start : start + SLICE]


class Unbounded(aiohttp.ClientError):
    """This aiohttp creates connections in another way, so reads from them would be unlimited."""


class _Connector(Pool):
    """Connections with a limit on reads, which are reused only if nothing arrived unasked."""

    def __init__(self, most: int, **options: Any) -> None:
        super().__init__(functools.partial(_Reading, most), **options)

    async def connect(self, *request: Any, **options: Any) -> aiohttp.connector.Connection:
        """Return a connection with a limit, on which nothing arrived while it was idle.

        Such data would be taken for an answer.

        Raises:
            Unbounded: it is not one of ours.
        """
        while True:
            connection = await super().connect(*request, **options)
            protocol = connection.protocol
            if not isinstance(protocol, _Reading):
                connection.close()
                raise Unbounded
            if not (protocol.used and protocol.should_close):
                return connection
            connection.close()


class _Reading(WholeReading):
    """Reads a limited number of bytes per answer, including empty lines and the framing of tiny chunks.

    The parser gets the head separately, because the head decides, whatever follows it in the same packet.
    """

    def __init__(self, most: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.used = False  # an earlier answer was expected
        self._most = most
        self._left = most
        self._heads_left = 0  # that may still be read
        self._heads = Heads()

    def close(self) -> None:
        """Close at once: over TLS, the library would wait for a goodbye and hold the connection open."""
        self.abort()

    def set_response_params(self, **options: Any) -> None:
        """Expect an answer; a head within the limit may have any form."""
        self.used = True
        self._left = self._most
        self._heads_left = 1 + INTERIM_ANSWERS
        super().set_response_params(**options | HEAD_LIMITS)

    def expect(self) -> None:
        """Let the library's parser read the answer, head by head."""
        # For a tunnel, aiohttp does not say whether there is content.
        self._heads = Heads(tunnel="skip_payload" not in (self.options or ()))
        super().expect()

    async def read(self) -> tuple[RawResponseMessage, StreamReader]:
        """Return the next head; each `100 Continue` is one, and a flood of them would block other work."""
        self._heads_left -= 1
        if self._heads_left < 0:
            raise aiohttp.ClientPayloadError
        return await super().read()

    def data_received(self, data: bytes) -> None:
        """Take data up to the limit; beyond it, end the connection."""
        if self.took(data, self._left):
            self._left -= len(data)
            return
        if self._parser is None:  # nothing was requested
            super().data_received(data[: self._left])
        else:
            for piece in self._heads.taken(data[: self._left]):
                super().data_received(piece)
        self._left -= len(data)
        if self._left < 0:
            self.set_exception(aiohttp.ClientPayloadError())
            if self.transport is not None:
                self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let the parser judge an incomplete head."""
        if self._parser is not None and (rest := self._heads.rest()):
            super().data_received(rest)
        super().connection_lost(exc)


NOT_HTTP = "the answer was not valid HTTP"


def translated(error: BaseException, proxy_host: str | None = None, *, other: str = NOT_HTTP) -> TargetError:
    """Translate any exception of the libraries into an error of ours; the original text may contain the URL.

    `other`: the text for an error that does not concern the connection.
    """
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for cause in causes:
        if isinstance(cause, aiohttp.ClientHttpProxyError):
            return _refused_by_proxy(cause.status)
        if isinstance(cause, aiohttp.ClientConnectorDNSError):
            # aiohttp does not say which name did not resolve.
            said = PROXY_AWAY if cause.host == proxy_host else unresolved(cause.os_error)
            unreached = cause.host != proxy_host
            return TargetError(
                Reason.CONNECTION_FAILED, said, retryable=True, attempted=True, unreached=unreached
            )
        # aiohttp's own error is also a subclass, but has no code.
        if isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_code"):
            return TargetError(Reason.TLS_FAILED, refused(cause), attempted=True)
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None):
            return TargetError(Reason.TLS_FAILED, broken(cause), attempted=True)
    for kinds, reason, message, retryable in _TRANSLATIONS:
        if any(isinstance(cause, kinds) for cause in causes):
            attempted = reason is not Reason.EGRESS_DENIED
            unreached = message == NOT_CONNECTED
            return TargetError(reason, message, retryable=retryable, attempted=attempted, unreached=unreached)
    return TargetError(Reason.INVALID_RESPONSE, other, attempted=True)


def _refused_by_proxy(status: int) -> TargetError:
    """Judge a forward proxy's answer to CONNECT: its rules are part of what the installation permits."""
    if status == HTTPStatus.FORBIDDEN:
        return TargetError(Reason.EGRESS_DENIED, "the forward proxy refuses this address", attempted=True)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        message = "the forward proxy rejects the credentials of DELIVERY_EGRESS_PROXY"
        return TargetError(Reason.CONNECTION_FAILED, message, attempted=True)
    message = f"the forward proxy answered {status}"
    return TargetError(Reason.CONNECTION_FAILED, message, retryable=True, attempted=True)


_TRANSLATIONS: tuple[tuple[tuple[type[BaseException], ...], Reason, str, bool], ...] = (
    # The first match counts, from specific to general.
    (
        (Unbounded,),
        Reason.CONNECTION_FAILED,
        "refused: the installed aiohttp reads answers without a limit; install the pinned version",
        False,
    ),
    ((AddressDenied,), Reason.EGRESS_DENIED, NOT_PERMITTED, False),
    ((ssl.CertificateError,), Reason.TLS_FAILED, "the receiver's certificate is not valid", False),
    ((ssl.SSLError, aiohttp.ClientSSLError), Reason.TLS_FAILED, "the TLS handshake failed", False),
    ((aiohttp.ClientProxyConnectionError,), Reason.CONNECTION_FAILED, PROXY_AWAY, True),
    (
        (aiohttp.ServerTimeoutError, TimeoutError),
        Reason.TIMEOUT,
        "the receiver did not answer in time",
        True,
    ),
    (
        (aiohttp.ClientConnectorError, ConnectionRefusedError),
        Reason.CONNECTION_FAILED,
        NOT_CONNECTED,
        True,
    ),
    (
        (aiohttp.ClientConnectionError, ConnectionError, OSError),
        Reason.CONNECTION_FAILED,
        "the receiver closed the connection without an answer",
        True,
    ),
)
