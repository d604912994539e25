"""Decides which hosts are called without the proxy: `NO_PROXY`, as Go programs and curl read it. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import idna

NAME = re.compile(
    r"(\*?\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z]([a-z0-9-]*[a-z0-9])?\.?", re.ASCII | re.IGNORECASE
)
_PORT = re.compile(r"(?P<host>[^:]+|\[[^\]]+\]):(?P<port>\d{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bypass:
    """Domain names, including their subdomains, and networks; each may be limited to one port."""

    names: tuple[tuple[str, int | None], ...] = ()
    networks: tuple[tuple[IPv4Network | IPv6Network, int | None], ...] = ()
    everything: bool = False

    @classmethod
    def read(cls, items: Iterable[str]) -> "Bypass":
        """Read `svc.cluster.local`, `.svc`, `*.svc`, `10.0.0.0/8`, `fd00::1`, `proxied.example:8443`, `*`.

        Raises:
            ValueError: an item is none of these; its text is the item.
        """
        names, networks, everything = [], [], False
        for item in items:
            host, port = item, None
            if match := _PORT.fullmatch(item):
                host, port = match["host"], int(match["port"])
            host = host.removeprefix("[").removesuffix("]")
            if item == "*":
                everything = True
            elif (network := _network(host)) is not None:
                networks.append((network, port))
            elif NAME.fullmatch(name := _in_ascii(host)):
                names.append((name.lstrip("*.").removesuffix(".").lower(), port))
            else:
                raise ValueError(item)
        return cls(tuple(names), tuple(networks), everything)

    def covers(self, host: str, port: int) -> bool:
        """Whether a host is called without the proxy."""
        if self.everything:
            return True
        host = _in_ascii(host).removesuffix(".").lower()
        address = _address(host)
        if address is not None:
            return any(address in network for network, only in self.networks if only in {None, port})
        return any(
            host == name or host.endswith(f".{name}") for name, only in self.names if only in {None, port}
        )


def _in_ascii(host: str) -> str:
    """Return a name as DNS has it, `xn--bcher-kva.example` for `bücher.example`; others as they are."""
    if host.isascii():
        return host
    name = host.lstrip("*.")
    try:
        encoded = idna.encode(name.lower()).decode("ascii")  # as httpx reads the URLs of targets
    except idna.IDNAError:
        return host
    # Else its signs only look like those of ASCII, such as the kelvin sign, and no one means that.
    return host.removesuffix(name) + encoded if "xn--" in encoded else host


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
