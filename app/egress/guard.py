"""The egress guard: which addresses the service may call, in any spelling.

The guard checks an address when its socket is created, so the checked address is the one that is dialled,
whatever was written, resolved or cached before. It also checks URLs earlier, so that a literal address is
denied without a look-up, and so that a forward proxy gets no request that would be denied here.

No text from here contains a URL or an address.
"""

import re
import socket
import string
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from app.domain.bounds import URL
from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.urls import USER_INFO, split

if TYPE_CHECKING:  # manifests are checked without a client
    import aiohttp
    import httpx

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

WRITTEN = "%" + string.ascii_letters + string.digits + "-._~:/?[]@!$&'()*+,;="
"""The characters that a URL may contain (RFC 3986, section 2), which are sent as written."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A URL that the guard has checked; no other code parses it again.

    `scheme` is `http` or `https`; `sought` the host for the look-up: ASCII, without brackets, with its final
    dot, which excludes search domains; `written_port` its port, unless it is the scheme's default; `target`
    its path and query, octet for octet: a signed URL stays as written.
    """

    scheme: str
    sought: str = field(repr=False)
    written_port: int | None = field(repr=False)
    target: str = field(repr=False)

    @property
    def host(self) -> str:
        """The host in its canonical form: without a final dot."""
        return self.sought.removesuffix(".")

    @property
    def port(self) -> int:
        """The port, explicit or by scheme."""
        return self.written_port or _PORTS[self.scheme]

    @property
    def place(self) -> str:
        """The URL without its query."""
        return f"{self.scheme}://{self.authority(self.host)}{self.target.partition('?')[0]}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority(self.host)}{self.target}"

    def authority(self, host: str) -> str:
        """Return this host with the port of the URL."""
        name = f"[{host}]" if ":" in host else host
        return f"{name}:{self.written_port}" if self.written_port else name


NOT_PERMITTED = "the address is not public, and not among those allowed"
LOCALHOST = IPv4Address("127.0.0.1")
TRANSLATED = (
    # Prefixes whose last 32 bits are the IPv4 address in question.
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052
    IPv6Network("::/96"),  # v4-compatible, RFC 4291, deprecated
)
GLOBAL_UNICAST = IPv6Network("2000::/3")
NOT_PUBLIC: tuple[Network, ...] = (
    # `ipaddress.is_global` of Python 3.11 wrongly counts these as public.
    ip_network("192.0.0.0/24"),  # IETF protocol assignments
    ip_network("192.88.99.0/24"),  # 6to4 relays, deprecated
    ip_network("3fff::/20"),  # documentation
)

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9._-]+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH = re.compile(r"[/?]")
_PLAIN = re.compile(
    r"(https?://[a-z0-9.-]+(?::[0-9]+)?)(/(?:[A-Za-z0-9._~/?!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)"
)
"""A URL that is written as most are: its origin, and its path and query, which are sent as written."""
ORIGINS = 1_000  # receivers of which the verdict, and what a connection requires, is kept


