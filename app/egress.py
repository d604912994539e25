"""The one way out: which addresses may be called, and the one HTTP client that calls them.

Only this file knows httpx. An address is judged where its socket is made: whatever was written, resolved or
cached before, the address that is judged is the one that is dialled. No text from here holds a URL, a
resolved address or anything that a receiver wrote.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import certifi
import httpx
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from app.errors import TargetError
from app.reasons import Reason
from app.settings import ServiceSettings
from app.times import parse_http_date, parse_retry_after

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

USER_AGENT = f"agentteam-delivery/{version('agentteam-delivery')}"
BODY_PATIENCE = 0.25  # seconds for an answer's body: its head alone decides, a trickle must not
LOOKUP_TIMEOUT = 2.0  # seconds for a name server to answer, the first time; then another is asked
INTERIM_ANSWERS = 10  # 1xx answers that are read before the one that counts
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; the last 32 bits are the address meant
V4_COMPATIBLE = IPv6Network("::/96")  # RFC 4291, deprecated
NOT_PERMITTED = "the address is not public, and not among those allowed"
GLOBAL_UNICAST = IPv6Network("2000::/3")
NOT_PUBLIC: tuple[Network, ...] = (
    # What `ipaddress.is_global` of Python 3.11 takes for public, and is not.
    ip_network("192.0.0.0/24"),  # IETF protocol assignments
    ip_network("192.88.99.0/24"),  # 6to4 relays, deprecated
    ip_network("3fff::/20"),  # documentation
)


@dataclass(frozen=True, slots=True)
class Response:
    """A receiver's answer: status, seconds it asked to wait, and the first bytes of its body."""

    status: int
    retry_after: float | None
    body: bytes


class Guard:
    """Which addresses the installation lets the service call: public ones, and what it allows beside them."""

    def __init__(self, allow: Iterable[Network] = (), *, http: bool = False) -> None:
        self._allow = tuple(allow)
        self._http = http

    def permits(self, address: Address) -> bool:
        """Whether an IP address may be dialled, judged by the address it means."""
        meant = _meant(address)
        allowed = any(candidate in network for candidate in (address, meant) for network in self._allow)
        return allowed or _public(meant)

    def check(self, url: str) -> httpx.URL:
        """Return the parsed URL.

        Raises:
            ValueError: it is no usable URL; the text says what to change.
            TargetError: `EgressDenied`.
        """
        parsed = _parse(url)
        if parsed.scheme == "http" and not self._http:
            raise TargetError(Reason.EGRESS_DENIED, "only https addresses may be called")
        literal = _literal(parsed.raw_host.decode("ascii"))
        if literal is not None and not self.permits(literal):
            raise TargetError(Reason.EGRESS_DENIED, NOT_PERMITTED)
        return parsed

    def socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """Make the socket for one address that is about to be dialled.

        Raises:
            AddressDenied: the address is not permitted; nothing was dialled.
        """
        family, kind, protocol, _, address = info
        if not self.permits(ip_address(str(address[0]).partition("%")[0])):
            raise AddressDenied
        return socket.socket(family, kind, protocol)


class AddressDenied(OSError):
    """The address about to be dialled is not permitted; an OSError, so that the next address is tried."""

    def __init__(self) -> None:
        super().__init__("address denied")


