"""Whatever happens in whatever order: one holder at a time, settled is settled, and everything settles.

The pure ledger over a model of the API server, and three holders that act as dispatcher and recorder do.
`LEDGER_EXAMPLES=20000` lets it roam instead of taking the same way each time.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import Phase as Phases
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.cluster import Snapshot
from app.dispatcher import CLOCK_STEP
from app.errors import ClaimInFlight, UnknownTarget
from app.events import CompletionEvent
from app.ledger import Claim, Entries, Plan, Terms, holds, plan, settle
from app.reasons import Reason
from app.receipts import Phase, Receipt
from app.settings import ServiceSettings
from app.targets import target_names
from app.teams import AgentTeam, claim_ends, needs_delivery, open_targets, settled

EPOCH = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = ServiceSettings(
    # No whole seconds: a claim's end is written down to the second all the same.
    target_timeout=4.5,
    attempt_timeout=1.5,
    record_timeout=4.0,
    api_timeout=0.7,
    max_takeovers=2,
)
NAMES = ("a", "b", "c")
HOLDERS = 3
FATES = st.sampled_from(["answered", "answered", "answered", "lost", "late", "refused"])
"""Of a write: its answer arrives; is lost; it is done later, when nobody waits; it is not done."""

PLAIN = CompletionEvent(namespace="research", team="report")


@dataclass(frozen=True)
class Write:
    """A merge patch of the list, and who writes it: a holder its claims for an event, or its outcomes."""

    holder: str
    version: int
    entries: Entries
    event: CompletionEvent | None = None


@dataclass(eq=False)
class Api:
    """The API server: one resource, and the clock that stamps and judges, which shows whole seconds."""

    spec: list[dict[str, Any]]
    on_complete: str = "deliver"
    delivery: Entries = field(default_factory=list)
    version: int = 1
    ms: int = 0  # since EPOCH
    late: list[Write] = field(default_factory=list)  # writes that are still on their way

    @property
    def date(self) -> datetime:
        return EPOCH + timedelta(seconds=self.ms // 1000)

    @property
    def team(self) -> AgentTeam:
        return AgentTeam.from_resource(
            deepcopy(
                {
                    "metadata": {
                        **vars(PLAIN),
                        "name": "report",
                        "uid": "uid",
                        "resourceVersion": str(self.version),
                    },
                    "spec": {"lifecycle": {"onComplete": self.on_complete, "delivery": self.spec}},
                    "status": {
                        "phase": "Completed",
                        "completedAt": EPOCH.isoformat(),
                        "delivery": self.delivery,
                    },
                }
            )
        )

    def change(self, **changes: Any) -> None:
        """Change the resource, as anybody may."""
        for name, value in changes.items():
            if getattr(self, name) != value:
                setattr(self, name, value)
                self.version += 1


@dataclass(eq=False)
class Send:
    """A target that a holder sends to."""

    claim: Claim
    ends: float  # on the holder's clock
    wiped: bool  # its claim is gone from the record by another's hand, so that nobody can respect it
    attempts: int = 0
    until: int = 0  # ms; an attempt is under way as long

    @property
    def name(self) -> str:
        return self.claim.target.name

    @property
    def claimed_until(self) -> datetime:
        """When the claim ends on record."""
        return claim_ends(self.claim.receipt.to_wire()) or EPOCH


@dataclass(eq=False)
class Dispatch:
    """One event's sends, and the outcomes that are still to be recorded."""

    team: AgentTeam
    sends: dict[str, Send]
    names: frozenset[str]
    waiting: dict[str, tuple[Receipt, Send]] = field(default_factory=dict)
    stale: bool = False


@dataclass(eq=False)
class Holder:
    """A process of the service."""

    name: str
    skew: int  # ms by which its clock is off
    event: CompletionEvent | None = None  # that it is claiming for, as of
    read: Snapshot | None = None
    dispatches: list[Dispatch] = field(default_factory=list)
    asleep: bool = False
    draining: bool = False