class Guard:
    """The addresses that the installation permits.

    Public addresses and those in EGRESS_ALLOW, except all in EGRESS_DENY.
    """

    def __init__(
        self, allow: Iterable[Network] = (), *, deny: Iterable[Network] = (), http: bool = False
    ) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(deny)
        self._http = http
        self._checked_origin = lru_cache(ORIGINS)(self._checked)

    def permits(self, address: Address) -> bool:
        """Whether an IP address may be dialled, judged by the address that it stands for."""
        meant = _meant(address)
        if _within(address, self._deny) or _within(meant, self._deny):
            return False
        # Only by the address it stands for: to allow `::/0` does not allow 10.0.0.1 as `::ffff:10.0.0.1`.
        return _within(meant, self._allow) or _public(meant)

    def check(self, url: str) -> Checked:
        """Return the parsed URL, which is what to send to.

        Raises:
            ValueError: the URL is not usable; the text says what to change.
            TargetError: `EgressDenied`.
        """
        if len(url) > URL.most or (plain := _PLAIN.fullmatch(url)) is None:
            return self._checked(url)
        # Nothing in such a path could be taken for a part of the origin, so one look at the origin is enough.
        origin = self._checked_origin(plain[1])
        return Checked(origin.scheme, origin.sought, origin.written_port, plain[2])

    def _checked(self, url: str) -> Checked:
        scheme, host, port = _split(url)
        if scheme == "http" and not self._http:
            raise TargetError(Reason.EGRESS_DENIED, "only https addresses may be called")
        literal = _literal(host)
        if literal is not None and not self.permits(literal):
            raise TargetError(Reason.EGRESS_DENIED, NOT_PERMITTED)
        if url.isascii() and _NAME.fullmatch(host) and (literal is None or str(literal) == host):
            # It is written as it is meant: there is nothing to translate.
            _check_labels(host)
            return Checked(scheme, host, None if port == _PORTS[scheme] else port, _target(url))
        parsed = _parsed(url)
        if literal is not None:  # not a name, so a final dot means nothing
            parsed = parsed.copy_with(host=parsed.host.removesuffix("."))
        return Checked(parsed.scheme, parsed.raw_host.decode("ascii"), parsed.port, _target(url))

    def socket(self, info: "aiohttp.AddrInfoType") -> socket.socket:
        """Create the socket for one address that is about to be dialled.

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


def _split(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL whose `authority` is unambiguous."""
    URL.check(url)
    # urlsplit silently drops tabs and newlines, and httpx's errors quote the URL, so check both first.
    if not url.isprintable() or " " in url:
        raise ValueError("must not contain white space or control characters")
    if "\\" in url:  # some parsers read it as a slash, and so find another host
        raise ValueError("must not contain backslash")
    parts = split(url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must start with https://")
    host = parts.hostname
    if not host:
        raise ValueError("has no host")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("has a port that is not a number from 1 to 65535")
    if "@" in parts.netloc:
        raise ValueError(USER_INFO)
    return parts.scheme, host, port


def _parsed(url: str) -> "httpx.URL":
    import httpx  # noqa: PLC0415  # a process that meets no such URL starts without it, and is smaller

    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        raise ValueError("is not a valid URL") from None
    _check_labels(host)
    if ":" not in host and not _NAME.fullmatch(host):
        raise ValueError("is not a valid URL")
    return parsed


def _check_labels(host: str) -> None:
    """Encode a host as the resolver will: no label is empty or too long."""
    try:
        host.encode("idna")
    except ValueError:
        raise ValueError("is not a valid URL") from None


def _target(url: str) -> str:
    """Return path and query as written; percent-encode characters that a URL must not contain."""
    after = url.partition("#")[0].partition("://")[2]
    begins = _PATH.search(after)
    written = after[begins.start() :] if begins else ""
    return quote(written if written.startswith("/") else f"/{written}", safe=WRITTEN)


def _literal(host: str) -> Address | None:
    """Read an IP literal in any spelling that some client, resolver or proxy understands; None for a name.

    `0x7f.1`, `017700000001`, `2130706433`, `127。0。0。1`, `%31%32%37.0.0.1`, `fe80::1%eth0`; and localhost,
    which is not looked up (RFC 6761, section 6.3).

    Raises:
        ValueError: it ends in a number, as only an address may, and is not one (WHATWG URL, section 3.5).
    """
    host = unicodedata.normalize("NFKC", unquote(host)).replace("。", ".").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return LOCALHOST
    is_number = _NUMBER.fullmatch(host.rpartition(".")[2])
    if _NAME.fullmatch(host) and not is_number:
        return None  # no spelling of an address ends so
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        pass
    if is_number:
        raise ValueError("is not a valid URL")
    return None


def _meant(address: Address) -> Address:
    """Return the IPv4 address in a mapped, translated or tunnelled IPv6 address; otherwise the address."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if _within(address, TRANSLATED) and int(address) > 1:  # `::` and `::1` stand for themselves
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False
    if _within(address, NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
