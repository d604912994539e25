"""The only HTTP client for receivers: under the egress guard, with limits on everything it reads.

No text from here holds a URL, a resolved address or anything that a receiver wrote.
"""

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from cachetools import LRUCache
from yarl import URL

from app import USER_AGENT
from app.domain.bypass import Bypass
from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.times import asked_to_wait
from app.egress.exchange import Exchange, Origin
from app.egress.guard import NOT_PERMITTED, AddressDenied, Checked, Guard
from app.egress.heads import Heads
from app.egress.names import Names, unresolved
from app.egress.trust import TrustAnchors, broken, refused
from app.settings import ServiceSettings

HEADERS = {
    "accept": "*/*",
    "accept-encoding": "identity",  # nothing is unpacked, so nothing can explode
    "user-agent": USER_AGENT,
}
BODY_PATIENCE = 0.25  # seconds for an answer's body: its head alone decides, a trickle must not
NOT_CONNECTED = "no connection to the receiver"
PROXY_AWAY = "no connection to the forward proxy"
HEAD_LIMIT = 32_768  # bytes of an answer that are no content: its head, and what frames its body
READING = {"auto_decompress": False}
ORIGINS = 1_000  # receivers of which is remembered how they are dialled
SLICE = 65_536  # bytes of a body that are handed to a connection at once
INTERIM_ANSWERS = 10  # 1xx answers that are read before the one that counts


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A POST as it would go out; its URL and headers may hold what came out of a Secret."""

    url: Checked = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def all_headers(self) -> dict[str, str]:
        """Its headers, with those that every request has."""
        return {**HEADERS, **self.headers}


@dataclass(frozen=True, slots=True)
class Response:
    """A receiver's answer: status, seconds it asked to wait, and the first bytes of its body."""

    status: int
    retry_after: float | None
    body: bytes


class HttpClient:
    """Posts to receivers: guarded, bounded, without cookies, redirects or decompression."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.guard = Guard(settings.egress_allow, deny=settings.egress_deny, http=settings.egress_http)
        self._settings = settings
        proxy = settings.egress_proxy
        self._proxy_host = urlsplit(proxy.get_secret_value()).hostname if proxy else None
        self._authorities = TrustAnchors(settings.egress_ca_file)
        self._direct = Transport(lambda: self._session(self.guard.socket), self._authorities)
        # The proxy alone is dialled, and the cluster's owner named it: its address is not judged.
        url = proxy.get_secret_value() if proxy else None
        self._through = (
            Transport(lambda: self._session(None, proxy=url), self._authorities, by_proxy=True)
            if url
            else None
        )
        self._apart = Bypass.read(settings.egress_no_proxy)

    @property
    def tls(self) -> ssl.SSLContext:
        """What a connection begun now trusts."""
        return self._authorities.context

    async def judge(self, url: Checked) -> None:
        """See whether there is an address for a URL that may be called, without calling it.

        Where a forward proxy is called in its stead, that one looks the name up, and judges too.

        Raises:
            TargetError: its name does not resolve, or to nothing that is permitted.
        """
        if self._way(url) is not self._direct:
            return
        try:
            found = await self.resolver.resolve(url.sought, url.port, socket.AF_UNSPEC)
        except OSError as error:
            raise TargetError(Reason.CONNECTION_FAILED, unresolved(error), retryable=True) from None
        if not any(self.guard.permits(ip_address(one["host"].partition("%")[0])) for one in found):
            raise TargetError(Reason.EGRESS_DENIED, NOT_PERMITTED)

    async def post(self, url: str | Checked, content: bytes, headers: Mapping[str, str]) -> Response:
        """Post once; of the answer's body only what comes at once is read, since its head alone decides."""
        return await self.request(
            "POST", url, content, headers, most=self._settings.max_response, patience=BODY_PATIENCE
        )

    async def request(  # noqa: PLR0913  # all that a request is made of, and how much of the answer is wanted
        self,
        method: str,
        url: str | Checked,
        content: bytes,
        headers: Mapping[str, str],
        *,
        most: int,
        patience: float,
    ) -> Response:
        """Make one request, to a URL as it was written or as the guard has checked it.

        `most` bytes of the answer's body are read (32 KiB can be), for `patience` seconds.

        Raises:
            ValueError: the URL cannot be used; the text says what to change.
            TargetError: the guard said no, or there was no answer.
        """
        checked = self.guard.check(url) if isinstance(url, str) else url
        try:
            return await self._way(checked).request(
                method, checked, content, {**HEADERS, **headers}, most=most, patience=patience
            )
        except aiohttp.InvalidURL:
            raise ValueError("is no valid URL") from None
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

    @functools.cached_property
    def resolver(self) -> Names:
        """Not the system's: it blocks a thread for each name, and there are few of them.

        A team that lists names whose servers are silent would take them all.
        """
        return Names()

    def _way(self, url: Checked) -> "Transport":
        """Return the way out for a URL: through the proxy, where there is one and the host is not apart."""
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
            limit=0,  # nobody waits in here: whoever posts has a place at the host already
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
    """Return the host and port that a URL leads to, however it writes them."""
    return url.host, url.port


