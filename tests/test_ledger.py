"""The ledger's transitions: what an event claims, what settles, and that other entries stay unchanged."""

import copy
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import ClaimInFlight, UnknownTarget
from app.domain.events import CompletionEvent, Redeliver
from app.domain.ledger import (
    ENTRY_LIMIT,
    OBJECT_LIMIT,
    Claim,
    Plan,
    Terms,
    decide,
    holds,
    outgrows,
    settle,
)
from app.domain.reasons import Reason
from app.domain.receipts import OPERATORS_FIELDS, Phase, Receipt, message_id
from app.domain.targets import NAME_LIMIT, SlackTarget, WebhookTarget
from app.domain.text import SHOWN_LIMIT
from app.domain.times import format_time
from tests.examples import NOW, team, unhurried

ME, OTHER = "agentteam-delivery-me", "agentteam-delivery-other"
LIFE = timedelta(seconds=142)
BEFORE, AFTER = format_time(NOW - timedelta(seconds=1)), format_time(NOW + timedelta(seconds=1))
EARLIER = "2026-03-01T11:00:00Z"

HOOK = {"type": "webhook", "name": "hook", "url": "https://hooks.example.com/x?token=1"}
SLACK = {"type": "slack", "name": "chat", "credentialsSecret": "slack"}
BAD = {"type": "slack", "name": "bad"}

ID = message_id("uid-1", "team.completed", "hook")
FOREIGN = {
    "name": "hook",
    "phase": "Pending",
    "sentBy": "operator",
    "notes": [{"deep": None}],
    "attempts": "3",
}


def event(**fields: Any) -> CompletionEvent:
    return CompletionEvent.model_validate({"namespace": "research", "team": "report", **fields})


def terms(**changes: Any) -> Terms:
    given: dict[str, Any] = {"holder": ME, "now": NOW, "life": LIFE, "max_takeovers": 10}
    return Terms(**{**given, **changes})


def entry(phase: str = "Pending", **fields: Any) -> dict[str, Any]:
    """Make an entry for the target `hook`; None leaves a field out."""
    given = {
        "name": "hook",
        "type": "webhook",
        "target": "https://hooks.example.com/x",
        "phase": phase,
        "attempts": 2,
        "timestamp": EARLIER,
        "deliveredAt": EARLIER,
        "id": ID,
        **fields,
    }
    return as_written({key: value for key, value in given.items() if value is not None})


def as_written(own: dict[str, Any]) -> dict[str, Any]:
    """Add the operator's equivalents to our own fields."""
    return {**Receipt.from_wire(own).to_wire(), **own}


def claimed(by: str = OTHER, until: str = BEFORE, **fields: Any) -> dict[str, Any]:
    return entry(claimedBy=by, claimedUntil=until, **fields)


def planned(
    *entries: Any,
    delivery: Any = (HOOK,),
    start: bool = True,
    ours: Any = (),
    max_takeovers: int = 10,
    **fields: Any,
) -> Plan:
    """Plan for a team with these entries on record; check that the record read is not modified."""
    read = team(delivery, entries=entries)
    before = copy.deepcopy(read)
    made = decide(read, event(**fields), terms(ours=ours, max_takeovers=max_takeovers), start=start)
    assert read == before
    return made


def wire(receipt: Receipt) -> dict[str, Any]:
    return receipt.to_wire()


# ---------------------------------------------------------------------------------------------------------
# Claims


def test_a_new_target_is_claimed() -> None:
    made = planned(delivery=[HOOK, SLACK])
    until = format_time(NOW + LIFE)
    common = {
        "phase": "Pending",
        "attempts": 0,
        "timestamp": "2026-03-01T12:00:00Z",
        "deliveredAt": "2026-03-01T12:00:00Z",
        "success": False,
        "claimedBy": ME,
    }
    error = f"Pending: it is being sent, until {until} at the latest [agentteam-delivery/1 id="
    assert made.entries == [
        {
            "name": "hook",
            "type": "webhook",
            "target": "https://hooks.example.com/x",
            "id": ID,
            "claimedUntil": until,
            "error": f"{error}{ID} name=hook holder={ME} until={until}]",
            **common,
        },
        {
            "name": "chat",
            "type": "slack",
            "target": "secret/slack",
            "id": (chat := message_id("uid-1", "team.completed", "chat")),
            "claimedUntil": until,
            "error": f"{error}{chat} name=chat holder={ME} until={until}]",
            **common,
        },
    ]
    assert [type(claim.target) for claim in made.claims] == [WebhookTarget, SlackTarget]
    assert [wire(claim.receipt) for claim in made.claims] == made.entries
    assert (made.closed, made.takeovers, made.changes) == ((), 0, True)


