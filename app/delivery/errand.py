"""What all sends of one event share: the message, the means and the deadline."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime
from weakref import WeakValueDictionary

from structlog.typing import FilteringBoundLogger

from app.delivery.pacer import Pacer
from app.delivery.places import Places, Sleep, asleep
from app.delivery.putoff import PutOff
from app.delivery.retry import RetryPolicy, Timing
from app.delivery.secrets import SecretResolver
from app.domain.events import TEST
from app.domain.targets import Target
from app.domain.teams import AgentTeam
from app.domain.times import steady
from app.kube.cluster import Cluster, Snapshot
from app.senders.artifacts import Artifacts
from app.senders.credentials import Credentials
from app.senders.envelopes import Drafts, Envelope, Listing, Progress, Senders, forget
from app.senders.messages import NOTHING, compose, most_bytes
from app.settings import ServiceSettings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing

ENVELOPE = 500  # bytes of a message without its text and its list
TURN = 131_072  # bytes that the messages of one event may take to be put together in one turn of the loop
COPIES = 4  # of a message in memory while it is sent: its text, its bytes, those under way, those encrypted


@dataclass(frozen=True, slots=True)
class Errand:
    """One event's sends: what is sent is read from `team`, `phase` is the terminal phase it is sent for."""

    team: AgentTeam
    event: str
    phase: str
    senders: Senders
    resolve: Callable[[str | None], Awaitable[Credentials]]
    policy: RetryPolicy
    put_off: PutOff
    timing: Timing
    metrics: Metrics
    tracing: Tracing
    log: FilteringBoundLogger  # whose lines bear the team
    ends: float  # on the timing's clock; no attempt may last beyond it
    now: Callable[[], datetime]  # the API server's time, for stamps
    max_message: int  # characters of a notification's text
    places: Places
    pacer: Pacer
    rest: Sleep  # while a place is waited for
    artifacts: Artifacts
    targets: int = 1
    composing: asyncio.Lock = field(default_factory=asyncio.Lock)
    drafts: WeakValueDictionary[Hashable, Drafts] = field(default_factory=WeakValueDictionary)

    @property
    def counted(self) -> bool:
        """Whether the metrics tell of it: a test is nobody's delivery."""
        return self.event != TEST

    async def composed(
        self,
        target: Target,
        message_id: str,
        progress: Progress = NOTHING,
        note: Callable[[Progress], None] = forget,
    ) -> Envelope:
        """Return what is sent to a target; of many or large ones, one a turn, so that others get theirs.

        Raises:
            TargetError: the team lists too much, or its targets pick too much of it.
        """
        listing = await self._listing(target)
        if self.targets * self._size(target, listing) > TURN:
            async with self.composing:
                await asyncio.sleep(0)
        kind = target.message, target.artifact_path, target.attached
        drafts = self.drafts.get(kind)
        if drafts is None:
            drafts = self.drafts[kind] = Drafts()
        return compose(
            self.team,
            target,
            listing,
            message_id=message_id,
            event=self.event,
            phase=self.phase,
            most=self.max_message,
            drafts=drafts,
            progress=progress,
            note=note,
        )

    async def size_of(self, target: Target) -> int:
        """Return about how many bytes of memory a target's message takes until it is sent.

        Raises:
            TargetError: as `composed`.
        """
        return self._size(target, await self._listing(target))

    def _size(self, target: Target, listing: Listing) -> int:
        return COPIES * (ENVELOPE + most_bytes(target, listing, self.max_message))

    async def _listing(self, target: Target) -> Listing:
        """Return what a target's notification lists; one is made at a time."""
        listing = self.artifacts.known_for(target)
        if listing is None:
            async with self.composing:
                listing = await self.artifacts.listed_for(target)
        return listing


class Errands:
    """Makes errands of one process, all by the same means."""

    def __init__(  # noqa: PLR0913, PLR0917  # the means, each used
        self,
        settings: ServiceSettings,
        cluster: Cluster,
        senders: Senders,
        metrics: Metrics,
        tracing: Tracing,
        places: Places,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._senders = senders
        self._keys = frozenset[str]().union(*(sender.keys for sender in senders.values()))
        self._metrics = metrics
        self._tracing = tracing
        self._places = places
        self._policy = RetryPolicy(
            settings.attempts,
            settings.attempt_timeout,
            settings.target_timeout,
            settings.backoff_initial,
            settings.patience,
        )
        self._pacer = Pacer(settings.slack_interval)
        self._put_off = PutOff(settings.retry_waits, settings.retry_for)

    def deliver(  # noqa: PLR0913  # all that one differs in from another
        self,
        claimed: Snapshot,
        event: str,
        phase: str,
        *,
        targets: int,
        timing: Timing,
        ends: float,
        log: FilteringBoundLogger,
    ) -> Errand:
        """Return the errand of a team that was claimed, which has until its claim ends."""
        settings, team = self._settings, claimed.team
        secrets = SecretResolver(
            self._cluster, team.namespace, self._places, keys=self._keys, label=settings.secret_label
        )
        return Errand(
            team=team,
            event=event,
            phase=phase,
            targets=targets,
            senders=self._senders,
            resolve=secrets.resolve,
            policy=self._policy,
            put_off=replace(self._put_off, chance=random.random()),  # noqa: S311  # no secret hangs on it
            timing=timing,
            metrics=self._metrics,
            tracing=self._tracing,
            log=log,
            ends=ends,
            now=lambda: claimed.now,
            max_message=settings.max_message,
            artifacts=Artifacts(team),
            places=self._places,
            pacer=self._pacer,
            rest=timing.sleep,
        )

    def rehearse(
        self, read: Snapshot, event: str, phase: str, *, targets: int, log: FilteringBoundLogger
    ) -> Errand:
        """Return an errand with one attempt per target."""
        ends, timing = steady() + self._settings.target_timeout, Timing(sleep=_never)
        errand = self.deliver(read, event, phase, targets=targets, timing=timing, ends=ends, log=log)
        return replace(errand, policy=replace(self._policy, attempts=1), put_off=NEVER, rest=asleep)


NEVER = PutOff((), 0.0)
"""A test or a preview is not tried again."""


async def _never(_: float) -> bool:
    return False