async def head_of_body(content: StreamReader, most: int, patience: float) -> bytes:
    """Read so many bytes for so many seconds at most; a body may break off anywhere."""
    body = bytearray()
    try:
        if content.is_eof():  # it came with its head, as short ones do: nothing is waited for
            return content.read_nowait()[:most]
        async with asyncio.timeout(patience):
            async for chunk in content.iter_any():
                body += chunk
                if len(body) >= most:
                    break
    except Exception:  # noqa: BLE001, S110  # the head alone decides, whatever befalls the body
        pass
    return bytes(body[:most])


def _asked_to_wait(answer: aiohttp.ClientResponse | RawResponseMessage) -> float | None:
    """Return the seconds that an answer asks to wait; one that says it twice says nothing."""
    headers = answer.headers
    if "Retry-After" not in headers:
        return None
    return asked_to_wait({name: ", ".join(headers.getall(name, ())) for name in ("Retry-After", "Date")})


class Transport:
    """Makes requests over an aiohttp session, which is made for the first of them.

    No `httpx.AsyncClient`: there are no redirects, cookies and retries here, and what it does to see to them
    costs more than sending does.
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
        self._session: aiohttp.ClientSession | None = None
        self._origins: LRUCache[tuple[str, str, ssl.SSLContext], Origin] = LRUCache(ORIGINS)

    async def request(  # noqa: PLR0913  # all that a request is made of, and how much of the answer is read
        self,
        method: str,
        url: Checked,
        body: bytes,
        headers: dict[str, str],
        *,
        most: int,
        patience: float,
    ) -> Response:
        """Make a request, and read the beginning of its answer.

        Raises:
            Exception: aiohttp's own; no text of it is fit to be shown.
        """
        if self._session is None:
            self._session = self._make_session()
        if self._by_proxy or len(body) > SLICE:
            return await self._by_session(self._session, method, url, body, headers, most, patience)
        assert self._session.connector is not None  # noqa: S101  # it is not closed
        origin = self._origin(url)
        asked = origin.asked(method, url.target, headers, body)
        async with Exchange(self._session.connector, origin, asked, READING) as answer:
            said = await head_of_body(answer.content, most, patience)
            return Response(answer.head.code, _asked_to_wait(answer.head), said)

    def _origin(self, url: Checked) -> Origin:
        trusting = self._authorities.context
        key = url.scheme, url.authority(url.sought), trusting
        origin = self._origins.get(key)
        if origin is None:
            at = URL.build(scheme=key[0], authority=key[1], encoded=True)
            origin = self._origins[key] = Origin(at, ssl=trusting)
        return origin

    async def _by_session(  # noqa: PLR0913, PLR0917  # as above
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: Checked,
        body: bytes,
        headers: dict[str, str],
        most: int,
        patience: float,
    ) -> Response:
        """Make a request to a proxy, or one that goes out in slices: aiohttp's session knows how."""
        if len(body) > SLICE:
            headers["content-length"] = str(len(body))
        # A proxy looks names up by itself, and is told no final dot; SNI and `Host` are without it always.
        authority = url.authority(url.host if self._by_proxy else url.sought)
        answer = await session.request(
            method,
            # As a path alone: yarl leaves an empty query out.
            URL.build(scheme=url.scheme, authority=authority, path=url.target, encoded=True),
            data=body if len(body) <= SLICE else _slices(body),
            headers=headers,
            allow_redirects=False,
            ssl=self._authorities.context,
        )
        try:
            said = await head_of_body(answer.content, most, patience)
            return Response(answer.status, _asked_to_wait(answer), said)
        finally:
            # Who answers before the request was read to its end is sent no more of it, and a connection whose
            # answer is not at its end is not used again.
            answer.close()

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body as the receiver takes it: in one piece all of it would be copied for its connection."""
    for start in range(0, len(body), SLICE):
        yield body[start : start + SLICE]


class Unbounded(aiohttp.ClientError):
    """The connection would be read from without a bound: this aiohttp makes its own in another way."""


class _Connector(aiohttp.TCPConnector):
    """Connections that are read from with bounds, and used again only while nothing unasked has come."""

    def __init__(self, most: int, **options: Any) -> None:
        super().__init__(**options)
        # A private name, since aiohttp has no public way: where it is another one day, `connect` refuses.
        reading = functools.partial(_Reading, most, asyncio.get_running_loop())
        self._factory = reading  # type: ignore[assignment]  # partials are invariant

    async def connect(self, *request: Any, **options: Any) -> aiohttp.connector.Connection:
        """Return a connection that is bounded, and that nothing was said on while it lay idle.

        That would be taken for an answer.

        Raises:
            Unbounded: it is none of ours.
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