CLAIMED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("released", entry(), {}),
    ("released after takeovers", entry(takeovers=3), {"takeovers": 3}),
    ("released after the last takeover", entry(takeovers=10), {"takeovers": 10}),
    ("a claim that has ended", claimed(), {"takeovers": 1}),
    ("a claim that ends now", claimed(until=format_time(NOW)), {"takeovers": 1}),
    ("a claim that has changed hands", claimed(takeovers=4), {"takeovers": 5}),
    ("a claim that may change hands once more", claimed(takeovers=9), {"takeovers": 10}),
    (
        "a claim that a clock stamped that was a day ahead",
        claimed(until=format_time(NOW + timedelta(days=1) + LIFE)),
        {"takeovers": 1},
    ),
    ("a claim without an end", claimed(until=""), {"takeovers": 1}),
    ("a claim whose end is not a time", claimed(until="noon"), {"takeovers": 1}),
    ("our own claim, left from a lost answer", claimed(by=ME, until=AFTER), {}),
    ("our own claim that has ended", claimed(by=ME), {}),
    ("an end without a holder", entry(claimedUntil=AFTER), {}),
    (
        "a released redelivery",
        entry(redeliveries=2, id="msg_2"),
        {"redeliveries": 2, "id": "msg_2"},
    ),
    ("postponed until now", entry(retryAt=format_time(NOW)), {}),
    ("an unknown phase", entry("Sent"), {}),
]


@pytest.mark.parametrize(("found", "kept"), [row[1:] for row in CLAIMED], ids=[row[0] for row in CLAIMED])
@pytest.mark.parametrize("start", [True, False], ids=["start", "only what was begun"])
def test_an_open_entry_without_a_holder_is_claimed(
    found: dict[str, Any], kept: dict[str, Any], start: bool
) -> None:
    made = planned(found, start=start)
    (claim,) = made.claims
    wanted = entry(
        claimedBy=ME,
        claimedUntil=format_time(NOW + LIFE),
        deliveredAt=format_time(NOW),
        **kept,
    )
    assert made.entries == [wire(claim.receipt)] == [wanted]
    assert made.takeovers == kept.get("takeovers", 0) - found.get("takeovers", 0)
    assert not made.closed


UNTOUCHED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("delivered", entry("Delivered", reason="Delivered"), {}),
    ("failed", entry("Failed", reason="HTTPStatus"), {}),
    ("a live claim", claimed(until=AFTER), {}),
    ("our own live claim, being sent", claimed(by=ME, until=AFTER), {"ours": {ID}}),
    ("postponed", entry(retryAt=AFTER), {}),
    ("another program's entry", FOREIGN, {}),
    ("another program's, failed", {**FOREIGN, "phase": "Failed"}, {}),
    ("another program's, with a claim", {**FOREIGN, "claimedBy": OTHER, "claimedUntil": BEFORE}, {}),
    ("another program's, with an empty id", {**FOREIGN, "id": ""}, {}),
    ("another program's, redelivery of all", FOREIGN, {"redeliver": "all"}),
    ("another program's, by name", FOREIGN, {"redeliver": "all", "targets": ["hook"]}),
    ("another program's failure", {**FOREIGN, "phase": "Failed"}, {"redeliver": "failed"}),
    ("delivered, redelivery of failures", entry("Delivered"), {"redeliver": "failed"}),
    ("failed, but not to be started", entry("Failed"), {"redeliver": "all", "start": False}),
]


@pytest.mark.parametrize(
    ("found", "asked"), [row[1:] for row in UNTOUCHED], ids=[row[0] for row in UNTOUCHED]
)
def test_a_settled_or_claimed_entry_is_unchanged(found: dict[str, Any], asked: dict[str, Any]) -> None:
    made = planned(found, **asked)
    assert made.entries == [found]
    assert not made.changes


def test_without_start_no_new_target_is_claimed() -> None:
    made = planned(entry(), delivery=[SLACK, HOOK, BAD], start=False)
    assert [claim.target.name for claim in made.claims] == ["hook"]
    assert [found["name"] for found in made.entries] == ["hook"]


