"""One feed: the teams of one namespace or of all, listed, then watched, then listed again."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from app.domain.errors import ClusterError
from app.domain.teams import COMPLETION_GRACE, AgentTeam
from app.timers import within
from app.watcher.agenda import Agenda, TeamKey
from app.watcher.clock import ServerClock
from app.watcher.metrics import WatchMetrics
from app.watcher.pace import Pace
from app.watcher.source import Change, Gone, TeamSource

log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Feed:
    """Reports every team to the agenda, and survives every failure of the API server.

    `changed` is called after each report; `resync` is the interval between lists, in seconds.
    """

    namespace: str | None
    source: TeamSource
    agenda: Agenda
    clock: ServerClock
    resync: float
    pace: Pace
    metrics: WatchMetrics
    changed: Callable[[], None]

    listed: bool = field(default=False, init=False)
    _since: str = field(default="", init=False)  # the resourceVersion up to which everything is known
    _watching: bool = field(default=False, init=False)
    _last_contact: float | None = field(default=None, init=False)  # None until it runs
    _lost: bool = field(default=False, init=False)
    _short_ends: int = field(default=0, init=False)  # consecutive failed lists and short watches

    @property
    def silence(self) -> float:
        """Seconds since the last answer of the API server; None while a watch is open."""
        return 0.0 if self._watching or self._last_contact is None else _ticks() - self._last_contact

    async def run(self) -> None:
        """List and watch until cancelled."""
        self._last_contact = _ticks()
        while True:
            try:
                await self._list()
            except ClusterError as error:
                self._lose(error)
                await self._back_off()
            else:
                await self._follow()

    async def _list(self) -> None:
        """Report every team to the agenda, page by page, and drop deleted teams."""
        seen: set[TeamKey] = set()

        def observe(team: AgentTeam) -> None:
            self._hear()
            self._observe(team)
            seen.add(TeamKey(team.namespace, team.name))

        more, unread = "", 0
        while True:
            page = await self.source.page(self.namespace, observe, more)
            unread += page.unread
            self._hear()
            self.changed()
            if not (more := page.more):
                break
        if unread:
            log.error("teams_unread", namespace=self.namespace, teams=unread, why="nested too deep")
        self.agenda.retain(seen, self.namespace)
        self._since = page.resource_version
        if self.listed:
            self.metrics.relists.inc()
        self.listed = True

    async def _follow(self) -> None:
        """Watch repeatedly, until the next list is due or the API server requires one."""
        relist_at = _ticks() + self.resync
        while (left := relist_at - _ticks()) > 0:
            started = _ticks()
            reason = ""
            try:
                with within(left):
                    reason = await self._watch()
            except TimeoutError:
                return
            finally:
                lasted = _ticks() - started if self._watching else 0.0
                self._end_watch(reason, lasted)
            if reason == "error" or lasted < self.pace.watch_healthy:
                await self._back_off()
            if reason == "gone":
                return

    async def _watch(self) -> str:
        """Watch once, and return how it ended: `closed` in good order, `gone`, or `error`."""
        try:
            async with self.source.watch(self.namespace, self._since) as changes:
                self._watching = True
                self._hear()
                async for change in changes:
                    self._apply(change)
        except Gone:
            return "gone"
        except ClusterError as error:
            self._lose(error)
            return "error"
        return "closed"

    def _apply(self, change: Change) -> None:
        team = change.team
        self._since = team.resource_version or self._since
        if change.type == "DELETED":
            self.agenda.forget(TeamKey(team.namespace, team.name))
        elif change.type != "BOOKMARK":
            self._observe(team)
            self.changed()

    def _observe(self, team: AgentTeam) -> None:
        """Report a team to the agenda; log if its record was wiped again, or it has no completion time."""
        if self.agenda.is_news_without_time(team):
            log.info(
                "completion_awaited",
                namespace=team.namespace,
                team=team.name,
                seconds=COMPLETION_GRACE.total_seconds(),
                advice="its status has a terminal phase and no completedAt: the program that writes the phase"
                " should write the time too; the team is submitted after these seconds",
            )
        times = self.agenda.observe(team, self.clock.now())
        if times:
            self.metrics.wipes.inc()
            log.warning(
                "record_wiped",
                namespace=team.namespace,
                team=team.name,
                times=times,
                advice="another program removes entries from status.delivery, so their targets are sent"
                " again; find the program that writes the whole status",
            )

    def _end_watch(self, reason: str, lasted: float) -> None:
        if reason:
            self.metrics.restarts.labels(reason).inc()
        if lasted >= self.pace.watch_healthy:
            self._short_ends = 0
        if self._watching:
            self._last_contact = _ticks()
        self._watching = False

    async def _back_off(self) -> None:
        wait = self.pace.reconnect.wait(self._short_ends, self.pace.random)
        self._short_ends += 1
        await asyncio.sleep(wait)

    def _hear(self) -> None:
        self._last_contact = _ticks()
        if self._lost:
            log.info("api_back", namespace=self.namespace)
        self._lost = False

    def _lose(self, error: ClusterError) -> None:
        if not self._lost:
            log.warning("api_lost", namespace=self.namespace, error=str(error))
        self._lost = True


def _ticks() -> float:
    return asyncio.get_running_loop().time()
