"""What all sends of one event share: the message, the resources and the deadline."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime
from weakref import WeakValueDictionary

from structlog.typing import FilteringBoundLogger

from app.delivery.pacer import Pacer
from app.delivery.places import Places, Sleep, asleep
from app.delivery.postponement import Postponement
from app.delivery.retry import RetryPolicy, Timing
from app.delivery.secrets import SecretResolver
from app.domain.events import TEST
from app.domain.targets import Target
from app.domain.teams import AgentTeam
from app.domain.times import steady
from app.kube.cluster import Cluster, Snapshot
from app.senders.artifacts import Artifacts
from app.senders.credentials import Credentials
from app.senders.envelopes import Drafts, Envelope, Listing, Progress, Senders, forget, sender_for
from app.senders.messages import NOTHING, compose, most_bytes
from app.settings import ServiceSettings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing

ENVELOPE = 500  # bytes of a message without its text and its list
TURN = 131_072  # bytes of messages that one event builds without a yield to the event loop


@dataclass(frozen=True, slots=True)
class Errand:
    """The sends of one event: `team` provides the content, `phase` is the terminal phase that they report."""

    team: AgentTeam
    event: str
    phase: str
    senders: Senders
    resolve: Callable[[str | None, float | None], Awaitable[Credentials]]
    policy: RetryPolicy
    postponement: Postponement
    timing: Timing
    metrics: Metrics
    tracing: Tracing
    log: FilteringBoundLogger  # each of its lines has the team's name
    ends: float  # on the timing's clock; no attempt may run longer
    now: Callable[[], datetime]  # the API server's time, for timestamps
    max_message: int  # characters of a notification's text
    places: Places
    pacer: Pacer
    rest: Sleep  # sleeps while a delivery waits for a place
    artifacts: Artifacts
    targets: int = 1
    composing: asyncio.Lock = field(default_factory=asyncio.Lock)
    drafts: WeakValueDictionary[Hashable, Drafts] = field(default_factory=WeakValueDictionary)

    @property
    def counted(self) -> bool:
        """Whether metrics count these sends; they do not count a test."""
        return self.event != TEST

    async def composed(
        self,
        target: Target,
        message_id: str,
        size: int,
        progress: Progress = NOTHING,
        note: Callable[[Progress], None] = forget,
    ) -> Envelope:
        """Return what is sent to a target, `size` bytes; let other tasks run before many or large messages.

        Raises:
            TargetError: as `listing`.
        """
        listing = await self.listing(target)
        if self.targets * size > TURN:
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

    def size_of(self, target: Target, listing: Listing) -> int:
        """Return the approximate bytes of memory that a target's message takes until it is sent."""
        copies = sender_for(self.senders, target.type).copies
        return copies * (ENVELOPE + most_bytes(target, listing, self.max_message))

    async def listing(self, target: Target) -> Listing:
        """Return what a target's notification lists; one is made at a time.

        Raises:
            TargetError: the team lists too much, or its targets select too much of it.
        """
        listing = self.artifacts.known_for(target)
        if listing is None:
            async with self.composing:
                listing = await self.artifacts.listed_for(target)
        return listing


class Errands:
    """Creates the errands of one process; they share its settings, senders, metrics and places."""

    def __init__(  # noqa: PLR0913, PLR0917  # shared resources, each used
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
        self._retries = settings.retry_waits, settings.retry_for

    def deliver(  # noqa: PLR0913  # the differences between errands
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
        """Return the errand of a claimed team; it may run until its claim expires."""
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
            postponement=Postponement(*self._retries, random.random()),  # noqa: S311  # not used for a secret
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
        return replace(errand, policy=replace(self._policy, attempts=1), postponement=NEVER, rest=asleep)


NEVER = Postponement((), 0.0)
"""A test or a preview is not retried."""


async def _never(_: float) -> bool:
    return False
