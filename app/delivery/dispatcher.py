"""One event's way through: read the team, claim its targets, send to all of them, record what landed."""

import asyncio
import secrets
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import structlog
from structlog.contextvars import bind_contextvars

from app.delivery import faults
from app.delivery.capacity import RETRY_SOON, Capacity
from app.delivery.fanout import Fanout, tell
from app.delivery.recorder import Recorder
from app.delivery.retry import Pace, RetryPolicy, full_jitter
from app.delivery.secrets import SecretResolver
from app.domain.announcements import announce
from app.domain.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Draining,
    LedgerNotKept,
    LedgerRefused,
    ObjectNotFound,
    PhaseNotTerminal,
    Problem,
    Rejected,
    TeamNotFinished,
    TeamNotFound,
    TooManyTargets,
    UidChanged,
)
from app.domain.events import TERMINAL_PHASES, TEST, CompletionEvent
from app.domain.ledger import Plan, Terms, holds, outgrows, plan, trial
from app.domain.previews import Previewed, PreviewedTarget
from app.domain.receipts import Receipt, Report, overall_phase
from app.domain.targets import TYPES, shortened, target_names
from app.domain.teams import AgentTeam
from app.domain.times import steady
from app.kube.cluster import Cluster, Snapshot
from app.senders.envelopes import Sender
from app.settings import ServiceSettings
from app.telemetry.metrics import UNKNOWN, Metrics
from app.telemetry.tracing import Say, Tracing

log = structlog.get_logger(__name__)

CLAIM_TRIES = 8
CLAIM_BACKOFF = RetryPolicy(backoff_initial=0.05)  # at most 50 ms, 100 ms, 200 ms … between tries to claim
RETRY_LATER = 30.0  # seconds: what a caller is told to wait when somebody has to grant us a right first
CLOCK_STEP = 1.0  # seconds: the API server's clock is read to the whole second


UNASKED = "the team asks for no delivery: onComplete is not deliver, or it names no targets"
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event whose claims are on record: the team as it was planned for, as it is now, and the plan."""

    read: Snapshot
    claimed: Snapshot
    plan: Plan
    phase: str
    skipped: str | None = None  # why there is nothing to deliver


class Dispatch:
    """A delivery under way, or done."""

    def __init__(self, accepted: Accepted, recorder: Recorder, task: asyncio.Task[None]) -> None:
        self._accepted = accepted
        self._recorder = recorder
        self._task = task

    async def wait(self, seconds: float) -> None:
        """Wait for the outcome, at most so long; the delivery goes on all the same."""
        if not self.done:
            await asyncio.wait({self._task}, timeout=seconds)

    @property
    def done(self) -> bool:
        """Whether nothing is under way here any more."""
        return self._task.done() or not self._accepted.plan.claims

    def report(self) -> Report:
        """Return what is on record, and the outcomes that could not be written.

        Raises:
            UidChanged: the team was made anew under way.
        """
        recorder = self._recorder
        if recorder.uid_changed:
            raise UidChanged("the team was made anew while its targets were sent to; nothing more was sent")
        report = reported(recorder.latest.team)
        targets = tuple(recorder.unwritten.get(receipt.name, receipt) for receipt in report.targets)
        return report.model_copy(
            update={
                "phase": "Skipped" if self._accepted.skipped else overall_phase(targets),
                "recorded": recorder.unrecorded is None,
                "reason": recorder.unrecorded or self._accepted.skipped,
                "targets": targets,
            }
        )


def reported(team: AgentTeam) -> Report:
    """Return the record of a team as it stands in its status."""
    receipts = tuple(_told(receipt) for receipt in team.record.receipts)
    return Report(
        namespace=team.namespace,
        team=team.name,
        uid=team.uid,
        phase=overall_phase(receipts),
        targets=receipts,
    )


def _told(receipt: Receipt) -> Receipt:
    """Say of what somebody else recorded that they did; what they wrote may hold nobody's business."""
    if not receipt.theirs:
        return receipt
    how = "tried, and failed" if receipt.adoptable else "was at it"
    return receipt.model_copy(update={"message": f"somebody else {how}; it is left to them"})