def test_new_names_in_the_spec_are_claimed_next_to_settled_ones() -> None:
    made = planned(entry("Delivered"), delivery=[HOOK, SLACK])
    assert [claim.target.name for claim in made.claims] == ["chat"]
    assert made.entries[0] == entry("Delivered")


# ---------------------------------------------------------------------------------------------------------
# Entries that are closed without a send


def test_a_target_whose_holders_keep_dying_is_given_up() -> None:
    made = planned(claimed(takeovers=10))
    assert not made.claims
    assert made.takeovers == 1
    assert made.entries == [
        entry(
            "Failed",
            reason="Interrupted",
            message="given up: its holder was lost 11 times",
            takeovers=11,
            timestamp="2026-03-01T12:00:00Z",
            deliveredAt="2026-03-01T12:00:00Z",
        )
    ]


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_the_number_of_takeovers_is_a_setting(limit: int) -> None:
    assert planned(claimed(takeovers=limit), max_takeovers=limit).closed
    if limit:
        assert planned(claimed(takeovers=limit - 1), max_takeovers=limit).claims


GONE = [
    ("released", entry()),
    ("a claim that has ended", claimed()),
    ("our own claim", claimed(by=ME, until=AFTER)),
]


@pytest.mark.parametrize("found", [row[1] for row in GONE], ids=[row[0] for row in GONE])
@pytest.mark.parametrize("start", [True, False])
def test_an_open_entry_without_a_target_in_the_spec_is_closed(found: dict[str, Any], start: bool) -> None:
    made = planned(found, delivery=[SLACK], start=start)
    (closed,) = made.closed
    assert (closed.phase, closed.reason) == (Phase.FAILED, Reason.INTERRUPTED)
    assert closed.message == "its target is no longer in the spec"
    assert made.entries[-1] == wire(closed)
    assert {"type": "webhook", "target": "https://hooks.example.com/x", "attempts": 2, "id": ID}.items() <= (
        made.entries[-1].items()
    )
    assert "claimedBy" not in made.entries[-1]
    assert len(made.entries) == (2 if start else 1)


def test_a_valid_claim_without_a_target_in_the_spec_is_left_to_its_holder() -> None:
    made = planned(claimed(until=AFTER), delivery=[SLACK])
    assert made.entries[1] == claimed(until=AFTER)


def test_open_entries_are_closed_when_the_team_no_longer_requests_delivery() -> None:
    read = team([HOOK], entries=[entry()], lifecycle={"onComplete": "none"})
    made = decide(read, event(), terms(), start=False)
    assert [receipt.reason for receipt in made.closed] == [Reason.INTERRUPTED]


def test_an_invalid_target_is_closed_immediately_and_others_are_claimed() -> None:
    made = planned(delivery=[HOOK, BAD, SLACK])
    assert [claim.target.name for claim in made.claims] == ["hook", "chat"]
    assert [wire(receipt) for receipt in made.closed] == [
        as_written(
            {
                "name": "bad",
                "type": "slack",
                "phase": "Failed",
                "reason": "InvalidTarget",
                "message": "credentialsSecret: name the Secret that holds the key slack-webhook-url",
                "attempts": 0,
                "timestamp": "2026-03-01T12:00:00Z",
                "deliveredAt": "2026-03-01T12:00:00Z",
                "id": message_id("uid-1", "team.completed", "bad"),
            }
        )
    ]
    assert sorted(found["name"] for found in made.entries) == ["bad", "chat", "hook"]


def test_a_target_that_became_invalid_is_closed_despite_its_claim() -> None:
    made = planned(claimed(), delivery=[{**HOOK, "url": 5}])
    assert [receipt.reason for receipt in made.closed] == [Reason.INVALID_TARGET]
    assert made.closed[0].attempts == 2


# ---------------------------------------------------------------------------------------------------------
# Redelivery

FAILED_ONE = entry("Failed", reason="HTTPStatus", message="answered 404", httpStatus=404, takeovers=5)
DELIVERED_ONE = entry("Delivered", name="chat", reason="Delivered", httpStatus=200, takeovers=5)

AGAIN: list[tuple[str, Redeliver, list[str] | None, list[str]]] = [
    ("nothing", "none", None, []),
    ("nothing, by name", "none", ["hook", "chat"], []),
    ("failed", "failed", None, ["hook"]),
    ("failed, by the name of one that is not", "failed", ["chat"], []),
    ("all", "all", None, ["hook", "chat"]),
    ("all, but one", "all", ["chat"], ["chat"]),
    ("all, one of them twice", "all", ["chat", "chat"], ["chat"]),
]