class HttpClient:
    """Posts to receivers: guarded, bounded, without proxy, cookies, redirects or decompression."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.guard = Guard(settings.egress_allow, http=settings.egress_http)
        self._settings = settings
        self._tls = ssl.create_default_context(cafile=certifi.where())
        self._client = httpx.AsyncClient(
            transport=AiohttpTransport(client=self._session, verify=self._tls),
            timeout=None,  # noqa: S113  # the attempt's own time limit covers connecting, sending and reading
            follow_redirects=False,
            trust_env=False,
            # A receiver's cookies would travel on to other teams' messages.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={
                "accept-encoding": "identity",  # nothing is unpacked, so nothing can explode
                "user-agent": USER_AGENT,
            },
        )

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Response:
        """Post once.

        Raises:
            ValueError: the URL cannot be used; the text says what to change.
            TargetError: the guard said no, or there was no answer.
        """
        request = self._client.build_request("POST", self.guard.check(url), content=content, headers=headers)
        try:
            response = await self._client.send(request, stream=True)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, aiohttp.InvalidURL):
            raise ValueError("is no valid URL") from None
        except Exception as error:  # noqa: BLE001  # aiohttp leaks more kinds than httpx documents
            raise _translated(error) from None
        try:
            body = await self._head_of_body(response)
        finally:
            await response.aclose()
        now = parse_http_date(response.headers.get("date", "")) or datetime.now(UTC)
        return Response(
            response.status_code, parse_retry_after(response.headers.get("retry-after"), now), body
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def _session(self) -> aiohttp.ClientSession:
        settings = self._settings
        connector = aiohttp.TCPConnector(
            # Not the system's resolver: it blocks a thread for each name, there are few of them, and a team
            # that lists names whose servers are silent would take them all.
            resolver=aiohttp.AsyncResolver(timeout=LOOKUP_TIMEOUT, tries=2),
            socket_factory=self.guard.socket,
            ssl=self._tls,
            limit=settings.max_connections,
            limit_per_host=settings.max_connections_per_host,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            response_class=_Answer,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def _head_of_body(self, response: httpx.Response) -> bytes:
        """Read at most `MAX_RESPONSE` bytes for at most `BODY_PATIENCE`; a body may break off anywhere."""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_PATIENCE):
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) >= self._settings.max_response:
                        break
        except (TimeoutError, httpx.HTTPError, aiohttp.ClientError):
            pass
        return bytes(body[: self._settings.max_response])


class _Answer(aiohttp.ClientResponse):
    """An answer, read with two cautions that aiohttp does not take."""

    async def start(self, connection: Connection) -> Self:
        """Wait for the head of the answer."""
        protocol = connection.protocol
        assert protocol is not None  # noqa: S101  # a connection that was just made
        read, left = protocol.read, INTERIM_ANSWERS

        async def read_few() -> Any:
            # Each `100 Continue` is read without a pause, so that a flood of them would stop everything else.
            nonlocal left
            left -= 1
            if left < 0:
                raise aiohttp.ClientResponseError(self.request_info, ())
            return await read()

        protocol.read = read_few  # type: ignore[method-assign]
        try:
            await super().start(connection)
        finally:
            del protocol.read
        # httpx-aiohttp cannot take a reason phrase that is not UTF-8.
        self.reason = None
        return self


def _parse(url: str) -> httpx.URL:
    # urlsplit drops tabs and newlines silently, and httpx's errors quote the URL: both are judged here first.
    if not url.isprintable() or " " in url:
        raise ValueError("must hold no white space or control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("is no valid URL") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must start with https://")
    if not parts.hostname:
        raise ValueError("names no host")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("has a port that is no number from 1 to 65535")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user info; use the Secret's key authorization instead")
    try:
        parsed = httpx.URL(url)
        parsed.raw_host.decode("ascii").encode("idna")  # as the resolver will: no label is empty or too long
    except (httpx.InvalidURL, ValueError):
        raise ValueError("is no valid URL") from None
    return parsed


def _literal(host: str) -> Address | None:
    """Read an IP literal in any spelling that some resolver understands: `0x7f.1`, `2130706433`, scoped."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None


def _meant(address: Address) -> Address:
    """Return the IPv4 address inside a mapped, translated or tunnelled IPv6 address; else the address."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if address in NAT64 or address in V4_COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False
    if any(address in network for network in NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _translated(error: BaseException) -> TargetError:
    """Turn whatever the stack below raised into words of ours; its own text may hold the URL."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for kinds, reason, message, retryable in _TRANSLATIONS:
        if any(isinstance(cause, kinds) for cause in causes):
            attempted = reason is not Reason.EGRESS_DENIED
            return TargetError(reason, message, retryable=retryable, attempted=attempted)
    return TargetError(Reason.INVALID_RESPONSE, "the answer was not HTTP as it is read here", attempted=True)


_TRANSLATIONS: tuple[tuple[tuple[type[BaseException], ...], Reason, str, bool], ...] = (
    # The first that fits, from the particular to the general.
    ((AddressDenied,), Reason.EGRESS_DENIED, NOT_PERMITTED, False),
    (
        (ssl.SSLCertVerificationError, ssl.CertificateError, aiohttp.ClientConnectorCertificateError),
        Reason.TLS_FAILED,
        "the receiver's certificate is not valid for its address, or not trusted",
        False,
    ),
    ((ssl.SSLError, aiohttp.ClientSSLError), Reason.TLS_FAILED, "the TLS handshake failed", False),
    ((aiohttp.ClientConnectorDNSError,), Reason.CONNECTION_FAILED, "the host name does not resolve", True),
    (
        (aiohttp.ServerTimeoutError, httpx.PoolTimeout, TimeoutError),
        Reason.TIMEOUT,
        "the receiver did not answer in time",
        True,
    ),
    (
        (aiohttp.ClientConnectorError, ConnectionRefusedError),
        Reason.CONNECTION_FAILED,
        "no connection to the receiver",
        True,
    ),
    (
        (aiohttp.ClientConnectionError, ConnectionError, OSError),
        Reason.CONNECTION_FAILED,
        "the receiver closed the connection without an answer",
        True,
    ),
)
