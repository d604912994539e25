"""Name resolution as in glibc, without threads: hosts file, search domains, `ndots`, dots.

c-ares knows search domains too, and gives a name up where one of them answers with a failure, or not at all:
in a pod there are three or more, and the public name that was meant would never be asked for. So the names
that are asked for, and their order, are made here (resolv.conf(5)).
"""

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from app.domain.times import steady

LOOKUP_TIMEOUT = 2.0  # seconds for a name server to answer, the first time; then another is asked
TRIES = 2
SEARCH_PATIENCE = 1.5  # seconds for a name in a search domain, while there are others to ask for
SILENCE = 60.0  # seconds for which a search domain that was silent is passed over
MOST_DOTS = 15  # that `ndots` may ask for: RES_MAXNDOTS
RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class Search:
    """Where names are searched for, and from how many dots on a name is first asked for as it is."""

    domains: tuple[str, ...] = ()
    ndots: int = 1

    @classmethod
    def read(cls, path: Path) -> "Search":
        """Return what the file and the environment say (`LOCALDOMAIN`, `RES_OPTIONS`)."""
        try:
            text = path.read_text(errors="replace")
        except OSError:
            text = ""
        domains: Sequence[str] | None = None
        options: list[str] = []
        for line in text.splitlines():
            match line.split():
                case ["domain" | "search", *listed]:  # the last of them counts
                    domains = listed[:1] if line.split()[0] == "domain" else listed
                case ["options", *listed]:
                    options += listed
        if said := os.environ.get("LOCALDOMAIN"):
            domains = said.split()
        options += os.environ.get("RES_OPTIONS", "").split()
        if domains is None:
            domains = [socket.gethostname().partition(".")[2]]
        ndots = 1
        for name, _, value in (option.partition(":") for option in options):
            if name == "ndots" and value.isascii() and value.isdecimal():
                ndots = min(int(value[:3]), MOST_DOTS)
        return cls(tuple(domain.strip(".").lower() for domain in domains if domain), ndots)

    def names(self, host: str) -> Iterator[tuple[str, str]]:
        """Yield the whole names that a host may stand for, in their order, each with its search domain.

        An empty domain is none: the name as it is.
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


class Names(AbstractResolver):
    """Looks names up without threads: the system's resolver would block one for each name."""

    def __init__(
        self,
        servers: AbstractResolver | None = None,
        files: AbstractResolver | None = None,
        resolv_conf: Path = RESOLV_CONF,
    ) -> None:
        """`servers` are asked for whole names, `files` first; by default the machine's own."""
        self._path = resolv_conf
        self._files = files or aiohttp.AsyncResolver(lookups="f")
        self._servers = servers or aiohttp.AsyncResolver(lookups="b", timeout=LOOKUP_TIMEOUT, tries=TRIES)
        self._written: tuple[int, int] | None = None
        self._search = Search()
        self._silent: dict[str, float] = {}  # search domains, and until when they are passed over

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            OSError: it has none that anybody tells.
        """
        try:
            return await self._files.resolve(host.removesuffix("."), port, family)
        except OSError:
            pass
        names = [one for one in self._searched().names(host) if self._silent.get(one[1], 0.0) <= steady()]
        for name, domain in names[:-1]:
            try:
                async with asyncio.timeout(SEARCH_PATIENCE if domain else None):
                    return await self._servers.resolve(name, port, family)
            except TimeoutError:
                self._silent[domain] = steady() + SILENCE
            except OSError:
                pass
        return await self._servers.resolve(names[-1][0], port, family)

    async def close(self) -> None:
        """Ask nothing any more."""
        await self._files.close()
        await self._servers.close()

    def _searched(self) -> Search:
        """Return where names are searched for by now: a node's file may change."""
        try:
            state = self._path.stat()
            written = (state.st_mtime_ns, state.st_ino)
        except OSError:
            written = (0, 0)
        if written != self._written:
            self._search, self._written = Search.read(self._path), written
        return self._search