@pytest.mark.parametrize(
    ("kind", "names", "again"), [row[1:] for row in AGAIN], ids=[row[0] for row in AGAIN]
)
def test_a_settled_target_is_redelivered_only_on_request(
    kind: Redeliver, names: list[str] | None, again: list[str]
) -> None:
    made = planned(FAILED_ONE, DELIVERED_ONE, delivery=[HOOK, SLACK], redeliver=kind, targets=names)
    assert [claim.target.name for claim in made.claims] == again
    for before, after in zip([FAILED_ONE, DELIVERED_ONE], made.entries, strict=True):
        if after["name"] not in again:
            assert after == before


def test_a_redelivery_gets_a_new_id_and_a_new_claim() -> None:
    made = planned({**FAILED_ONE, "redeliveries": 1}, redeliver="failed")
    assert made.entries == [
        entry(
            redeliveries=2,
            id=message_id("uid-1", "team.completed", "hook", EARLIER),
            timestamp="2026-03-01T12:00:00Z",
            deliveredAt="2026-03-01T12:00:00Z",
            claimedBy=ME,
            claimedUntil=format_time(NOW + LIFE),
        )
    ]


def test_a_redelivery_includes_open_targets() -> None:
    made = planned(FAILED_ONE, delivery=[HOOK, SLACK], redeliver="failed")
    assert [claim.target.name for claim in made.claims] == ["hook", "chat"]


@pytest.mark.parametrize("kind", ["failed", "all"])
@pytest.mark.parametrize("mine", [True, False], ids=["ours", "another process's"])
def test_a_redelivery_of_a_claimed_target_is_refused_as_a_whole(kind: Redeliver, mine: bool) -> None:
    held = {**claimed(by=ME if mine else OTHER, until=AFTER, id="msg_2"), "name": "chat"}
    with pytest.raises(ClaimInFlight, match=f'"chat" is in progress, until {AFTER}'):
        planned(FAILED_ONE, held, delivery=[HOOK, SLACK], redeliver=kind, ours={"msg_2"} if mine else ())


def test_a_redelivery_of_other_targets_ignores_a_valid_claim() -> None:
    held = {**claimed(until=AFTER), "name": "chat"}
    made = planned(FAILED_ONE, held, delivery=[HOOK, SLACK], redeliver="all", targets=["hook"])
    assert [claim.target.name for claim in made.claims] == ["hook"]
    assert made.entries[1] == held


def test_a_redelivery_can_take_over_an_expired_claim() -> None:
    made = planned(claimed(), redeliver="failed")
    assert (made.takeovers, made.claims[0].receipt.redeliveries) == (1, 0)


def test_a_redelivered_target_restarts_its_count_of_takeovers() -> None:
    assert planned({**FAILED_ONE, "takeovers": 11}, redeliver="all").claims[0].receipt.takeovers == 0


def test_only_the_named_targets_are_claimed() -> None:
    made = planned(delivery=[HOOK, SLACK, BAD], targets=["chat"])
    assert [found["name"] for found in made.entries] == ["chat"]


@pytest.mark.parametrize("name", ["hook ", "HOOK", "webhook-0", "gone"])
def test_an_unknown_name_is_refused_with_the_known_names(name: str) -> None:
    gone = {**entry(), "name": "gone"}
    with pytest.raises(UnknownTarget) as caught:
        planned(gone, delivery=[HOOK, SLACK], targets=["hook", name])
    assert caught.value.detail == f'the team has no target "{name}"; it has: hook, chat'


# ---------------------------------------------------------------------------------------------------------
# Entries of other programs


def test_entries_of_other_programs_are_copied_unchanged() -> None:
    others = [
        {"name": "z", "phase": "Delivered", "sentBy": "operator", "deep": {"a": [1, None, {"b": 2.5}]}},
        {"name": "a", "attempts": "three", "timestamp": "yesterday"},
        {"name": "chat", "phase": "Failed", "reason": "BadLuck", "unknown": True},
        {"name": "left", "phase": "Delivered", "id": "msg_9", "color": "blue"},
    ]
    made = planned(*others[:2], entry(), *others[2:], delivery=[HOOK, SLACK])
    assert made.entries[0]["claimedBy"] == ME
    assert json.dumps(made.entries[1:]) == json.dumps([others[2], *others[:2], others[3]])


