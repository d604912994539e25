"""Processes one event: claims its targets, sends to them, records the outcomes, publishes a summary."""

import asyncio

import structlog
from structlog.contextvars import bind_contextvars, get_contextvars
from structlog.typing import FilteringBoundLogger

from app.delivery import faults
from app.delivery.capacity import Capacity, Held
from app.delivery.claims import Accepted, Claims
from app.delivery.dispatch import Dispatch
from app.delivery.errand import Errands
from app.delivery.fanout import fan_out, tell
from app.delivery.recorder import Recorder
from app.delivery.retry import Timing
from app.delivery.underway import UnderWay
from app.domain.announcements import Announcement, announce, announce_postponed, had_problem
from app.domain.errors import RETRY_SOON, ClusterError, Draining, Problem
from app.domain.events import CompletionEvent
from app.domain.targets import TYPES
from app.domain.teams import AgentTeam
from app.domain.times import steady
from app.kube.cluster import Cluster
from app.settings import ServiceSettings
from app.telemetry.metrics import UNKNOWN, Metrics
from app.telemetry.tracing import Say, Tracing

log = structlog.get_logger(__name__)

CLOCK_STEP = 1.0  # seconds: the API server's clock is read in whole seconds


class Dispatcher:
    """Runs each event in a task of its own, so that a caller who disconnects stops nothing."""

    def __init__(  # noqa: PLR0913  # the stages and their parameters
        self,
        settings: ServiceSettings,
        cluster: Cluster,
        *,
        claims: Claims,
        errands: Errands,
        capacity: Capacity,
        under_way: UnderWay,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._claims = claims
        self._errands = errands
        self._capacity = capacity
        self._under_way = under_way
        self._metrics = metrics
        self._tracing = tracing

    async def dispatch(self, event: CompletionEvent) -> Dispatch:
        """Accept an event. On return, its claims are on record and its sends are in progress.

        Raises:
            Problem: the event is not accepted, and nothing is sent for it.
        """
        accepted: asyncio.Future[Dispatch] = asyncio.get_running_loop().create_future()
        held = Held()
        self._capacity.events.take(held, event.namespace)
        self._under_way.start(self._carry_out(event, accepted, held))
        return await accepted

    async def _carry_out(self, event: CompletionEvent, answer: asyncio.Future[Dispatch], held: Held) -> None:
        """Claim, answer with the dispatch or the problem, send and record; then give up its places."""
        arrived = steady()
        with self._tracing.span("event", "SERVER", namespace=event.namespace, team=event.team) as say:
            if trace_id := self._tracing.trace_id():
                bind_contextvars(trace_id=trace_id)
            # With what every line of the request has, so that a line per target need not look for it.
            about = log.bind(**get_contextvars(), team=event.team, namespace=event.namespace)
            with held:
                accepted = await self._claim(event, answer, held, say)
                if accepted is None:
                    return
                recorder = self._recorder(accepted, about)
                task = asyncio.current_task()
                assert task is not None  # noqa: S101  # a running coroutine has a task
                if not answer.done():  # the caller may have disconnected
                    answer.set_result(Dispatch(accepted, recorder, task))
                faults.reach("claimed")
                await self._send(accepted, event, recorder, about)
                faults.reach("settled")
            if accepted.plan.changes:
                self._metrics.event_seconds.observe(steady() - arrived)
                if said := self._news(recorder, event):
                    self._under_way.start(self.publish(recorder.latest.team, said))

    async def _claim(
        self, event: CompletionEvent, answer: asyncio.Future[Dispatch], held: Held, say: Say
    ) -> Accepted | None:
        """Claim; if the event is not accepted, answer with the problem."""
        try:
            accepted = await self._claims.take(event, held)
        except asyncio.CancelledError:
            _refuse(answer, Draining("this replica is shutting down; retry", retry_after=RETRY_SOON))
            raise
        except Exception as error:  # noqa: BLE001  # passed on to the caller
            say(failed=True, refused=error.slug if isinstance(error, Problem) else type(error).__name__)
            _refuse(answer, error)
            return None
        judgement = accepted.judgement
        say(phase=judgement.phase, claims=len(judgement.plan.claims), skipped=judgement.skipped)
        return accepted

    def _recorder(self, accepted: Accepted, about: FilteringBoundLogger) -> Recorder:
        return Recorder(
            self._cluster,
            accepted.claimed,
            holder=self._claims.holder,
            timeout=self._settings.record_timeout,
            written=lambda receipt: self._claims.release(accepted.read.team.uid, [receipt]),
            metrics=self._metrics,
            tracing=self._tracing,
            log=about,
        )

    async def _send(
        self, accepted: Accepted, event: CompletionEvent, recorder: Recorder, about: FilteringBoundLogger
    ) -> None:
        """Send to every claimed target, and record at the same time."""
        plan = accepted.plan
        for receipt in plan.closed:
            kind = receipt.type if receipt.type in TYPES else UNKNOWN
            self._metrics.deliveries.labels(kind, receipt.reason).inc()
            tell(about, receipt)
        if not plan.claims:
            return
        errand = self._errands.deliver(
            accepted.claimed,
            event.event,
            accepted.judgement.phase,
            targets=len(plan.claims),
            timing=Timing(sleep=recorder.undisturbed),
            ends=accepted.read.asked + self._claims.life.total_seconds() - CLOCK_STEP,
            log=about,
        )
        try:
            with self._under_way.recording(recorder):
                async with asyncio.TaskGroup() as group:
                    fan_out(group, errand, plan.claims, recorder.record)
                    await recorder.run(len(plan.claims))
        finally:
            self._claims.lose(recorder.unwritten.values())
            left = (claim.receipt for claim in plan.claims if claim.target.name not in recorder.written)
            self._claims.release(accepted.read.team.uid, left)

    def _news(self, recorder: Recorder, event: CompletionEvent) -> Announcement | None:
        """Return what to publish if the delivery has ended or is postponed."""
        team = recorder.latest.team
        receipts, written = team.record.receipts, recorder.written.values()
        # A redelivery was requested because of an earlier problem, of which the record may show nothing.
        again = event.redeliver != "none"
        successes = self._settings.events == "all" or again or any(map(had_problem, written))
        return announce(team, event.event, receipts, successes=successes) or announce_postponed(
            team, event.event, receipts, written
        )

    async def publish(self, team: AgentTeam, said: Announcement) -> None:
        """Write a Kubernetes Event. A failure is only logged, since the record does not depend on it."""
        try:
            await self._cluster.publish(team, said)
        except ClusterError as error:
            log.warning("event_not_published", team=team.name, namespace=team.namespace, why=str(error))


def _refuse(answer: asyncio.Future[Dispatch], error: Exception) -> None:
    """Answer with an error, unless the caller has disconnected."""
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # marked as read: a caller who disconnects now never reads it
