"""Name resolution as in glibc, without threads: hosts file, search domains, `ndots`, dots.

c-ares supports search domains too, but gives up on a name if one of them answers with a failure or not at
all. A pod has three or more, so the public name might never be looked up. Therefore this module decides which
names to look up, and in which order (resolv.conf(5)).

It does not pass `lookups` and `resolvconf_path` to pycares, which gives c-ares the address of a freed text:
about one channel in a hundred then resolved nothing for the life of its process.
"""

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import aiodns.error
import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from app.domain.times import steady
from app.egress.hosts import HOSTS, listed, read_hosts
from app.timers import within

LOOKUP_TIMEOUT = 2  # seconds for a name server's first answer; then another is queried
TRIES = 2
MOST_SECONDS, MOST_TRIES = 30, 5  # upper bounds of `timeout` and `attempts`: RES_MAXRETRANS, RES_MAXRETRY
SEARCH_PATIENCE = 1.5  # seconds for a name in a search domain, if other names remain
SILENCE = 60.0  # seconds for which a search domain that did not answer is skipped
MOST_DOTS = 15  # upper bound of `ndots`: RES_MAXNDOTS
RESOLV_CONF = Path("/etc/resolv.conf")

Content = TypeVar("Content")

NOT_RESOLVED = "the host name does not resolve"
_FAILURES = {
    aiodns.error.ARES_ESERVFAIL: "the name server failed to look the host name up (SERVFAIL)",
    aiodns.error.ARES_EREFUSED: "the name server refuses to look the host name up (REFUSED)",
    aiodns.error.ARES_ECONNREFUSED: "no name server could be asked for the host name",
    aiodns.error.ARES_ETIMEOUT: "no name server answered for the host name in time",
    aiodns.error.ARES_EBADRESP: "the name server's answer for the host name cannot be read",
}
_ABSENT = {aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA, aiodns.error.ARES_EBADNAME}


def unresolved(error: OSError) -> str:
    """Say why a look-up failed: the name does not exist, or what c-ares says of the servers."""
    cause = error.__cause__
    if not isinstance(cause, aiodns.error.DNSError) or cause.args[0] in _ABSENT:
        return NOT_RESOLVED
    return _FAILURES.get(cause.args[0], f"the look-up of the host name failed: c-ares error {cause.args[0]}")


@dataclass(frozen=True, slots=True)
class Search:
    """The search domains, the timeouts, and the number of dots from which a name is first tried as it is."""

    domains: tuple[str, ...] = ()
    ndots: int = 1
    timeout: int = LOOKUP_TIMEOUT
    attempts: int = TRIES

    @classmethod
    def read(cls, path: Path) -> "Search":
        """Return what the file and the environment (`LOCALDOMAIN`, `RES_OPTIONS`) specify."""
        try:
            text = path.read_text(errors="replace")
        except OSError:
            text = ""
        domains: Sequence[str] | None = None
        options: list[str] = []
        for line in text.splitlines():
            match re.sub(r"(^|\s)[#;].*", "", line).split():
                case ["domain" | "search", *listed]:  # the last of them counts
                    domains = listed[:1] if line.split()[0] == "domain" else listed
                case ["options", *listed]:
                    options += listed
        if local := os.environ.get("LOCALDOMAIN"):
            domains = local.split()
        options += os.environ.get("RES_OPTIONS", "").split()
        if domains is None:
            domains = [socket.gethostname().partition(".")[2]]
        said = {
            name: int(value[:3])
            for name, _, value in (option.partition(":") for option in options)
            if value.isascii() and value.isdecimal()
        }
        return cls(
            tuple(domain.strip(".").lower() for domain in domains if domain),
            min(said.get("ndots", 1), MOST_DOTS),
            max(1, min(said.get("timeout", LOOKUP_TIMEOUT), MOST_SECONDS)),
            max(1, min(said.get("attempts", TRIES), MOST_TRIES)),
        )

    def names(self, host: str) -> Iterator[tuple[str, str]]:
        """Yield the full names that a host may stand for, in order, each with its search domain.

        An empty domain means the name as it is.
        """
        if host.endswith("."):
            yield host, ""
            return
        first = host.count(".") >= self.ndots
        if first:
            yield f"{host}.", ""
        for domain in self.domains:
            if domain:
                yield f"{host}.{domain}.", domain
            elif not first:  # the root: `search .`
                yield f"{host}.", ""
                first = True
        if not first:
            yield f"{host}.", ""


class Reread(Generic[Content]):
    """The content of a file, read again when the file changes."""

    def __init__(self, path: Path, read: Callable[[Path], Content]) -> None:
        self._path, self._read = path, read
        self._state = self._seen()
        self._said = read(path)

    def __call__(self) -> Content:
        """Return the current content."""
        if (state := self._seen()) != self._state:
            self._said, self._state = self._read(self._path), state
        return self._said

    def _seen(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return found.st_mtime_ns, found.st_ino, found.st_size


class Names(AbstractResolver):
    """Resolves names without threads: the system's resolver would block one per name."""

    def __init__(
        self,
        servers: AbstractResolver | None = None,
        *,
        nameservers: Sequence[str] | None = None,
        resolv_conf: Path = RESOLV_CONF,
        hosts: Path = HOSTS,
    ) -> None:
        """Query `servers` for full names; by default `nameservers`, or else the machine's own."""
        self._searched, self._hosts = Reread(resolv_conf, Search.read), Reread(hosts, read_hosts)
        search = self._searched()
        self._servers = servers or aiohttp.AsyncResolver(
            nameservers=nameservers, timeout=search.timeout, tries=search.attempts
        )
        self._silent: dict[str, float] = {}  # search domains, and until when they are skipped

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            OSError: no address was found; `unresolved` says why.
        """
        if found := listed(self._hosts(), host, family):
            return [
                ResolveResult(
                    hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
                )
                for kind, address in found
            ]
        names = [one for one in self._searched().names(host) if self._silent.get(one[1], 0.0) <= steady()]
        failed: OSError | None = None  # the first that says more than that the name does not exist
        for name, domain in names:
            patience = SEARCH_PATIENCE if domain and name != names[-1][0] else None
            try:
                with within(patience):
                    return await self._servers.resolve(name, port, family)
            except TimeoutError:
                self._silent[domain] = steady() + SILENCE
            except OSError as error:
                if failed is None or unresolved(failed) == NOT_RESOLVED:
                    failed = error
        raise failed or OSError(NOT_RESOLVED)

    async def close(self) -> None:
        """Stop all look-ups."""
        await self._servers.close()