def test_the_list_is_in_the_order_of_the_spec_with_unassigned_entries_last() -> None:
    made = planned({"name": "a", "x": 1}, entry(), {"name": "c"}, delivery=[SLACK, HOOK])
    assert [found["name"] for found in made.entries] == ["chat", "hook", "a", "c"]


_names = st.sampled_from(["hook", "chat", "bad", "left", "other"])
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
_times = st.sampled_from([BEFORE, AFTER, EARLIER, "noon", ""])
_entries = st.fixed_dictionaries(
    {"name": _names},
    optional={
        "phase": st.sampled_from(["Pending", "Delivered", "Failed", "Sent"]),
        "id": st.sampled_from(["msg_1", ""]),
        "claimedBy": st.sampled_from([ME, OTHER]),
        "claimedUntil": _times,
        "timestamp": _times,
        "attempts": st.integers(0, 20) | _values,
        "takeovers": st.integers(0, 12),
        "reason": st.sampled_from(["Delivered", "HTTPStatus", "BadLuck"]),
        "color": _values,
    },
)
_ledgers = st.lists(_entries, max_size=6, unique_by=lambda found: found["name"])
_specs = st.lists(st.sampled_from([HOOK, SLACK, BAD]), max_size=3, unique_by=lambda spec: spec["name"])


def _final(found: dict[str, Any]) -> bool:
    return not found.get("id") or found.get("phase") in {"Delivered", "Failed"}


@unhurried
@given(ledger=_ledgers, spec=_specs, ours=st.sets(_names), start=st.booleans())
def test_no_plan_changes_a_settled_or_foreign_entry(
    ledger: list[dict[str, Any]], spec: list[dict[str, Any]], ours: set[str], start: bool
) -> None:
    made = decide(team(spec, entries=ledger), event(), terms(ours=ours), start=start)
    after = {found["name"]: found for found in made.entries}
    targets = [target["name"] for target in spec]
    recorded = [found["name"] for found in ledger]
    behind = [name for name in recorded if name not in targets]
    in_order = [name for name in targets if name in after]
    assert [found["name"] for found in made.entries] == in_order + behind
    assert len(after) == len(made.entries)
    for found in ledger:
        if _final(found):
            assert json.dumps(after[found["name"]]) == json.dumps(found)
    assert {claim.target.name for claim in made.claims} <= {target["name"] for target in spec}
    assert len(made.claims) == len({claim.target.name for claim in made.claims})


@unhurried
@given(
    ledger=_ledgers,
    spec=_specs.filter(bool),
    kind=st.sampled_from(["failed", "all"]),
    names=st.none() | st.sets(st.sampled_from(["hook", "chat", "bad"]), min_size=1),
)
def test_a_redelivery_changes_only_the_requested_targets(
    ledger: list[dict[str, Any]], spec: list[dict[str, Any]], kind: Redeliver, names: set[str] | None
) -> None:
    has = {target["name"] for target in spec}
    asked = event(redeliver=kind, targets=None if names is None else sorted(names))
    try:
        made = decide(team(spec, entries=ledger), asked, terms(), start=True)
    except UnknownTarget:
        assert not (names or set()) <= has
        return
    except ClaimInFlight:
        assert any(found.get("claimedUntil") == AFTER for found in ledger)
        return
    after = {found["name"]: found for found in made.entries}
    for found in ledger:
        name = found["name"]
        named = names is None or name in names
        again = name in has and (kind == "all" or found.get("phase") == "Failed")
        if not named or (_final(found) and not (again and found.get("id"))):
            assert json.dumps(after[name]) == json.dumps(found)
        elif _final(found):
            assert after[name]["redeliveries"] == 1


