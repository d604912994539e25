"""The ledger: how `status.delivery[]` changes when targets are claimed and when they settle. Pure.

        (new) ──claim──▶ Pending, claimed ──settle──▶ Delivered | Failed
                          ▲    │      ▲                      │
         take over (ended)└────┤      └──────redeliver───────┘
                               └─hand back─▶ Pending, free ──claim──▶ …

Every function takes the list as it was read and returns the list as it should stand, to be written under the
resourceVersion of that read. Entries of others are carried along as they are, to the letter.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.domain.errors import ClaimInFlight, UnknownTarget
from app.domain.events import TEST, CompletionEvent
from app.domain.reasons import Reason
from app.domain.receipts import ESSENTIAL_FIELDS, Phase, Receipt, message_id
from app.domain.targets import RECIPIENTS_LIMIT, InvalidTarget, Target, read_targets
from app.domain.teams import AgentTeam, by_name, open_targets
from app.domain.text import SHOWN_LIMIT, shortened
from app.domain.times import format_time

Entries = list[Mapping[str, Any]]

OBJECT_LIMIT = 1_500_000  # bytes: etcd takes 1.5 MiB a request, https://etcd.io/docs/v3.6/dev-guide/limit/
ENTRY_LIMIT = 4096  # bytes that an entry of ours never comes to


@dataclass(frozen=True, slots=True)
class Claim:
    """A target that is ours to send to, and its entry as it stands until it settles."""

    target: Target
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Plan:
    """What an event asks for: the list to write, the targets to send to, and what settles without a send."""

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

    `ours` are the names that this process is sending to at the moment, and does not claim again until it has
    done. A claim that bears its name and is not among them is left from a write whose answer was lost, and
    may be used, unless its id is among those `lost`: then it was sent under, and is left to end.
    """

    holder: str
    now: datetime
    life: timedelta
    max_takeovers: int
    ours: Collection[str] = ()
    lost: Collection[str] = ()  # ids that this process sent, whose outcome it could not record


def decide(team: AgentTeam, event: CompletionEvent, terms: Terms, *, start: bool) -> Plan:
    """Decide which targets to claim; targets that are new are begun only with `start`.

    Raises:
        UnknownTarget: the event names a target that the team does not have.
        ClaimInFlight: a redelivery meets a target that somebody is sending to.
    """
    recorded = by_name(team.entries)
    targets = {target.name: target for target in (read_targets(team.targets) if team.wants_delivery else ())}
    wanted = _wanted(event, targets, recorded)
    due = open_targets(team, terms.now)
    for name, entry in recorded.items():
        if name not in due:
            continue
        if name in terms.ours and due[name] <= terms.now:
            # It is left to the send that slept over its claim, and that is about to record what came of it.
            due[name] = terms.now + terms.life
        elif (
            name not in terms.ours
            and entry.get("claimedBy") == terms.holder
            and entry.get("id") not in terms.lost
        ):
            due[name] = terms.now
    opened: list[Claim | Receipt] = []
    takeovers = 0
    for name in [*targets, *(name for name in recorded if name in due and name not in targets)]:
        receipt = Receipt.from_wire(recorded[name]) if name in recorded else None
        if name not in wanted or (receipt is None and not start):
            continue
        if name in due and due[name] > terms.now:
            if event.redeliver != "none":
                until = format_time(due[name])
                raise ClaimInFlight(f'"{name}" is being sent to, until {until} at the latest; ask again then')
            continue
        if name not in due and not (start and _asked_again(receipt, event)):
            continue
        takeovers += _abandoned(receipt, terms)
        opened.append(_opened(team, event, terms, name=name, target=targets.get(name), receipt=receipt))
    changed = [item.receipt if isinstance(item, Claim) else item for item in opened]
    return Plan(
        replaced(team.entries, changed),
        tuple(item for item in opened if isinstance(item, Claim)),
        tuple(item for item in opened if isinstance(item, Receipt)),
        takeovers,
    )


def trial(team: AgentTeam, event: CompletionEvent, nonce: str) -> Plan:
    """Plan a test: every target that is named, whatever is on record of it, and nothing to write.

    Each notice has an id of its own, so that no receiver takes it for one that it has seen.

    Raises:
        UnknownTarget: the event names a target that the team does not have.
    """
    targets = {target.name: target for target in read_targets(team.targets)}
    wanted = _wanted(event, targets, ())
    claims, closed = [], []
    for name, target in targets.items():
        if name not in wanted:
            continue
        identity = message_id(team.uid, f"{TEST}\n{nonce}", name, 0)
        receipt = Receipt(name=name, type=target.type, target=target.address, id=identity)
        if isinstance(target, InvalidTarget):
            closed.append(_closed(receipt, Reason.INVALID_TARGET, target.problem))
        else:
            claims.append(Claim(target, receipt))
    return Plan([], tuple(claims), tuple(closed))


def outgrows(size: int, team: AgentTeam, planned: Plan) -> bool:
    """Whether a team that came in so many bytes would be too large with the outcomes of what is planned."""
    accepted = sum(_accepted(claim.target) for claim in planned.claims)
    if size + ENTRY_LIMIT * len(planned.entries) + accepted < OBJECT_LIMIT:
        return False  # nearly always, so that nothing has to be counted
    # A claim gives way to an outcome, whose message is longer.
    outcomes = SHOWN_LIMIT * len(planned.claims) + accepted
    return size - _written(team.entries) + _written(planned.entries) + outcomes > OBJECT_LIMIT


