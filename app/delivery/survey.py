"""The records of many teams, page by page, limited to namespaces that the caller may read."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from app.delivery.dispatch import reported
from app.delivery.reader import unavailable
from app.domain.errors import ClusterError, Malformed, Rejected, TeamNotFound
from app.domain.receipts import Phase, Receipt, Report, Reports
from app.domain.teams import AgentTeam
from app.domain.times import parse_time
from app.kube.cluster import Cluster
from app.kube.lists import Page
from app.settings import ServiceSettings

PAGE = 20  # teams
PAGE_BYTES = 1_500_000  # bytes, before the last team, which may be as large again
LONGEST_TOKEN = 1024  # characters: the longest names need 700, and an escaped URL holds few more

May = Callable[[str], Awaitable[bool]]
"""Says whether the caller may read the record in a namespace."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The targets to look for; None: any."""

    namespace: str | None = None
    phase: Phase | None = None
    since: datetime | None = None
    type: str | None = None
    reason: str | None = None

    def fits(self, receipt: Receipt) -> bool:
        """Whether a target is one of those."""
        return (
            (self.phase is None or receipt.phase is self.phase)
            and (self.since is None or (receipt.timestamp is not None and receipt.timestamp >= self.since))
            and self.type in {None, receipt.type}
            and self.reason in {None, receipt.reason}
        )


class Survey:
    """Lists teams of the served namespaces, one page at a time in this process."""

    def __init__(self, settings: ServiceSettings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._one = asyncio.Semaphore(1)  # a list is large, and no delivery waits for it

    async def page(self, asked: Asked, after: str | None, may: May) -> Reports:
        """Return the teams of one page that have such targets; a page may be empty.

        Raises:
            TeamNotFound: the namespace is not served.
            Malformed: the page does not exist, or no longer does.
            ClusterUnavailable: the Kubernetes API gives no usable answer.
        """
        if asked.namespace is not None and not self._settings.serves(asked.namespace):
            raise TeamNotFound(f'namespace "{asked.namespace}" is not served here')
        places: tuple[str | None, ...] = self._settings.namespaces or (None,)
        if asked.namespace is not None:
            places = (asked.namespace,)
        place, more = _read(after) if after else (0, "")
        if place >= len(places):
            raise Malformed("after: this page does not exist; start again without it")
        async with self._one:
            try:
                items, more = await self._listed(places[place], more, asked)
            except ClusterError as error:
                if after and isinstance(error, Rejected):  # mostly 410: the page has expired
                    raise Malformed("after: this page has expired; start again without it") from None
                raise unavailable(error) from None
        readable = {name: await may(name) for name in sorted({report.namespace for report in items})}
        if not more:
            place += 1
        return Reports(
            items=tuple(report for report in items if readable[report.namespace]),
            next=_written(place, more) if place < len(places) else None,
        )

    async def _listed(self, place: str | None, more: str, asked: Asked) -> tuple[list[Report], str]:
        """List a page of as many teams as fit; if they turn out to be larger, ask for fewer again."""
        page, items = await self._read(place, more, asked, PAGE)
        while not page.whole:
            page, items = await self._read(place, more, asked, page.number)
        return items, page.more

    async def _read(
        self, place: str | None, more: str, asked: Asked, limit: int
    ) -> tuple[Page, list[Report]]:
        items: list[Report] = []

        def take(team: AgentTeam) -> None:
            if (report := _report(team, asked)) is not None:
                items.append(report)

        page = await self._cluster.list_teams(place, take, limit=limit, most=PAGE_BYTES, more=more)
        return page, items


def _report(team: AgentTeam, asked: Asked) -> Report | None:
    if not team.entries:
        return None
    report = reported(team)
    fitting = tuple(receipt for receipt in report.targets if asked.fits(receipt))
    return report.model_copy(update={"targets": fitting}) if fitting else None


def _written(place: int, more: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([place, more]).encode()).decode()


def _read(token: str) -> tuple[int, str]:
    try:
        place, more = json.loads(base64.urlsafe_b64decode(token[:LONGEST_TOKEN]))
    except (ValueError, TypeError, RecursionError):
        place, more = None, None
    if type(place) is not int or place < 0 or not isinstance(more, str):
        raise Malformed("after: is not a value of `next`; start again without it")
    return place, more


def read_since(text: str | None) -> datetime | None:
    """Read an RFC 3339 time.

    Raises:
        Malformed: the text is not one.
    """
    if text is None:
        return None
    moment = parse_time(text)
    if moment is None or len(text) < len("2026-03-01T12:00:00Z"):
        raise Malformed("since: must be a time such as 2026-03-01T12:00:00Z")
    return moment