ALIKE = {"type": "webhook", "url": "https://hooks.example.com/x"}
_marks = st.sampled_from(
    [
        "",
        "Post failed",
        "Pending: soon [agentteam-delivery/1 id=]",
        "Pending: soon [agentteam-delivery/2 id=msg_1]",
        "Pending: soon [agentteam-delivery/1 id=msg_1]",
        "Pending: soon [agentteam-delivery/1 id=msg_2 name=hook]",
        f"Pending: soon [agentteam-delivery/1 id=msg_3 holder=you until={AFTER}]",
        f"Pending: soon [agentteam-delivery/1 id=msg_3 holder=you until={BEFORE} takeovers=9999999999]",
        "Pending: soon [agentteam-delivery/1 id=msg_4 retry=9999-12-31T23:59:59Z retries=3]",
        "Timeout: x [agentteam-delivery/1 id=msg_5 name=webhook-1 attempts=3]",
        "Nonsense: x [agentteam-delivery/1 id=msg_6]",
    ]
)
_by_hand = st.fixed_dictionaries(
    {"type": st.sampled_from(["webhook", "slack"]) | _values},
    optional={
        "success": st.booleans() | _values,
        "deliveredAt": st.sampled_from([BEFORE, "9999-12-31T23:59:59Z", "noon"]) | _values,
        "target": st.sampled_from([ALIKE["url"], "secret/slack"]) | _values,
        "error": _marks | _values,
        "name": st.sampled_from(["hook", "webhook-0", "webhook-1", "pager"]) | _values,
        "id": st.just("msg_1") | _values,
        "phase": st.sampled_from(["Pending", "Delivered", "?"]) | _values,
    },
)


@unhurried
@given(
    spec=st.lists(st.sampled_from([HOOK, SLACK, BAD, ALIKE, ALIKE | {"on": ["Failed"]}]), max_size=3),
    ledger=st.lists(_by_hand, max_size=4),
    again=st.integers(0, 2),
    asked=st.sampled_from(["none", "failed", "all"]),
    adopt=st.booleans(),
)
def test_entries_written_by_hand_are_neither_claimed_twice_nor_changed(
    spec: list[Any], ledger: list[Any], again: int, asked: Redeliver, adopt: bool
) -> None:
    ledger = [*ledger, *ledger[:again]]
    read = team(spec, entries=ledger)
    try:
        made = decide(read, event(redeliver=asked), terms(adopt=adopt), start=True)
    except ClaimInFlight:
        assert asked != "none"
        return
    assert len({one.target.name for one in made.claims}) == len(made.claims)
    ids = {one.receipt.id for one in made.claims}
    if not any("name" in found for found in ledger):
        assert len(ids) == len(made.claims), "two targets would have one id"
    for found in ledger:
        receipt = Receipt.from_wire(found)
        if receipt.theirs and not (adopt and receipt.adoptable):
            assert made.entries.count(found) == ledger.count(found)
    for entries in (made.entries, nameless(made.entries)):
        if made.changes:
            other = decide(team(spec, entries=entries), event(), terms(holder="other"), start=True)
            assert not ids & {one.receipt.id for one in other.claims}, "claimed twice"


# ---------------------------------------------------------------------------------------------------------
# Outcomes


def claim() -> Claim:
    """Claim the target `hook`, as its holder does."""
    (made,) = planned().claims
    return made


def outcome(**changes: Any) -> Receipt:
    """Make the outcome of that claim."""
    given: dict[str, Any] = {
        "phase": Phase.DELIVERED,
        "reason": Reason.DELIVERED,
        "message": "answered 200",
        "http_status": 200,
        "attempts": 1,
        "timestamp": NOW + timedelta(seconds=3, microseconds=7),
        "claimed_by": None,
        "claimed_until": None,
    }
    return claim().receipt.model_copy(update={**given, **changes})


def test_an_outcome_replaces_our_own_claim() -> None:
    others: list[dict[str, Any]] = [{"name": "a", "x": 1}, {"name": "z", "y": [None]}]
    record = [others[0], wire(claim().receipt), others[1]]
    entries, written, lost = settle(team([HOOK], entries=record), [outcome()], holder=ME)
    assert (written, lost) == ([outcome()], [])
    assert json.dumps(entries[1:]) == json.dumps(others)
    assert entries[0] == {
        "success": True,
        "deliveredAt": "2026-03-01T12:00:00Z",
        "name": "hook",
        "type": "webhook",
        "target": "https://hooks.example.com/x",
        "phase": "Delivered",
        "reason": "Delivered",
        "message": "answered 200",
        "httpStatus": 200,
        "attempts": 1,
        "timestamp": "2026-03-01T12:00:03Z",
        "id": ID,
    }


def test_a_released_target_has_no_claim() -> None:
    back = outcome(phase=Phase.PENDING, reason=None, message="answered 503", http_status=503)
    (found,), written, lost = settle(team([HOOK], entries=[wire(claim().receipt)]), [back], holder=ME)
    assert (written, lost) == ([back], [])
    assert (found["phase"], found["attempts"]) == ("Pending", 1)
    assert not {"claimedBy", "claimedUntil"} & set(found)


