"""In any order of events: one holder at a time, settled stays settled, and everything settles.

The pure ledger on a model of the API server, with three holders that act as dispatcher and recorder. With
`LEDGER_EXAMPLES=20000`, it explores at random instead of repeating the same examples.
"""

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import Phase as Phases
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.delivery.dispatcher import CLOCK_STEP
from app.delivery.postponement import Postponement
from app.domain.errors import ClaimInFlight, UnknownTarget
from app.domain.events import CompletionEvent
from app.domain.ledger import Claim, Plan, Terms, decide, holds, settle
from app.domain.reasons import Reason
from app.domain.receipts import OPERATORS_FIELDS, Phase, Receipt
from app.domain.record import Entries, Listed, Record
from app.domain.targets import InvalidTarget, read_targets
from app.domain.teams import AgentTeam, needs_delivery, open_targets
from app.kube.cluster import Snapshot
from app.senders.envelopes import Verdict
from app.settings import ServiceSettings

pytestmark = pytest.mark.timeout(300)

EPOCH = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = ServiceSettings(
    # Not in whole seconds, although the end of a claim is recorded in whole seconds.
    target_timeout=4.5,
    attempt_timeout=1.5,
    record_timeout=4.0,
    api_timeout=0.7,
    max_takeovers=2,
    retry_for=40.0,
    retry_waits="1.5,8",
)
POSTPONEMENT = Postponement(LIMITS.retry_waits, LIMITS.retry_for, chance=0.5)
MOST_ATTEMPTS = 2
NAMES = ("a", "b", "c")
HOLDERS = 3
FATES = st.sampled_from(["answered", "answered", "answered", "lost", "late", "refused"])
"""Of a write: its answer arrives or is lost; it is applied later, without a reader, or never."""

PLAIN = CompletionEvent(namespace="research", team="report")


@dataclass(frozen=True)
class Luck:
    """The outcome of a holder's next step: of a write, and of an attempt, which may have to wait."""

    fate: str = "answered"
    status: int = 200
    retry_after: float | None = None


@dataclass(frozen=True)
class Write:
    """A merge patch of the list, and its writer: a holder's claims for an event, or its outcomes."""

    holder: str
    version: int
    entries: Entries
    event: CompletionEvent | None = None