def settle(
    entries: Sequence[Mapping[str, Any]], outcomes: Iterable[Receipt], *, holder: str
) -> tuple[Entries, list[Receipt], list[Receipt]]:
    """Write outcomes over our own claims, and over nothing else.

    Returns the list, the outcomes written into it (or there already, where the answer to the write was
    lost), and those whose claim is no longer ours.
    """
    recorded = by_name(entries)
    written: list[Receipt] = []
    lost: list[Receipt] = []
    for outcome in outcomes:
        entry = recorded.get(outcome.name)
        ours = entry is not None and (
            (entry.get("claimedBy") == holder and entry.get("id") == outcome.id)
            or Receipt.from_wire(entry) == Receipt.from_wire(outcome.to_wire())  # there already
        )
        (written if ours else lost).append(outcome)
    return replaced(entries, written), written, lost


def replaced(entries: Sequence[Mapping[str, Any]], receipts: Iterable[Receipt]) -> Entries:
    """Return the list with these receipts in the places of their names, new ones at the end."""
    fresh = {receipt.name: receipt.to_wire() for receipt in receipts}
    # A name that is no text is nobody's: it is not to be taken for a target that happens to be called `None`.
    return [
        fresh.pop(name, entry) if isinstance(name := entry.get("name"), str) else entry for entry in entries
    ] + list(fresh.values())


def holds(team: AgentTeam, receipts: Iterable[Receipt]) -> bool:
    """Whether the API server kept what is essential of these receipts; an older CRD drops it silently."""
    recorded = by_name(team.entries)
    for receipt in receipts:
        entry, wire = recorded.get(receipt.name, {}), receipt.to_wire()
        if any(entry.get(key) != wire[key] for key in ESSENTIAL_FIELDS if key in wire):
            return False
    return True


def _accepted(target: Target) -> int:
    """Return how many bytes those may take on record who have it, while others have not."""
    return sum(min(4 * len(one), 254) + 3 for one in target.recipients[:RECIPIENTS_LIMIT])


def _written(entries: Iterable[Mapping[str, Any]]) -> int:
    """Return how many bytes a list takes as JSON."""
    return len(json.dumps(list(entries), ensure_ascii=False).encode(errors="replace"))


def _wanted(event: CompletionEvent, targets: Collection[str], recorded: Collection[str]) -> Collection[str]:
    if event.targets is None:
        return {*targets, *recorded}
    unknown = [name for name in event.targets if name not in targets]
    if unknown:
        has = shortened(", ".join(targets) or "none")
        raise UnknownTarget(f'the team has no target "{unknown[0]}"; it has: {has}')
    return event.targets


def _asked_again(receipt: Receipt | None, event: CompletionEvent) -> bool:
    if receipt is None or not receipt.id:  # never sent, or somebody else's
        return False
    return event.redeliver == "all" or (event.redeliver == "failed" and receipt.phase is Phase.FAILED)


def _abandoned(receipt: Receipt | None, terms: Terms) -> bool:
    """Whether the entry bears a claim of which nothing came: somebody else's, or one that was sent under."""
    if receipt is None or receipt.settled or receipt.claimed_by is None:
        return False
    return receipt.claimed_by != terms.holder or receipt.id in terms.lost


def _opened(  # noqa: PLR0913  # all that an entry is made of
    team: AgentTeam,
    event: CompletionEvent,
    terms: Terms,
    *,
    name: str,
    target: Target | InvalidTarget | None,
    receipt: Receipt | None,
) -> Claim | Receipt:
    """Return the claim on a target, or its receipt where it settles without being sent to."""
    again = receipt is not None and receipt.settled
    redeliveries = (receipt.redeliveries if receipt else 0) + again
    base = Receipt(
        name=name,
        type=target.type if target else (receipt.type if receipt else ""),
        target=target.address if target else (receipt.target if receipt else ""),
        attempts=receipt.attempts if receipt else 0,
        takeovers=(receipt.takeovers if receipt and not again else 0) + _abandoned(receipt, terms),
        redeliveries=redeliveries,
        accepted=receipt.accepted if receipt and event.redeliver != "all" else (),
        id=message_id(team.uid, event.event, name, redeliveries),
        timestamp=terms.now,
    )
    if target is None:
        return _closed(base, Reason.INTERRUPTED, "its target is no longer in the spec")
    if isinstance(target, InvalidTarget):
        return _closed(base, Reason.INVALID_TARGET, target.problem)
    if base.takeovers > terms.max_takeovers:
        return _closed(base, Reason.INTERRUPTED, f"given up: its holder was lost {base.takeovers} times")
    claimed = {"claimed_by": terms.holder, "claimed_until": terms.now + terms.life}
    if receipt and not again and receipt.timestamp:
        claimed["timestamp"] = receipt.timestamp  # the phase has not changed
    return Claim(target, base.model_copy(update=claimed))


def _closed(receipt: Receipt, reason: Reason, message: str) -> Receipt:
    return receipt.model_copy(update={"phase": Phase.FAILED, "reason": reason, "message": message})