def lost_claims() -> list[tuple[str, list[dict[str, Any]]]]:
    mine = wire(claim().receipt)
    return [
        ("wiped", []),
        ("wiped, others left", [{**mine, "name": "other", "id": "msg_other"}]),
        ("taken over", [{**mine, "claimedBy": OTHER, "takeovers": 1}]),
        ("taken over and settled", [entry("Failed", reason="HTTPStatus")]),
        ("released", [wire(claim().receipt.model_copy(update={"claimed_by": None}))]),
        ("redelivered", [{**mine, "id": "msg_new", "redeliveries": 1}]),
        ("now another program's", [{"name": "hook", "phase": "Delivered", "sentBy": "operator"}]),
    ]


@pytest.mark.parametrize("record", [row[1] for row in lost_claims()], ids=[row[0] for row in lost_claims()])
def test_an_outcome_whose_claim_is_gone_is_lost_and_changes_nothing(record: list[dict[str, Any]]) -> None:
    entries, written, lost = settle(team([HOOK], entries=record), [outcome()], holder=ME)
    assert json.dumps(entries) == json.dumps(record)
    assert (written, lost) == ([], [outcome()])


@pytest.mark.parametrize("phase", list(Phase))
def test_an_outcome_already_on_record_counts_as_written(phase: Phase) -> None:
    again = outcome(phase=phase)
    once, _, _ = settle(team([HOOK], entries=[wire(claim().receipt)]), [again], holder=ME)
    twice, written, lost = settle(team([HOOK], entries=once), [again], holder=ME)
    assert (written, lost) == ([again], [])
    assert twice == once


def test_each_outcome_of_a_batch_is_judged_separately() -> None:
    chat = planned(delivery=[SLACK]).claims[0].receipt
    record = [wire(claim().receipt), {**wire(chat), "claimedBy": OTHER}]
    gone = chat.model_copy(update={"phase": Phase.FAILED})
    entries, written, lost = settle(team([HOOK, SLACK], entries=record), [gone, outcome()], holder=ME)
    assert (written, lost) == ([outcome()], [gone])
    assert (entries[0]["phase"], entries[1]) == ("Delivered", record[1])


# ---------------------------------------------------------------------------------------------------------
# The size of a team


def test_a_team_exceeds_its_limit_with_the_claims_or_with_their_outcomes() -> None:
    made = planned(delivery=[HOOK])
    claim_bytes = len(json.dumps(made.entries, separators=(",", ":")))
    largest = OBJECT_LIMIT - 2 * SHOWN_LIMIT - claim_bytes + len("[]")
    assert not outgrows(largest, team(), made)
    assert outgrows(largest + 1, team(), made)