class Dispatcher:
    """Takes events and sees each through, one task an event, within the bounds that the settings give."""

    def __init__(
        self,
        settings: ServiceSettings,
        cluster: Cluster,
        senders: Mapping[str, Sender],
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._senders = senders
        self._metrics = metrics
        self._tracing = tracing
        self._holder = f"agentteam-delivery-{secrets.token_hex(8)}"
        self._policy = RetryPolicy(
            settings.attempts, settings.attempt_timeout, settings.target_timeout, settings.backoff_initial
        )
        self._capacity = Capacity(
            events=settings.max_in_flight,
            targets=settings.max_targets_in_flight,
            shared=len(settings.namespaces) != 1,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._recorders: set[Recorder] = set()
        self._claiming: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        # By the team's uid, how many dispatches send under an id: two, where a claim was wiped meanwhile.
        self._sending: defaultdict[str, Counter[str]] = defaultdict(Counter)
        # Messages that were sent and not recorded: their claims are left to end, as anybody else's.
        self._lost: set[str] = set()
        self.draining = False

    async def dispatch(self, event: CompletionEvent) -> Dispatch:
        """Accept an event: when this returns its claims are on record and its sends are under way.

        Raises:
            Problem: the event is not accepted, and nothing is sent for it.
        """
        self._admit(event)
        accepted: asyncio.Future[Dispatch] = asyncio.get_running_loop().create_future()
        room = ExitStack()
        room.enter_context(self._capacity.events.taking(event.namespace))
        # A task of its own: a caller that goes away does not stop a delivery.
        self._start(self._see_through(event, accepted, room))
        return await asyncio.shield(accepted)

    async def read(self, namespace: str, name: str) -> Report:
        """Return the record of a team.

        Raises:
            Problem: there is no such team, or the Kubernetes API is away.
        """
        return reported((await self._read(namespace, name)).team)

    async def preview(self, event: CompletionEvent) -> Previewed:
        """Show what the event would send where; nothing is sent, and nothing written.

        A team that is still at work is shown as if it had completed.

        Raises:
            Problem: the event would not be accepted.
        """
        self._admit(event)
        with self._capacity.events.taking(event.namespace):
            read = await self._read(event.namespace, event.team)
            accepted = self._plan(event, read, unfinished=True)
            planned = accepted.plan
            if event.test:
                planned = self._trial(event, read.team)
            said = TEST if event.test else event.event
            with self._capacity.targets.taking(event.namespace, len(planned.claims)):
                shown = await self._fanout(read, said, accepted.phase).preview(planned.claims)
        shown += [
            PreviewedTarget(
                name=receipt.name,
                type=receipt.type,
                target=receipt.target,
                would="Fail",
                reason=receipt.reason,
                message=receipt.message,
            )
            for receipt in planned.closed
        ]
        known = {target.name: target for target in shown}
        left = [
            _left(line.receipt)
            for name, line in read.team.record.by_key.items()
            if name not in known and not event.test and (event.targets is None or name in event.targets)
        ]
        return Previewed(
            namespace=read.team.namespace,
            team=read.team.name,
            uid=read.team.uid,
            phase=accepted.phase,
            reason=accepted.skipped,
            targets=_in_order(read.team, [*shown, *left]),
        )

    async def test(self, event: CompletionEvent) -> Report:
        """Send each target one notice that is marked as a test, whatever the team is at; record nothing.

        Raises:
            Problem: the event is not accepted, and nothing is sent for it.
        """
        self._admit(event)
        return await asyncio.shield(self._start(self._try_out(event)))

    async def _try_out(self, event: CompletionEvent) -> Report:
        bind_contextvars(test=True)
        with self._capacity.events.taking(event.namespace):
            read = await self._read(event.namespace, event.team)
            self._check_uid(event, read.team)
            planned = self._trial(event, read.team)
            receipts = list(planned.closed)
            for receipt in receipts:
                tell(read.team, receipt)
            with self._capacity.targets.taking(event.namespace, len(planned.claims)):
                phase = self._phase(event, read.team, unfinished=True)
                once = replace(self._policy, attempts=1)
                await self._fanout(read, TEST, phase, policy=once).send(planned.claims, receipts.append)
        return Report(
            namespace=read.team.namespace,
            team=read.team.name,
            uid=read.team.uid,
            phase=overall_phase(receipts) if receipts else "Skipped",
            recorded=False,
            reason="it was a test" if receipts else UNASKED,
            targets=_in_order(read.team, receipts),
        )

    def _trial(self, event: CompletionEvent, team: AgentTeam) -> Plan:
        """Plan a test; a team that asks for no delivery is sent none."""
        self._bound(team)
        return trial(team, event, secrets.token_hex(8)) if team.wants_delivery else Plan([])

    async def drain(self) -> None:
        """Take no more events; return when those in flight are settled or handed back, and recorded."""
        self.draining = True
        for recorder in self._recorders:
            recorder.stopped.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def abandon(self) -> None:
        """Let go of what a drain could not finish; it is taken over when its claim ends."""
        for recorder in self._recorders:
            recorder.abandon()
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, Outcome]) -> asyncio.Task[Outcome]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _admit(self, event: CompletionEvent) -> None:
        if event.phase is not None and event.phase not in TERMINAL_PHASES:
            raise PhaseNotTerminal(f"phase must be one of {', '.join(TERMINAL_PHASES)}, or left out")
        if self.draining:
            raise Draining("this replica is about to end; ask again", retry_after=RETRY_SOON)

    async def _see_through(
        self, event: CompletionEvent, answer: asyncio.Future[Dispatch], room: ExitStack
    ) -> None:
        """Accept the event, answer with the dispatch or with why there is none, and send; leave the room."""
        with self._tracing.span("event", "SERVER", namespace=event.namespace, team=event.team) as say:
            if trace_id := self._tracing.trace_id():
                bind_contextvars(trace_id=trace_id)
            await self._carry_out(event, answer, room, say)

    async def _carry_out(
        self, event: CompletionEvent, answer: asyncio.Future[Dispatch], room: ExitStack, say: Say
    ) -> None:
        arrived = steady()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # always, inside a coroutine that runs
        with room, self._metrics.in_flight.track_inprogress():
            try:
                accepted = await self._accept(event, room)
            except asyncio.CancelledError:
                answer.set_exception(Draining("this replica ends; ask again", retry_after=RETRY_SOON))
                answer.exception()
                raise
            except Exception as error:  # noqa: BLE001  # handed on to the caller
                say(failed=True, refused=error.slug if isinstance(error, Problem) else type(error).__name__)
                answer.set_exception(error)
                answer.exception()  # a caller who has gone leaves it unread, which is no reason to complain
                return
            say(phase=accepted.phase, claims=len(accepted.plan.claims), skipped=accepted.skipped)
            recorder = self._recorder(accepted)
            answer.set_result(Dispatch(accepted, recorder, task))
            faults.reach("claimed")
            await self._send(accepted, event, recorder)
            faults.reach("settled")
        if accepted.plan.changes:
            self._metrics.event_seconds.observe(steady() - arrived)
            self._start(self._publish(recorder.latest.team, event))

    async def _accept(self, event: CompletionEvent, room: ExitStack) -> Accepted:
        """Claim; in this process one event at a time for a team, so that its own claims are told apart."""
        lock = self._claiming.setdefault((event.namespace, event.team), asyncio.Lock())
        try:
            # Waiting for its turn counts: an event is answered in time, however many stand before it.
            async with asyncio.timeout(2 * self._settings.api_timeout), lock:
                with self._tracing.span("claim"):
                    accepted = await self._claim(event, room)
                if accepted.plan.claims:
                    self._lost.difference_update(claim.receipt.id for claim in accepted.plan.claims)
                    self._sending[accepted.read.team.uid] += _ids(accepted.plan)
                return accepted
        except TimeoutError:
            raise _unavailable(ApiUnavailable("the Kubernetes API is too slow")) from None

    async def _claim(self, event: CompletionEvent, room: ExitStack) -> Accepted:
        """Read, plan and write the claims; start over when the team has changed in between.

        What is claimed has its place among the targets in flight before, for as long as the room is held.
        """
        error: ClusterError | None = None
        for tries in range(1, CLAIM_TRIES + 1):
            try:
                read = await self._read(event.namespace, event.team)
            except ClusterUnavailable:
                if error is None:
                    raise
                # A write was lost before, so that a claim may stand that nobody knows of: not yet given up.
                await asyncio.sleep(full_jitter(CLAIM_BACKOFF.backoff(tries)))
                continue
            accepted = self._plan(event, read)
            if not accepted.plan.changes:
                return accepted
            faults.reach("read")
            if outgrows(read.size, read.team, accepted.plan):
                raise LedgerRefused(
                    "nothing was sent: with the record of its targets the team would be larger than the API"
                    " server takes; give it fewer targets, or shorter ones",
                    recorded=False,
                )
            try:
                with ExitStack() as places:
                    number = len(accepted.plan.claims)
                    places.enter_context(self._capacity.targets.taking(event.namespace, number))
                    claimed = await self._cluster.write_delivery(read.team, accepted.plan.entries)
                    room.enter_context(places.pop_all())
            except (Conflict, ApiUnavailable, ObjectNotFound) as lost:
                # After no answer the claim may be on record: the next plan finds it there, and uses it.
                error = lost
                self._metrics.claim_retries.inc()
                await asyncio.sleep(full_jitter(CLAIM_BACKOFF.backoff(tries)))
                continue
            except Rejected as refused:
                raise LedgerRefused(f"nothing was sent: {refused}", recorded=False) from None
            except ClusterError as denied:
                raise _unavailable(denied) from None
            faults.reach("claim-written")
            await self._check_ledger(accepted, claimed)
            self._metrics.takeovers.inc(accepted.plan.takeovers)
            return Accepted(read, claimed, accepted.plan, accepted.phase)
        raise _unavailable(error)

    def _plan(self, event: CompletionEvent, read: Snapshot, *, unfinished: bool = False) -> Accepted:
        """Judge the event against the team as it was read, and plan."""
        team = read.team
        self._check_uid(event, team)
        phase = self._phase(event, team, unfinished=unfinished)
        try:
            skipped = self._why_not(team, phase)
        except Problem as problem:
            if team.record.all_settled:
                raise
            # What was accepted once is seen through, whatever has become of the team since.
            skipped = problem.detail
        if skipped and team.record.all_settled:
            return Accepted(read, read, Plan([]), phase, skipped)
        terms = Terms(
            holder=self._holder,
            now=read.date,
            life=self._settings.claim_life,
            max_takeovers=self._settings.max_takeovers,
            ours=self._sending.get(team.uid, ()),
            lost=self._lost,
            adopt=self._settings.adopt == "failed",
        )
        if phase not in TERMINAL_PHASES:
            # Accepted at the word of a caller who knew the phase before the resource did, and who told it
            # to a process that is gone. It was one of those that are delivered; mostly there is but one.
            phase = (self._settings.phases or TERMINAL_PHASES)[0]
        return Accepted(read, read, plan(team, event, terms, start=not skipped), phase)

    def _check_uid(self, event: CompletionEvent, team: AgentTeam) -> None:
        if event.uid is not None and event.uid != team.uid:
            raise UidChanged("the team of this name has another uid: it was deleted and made anew")

    def _phase(self, event: CompletionEvent, team: AgentTeam, *, unfinished: bool) -> str:
        """Return the ending that is told of; a team that is still at work may be taken for one that ended."""
        phase = event.phase or team.phase
        return self._settings.phases[0] if unfinished and phase not in TERMINAL_PHASES else phase

    def _why_not(self, team: AgentTeam, phase: str) -> str | None:
        """Return why no target of the team is to be begun; None where there is no reason.

        Raises:
            Problem: the caller is to change something, or to ask again.
        """
        if not team.wants_delivery:
            return UNASKED
        if phase not in TERMINAL_PHASES:
            raise TeamNotFinished(
                f'the team is in phase "{shortened(phase, 60)}"; hand it in when it has finished'
            )
        if phase not in self._settings.phases:
            return f"teams that end as {phase} are not delivered in this installation"
        self._bound(team)
        return None

    def _bound(self, team: AgentTeam) -> None:
        most = self._settings.max_targets
        if len(team.targets) > most:
            raise TooManyTargets(
                f"the team lists {len(team.targets)} targets, and at most {most} are served; nothing was sent"
            )

    async def _read(self, namespace: str, name: str) -> Snapshot:
        if not self._settings.serves(namespace):
            raise TeamNotFound(
                f'there is no AgentTeam "{name}" in namespace "{namespace}" that is served here'
            )
        try:
            return await self._cluster.read_team(namespace, name)
        except ObjectNotFound:
            raise TeamNotFound(f'there is no AgentTeam "{name}" in namespace "{namespace}"') from None
        except ClusterError as error:
            raise _unavailable(error) from None

    async def _check_ledger(self, accepted: Accepted, claimed: Snapshot) -> None:
        """Make sure that the claim is on record; where a CRD dropped a part of it, take the rest back."""
        receipts = [claim.receipt for claim in accepted.plan.claims] + list(accepted.plan.closed)
        if holds(claimed.team, receipts):
            return
        self._metrics.ledger_not_kept.inc()
        team = accepted.read.team
        log.error("ledger_not_kept", team=team.name, namespace=team.namespace)
        try:
            # Half a claim would look like somebody else's entry, and its target as settled, ever after.
            await self._cluster.write_delivery(claimed.team, accepted.read.team.entries)
        except ClusterError as error:
            log.warning("claim_not_taken_back", team=team.name, namespace=team.namespace, why=str(error))
        raise LedgerNotKept(
            "the cluster's AgentTeam CRD drops status.delivery or fields of it, so nothing was sent; apply"
            " the CRD that belongs to this version",
            recorded=False,
        )

    def _recorder(self, accepted: Accepted) -> Recorder:
        return Recorder(
            self._cluster,
            accepted.claimed,
            holder=self._holder,
            timeout=self._settings.record_timeout,
            metrics=self._metrics,
            tracing=self._tracing,
        )

    async def _send(self, accepted: Accepted, event: CompletionEvent, recorder: Recorder) -> None:
        """Send to every claimed target, and record beside it."""
        for receipt in accepted.plan.closed:
            self._count(receipt)
            tell(accepted.claimed.team, receipt)
        claims = accepted.plan.claims
        if not claims:
            return
        team = accepted.claimed.team
        fanout = self._fanout(
            accepted.claimed,
            event.event,
            accepted.phase,
            pace=Pace(sleep=lambda seconds: _undisturbed(recorder, seconds)),
            ends=accepted.read.asked + self._settings.claim_life.total_seconds() - CLOCK_STEP,
        )
        self._recorders.add(recorder)
        if self.draining:
            recorder.stopped.set()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(recorder.run(len(claims)))
                group.create_task(fanout.send(claims, recorder.settle))
        finally:
            self._recorders.discard(recorder)
            self._lost.update(receipt.id for receipt in recorder.unwritten.values() if receipt.id)
            self._sending[team.uid] -= _ids(accepted.plan)
            if not self._sending[team.uid]:
                del self._sending[team.uid]

    def _fanout(self, snapshot: Snapshot, event: str, phase: str, **own: Any) -> Fanout:
        """Return what sends for a team as it was read; one attempt at a time and no waits, unless told."""
        team = snapshot.team
        options = {
            "policy": self._policy,
            "pace": Pace(sleep=_never),
            "ends": steady() + self._settings.target_timeout,
            **own,
        }
        return Fanout(
            team=team,
            event=event,
            phase=phase,
            senders=self._senders,
            resolve=SecretResolver(self._cluster, team.namespace, label=self._settings.secret_label).resolve,
            metrics=self._metrics,
            tracing=self._tracing,
            now=lambda: snapshot.now,
            max_message=self._settings.max_message,
            **options,
        )

    async def _publish(self, team: AgentTeam, event: CompletionEvent) -> None:
        """Write the Event of a delivery that has ended; the record is kept without it."""
        said = announce(team, event.event, reported(team).targets)
        if said is None:
            return
        try:
            await self._cluster.publish(team, said)
        except ClusterError as error:
            log.warning("event_not_published", team=team.name, namespace=team.namespace, why=str(error))

    def _count(self, receipt: Receipt) -> None:
        kind = receipt.type if receipt.type in TYPES else UNKNOWN
        self._metrics.deliveries.labels(kind, receipt.reason).inc()


