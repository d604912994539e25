"""The ledger: how `status.delivery[]` changes when targets are claimed and when they settle. Pure.

        (new) ──claim──▶ Pending, claimed ──settle──▶ Delivered | Failed
                          ▲    │      ▲                      │
       take over (expired)└────┤      └──────redeliver───────┘
                               ├─release───▶ Pending, free ──claim──▶ …
                               └─postpone──▶ Pending until its next retry ──claim, then──▶ …

Every function takes the list as it was read and returns the list to write under the resourceVersion of that
read: one entry per target in the order of the spec, then the entries without a target. Entries of other
programs stay exactly as they are.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from app.domain.errors import ClaimInFlight, UnknownTarget
from app.domain.events import TEST, CompletionEvent
from app.domain.reasons import Reason
from app.domain.receipts import FIRST, OPERATORS_FIELDS, Phase, Receipt, lasting, message_id
from app.domain.record import Entries, Line, Record
from app.domain.targets import RECIPIENTS_LIMIT, InvalidTarget, Target
from app.domain.teams import AgentTeam, open_targets
from app.domain.text import SHOWN_LIMIT, as_json, shortened
from app.domain.times import format_time

OBJECT_LIMIT = 1_500_000  # bytes: etcd accepts 1.5 MiB, https://etcd.io/docs/v3.6/dev-guide/limit/
ENTRY_LIMIT = 8192  # bytes; no entry of ours is larger
BLANK = Receipt()
SECOND = timedelta(seconds=1)  # the resolution of the API server's clock and of recorded times


class Claim(NamedTuple):
    """A target that this process may send to, and its entry until it settles."""

    target: Target
    receipt: Receipt


class Plan(NamedTuple):
    """What an event requires: the list to write, targets to send to, and those that settle without a send."""

    entries: Entries
    claims: tuple[Claim, ...] = ()
    closed: tuple[Receipt, ...] = ()
    takeovers: int = 0

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.claims or self.closed)


@dataclass(frozen=True, slots=True)
class Terms:
    """Who claims, from when until when, and how often a claim may change hands.

    `ours` are the ids under which this process is sending now; it does not claim them again until it is done.
    A claim with this process's name and another id comes from a write whose answer was lost, and may be used.
    An exception are ids in `lost`: a message was sent under them, so their claims must expire. With `adopt`,
    the service also sends to targets that another program failed to deliver.
    """

    holder: str
    now: datetime
    life: timedelta
    max_takeovers: int
    ours: Collection[str] = ()
    lost: Collection[str] = ()  # ids that this process sent under, but whose outcome it could not record
    adopt: bool = False


def decide(team: AgentTeam, event: CompletionEvent, terms: Terms, *, start: bool) -> Plan:
    """Decide which targets to claim; new targets start only with `start`.

    Raises:
        UnknownTarget: the event names a target that the team does not have.
        ClaimInFlight: a redelivery includes a target that is being sent to.
    """
    record = team.record
    recorded = record.by_key
    targets = {target.name: target for target in (record.targets if team.wants_delivery else ())}
    wanted = _wanted(event, targets, recorded)
    told = {*team.notified}
    due = _due(team, recorded, terms)
    opened: dict[str, Claim | Receipt] = {}
    takeovers = 0
    for key in [*targets, *(key for key in recorded if key in due and key not in targets)]:
        new = record.is_new(key, adopt=terms.adopt)
        receipt = None if new else recorded[key].receipt
        if key not in wanted or (new and not (start and key in told)):
            continue
        if key in due and due[key] > terms.now:
            if event.redeliver == "none":
                continue
            if receipt and (receipt.claimed_by or receipt.id in terms.ours):
                until = format_time(due[key])
                raise ClaimInFlight(f'"{key}" is in progress, until {until} at the latest; retry then')
        elif key not in due and not (start and _asked_again(receipt, event)):
            continue
        takeovers += _abandoned(receipt, terms)
        opened[key] = _opened(team, event, terms, name=key, target=targets.get(key), receipt=receipt)
    changes = {key: item.receipt if isinstance(item, Claim) else item for key, item in opened.items()}
    entries = record.written(changes)
    if changes and start and not record.reads_back(changes, entries):
        # Of two targets that look alike, one is excluded here. Record it too, so that their positions
        # distinguish them.
        left_out = {name: targets[name] for name in targets if name in told - {*recorded, *changes}}
        entries = record.written(
            {**{name: _first(team, event, terms, target) for name, target in left_out.items()}, **changes}
        )
    return Plan(
        entries,
        tuple(item for item in opened.values() if isinstance(item, Claim)),
        tuple(item for item in opened.values() if isinstance(item, Receipt)),
        takeovers,
    )


def _due(team: AgentTeam, recorded: Mapping[str, Line], terms: Terms) -> dict[str, datetime]:
    """Return the open targets, each with the time from which this process may claim it."""
    due = open_targets(team, terms.now, adopt=terms.adopt)
    for key in due:
        receipt = recorded[key].receipt if key in recorded else None
        if receipt is None or receipt.id is None:
            continue
        if receipt.id in terms.ours:
            if due[key] <= terms.now:
                # Leave it to the send that outlived its claim: it is about to record its outcome.
                due[key] = terms.now + terms.life
        elif receipt.claimed_by == terms.holder and receipt.id not in terms.lost:
            due[key] = terms.now
    return due


def trial(team: AgentTeam, event: CompletionEvent, nonce: str) -> Plan:
    """Plan a test: every named target, whatever its record, and nothing to write.

    Each notification has its own id, so that no receiver discards it as a duplicate.

    Raises:
        UnknownTarget: the event names a target that the team does not have.
    """
    targets = {target.name: target for target in team.record.targets}
    wanted = _wanted(event, targets, ())
    claims, closed = [], []
    for name, target in targets.items():
        if name not in wanted:
            continue
        identity = message_id(team.uid, f"{TEST}\n{nonce}", name)
        receipt = Receipt(name=name, type=target.type, target=target.address, id=identity)
        if isinstance(target, InvalidTarget):
            closed.append(_closed(receipt, Reason.INVALID_TARGET, target.problem))
        else:
            claims.append(Claim(target, receipt))
    return Plan([], tuple(claims), tuple(closed))


def outgrows(size: int, team: AgentTeam, planned: Plan) -> bool:
    """Whether a team of `size` bytes would be too large with the outcomes of the plan."""
    accepted = 2 * sum(_accepted(claim.target) for claim in planned.claims)  # once in the mark
    if size + ENTRY_LIMIT * len(planned.entries) + accepted < OBJECT_LIMIT:
        return False  # nearly always, so that nothing has to be counted
    # An outcome replaces a claim, and its message is longer.
    outcomes = 2 * SHOWN_LIMIT * len(planned.claims) + accepted
    return size - _written(team.entries) + _written(planned.entries) + outcomes > OBJECT_LIMIT


def settle(
    team: AgentTeam, outcomes: Iterable[Receipt], *, holder: str
) -> tuple[Entries, list[Receipt], list[Receipt]]:
    """Write outcomes over our own claims, and over nothing else.

    Returns the list; the outcomes that are in it (newly, or already, if the answer to the write was lost);
    and those whose claim is no longer ours.
    """
    record = team.record
    by_id = {line.receipt.id: key for key, line in record.by_key.items() if not line.done}
    changes: dict[str, Receipt] = {}
    written: list[Receipt] = []
    lost: list[Receipt] = []
    for outcome in outcomes:
        key = outcome.name
        line = record.by_key.get(key)
        if (line is None or line.receipt.id != outcome.id) and outcome.id in by_id:
            # The spec has changed since, so the name may mean another target. Find the claim by its id.
            key = by_id[outcome.id]
            line = record.by_key[key]
        if line and line.receipt.claimed_by == holder and line.receipt.id == outcome.id:
            changes[key] = outcome
            written.append(outcome)
        else:
            there = line is not None and _is_there(line.entry, outcome.to_wire())
            (written if there or _is_anywhere(record, outcome) else lost).append(outcome)
    return record.written(changes) if changes else list(team.entries), written, lost


def _is_there(entry: Mapping[str, Any], wire: Mapping[str, Any]) -> bool:
    """Whether an outcome is on record as written: its five fields, and those of our own that were kept."""
    same = all(entry.get(field) == wire.get(field) for field in OPERATORS_FIELDS)
    return same and all(entry.get(field, value) == value for field, value in wire.items())


def _is_anywhere(record: Record, outcome: Receipt) -> bool:
    """Whether an outcome is on record if the names were removed: a delivered entry has no id either.

    The spec may have changed since the write, and with it the target of the entry.
    """
    nameless = [line.entry for line in record.lines if "name" not in line.entry]
    wire = outcome.to_wire() if nameless else {}
    return any(_is_there(entry, wire) for entry in nameless)


def holds(team: AgentTeam, receipts: Iterable[Receipt], *, written: Entries | None = None) -> bool:
    """Whether the API server kept the essential fields of these receipts; a CRD may silently drop them.

    `written` is the list that was sent, with these receipts in it; the team has it if it came back unchanged.
    """
    if written is not None and team.entries is written:
        return True
    record = team.record
    by_id: dict[str | None, Line] = {line.receipt.id: line for line in record.lines if line.receipt.id}
    for receipt in receipts:
        lines = (record.by_key.get(receipt.name), by_id.get(receipt.id))
        kept = any(line and line.receipt.essence == receipt.essence for line in lines)
        if not (kept or _is_anywhere(record, receipt)):
            return False
    return True


def _accepted(target: Target) -> int:
    """Return the bytes that a list of the recipients who have the message may take on record."""
    return sum(min(4 * len(one), 254) + 3 for one in target.recipients[:RECIPIENTS_LIMIT])


def _written(entries: Iterable[Mapping[str, Any]]) -> int:
    """Return the bytes of a list as JSON."""
    return len(as_json(list(entries)))


def _wanted(event: CompletionEvent, targets: Collection[str], recorded: Collection[str]) -> Collection[str]:
    if event.targets is None:
        return {*targets, *recorded}
    unknown = [name for name in event.targets if name not in targets]
    if unknown:
        has = shortened(", ".join(targets) or "none")
        raise UnknownTarget(f'the team has no target "{unknown[0]}"; it has: {has}')
    return event.targets


def _asked_again(receipt: Receipt | None, event: CompletionEvent) -> bool:
    if receipt is None or receipt.theirs:
        return False
    return event.redeliver == "all" or (event.redeliver == "failed" and receipt.phase is Phase.FAILED)


def _abandoned(receipt: Receipt | None, terms: Terms) -> bool:
    """Whether the entry is a claim that must expire: another process's, or one that was sent under."""
    if receipt is None or receipt.settled or receipt.claimed_by is None:
        return False
    return receipt.claimed_by != terms.holder or receipt.id in terms.lost


