"""What all sends of one event share: what is sent, by what means, and until when."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from structlog.typing import FilteringBoundLogger

from app.delivery.putoff import PutOff
from app.delivery.retry import RetryPolicy, Timing
from app.delivery.secrets import SecretResolver
from app.domain.events import TEST
from app.domain.targets import Target
from app.domain.teams import AgentTeam
from app.domain.times import steady
from app.kube.cluster import Cluster, Snapshot
from app.senders.credentials import Credentials
from app.senders.envelopes import Artifact, Senders
from app.senders.messages import listed_itself, pick_artifacts
from app.settings import ServiceSettings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing


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
    max_message: int  # characters of a notice's text
    composing: asyncio.Lock = field(default_factory=asyncio.Lock)
    picked: dict[str | None, tuple[Artifact, ...]] = field(default_factory=dict)

    @property
    def counted(self) -> bool:
        """Whether the metrics tell of it: a test is nobody's delivery."""
        return self.event != TEST

    def artifacts(self, target: Target) -> tuple[Artifact, ...]:
        """Return what a target's notice lists: what it picks, and the file that it wants attached."""
        picked = self._picked(target.artifact_path)
        if target.attached is None:
            return picked
        attached = self._picked(target.attached) or (listed_itself(target.attached),)
        there = {one["path"] for one in picked}
        return picked + tuple(one for one in attached if one["path"] not in there)

    def _picked(self, pattern: str | None) -> tuple[Artifact, ...]:
        """Return what a pattern picks; a long list is gone through once a pattern."""
        if pattern not in self.picked:
            self.picked[pattern] = pick_artifacts(self.team, pattern)
        return self.picked[pattern]


class Errands:
    """Makes errands of one process, all by the same means."""

    def __init__(
        self,
        settings: ServiceSettings,
        cluster: Cluster,
        senders: Senders,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._senders = senders
        self._keys = frozenset[str]().union(*(sender.keys for sender in senders.values()))
        self._metrics = metrics
        self._tracing = tracing
        self._policy = RetryPolicy(
            settings.attempts, settings.attempt_timeout, settings.target_timeout, settings.backoff_initial
        )
        self._put_off = PutOff(settings.retry_waits, settings.retry_for)

    def deliver(  # noqa: PLR0913  # all that one differs in from another
        self,
        claimed: Snapshot,
        event: str,
        phase: str,
        *,
        timing: Timing,
        ends: float,
        log: FilteringBoundLogger,
    ) -> Errand:
        """Return the errand of a team that was claimed, which has until its claim ends."""
        settings, team = self._settings, claimed.team
        secrets = SecretResolver(self._cluster, team.namespace, keys=self._keys, label=settings.secret_label)
        return Errand(
            team=team,
            event=event,
            phase=phase,
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
        )

    def rehearse(self, read: Snapshot, event: str, phase: str, *, log: FilteringBoundLogger) -> Errand:
        """Return an errand of one attempt a target."""
        ends = steady() + self._settings.target_timeout
        errand = self.deliver(read, event, phase, timing=Timing(sleep=_never), ends=ends, log=log)
        return replace(errand, policy=replace(self._policy, attempts=1), put_off=NEVER)


NEVER = PutOff((), 0.0)
"""A test or a preview is not tried again."""


async def _never(_: float) -> bool:
    return False