def _unavailable(error: ClusterError | None) -> ClusterUnavailable:
    wait = error.retry_after if isinstance(error, ApiUnavailable) else None
    usual = RETRY_LATER if isinstance(error, AccessDenied) else RETRY_SOON
    return ClusterUnavailable(f"nothing was sent: {error}", retry_after=wait or usual)


Named = TypeVar("Named", Receipt, PreviewedTarget)


def _in_order(team: AgentTeam, targets: Iterable[Named]) -> tuple[Named, ...]:
    """Return targets as the team lists them; those that it lists no more come last."""
    order = {name: number for number, name in enumerate(target_names(team.targets))}
    return tuple(sorted(targets, key=lambda target: order.get(target.name, len(order))))


def _left(receipt: Receipt) -> PreviewedTarget:
    """Say of a target that is on record why it would be left alone."""
    if receipt.theirs:
        message = "somebody else recorded it, so it is left to them"
    elif receipt.settled:
        message = f"it is settled ({receipt.phase}); redeliver sends again"
    else:
        message = "it is being sent to"
    about = {"name": receipt.name, "type": receipt.type, "target": receipt.target}
    return PreviewedTarget(**about, would="Leave", message=message)


async def _never(_: float) -> bool:
    return False


def _ids(plan: Plan) -> Counter[str]:
    return Counter(claim.receipt.id or "" for claim in plan.claims)


async def _undisturbed(recorder: Recorder, seconds: float) -> bool:
    """Sleep; return False at once when told to stop, and at the end where the team is gone."""
    faults.reach("waiting")
    try:
        async with asyncio.timeout(seconds):
            await recorder.stopped.wait()
    except TimeoutError:
        await recorder.verify()
    return not recorder.stopped.is_set()