def _first(
    team: AgentTeam, event: CompletionEvent, terms: Terms, target: Target | InvalidTarget, **more: Any
) -> Receipt:
    """Return the entry of a target that nobody has sent to or claimed, with `more` fields.

    An entry without a name may be about this target, if its type and label agree; it then counts as well.
    """
    before = str(team.record.like(target.type, target.address))
    return BLANK.changed(
        name=target.name,
        type=target.type,
        target=target.address,
        id=message_id(team.uid, event.event, lasting(target.name, target.type, target.address), before),
        delivered_at=terms.now,
        timestamp=terms.now,
        **more,
    )


def _opened(  # noqa: PLR0913  # the parts of an entry
    team: AgentTeam,
    event: CompletionEvent,
    terms: Terms,
    *,
    name: str,
    target: Target | InvalidTarget | None,
    receipt: Receipt | None,
) -> Claim | Receipt:
    """Return the claim on a target, or its receipt if it settles without a send."""
    claim = {"claimed_by": terms.holder, "claimed_until": terms.now + terms.life}
    if receipt is None:
        assert target is not None  # noqa: S101  # a new target is in the spec
        if not isinstance(target, InvalidTarget):
            return Claim(target, _first(team, event, terms, target, **claim))
        base = _first(team, event, terms, target)
    elif receipt.settled:
        base = _again(team, event, terms, receipt)
    else:
        # by request, so its waits start from the beginning
        sooner = receipt.postponed and event.redeliver != "none"
        base = receipt.changed(
            delivered_at=max(filter(None, (terms.now, receipt.delivered_at))),
            takeovers=receipt.takeovers + _abandoned(receipt, terms),
            # The phase has not changed; the total time for retries counts from then.
            timestamp=(None if sooner else receipt.timestamp) or terms.now,
            retries=0 if sooner else receipt.retries,
            accepted=receipt.accepted if event.redeliver != "all" else (),
            **NOBODYS,
        )
    if target is None:
        return _closed(base, Reason.INTERRUPTED, "its target is no longer in the spec", terms)
    if receipt is not None:
        base = base.changed(name=name, type=target.type, target=target.address)
    if isinstance(target, InvalidTarget):
        return _closed(base, Reason.INVALID_TARGET, target.problem, terms)
    if base.takeovers > terms.max_takeovers:
        lost = f"given up: its holder was lost {base.takeovers} times"
        return _closed(base, Reason.INTERRUPTED, lost, terms)
    return Claim(target, base.changed(**claim))


