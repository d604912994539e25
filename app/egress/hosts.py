"""The hosts file, read as glibc does (hosts(5)): each line applies to its own names only.

c-ares merges lines that share a name: `10.0.0.1 a b` and `10.0.0.2 b` make 10.0.0.2 an address of `a`. A
pod's `hostAliases` can look like that.
"""

import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

HOSTS = Path("/etc/hosts")

Hosts = Mapping[str, tuple[str, ...]]
_LOOPBACK = ("127.0.0.1", "::1")


def read_hosts(path: Path) -> Hosts:
    """Return the addresses of each name, in the order of the file; an unreadable file has none."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return {}
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if not _is_address(address):
            continue
        for name in dict.fromkeys(name.lower() for name in names):
            listed = found.setdefault(name, [])
            if address not in listed:
                listed.append(address)
    return {name: tuple(addresses) for name, addresses in found.items()}


def listed(hosts: Hosts, host: str, family: int) -> list[tuple[int, str]]:
    """Return the addresses of a host in the file, each after its family; an address stands for itself.

    `localhost` and its subdomains are this machine, whatever the file says (RFC 6761, 6.3).
    """
    name = host.removesuffix(".").lower()
    addresses = (host,) if _is_address(host) else hosts.get(name, ())
    if not addresses and f".{name}".endswith(".localhost"):
        addresses = _LOOPBACK
    both = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in addresses]
    return [one for one in both if family in {socket.AF_UNSPEC, one[0]}]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