@dataclass(eq=False)
class Api:
    """The API server: one resource, and the clock that dates and judges, in whole seconds."""

    spec: list[dict[str, Any]]
    crd: str = "chart"  # or `operator`: keeps only its own fields, of the spec and of the list
    on_complete: str = "deliver"
    delivery: Entries = field(default_factory=list)
    version: int = 1
    ms: int = 0  # since EPOCH
    late: list[Write] = field(default_factory=list)  # writes that arrive later
    _read: AgentTeam | None = None

    @property
    def date(self) -> datetime:
        return EPOCH + timedelta(seconds=self.ms // 1000)

    @property
    def team(self) -> AgentTeam:
        """The team as read; readers do not change it, so it is created once per version."""
        if self._read is None or self._read.resource_version != str(self.version):
            self._read = self._made()
        return self._read

    def _made(self) -> AgentTeam:
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

    @property
    def record(self) -> Record:
        return self.team.record

    def change(self, **changes: Any) -> None:
        """Change the resource, as any writer may."""
        for name, value in changes.items():
            kept = self._kept(name, value)
            if getattr(self, name) != kept:
                setattr(self, name, kept)
                self.version += 1

    def _kept(self, name: str, value: Any) -> Any:
        """Return what the CRD keeps of a value: the operator's has no fields of ours."""
        if self.crd == "operator" and name == "spec":
            return [without(one, "name", "on") for one in value]
        if self.crd == "operator" and name == "delivery":
            return stripped(value)
        return value


@dataclass(eq=False)
class Send:
    """A target that a holder sends to."""

    claim: Claim
    ends: float  # on the holder's clock
    wiped: bool  # another writer deleted its claim, so nobody can respect it
    attempts: int = 0
    until: int = 0  # ms; the end of the current attempt

    @property
    def name(self) -> str:
        return self.claim.target.name

    @property
    def claimed_until(self) -> datetime:
        """When the claim expires on record."""
        return (self.claim.receipt.claimed_until or EPOCH).replace(microsecond=0)


@dataclass(eq=False)
class Dispatch:
    """The sends of one event, and the outcomes that are not recorded yet."""

    team: AgentTeam
    sends: dict[str, Send]
    ids: frozenset[str]
    waiting: dict[str, tuple[Receipt, Send]] = field(default_factory=dict)
    stale: bool = False


@dataclass(eq=False)
class Holder:
    """A process of the service."""

    name: str
    skew: int  # ms by which its clock is wrong
    event: CompletionEvent | None = None  # the event for which it is claiming
    read: Snapshot | None = None
    dispatches: list[Dispatch] = field(default_factory=list)
    asleep: bool = False
    draining: bool = False


class LedgerMachine(RuleBasedStateMachine):
    """A team whose targets are claimed, sent to and recorded while everything else goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.api = Api([_webhook(name) for name in NAMES[:2]])
        self.numbers = itertools.count(1)
        self.holders = [Holder(self.fresh_name(), skew) for skew in (0, 3_600_250, -86_400_500)]
        self.ids: dict[str, tuple[str, int]] = {}
        self.begun: Counter[str] = (
            Counter()
        )  # messages that were started, by label; without retries and redeliveries
        self.names: set[tuple[str, str]] = set()  # valid targets, with their labels
        self.owed: Counter[str] = Counter()  # the maximum number of simultaneous targets with one label
        self.wiped = False
        # Messages per text, if the spec has names; not for labels whose record is ambiguous.
        self.messages: defaultdict[str, set[str | None]] = defaultdict(set)
        self.landed: set[str] = set()
        self.doubtful: set[str] = set()

    @initialize(
        crd=st.sampled_from(["chart", "operator"]),
        named=st.booleans(),
        quiet=st.sampled_from(["", "first", "last"]),
        letters=st.sampled_from(["ab", "aab", "aa"]),
    )
    def install(self, crd: str, named: bool, quiet: str, letters: str) -> None:
        """Choose the CRD, whether the spec has names, and which of two twins is notified of failures only."""
        self.api.crd = crd
        self.named = named and crd == "chart"
        self.quiet = quiet
        self.change_spec(self.spec(letters))

    # The holders' steps

    @rule(
        moves=st.lists(
            st.tuples(
                st.integers(0, 20),
                st.builds(
                    Luck,
                    FATES,
                    st.sampled_from([200, 200, 404, 503, 503]),
                    st.sampled_from([None, None, 5.0, 60.0]),
                ),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def work(self, moves: list[tuple[int, Luck]]) -> None:
        """Let some holders take their next step, or submit the team to one, as the watcher does."""
        for which, luck in moves:
            options = self.moves()
            if idle := self.idle():
                options.append(partial(self.read, _pick(idle, which), PLAIN))
            if options:
                _pick(options, which)(luck)

    @precondition(lambda self: self.idle())
    @rule(
        which=st.integers(0, 9),
        redeliver=st.sampled_from(["all", "failed", "none"]),
        places=st.none() | st.lists(st.integers(0, 4), min_size=1, max_size=2, unique=True),
        delay=st.sampled_from([0, 1, 500, 999, 1500]),
    )
    def ask(self, which: int, redeliver: Any, places: list[int] | None, delay: int) -> None:
        """Submit the team with a redelivery; the answer to the first read takes time."""
        names = [*Listed(self.api.spec).names, *NAMES]
        targets = None if places is None else tuple(names[place] for place in places if place < len(names))
        event = PLAIN.model_copy(update={"redeliver": redeliver, "targets": targets})
        self.read(_pick(self.idle(), which), event, delay=delay)

    @rule(which=st.integers(0, HOLDERS - 1), how=st.sampled_from(["crash", "drain", "sleep", "give up"]))
    def falter(self, which: int, how: str) -> None:
        """Kill, stop, suspend or resume a process, or let its API requests time out."""
        holder = self.holders[which]
        match how:
            case "crash":
                self.restart(holder)
            case "drain":
                self.drain(holder)
            case "sleep":
                holder.asleep = not holder.asleep
            case _:
                holder.event = holder.read = None
                for dispatch in holder.dispatches:
                    dispatch.waiting.clear()
                self.forget_done(holder)

    # The environment's steps

    @rule(ms=st.sampled_from([1, 250, 999, 1000, 2700, 12_000]))
    def wait(self, ms: int) -> None:
        self.api.ms += ms

    @precondition(lambda self: self.edges())
    @rule(which=st.integers(0, 9), past=st.sampled_from([-1001, -500, -1, 0, 1, 999]))
    def wait_for_the_end(self, which: int, past: int) -> None:
        """Wait until about the end of a claim, on record or on its holder's clock."""
        self.api.ms = max(self.api.ms, _pick(self.edges(), which) + past)

    @precondition(lambda self: self.api.late)
    @rule()
    def arrive_late(self) -> None:
        self.apply(self.api.late.pop(0))

    @rule(
        letters=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
        clash=st.booleans(),
        broken=st.sets(st.sampled_from(NAMES), max_size=1),
        word=st.sampled_from(["deliver", "deliver", "deliver", "deliver", "notify"]),
        typed=st.sampled_from([False, False, False, True]),
    )
    def edit(self, letters: list[str], clash: bool, broken: set[str], word: str, *, typed: bool) -> None:
        """Add, remove, move or break targets, some with one address or name; or stop requesting delivery.

        If a typed write removes the names from the spec, only positions distinguish twins.
        """
        spec = self.spec(letters, clash=clash, broken=broken)
        self.api.change(on_complete=word)
        if typed and self.named:
            self.doubtful.update(_webhook(letter)["url"] for letter in NAMES)
            spec = [without(one, "name") for one in spec]
        self.change_spec(spec)

    @precondition(lambda self: self.named or not self.quiet)
    @rule()
    def swap(self) -> None:
        """Swap the positions of all targets; twins without names swap their texts."""
        self.change_spec(self.api.spec[::-1])

    @rule()
    def operate(self) -> None:
        """The operator writes the whole status, with five fields per entry."""
        twins = self.twins()
        said = Counter((one.get("target", ""), one["name"]) for one in self.api.delivery if "name" in one)
        if said and set(said) != twins:
            self.doubtful.update(label for label, _ in set(said) ^ twins)
        self.api.change(delivery=stripped(self.api.delivery))

    @rule(
        name=st.sampled_from(["pager", NAMES[-1], None]), phase=st.sampled_from(["Pending", "Delivered", "?"])
    )
    def interfere(self, name: str | None, phase: str) -> None:
        """Another writer adds or changes an entry of its own, also under a target's name, or deletes ours."""
        if name is None:
            lines = self.api.record.lines
            self.api.change(delivery=[line.entry for line in lines if line.receipt.theirs])
            for _, _, send in self.sends():
                send.wiped = True
            self.wiped = True
            return
        theirs = {
            "name": name,
            "type": "webhook",
            "target": _webhook(name)["url"],
            "success": phase == "Delivered",
            "deliveredAt": "2026-03-01T11:00:00Z",
            "phase": phase,
            "error": "" if phase == "Delivered" else "Post failed",
            "claimedBy": "pager",
            "since": self.api.ms,
        }
        lines = self.api.record.lines
        label = theirs["target"]
        self.doubtful.add(label)
        mine = [line for line in lines if name == line.name or label == line.entry.get("target")]
        if all(line.receipt.theirs for line in mine):
            kept = [line.entry for line in lines if line not in mine]
            self.api.change(delivery=[*kept, theirs])

    # Invariants

    @invariant()
    def no_target_is_begun_twice(self) -> None:
        """Unless the record was wiped, each target gets one message, and twins get one each."""
        assert self.wiped or self.begun <= self.owed

    @invariant()
    def no_text_is_sent_twice(self) -> None:
        """No text is sent in place of its twin's, as far as that can be known."""
        if self.named and not self.wiped:
            for name, ids in self.messages.items():
                assert len(ids) <= 1 or _webhook(name[0])["url"] in self.doubtful, (name, ids)

    @invariant()
    def one_holder_at_a_time(self) -> None:
        """At any time, at most one holder is making or could start an attempt at a target."""
        able = [
            send.claim.receipt.id
            for holder, sending, send in self.sends()
            if sending and not send.wiped
            if send.ends - self.steady(holder) > 1e-6 or send.until > self.api.ms
        ]
        assert len(able) == len(set(able))

    @invariant()
    def one_live_claim(self) -> None:
        live = [
            send.claim.receipt.id
            for _, sending, send in self.sends()
            if sending and not send.wiped and send.claimed_until > self.api.date
        ]
        assert len(live) == len(set(live))

    @invariant()
    def open_targets_are_due(self) -> None:
        assert bool(open_targets(self.api.team, self.api.date)) == (self.due() is not None)

    def teardown(self) -> None:
        """With one healthy holder everything settles; holders that resume later change nothing."""
        while self.api.late:
            self.arrive_late()
        for holder in self.holders:
            holder.asleep = True
        healthy = Holder(self.fresh_name(), skew=0)
        self.holders.append(healthy)
        for _ in range(20):
            due = self.due()
            if due is None:
                break
            self.api.ms = max(self.api.ms, _ms(due))
            self.read(healthy, PLAIN)
            self.go_on(Luck())
        team = self.api.team
        assert team.record.all_settled
        if team.wants_delivery:
            assert set(team.record.by_key) >= set(team.notified)
        for label, name in self.twins() if self.named and not self.wiped else ():
            line = team.record.by_key.get(name)
            if line and line.receipt.success and label not in self.doubtful:
                assert name in self.landed, f"{name} is on record as delivered, and no receiver got it"
        for holder in self.holders:
            holder.asleep = False
            holder.event = holder.read = None
        self.go_on(Luck(status=404))
        assert self.api.team.entries == team.entries

    # Helpers

    def go_on(self, luck: Luck) -> None:
        """Let all holders finish."""
        while moves := self.moves():
            moves[0](luck)
            self.one_holder_at_a_time()

    def moves(self) -> list[Callable[[Luck], None]]:
        """The possible next steps of the running holders."""
        awake = [holder for holder in self.holders if not holder.asleep]
        moves: list[Callable[[Luck], None]] = [
            partial(self.claim, holder) for holder in awake if holder.event
        ]
        for holder in awake:
            for dispatch in holder.dispatches:
                for send in dispatch.sends.values():
                    move = self.answer if send.until else self.attempt
                    moves.append(partial(move, holder, dispatch, send))
                if dispatch.waiting:
                    moves.append(partial(self.record, holder, dispatch))
        return moves

    def read(self, holder: Holder, event: CompletionEvent, _: Luck | None = None, *, delay: int = 0) -> None:
        asked = self.steady(holder)
        self.api.ms += delay
        holder.event, holder.read = event, Snapshot(self.api.team, self.api.date, asked)

    def claim(self, holder: Holder, luck: Luck) -> None:
        event, read = holder.event, holder.read
        assert event
        assert read
        planned = self.plan(holder, event, read)
        holder.event = holder.read = None
        if planned is None or not planned.changes:
            return
        version = int(read.team.resource_version)
        if not self.write(Write(holder.name, version, planned.entries, event), luck.fate):
            self.read(holder, event)
            return
        team = self.api.team
        assert holds(team, [*(claim.receipt for claim in planned.claims), *planned.closed])
        for claim in planned.claims:
            if not claim.receipt.redeliveries:
                self.messages[claim.target.message or ""].add(claim.receipt.id)
        if planned.claims:
            ends = read.asked + LIMITS.claim_life.total_seconds() - CLOCK_STEP
            sends = {claim.target.name: self.begin(claim, ends) for claim in planned.claims}
            ids = frozenset(claim.receipt.id or "" for claim in planned.claims)
            holder.dispatches.append(Dispatch(team, sends, ids))

    def attempt(self, holder: Holder, dispatch: Dispatch, send: Send, _: Luck) -> None:
        left = send.ends - self.steady(holder)
        if left <= 0:
            self.outcome(dispatch, send, Phase.FAILED, Reason.INTERRUPTED)
            return
        send.attempts += 1
        send.until = self.api.ms + int(1000 * min(LIMITS.attempt_timeout, left))

    def answer(self, holder: Holder, dispatch: Dispatch, send: Send, luck: Luck) -> None:
        send.until = 0
        if luck.status != 503:
            delivered = luck.status == 200
            if delivered:
                self.landed.add(send.claim.target.message or "")
            reason = Reason.DELIVERED if delivered else Reason.HTTP_STATUS
            self.outcome(dispatch, send, Phase.DELIVERED if delivered else Phase.FAILED, reason)
        elif send.attempts >= MOST_ATTEMPTS:
            self.give_up_for_now(dispatch, send, luck)
        elif holder.draining:
            self.outcome(dispatch, send, Phase.PENDING, None)

    def give_up_for_now(self, dispatch: Dispatch, send: Send, luck: Luck) -> None:
        """Postpone a target whose attempts are used up; once its time is over, it has failed."""
        receipt = send.claim.receipt
        verdict = Verdict(
            Reason.HTTP_STATUS, "answered 503", 503, retryable=True, retry_after=luck.retry_after
        )
        retry_at = POSTPONEMENT.until(receipt, verdict, self.api.date)
        if retry_at is None:
            assert receipt.timestamp
            asked = timedelta(seconds=luck.retry_after or 0)
            assert self.api.date + asked >= receipt.timestamp + timedelta(seconds=POSTPONEMENT.during)
            self.outcome(dispatch, send, Phase.FAILED, Reason.HTTP_STATUS)
        else:
            self.outcome(dispatch, send, Phase.PENDING, Reason.HTTP_STATUS, retry_at=retry_at)

    def record(self, holder: Holder, dispatch: Dispatch, luck: Luck) -> None:
        if dispatch.stale:
            dispatch.team = self.api.team
        outcomes = [receipt for receipt, _ in dispatch.waiting.values()]
        entries, written, lost = settle(dispatch.team, outcomes, holder=holder.name)
        if written:
            version = int(dispatch.team.resource_version)
            dispatch.stale = not self.write(Write(holder.name, version, entries), luck.fate)
            if dispatch.stale:
                return
            dispatch.team = self.api.team
            assert holds(dispatch.team, written)
        for receipt in lost:
            send = dispatch.waiting[receipt.name][1]
            ended = send.claimed_until <= self.api.date
            redelivered = all(one.id != receipt.id for one in dispatch.team.record.receipts)
            assert not receipt.settled or send.wiped or ended or redelivered
        dispatch.waiting.clear()
        dispatch.ids -= {receipt.id for receipt in written}
        self.forget_done(holder)

    def drain(self, holder: Holder) -> None:
        holder.draining = True
        for dispatch in holder.dispatches:
            for send in [send for send in dispatch.sends.values() if not send.until]:
                self.outcome(dispatch, send, Phase.PENDING, None)
        self.forget_done(holder)

    def plan(self, holder: Holder, event: CompletionEvent, read: Snapshot) -> Plan | None:
        """Plan as the dispatcher does; None if the event is refused, or requires nothing."""
        team = read.team
        if not team.wants_delivery and team.record.all_settled:
            return None
        terms = Terms(
            holder=holder.name,
            now=read.date,
            life=LIMITS.claim_life,
            max_takeovers=LIMITS.max_takeovers,
            ours={one for dispatch in holder.dispatches for one in dispatch.ids},
        )
        try:
            return decide(team, event, terms, start=team.wants_delivery)
        except UnknownTarget:
            return None
        except ClaimInFlight:
            assert event.redeliver != "none"
            return None

    def write(self, write: Write, fate: str) -> bool:
        """Write, and return whether the writer learns that it succeeded."""
        if fate == "late":
            self.api.late.append(write)
        return fate in {"answered", "lost"} and self.apply(write) and fate == "answered"

    def apply(self, write: Write) -> bool:
        """Act as the API server: 409 for a stale version; a write without a change makes no new version."""
        if write.version != self.api.version:
            return False
        old, targets = self.api.record, Listed(self.api.spec).names
        order = {name: place for place, name in enumerate(targets)}
        kept = sorted(old.lines, key=lambda line: order.get(line.name, len(order)))
        names = []  # as the writer means them: of twins without names, the order decides
        behind = []
        for entry in write.entries:
            same = next((line for line in kept if line.entry == entry), None)
            if same:
                kept.remove(same)
                names.append(same.name)
                if same.name not in order and same.receipt.theirs:
                    behind.append(entry)
                continue
            assert_valid(entry)
            new = Receipt.from_wire(entry)
            before = old.by_key.get(new.name or new.id or "")
            names.append(new.name)
            self.check(before.receipt if before else None, new, write)
        there = [name for name in targets if name in names]
        if write.entries != [line.entry for line in old.lines]:  # existing entries stay as they are
            assert names[: len(there)] == there, "not in the order of the spec"
        assert behind == [one.entry for one in old.lines if one.name not in order and one.receipt.theirs]
        self.api.change(delivery=deepcopy(write.entries))
        return True

    def check(self, old: Receipt | None, new: Receipt, write: Write) -> None:
        """Check that this writer may change the entry in this way."""
        assert old is None or not old.theirs, "another writer's entry was changed"
        again = new.redeliveries
        name = new.target  # an operator's write removes names; the label stays, if the target is valid
        assert new.takeovers <= LIMITS.max_takeovers + new.settled
        if old and old.settled and write.event is not None:
            assert self.wiped or new.id not in self.ids, "an id was used for two messages"
        self.known = {*self.ids}
        if new.id and name:
            assert self.ids.setdefault(new.id, (name, again)) == (name, again)
        if write.event is None:  # an outcome
            assert old is not None
            assert (old.claimed_by, old.id) == (write.holder, new.id)
            assert new.settled or new.timestamp == old.timestamp, "when it was accepted is lost"
            assert new.retries == old.retries + new.postponed
        elif old is None:
            assert again == 0
            assert self.wiped or new.settled or new.id not in self.known, "an id was used for two messages"
            self.begun[name] += bool(name) and not new.settled
        elif old.settled:
            asked = write.event.redeliver
            assert asked == "all" or (asked, old.phase) == ("failed", Phase.FAILED)
            assert write.event.targets is None or new.name in write.event.targets
            assert again == old.redeliveries + 1
            assert new.delivered_at
            assert old.delivered_at
            assert new.delivered_at > old.delivered_at
        else:
            sooner = old.postponed and write.event.redeliver != "none"
            assert old.due is None or old.due <= self.api.date or old.claimed_by == write.holder or sooner
            assert new.id == old.id
            assert new.settled or sooner or (new.timestamp, new.retries) == (old.timestamp, old.retries)

    def spec(
        self, letters: Iterable[str], *, clash: bool = False, broken: Container[str] = ()
    ) -> list[dict[str, Any]]:
        """Return targets by the letters of their addresses; twins have different names, or the same."""
        seen: Counter[str] = Counter()
        spec = []
        for letter in letters:
            name = letter + ("" if clash else "'" * seen[letter])
            seen[letter] += 1
            spec.append(_webhook(letter, name, broken=letter in broken, quiet=bool(self.quiet)))
        return spec[::-1] if self.quiet == "first" else spec

    def change_spec(self, spec: list[dict[str, Any]]) -> None:
        """Write the spec, and count the valid targets per label; another name makes another target."""
        before = self.twins()
        if not self.named:
            spec = [without(one, "name") for one in spec]
        self.api.change(spec=spec)
        after = self.twins()
        nameless = {one.get("target", "") for one in self.api.delivery if "name" not in one}
        self.doubtful.update(label for label, _ in before ^ after if label in nameless)
        given = {one.get("name") for one in spec}
        self.names |= {(label, name) for label, name in after if name in given}
        self.owed |= Counter(label for label, _ in self.names) | Counter(label for label, _ in after)

    def twins(self) -> set[tuple[str, str]]:
        """Return the labels and names of the valid targets."""
        team = self.api.team
        told = team.notified
        targets = [one for one in read_targets(team.targets) if not isinstance(one, InvalidTarget)]
        return {(one.address, one.name) for one in targets if one.name in told}

    def begin(self, claim: Claim, ends: float) -> Send:
        """Start to send; a send whose record was wiped does not know later ones."""
        label = claim.receipt.target
        others = [send for _, _, send in self.sends() if send.claim.receipt.target == label]
        return Send(claim, ends, wiped=any(send.wiped for send in others))

    def outcome(
        self,
        dispatch: Dispatch,
        send: Send,
        phase: Phase,
        reason: Reason | None,
        *,
        retry_at: datetime | None = None,
    ) -> None:
        receipt = send.claim.receipt
        update = {
            "phase": phase,
            "reason": reason,
            "attempts": receipt.attempts + send.attempts,
            "claimed_by": None,
            "claimed_until": None,
            "retry_at": retry_at,
            "retries": receipt.retries + (retry_at is not None),
            "timestamp": receipt.timestamp if phase is Phase.PENDING else self.api.date,
            "delivered_at": max(self.api.date, receipt.delivered_at or EPOCH),
        }
        if retry_at:
            update["takeovers"] = 0
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

    def idle(self) -> list[Holder]:
        return [one for one in self.holders if not (one.asleep or one.draining or one.event)]

    def sends(self) -> Iterator[tuple[Holder, bool, Send]]:
        """Yield what is being sent (True) and what waits for its record (False), each with its holder."""
        for holder in self.holders:
            for dispatch in holder.dispatches:
                yield from ((holder, True, send) for send in dispatch.sends.values())
                yield from ((holder, False, send) for _, send in dispatch.waiting.values())

    def edges(self) -> list[int]:
        """When claims expire, on record and for their holders; those in the future, in ms."""
        edges = [_ms(one.due) for one in self.api.record.receipts if not one.settled and one.due]
        edges += [int(send.ends * 1000) - holder.skew for holder, sending, send in self.sends() if sending]
        return [edge for edge in edges if edge > self.api.ms]


def stripped(entries: Entries) -> Entries:
    """Return a list as the operator's types and CRD keep it."""
    return [{key: said for key, said in one.items() if key in OPERATORS_FIELDS} for one in entries]


def without(one: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    """Return a target of the spec without these fields, as older types keep it."""
    return {key: said for key, said in one.items() if key not in fields}


def assert_valid(entry: Mapping[str, Any]) -> None:
    """Check that an entry is valid for the operator's CRD."""
    assert isinstance(entry["type"], str)
    assert isinstance(entry["success"], bool)
    assert datetime.fromisoformat(entry["deliveredAt"]).tzinfo
    assert isinstance(entry.get("target", ""), str)
    assert isinstance(entry.get("error", ""), str)


def _ms(moment: datetime) -> int:
    return int((moment - EPOCH).total_seconds() * 1000)


def _webhook(letter: str, name: str = "", *, broken: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Return a target with its own text; twins share an address, and the second gets failures only."""
    name = name or letter
    target: dict[str, Any] = {
        "type": "webhook",
        "name": name,
        "url": f"https://hooks.example.com/{letter}",
        "message": name,
    }
    if quiet and name != letter:
        target["on"] = ["Failed"]
    return without(target, "url") if broken else target


def _pick(options: list[Any], which: int) -> Any:
    return options[which % len(options)]


ROAM = os.environ.get("LEDGER_EXAMPLES")
LedgerMachine.TestCase.settings = settings(
    max_examples=int(ROAM or 100),
    stateful_step_count=60,
    derandomize=not ROAM,
    database=None,
    report_multiple_bugs=False,
    phases=(Phases.generate, Phases.shrink),
    deadline=None,
)
TestLedger = LedgerMachine.TestCase