NOBODYS: Mapping[str, Any] = {
    "claimed_by": None,
    "claimed_until": None,
    "retry_at": None,
    "reason": None,
    "message": "",
    "http_status": None,
}
"""Remove everything about a claim and its last attempt."""


def _again(team: AgentTeam, event: CompletionEvent, terms: Terms, receipt: Receipt) -> Receipt:
    """Return the entry of a settled target that is sent again.

    Its id is derived from the time of the entry that it supersedes, so its own time must be later.
    """
    settled_at = receipt.delivered_at or receipt.timestamp
    supersedes = format_time(settled_at) if settled_at else receipt.id or FIRST
    return Receipt(
        name=receipt.name,
        type=receipt.type,
        target=receipt.target,
        id=message_id(team.uid, event.event, lasting(receipt.name, receipt.type, receipt.target), supersedes),
        delivered_at=_after(settled_at, terms.now),
        timestamp=terms.now,
        attempts=receipt.attempts,
        redeliveries=receipt.redeliveries + 1,
        accepted=receipt.accepted if event.redeliver != "all" else (),
    )


def _after(earlier: datetime | None, now: datetime) -> datetime:
    """Return now, or the second after `earlier` if that is in the future."""
    try:
        return now if earlier is None else max(now, earlier + SECOND)
    except OverflowError:  # the last possible second, which somebody wrote by hand
        return now


def _closed(receipt: Receipt, reason: Reason, message: str, terms: Terms | None = None) -> Receipt:
    update: dict[str, Any] = {"phase": Phase.FAILED, "reason": reason, "message": message}
    if terms:
        update["timestamp"] = terms.now
    return receipt.changed(**update)