class LedgerMachine(RuleBasedStateMachine):
    """A team whose targets are claimed, sent to and recorded while all else goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.api = Api([_webhook(name) for name in NAMES[:2]])
        self.numbers = itertools.count(1)
        self.holders = [Holder(self.fresh_name(), skew) for skew in (0, 3_600_250, -86_400_500)]
        self.ids: dict[str, tuple[str, int]] = {}
        self.recorded: set[str] = set()  # ids that have been on record as settled

    # What the holders do

    @precondition(lambda self: self.idle())
    @rule(
        which=st.integers(0, 9),
        redeliver=st.sampled_from(["none", "none", "none", "failed", "all"]),
        names=st.none() | st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True),
        delay=st.integers(0, 1500),
    )
    def hand_in(self, which: int, redeliver: Any, names: list[str] | None, delay: int) -> None:
        holder = _pick(self.idle(), which)
        targets = None if names is None else tuple(names)
        holder.event = PLAIN.model_copy(update={"redeliver": redeliver, "targets": targets})
        self.read(holder, delay)

    @precondition(lambda self: self.claiming())
    @rule(which=st.integers(0, 9), fate=FATES)
    def claim(self, which: int, fate: str) -> None:
        holder = _pick(self.claiming(), which)
        assert holder.event
        assert holder.read
        planned = None if holder.draining else self.plan(holder, holder.event, holder.read)
        if planned is None or not planned.changes:
            holder.event = holder.read = None
            return
        version = int(holder.read.team.resource_version)
        if not self.write(Write(holder.name, version, planned.entries, holder.event), fate):
            self.read(holder)
            return
        team = self.api.team
        assert holds(team, [*(claim.receipt for claim in planned.claims), *planned.closed])
        if planned.claims:
            ends = holder.read.asked + LIMITS.claim_life.total_seconds() - CLOCK_STEP
            sends = {claim.target.name: self.begin(claim, ends) for claim in planned.claims}
            holder.dispatches.append(Dispatch(team, sends, frozenset(sends)))
        holder.event = holder.read = None

    @precondition(lambda self: self.claiming())
    @rule(which=st.integers(0, 9))
    def refuse(self, which: int) -> None:
        """The API server is away for too long; claims of ours may be on record."""
        holder = _pick(self.claiming(), which)
        holder.event = holder.read = None

    @precondition(lambda self: self.resting())
    @rule(which=st.integers(0, 9))
    def attempt(self, which: int) -> None:
        holder, dispatch, send = _pick(self.resting(), which)
        left = send.ends - self.steady(holder)
        if left <= 0:
            self.outcome(dispatch, send, Phase.FAILED, Reason.INTERRUPTED)
            return
        send.attempts += 1
        send.until = self.api.ms + int(1000 * min(LIMITS.attempt_timeout, left))

    @precondition(lambda self: self.trying())
    @rule(which=st.integers(0, 9), status=st.sampled_from([200, 200, 404, 503]))
    def answer(self, which: int, status: int) -> None:
        holder, dispatch, send = _pick(self.trying(), which)
        send.until = 0
        if status == 503:
            if holder.draining:
                self.outcome(dispatch, send, Phase.PENDING, None)
            return
        phase = Phase.DELIVERED if status == 200 else Phase.FAILED
        self.outcome(dispatch, send, phase, Reason.DELIVERED if status == 200 else Reason.HTTP_STATUS)

    @precondition(lambda self: self.unrecorded())
    @rule(which=st.integers(0, 9), fate=FATES)
    def record(self, which: int, fate: str) -> None:
        holder, dispatch = _pick(self.unrecorded(), which)
        if dispatch.stale:
            dispatch.team = self.api.team
        outcomes = [receipt for receipt, _ in dispatch.waiting.values()]
        entries, written, lost = settle(dispatch.team.entries, outcomes, holder=holder.name)
        if written:
            version = int(dispatch.team.resource_version)
            dispatch.stale = not self.write(Write(holder.name, version, entries), fate)
            if dispatch.stale:
                return
            dispatch.team = self.api.team
            assert holds(dispatch.team, written)
        for receipt in lost:
            send = dispatch.waiting[receipt.name][1]
            ended = send.claimed_until <= self.api.date
            assert not receipt.settled or send.wiped or ended or receipt.id in self.recorded
        dispatch.waiting.clear()
        self.forget_done(holder)

    @precondition(lambda self: self.unrecorded())
    @rule(which=st.integers(0, 9))
    def give_up(self, which: int) -> None:
        """The API server is away for longer than an outcome is kept."""
        holder, dispatch = _pick(self.unrecorded(), which)
        dispatch.waiting.clear()
        self.forget_done(holder)

    @rule(which=st.integers(0, HOLDERS - 1))
    def crash(self, which: int) -> None:
        self.restart(self.holders[which])

    @rule(which=st.integers(0, HOLDERS - 1))
    def drain(self, which: int) -> None:
        holder = self.holders[which]
        holder.draining = True
        for dispatch in holder.dispatches:
            for send in [send for send in dispatch.sends.values() if not send.until]:
                self.outcome(dispatch, send, Phase.PENDING, None)
        self.forget_done(holder)

    @rule(which=st.integers(0, HOLDERS - 1))
    def sleep_or_wake(self, which: int) -> None:
        self.holders[which].asleep = not self.holders[which].asleep

    # What befalls them

    @precondition(lambda self: self.api.late)
    @rule(which=st.integers(0, 9))
    def arrive_late(self, which: int) -> None:
        write = _pick(self.api.late, which)
        self.api.late.remove(write)
        self.apply(write)

    @rule(ms=st.sampled_from([1, 250, 999, 1000, 2700, 12_000]))
    def wait(self, ms: int) -> None:
        self.api.ms += ms

    @precondition(lambda self: self.edges())
    @rule(which=st.integers(0, 9), past=st.sampled_from([-1001, -500, -1, 0, 1, 999]))
    def wait_for_the_end(self, which: int, past: int) -> None:
        """Wait until about when a claim ends, on the record or in the eyes of its holder."""
        self.api.ms = max(self.api.ms, _pick(self.edges(), which) + past)

    @rule(
        names=st.lists(st.sampled_from(NAMES), max_size=4),
        broken=st.sets(st.sampled_from(NAMES), max_size=1),
    )
    def edit(self, names: list[str], broken: set[str]) -> None:
        """Add, remove, rename, break; two of one name too."""
        self.api.change(spec=[_webhook(name, broken=name in broken) for name in names])

    @rule(word=st.sampled_from(["deliver", "deliver", "notify"]))
    def ask(self, word: str) -> None:
        self.api.change(on_complete=word)

    @rule()
    def wipe(self) -> None:
        """Another writer drops what is not its own."""
        self.api.change(delivery=[entry for entry in self.api.delivery if not entry.get("id")])
        for _, dispatch in self.dispatches():
            for send in [*dispatch.sends.values(), *(send for _, send in dispatch.waiting.values())]:
                send.wiped = True

    @rule(name=st.sampled_from(["pager", *NAMES]), phase=st.sampled_from(["Pending", "Delivered", "Paged"]))
    def interfere(self, name: str, phase: str) -> None:
        """Another writer adds an entry of its own, under a target's name too, or changes it."""
        theirs = {"name": name, "phase": phase, "claimedBy": "pager", "since": self.api.ms}
        there = {entry["name"]: entry for entry in self.api.delivery}
        if not there.get(name, {}).get("id"):
            self.api.change(delivery=list({**there, name: theirs}.values()))

    # What always holds

    @invariant()
    def one_holder_at_a_time(self) -> None:
        """Of those who could start an attempt at a target now, or make one, there is one at most."""
        able = [
            send.name
            for holder, dispatch in self.dispatches()
            for send in dispatch.sends.values()
            if not send.wiped and (send.ends - self.steady(holder) > 1e-6 or send.until > self.api.ms)
        ]
        assert len(able) == len(set(able))

    @invariant()
    def one_live_claim(self) -> None:
        live = [
            send.name
            for _, dispatch in self.dispatches()
            for send in dispatch.sends.values()
            if not send.wiped and send.claimed_until > self.api.date
        ]
        assert len(live) == len(set(live))

    @invariant()
    def what_is_open_is_handed_in(self) -> None:
        assert bool(open_targets(self.api.team, self.api.date)) == (self.due() is not None)

    def teardown(self) -> None:
        """With one holder in health everything settles; those who wake later change nothing."""
        healthy = Holder(self.fresh_name(), 0)
        for holder in self.holders:
            holder.asleep = True
        self.holders.append(healthy)
        for _ in range(20):
            due = self.due()
            if due is None:
                break
            self.api.ms = max(self.api.ms, int((due - EPOCH).total_seconds() * 1000))
            healthy.event = PLAIN
            self.read(healthy)
            self.claim(0, "answered")
            while self.resting():
                self.attempt(0)
                self.one_holder_at_a_time()
                self.answer(0, 200)
            while self.unrecorded():
                self.record(0, "answered")
        team = self.api.team
        assert all(settled(entry) for entry in team.entries)
        if team.wants_delivery:
            assert {entry["name"] for entry in team.entries} >= set(target_names(team.targets))
        self.wake_all()
        assert self.api.team.entries == team.entries

    def wake_all(self) -> None:
        """Let everybody do what is left to do."""
        for holder in self.holders:
            holder.asleep = False
            holder.event = holder.read = None
        while self.api.late:
            self.arrive_late(0)
        while self.trying():
            self.answer(0, 404)
        while self.resting():
            self.attempt(0)
            for _, _, send in self.trying():
                assert send.wiped
                self.answer(0, 404)
        while self.unrecorded():
            self.record(0, "answered")

    # The workings

    def plan(self, holder: Holder, event: CompletionEvent, read: Snapshot) -> Plan | None:
        """Plan as the dispatcher does; None where the event is refused, or asks for nothing."""
        team = read.team
        if not team.wants_delivery and all(settled(entry) for entry in team.entries):
            return None
        terms = Terms(
            holder=holder.name,
            now=read.date,
            life=LIMITS.claim_life,
            max_takeovers=LIMITS.max_takeovers,
            ours={name for dispatch in holder.dispatches for name in dispatch.names},
        )
        try:
            return plan(team, event, terms, start=team.wants_delivery)
        except UnknownTarget:
            return None
        except ClaimInFlight:
            assert event.redeliver != "none"
            return None

    def read(self, holder: Holder, delay: int = 0) -> None:
        asked = self.steady(holder)
        self.api.ms += delay
        holder.read = Snapshot(self.api.team, self.api.date, asked)

    def write(self, write: Write, fate: str) -> bool:
        """Write, and tell whether the writer learns that it went through."""
        if fate == "late":
            self.api.late.append(write)
        return fate in {"answered", "lost"} and self.apply(write) and fate == "answered"

    def apply(self, write: Write) -> bool:
        """Do as the API server does: 409 for a stale version; what changes nothing makes no new one."""
        if write.version != self.api.version:
            return False
        old = {entry["name"]: entry for entry in self.api.delivery}
        new = {entry["name"]: entry for entry in write.entries}
        assert len(new) == len(write.entries)
        assert list(new)[: len(old)] == list(old)
        for name, entry in new.items():
            if entry != old.get(name):
                self.check(old.get(name), entry, write)
        self.api.change(delivery=deepcopy(write.entries))
        return True

    def check(self, old: Mapping[str, Any] | None, new: Mapping[str, Any], write: Write) -> None:
        """See that this entry may become that one by this hand."""
        assert old is None or old.get("id"), "another writer's entry was changed"
        again = new.get("redeliveries", 0)
        assert self.ids.setdefault(new["id"], (new["name"], again)) == (new["name"], again)
        assert new.get("takeovers", 0) <= LIMITS.max_takeovers + settled(new)
        if settled(new):
            self.recorded.add(new["id"])
        if write.event is None:  # an outcome
            assert old is not None
            assert (old["claimedBy"], old["id"]) == (write.holder, new["id"])
        elif old is None:
            assert again == 0
        elif settled(old):
            assert write.event.redeliver == "all" or (write.event.redeliver, old["phase"]) == (
                "failed",
                "Failed",
            )
            assert write.event.targets is None or new["name"] in write.event.targets
            assert again == old.get("redeliveries", 0) + 1
            assert new["id"] != old["id"]
        else:
            ends = claim_ends(old)
            assert ends is None or ends <= self.api.date or old["claimedBy"] == write.holder
            assert new["id"] == old["id"]

    def begin(self, claim: Claim, ends: float) -> Send:
        """Begin to send; unlike others, sends whose record was wiped know nothing of those that follow."""
        others = [
            send
            for _, dispatch in self.dispatches()
            for send in [*dispatch.sends.values(), *(send for _, send in dispatch.waiting.values())]
            if send.name == claim.target.name
        ]
        return Send(claim, ends, wiped=any(other.wiped for other in others))

    def outcome(self, dispatch: Dispatch, send: Send, phase: Phase, reason: Reason | None) -> None:
        receipt = send.claim.receipt
        update = {
            "phase": phase,
            "reason": reason,
            "attempts": receipt.attempts + send.attempts,
            "claimed_by": None,
            "claimed_until": None,
            "timestamp": receipt.timestamp if phase is Phase.PENDING else self.api.date,
        }
        dispatch.waiting[send.name] = (receipt.model_copy(update=update), dispatch.sends.pop(send.name))

    def restart(self, holder: Holder) -> None:
        """Forget everything."""
        self.holders[self.holders.index(holder)] = Holder(self.fresh_name(), holder.skew)

    def forget_done(self, holder: Holder) -> None:
        holder.dispatches = [one for one in holder.dispatches if one.sends or one.waiting]
        if holder.draining and not holder.dispatches and holder.event is None:
            self.restart(holder)

    def fresh_name(self) -> str:
        return f"holder-{next(self.numbers)}"

    def steady(self, holder: Holder) -> float:
        return (self.api.ms + holder.skew) / 1000

    def due(self) -> datetime | None:
        return needs_delivery(
            self.api.team,
            phases=LIMITS.phases,
            max_age=timedelta(days=365),
            finished_since=EPOCH,
            now=self.api.date,
        )

    def awake(self) -> list[Holder]:
        return [holder for holder in self.holders if not holder.asleep]

    def idle(self) -> list[Holder]:
        return [holder for holder in self.awake() if holder.event is None and not holder.draining]

    def claiming(self) -> list[Holder]:
        return [holder for holder in self.awake() if holder.event is not None]

    def dispatches(self) -> Iterator[tuple[Holder, Dispatch]]:
        return ((holder, dispatch) for holder in self.holders for dispatch in holder.dispatches)

    def sends(self, wanted: Callable[[Send], object]) -> list[tuple[Holder, Dispatch, Send]]:
        return [
            (holder, dispatch, send)
            for holder, dispatch in self.dispatches()
            for send in dispatch.sends.values()
            if not holder.asleep and wanted(send)
        ]

    def resting(self) -> list[tuple[Holder, Dispatch, Send]]:
        return self.sends(lambda send: not send.until)

    def trying(self) -> list[tuple[Holder, Dispatch, Send]]:
        return self.sends(lambda send: send.until)

    def unrecorded(self) -> list[tuple[Holder, Dispatch]]:
        return [(holder, one) for holder, one in self.dispatches() if one.waiting and not holder.asleep]

    def edges(self) -> list[int]:
        """When claims end: on record, and for their holders; those that are to come, in ms."""
        on_record = [
            ends for entry in self.api.delivery if not settled(entry) and (ends := claim_ends(entry))
        ]
        edges = [int((ends - EPOCH).total_seconds() * 1000) for ends in on_record]
        edges += [
            int(send.ends * 1000) - holder.skew
            for holder, dispatch in self.dispatches()
            for send in dispatch.sends.values()
        ]
        return [edge for edge in edges if edge > self.api.ms]


def _webhook(name: str, *, broken: bool = False) -> dict[str, Any]:
    target = {"type": "webhook", "name": name, "url": f"https://hooks.example.com/{name}"}
    return {key: value for key, value in target.items() if not (broken and key == "url")}


def _pick(options: list[Any], which: int) -> Any:
    return options[which % len(options)]


ROAM = os.environ.get("LEDGER_EXAMPLES")
LedgerMachine.TestCase.settings = settings(
    max_examples=int(ROAM or 300),
    stateful_step_count=60,
    derandomize=not ROAM,
    database=None,
    report_multiple_bugs=False,
    phases=(Phases.generate, Phases.shrink),
    deadline=None,
)
TestLedger = LedgerMachine.TestCase