def test_the_record_of_a_mail_s_recipients_is_counted_before_the_send() -> None:
    to = [f"{'a' * 60}{number}@{'b' * 60}.example" for number in range(100)]
    made = planned(delivery=[{"type": "email", "to": to}])
    claim_bytes = len(json.dumps(made.entries, separators=(",", ":")))
    accepted = 2 * len(json.dumps(to))
    assert outgrows(OBJECT_LIMIT - 2 * SHOWN_LIMIT - claim_bytes - accepted + 1, team(), made)
    endless = planned(delivery=[{"type": "email", "to": to * 1000}])
    assert not outgrows(OBJECT_LIMIT // 2, team(), endless)


def test_entries_on_record_do_not_count_twice() -> None:
    made = planned(delivery=[HOOK])
    recorded = team(entries=made.entries)
    assert not outgrows(OBJECT_LIMIT - 2 * SHOWN_LIMIT, recorded, made)
    assert outgrows(OBJECT_LIMIT - 2 * SHOWN_LIMIT + 1, recorded, made)


def test_an_entry_is_never_larger_than_the_size_reserved_for_it() -> None:
    odd = "\U0001f600"
    longest = outcome(
        phase=Phase.FAILED,
        takeovers=2**31,
        redeliveries=2**31,
        attempts=2**31,
        name=odd * NAME_LIMIT,
        target=odd * SHOWN_LIMIT,
        message=odd * SHOWN_LIMIT,
        type="google-drive",
    )
    assert len(json.dumps(longest.to_wire(), ensure_ascii=False).encode()) < ENTRY_LIMIT


# ---------------------------------------------------------------------------------------------------------
# What the API server stored


def test_a_record_that_was_stored_is_recognized() -> None:
    made = planned(delivery=[HOOK, BAD])
    receipts = [made.claims[0].receipt, *made.closed]
    assert holds(team(entries=made.entries), receipts)
    assert holds(team(entries=[{"name": "other"}, *made.entries]), receipts)
    assert holds(team(), [])


OWN = ("name", "phase", "id", "attempts", "claimedBy", "claimedUntil", "timestamp")


@pytest.mark.parametrize("field", OWN)
def test_a_record_is_recognized_without_any_one_of_our_own_fields(field: str) -> None:
    (found,) = planned().entries
    dropped = {key: value for key, value in found.items() if key != field}
    assert holds(team([HOOK], entries=[dropped]), [claim().receipt])


def test_a_record_is_recognized_with_only_the_operator_s_or_only_our_own_fields() -> None:
    (found,) = planned().entries
    five = {key: value for key, value in found.items() if key in OPERATORS_FIELDS}
    own = {key: value for key, value in found.items() if key not in OPERATORS_FIELDS}
    for some in (five, own):
        assert holds(team([HOOK], entries=[some]), [claim().receipt])


@pytest.mark.parametrize("field", ["type", "success", "deliveredAt", "error"])
def test_a_record_is_not_recognized_without_one_of_the_five_fields(field: str) -> None:
    (found,) = planned().entries
    left = {key: value for key, value in found.items() if key in OPERATORS_FIELDS and key != field}
    assert not holds(team([HOOK], entries=[left]), [claim().receipt])


@pytest.mark.parametrize("field", ["id", "attempts", "claimedBy", "claimedUntil"])
def test_a_record_is_not_recognized_if_an_essential_field_was_changed(field: str) -> None:
    (found,) = planned().entries
    assert not holds(team([HOOK], entries=[{**found, field: "other"}]), [claim().receipt]) or (
        field in {"attempts", "claimedUntil"}  # invalid values there are read from the mark
    )


def test_a_record_that_was_dropped_is_not_recognized() -> None:
    assert not holds(team([HOOK]), [claim().receipt])


@pytest.mark.parametrize("phase", list(Phase))
def test_an_outcome_is_recognized_in_five_fields(phase: Phase) -> None:
    came = outcome(phase=phase)
    (found,), _, _ = settle(team([HOOK], entries=planned().entries), [came], holder=ME)
    five = {key: value for key, value in found.items() if key in OPERATORS_FIELDS}
    assert holds(team([HOOK], entries=[five]), [came])
    assert not holds(team([HOOK], entries=[{**five, "success": not five["success"]}]), [came])


# ---------------------------------------------------------------------------------------------------------
# Names that are removed from the spec


def nameless(entries: Any) -> list[dict[str, Any]]:
    """Return what a typed write of the operator leaves of a list."""
    return [{key: said for key, said in one.items() if key in OPERATORS_FIELDS} for one in entries]


def test_a_delivered_target_is_known_to_be_recorded_after_it_left_the_spec() -> None:
    (claim,) = planned().claims
    landed = claim.receipt.model_copy(
        update={
            "phase": Phase.DELIVERED,
            "reason": Reason.DELIVERED,
            "claimed_by": None,
            "claimed_until": None,
        }
    )
    gone = team([SLACK], entries=nameless([claim.receipt.to_wire()]))
    entries, written, lost = settle(gone, [landed], holder=ME)
    assert (written, lost) == ([landed], [])
    read = team([SLACK], entries=nameless(entries))
    assert holds(read, [landed])
    assert settle(read, [landed], holder=ME)[1:] == ([landed], []), "the answer to the write was lost"
    assert not holds(team([SLACK], entries=[]), [landed])


def test_a_new_twin_gets_its_own_message_while_names_are_missing() -> None:
    old = {"type": "webhook", "name": "a", "url": "https://hooks.example.com/a"}
    twin = {**old, "name": "b"}
    entries = nameless([wire(planned(delivery=[SLACK, old]).claims[1].receipt)])
    landed = [{**entries[0], "success": True}]
    del landed[0]["error"]
    first = message_id("uid-1", "team.completed", "a")
    (claim,) = [one for one in planned(*landed, delivery=[twin, old]).claims if one.target.name]
    assert claim.receipt.id != first
    # One that only duplicates a name cannot be sent to, and takes no other target's entry.
    made = planned(*nameless([FOREIGN | {"type": "x"}]), *landed, delivery=[old, old])
    assert not made.claims
    assert [one.reason for one in made.closed] == [Reason.INVALID_TARGET]