class _Reading(ResponseHandler):
    """Reads so many bytes of an answer; empty lines and the frames of tiny chunks count like all else.

    The head is given to the parser by itself: it decides, whatever comes behind it in the same packet.
    """

    def __init__(self, most: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.used = False  # an answer was expected before
        self._most = most
        self._left = most
        self._heads_left = 0  # that may still be read
        self._heads = Heads()

    def close(self) -> None:
        """Close at once: over TLS a goodbye is waited for, while the connection's place is free already."""
        self.abort()

    def set_response_params(self, **options: Any) -> None:
        """Expect an answer; a head may have any form in which it fits its limit."""
        self.used = True
        self._left = self._most
        self._heads_left = 1 + INTERIM_ANSWERS
        # Where aiohttp asks for a tunnel, it says nothing of content.
        self._heads = Heads(tunnel="skip_payload" not in options)
        lines = {"max_line_size": HEAD_LIMIT, "max_field_size": HEAD_LIMIT, "max_headers": HEAD_LIMIT}
        super().set_response_params(**options | lines)

    async def read(self) -> tuple[RawResponseMessage, StreamReader]:
        """Return the next head; each `100 Continue` is one, and a flood of them would stop all else."""
        self._heads_left -= 1
        if self._heads_left < 0:
            raise aiohttp.ClientPayloadError
        return await super().read()

    def data_received(self, data: bytes) -> None:
        """Take in what there is room for; beyond it the connection is at its end."""
        if self._parser is None:  # nothing was asked
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
        """Let the parser judge a head that was begun."""
        if self._parser is not None and (rest := self._heads.rest()):
            super().data_received(rest)
        super().connection_lost(exc)


NOT_HTTP = "the answer was not HTTP as it is read here"


def translated(error: BaseException, proxy_host: str | None = None, *, other: str = NOT_HTTP) -> TargetError:
    """Turn whatever the stack below raised into words of ours; its own text may hold the URL.

    `other`: what is said of an error that has nothing to do with the connection.
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
            # aiohttp does not say whose name it is that does not resolve.
            said = PROXY_AWAY if cause.host == proxy_host else unresolved(cause.os_error)
            unreached = cause.host != proxy_host
            return TargetError(
                Reason.CONNECTION_FAILED, said, retryable=True, attempted=True, unreached=unreached
            )
        # aiohttp's own error is one of these too, and has no code.
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
    """Judge a forward proxy's answer to CONNECT: it is a part of what the installation allows."""
    if status == HTTPStatus.FORBIDDEN:
        return TargetError(Reason.EGRESS_DENIED, "the forward proxy refuses this address", attempted=True)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        message = "the forward proxy does not take the credentials of DELIVERY_EGRESS_PROXY"
        return TargetError(Reason.CONNECTION_FAILED, message, attempted=True)
    message = f"the forward proxy answered {status}"
    return TargetError(Reason.CONNECTION_FAILED, message, retryable=True, attempted=True)


_TRANSLATIONS: tuple[tuple[tuple[type[BaseException], ...], Reason, str, bool], ...] = (
    # The first that fits, from the particular to the general.
    (
        (Unbounded,),
        Reason.CONNECTION_FAILED,
        "refused here: the aiohttp that is installed reads answers without a bound; install the pinned one",
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
