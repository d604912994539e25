"""Receipts: the record of a target, read from and written to `status.delivery[]`."""

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.reasons import Reason
from app.domain.receipts import FIRST, OPERATORS_FIELDS, Phase, Receipt, message_id, overall_phase
from app.domain.targets import is_place
from tests.examples import NOW, unhurried

CLAIMED = {
    "name": "hook",
    "type": "webhook",
    "target": "https://hooks.example.com/x",
    "phase": "Pending",
    "attempts": 0,
    "timestamp": "2026-03-01T12:00:00Z",
    "deliveredAt": "2026-03-01T12:00:00Z",
    "id": "msg_1",
    "claimedBy": "agentteam-delivery-0123",
    "claimedUntil": "2026-03-01T12:02:22Z",
}
TAKEN_OVER = {**CLAIMED, "attempts": 3, "takeovers": 2, "redeliveries": 1}
HANDED_BACK = {key: value for key, value in TAKEN_OVER.items() if not key.startswith("claimed")}
DELIVERED = {
    "name": "hook",
    "type": "webhook",
    "target": "https://hooks.example.com/x",
    "phase": "Delivered",
    "reason": "Delivered",
    "message": "answered 200",
    "httpStatus": 200,
    "attempts": 1,
    "timestamp": "2026-03-01T12:00:00Z",
    "deliveredAt": "2026-03-01T12:00:00Z",
    "id": "msg_1",
}
FAILED = {
    **DELIVERED,
    "phase": "Failed",
    "reason": "HTTPStatus",
    "message": "answered 404",
    "httpStatus": 404,
}


@pytest.mark.parametrize(
    "entry",
    [CLAIMED, TAKEN_OVER, HANDED_BACK, DELIVERED, FAILED],
    ids=["claimed", "taken over", "released", "delivered", "failed"],
)
def test_an_entry_is_read_and_written_back_unchanged(entry: dict[str, Any]) -> None:
    receipt = Receipt.from_wire(entry)
    assert entry.items() <= receipt.to_wire().items()
    assert set(receipt.to_wire()) - set(entry) <= set(OPERATORS_FIELDS)
    again = json.loads(json.dumps(receipt.to_wire()))
    assert Receipt.from_wire(again).to_wire() == again


_lines = st.text(st.characters(codec="utf-8"), max_size=20)


def _as_it_can_be(receipt: Receipt) -> Receipt:
    """A delivered target has its delivery time."""
    if receipt.phase is not Phase.DELIVERED:
        return receipt
    return receipt.model_copy(update={"reason": Reason.DELIVERED, "timestamp": receipt.delivered_at})


_receipts = st.builds(
    Receipt,
    name=_lines.filter(bool),
    type=_lines,
    target=_lines,
    phase=st.sampled_from(Phase),
    reason=st.none() | st.sampled_from(Reason),
    message=_lines,
    http_status=st.none() | st.integers(100, 599),
    attempts=st.integers(0, 2**31),
    timestamp=st.just(NOW) | st.just(NOW.replace(hour=1)),
    id=st.none() | _lines.filter(bool),
    claimed_by=st.none() | _lines.filter(bool),
    claimed_until=st.none() | st.just(NOW),
    retry_at=st.none() | st.just(NOW),
    delivered_at=st.just(NOW),
    accepted=st.lists(_lines.filter(bool), max_size=3).map(tuple),
    takeovers=st.integers(0, 2**31),
    redeliveries=st.integers(0, 2**31),
).map(_as_it_can_be)


@unhurried
@given(_receipts.filter(lambda receipt: receipt.id))
def test_every_receipt_survives_writing_and_reading(receipt: Receipt) -> None:
    wire = json.loads(json.dumps(receipt.to_wire()))
    assert Receipt.from_wire(wire) == receipt
    assert all(value is not None for value in wire.values()), "null would remove the field"
    assert {type(value) for value in wire.values()} <= {str, int, bool, list}, "as the CRD has it"


def test_times_are_written_as_in_kubernetes() -> None:
    receipt = Receipt(name="hook", timestamp=NOW.replace(microsecond=999_999), claimed_until=NOW)
    wire = receipt.to_wire()
    assert (wire["timestamp"], wire["claimedUntil"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z")


def five(entry: dict[str, Any]) -> dict[str, Any]:
    """Reduce an entry as the operator's typed write does, and as its CRD does with ours."""
    return {key: value for key, value in entry.items() if key in OPERATORS_FIELDS}


@unhurried
@given(_receipts.filter(lambda receipt: receipt.id))
def test_the_operator_s_five_fields_keep_everything_essential(receipt: Receipt) -> None:
    entry = json.loads(json.dumps(receipt.to_wire()))
    assert valid(entry)
    read = Receipt.from_wire(five(entry))
    assert read.essence == receipt.essence
    assert read.essence == Receipt.from_wire(entry).essence, "our own fields say the same"
    assert five(read.to_wire()) == five(entry), "and an entry read so is written back unchanged"
    if receipt.phase is not Phase.DELIVERED:
        assert (read.id, read.name, read.timestamp, read.http_status) == (
            receipt.id,
            "" if is_place(receipt.name, receipt.type) else receipt.name,
            receipt.timestamp or NOW,
            receipt.http_status or None,
        )


@unhurried
@given(_receipts.filter(lambda receipt: receipt.id and receipt.phase is Phase.FAILED))
def test_a_failure_in_five_fields_has_its_reason(receipt: Receipt) -> None:
    read = Receipt.from_wire(five(receipt.to_wire()))
    assert (read.reason, read.message) == (receipt.reason, receipt.message)


def valid(entry: dict[str, Any]) -> bool:
    """Whether the operator's CRD accepts an entry."""
    at = entry["deliveredAt"]
    return (
        isinstance(entry["type"], str)
        and isinstance(entry["success"], bool)
        and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", at) is not None
        and isinstance(entry.get("target", ""), str)
        and isinstance(entry.get("error", ""), str)
        and not (entry["success"] and "error" in entry)
    )


@unhurried
@given(_receipts)
def test_every_entry_is_valid_for_the_operator(receipt: Receipt) -> None:
    assert valid(receipt.to_wire())
    assert valid(Receipt.from_wire({"name": receipt.name, "id": receipt.id}).to_wire())


OPERATORS = {"type": "webhook", "target": "https://a.example.com", "deliveredAt": "2026-03-01T12:00:00Z"}
THEIRS = [
    ("a failure", {"success": False, "error": "Post failed"}, "Failed"),
    ("a failure without a word", {"success": False}, "Failed"),
    ("landed, with an error", {"success": True, "error": "but"}, "Pending"),
    ("no success", {"error": "x"}, "Pending"),
    ("an invalid time", {"success": False, "deliveredAt": "noon"}, "Pending"),
    ("no type", {"success": False, "type": None}, "Pending"),
    ("a phase of their own", {"success": False, "phase": "Delivered"}, "Failed"),
    ("an invalid error", {"success": False, "error": ["x"]}, "Pending"),
]


@pytest.mark.parametrize(("fields", "phase"), [row[1:] for row in THEIRS], ids=[row[0] for row in THEIRS])
def test_an_entry_without_our_mark_belongs_to_another_program(fields: dict[str, Any], phase: str) -> None:
    receipt = Receipt.from_wire({**OPERATORS, **fields})
    assert receipt.theirs
    assert receipt.settled
    assert receipt.phase == phase
    assert receipt.adoptable is (phase == "Failed")
    assert receipt.error == "", "another program's text may contain secrets"


def test_a_delivered_foreign_entry_may_be_ours_and_is_never_adopted() -> None:
    receipt = Receipt.from_wire({**OPERATORS, "success": True})
    assert (receipt.phase, receipt.reason, receipt.settled) == (Phase.DELIVERED, Reason.DELIVERED, True)
    assert not receipt.theirs
    assert not receipt.adoptable


ODD = [
    ("nothing but a name", {"name": "x"}, {"name": "x", "phase": Phase.PENDING, "id": None}),
    ("nothing at all", {}, {"name": ""}),
    ("a name that is a number", {"name": 5}, {"name": ""}),
    ("a name that is null", {"name": None}, {}),
    ("another phase", {"name": "x", "phase": "Sent", "id": "a"}, {"phase": Phase.PENDING, "id": "a"}),
    ("a phase that is a list", {"name": "x", "phase": ["Failed"]}, {"phase": Phase.PENDING}),
    ("another reason", {"name": "x", "reason": "BadLuck", "message": "m"}, {"reason": None, "message": "m"}),
    ("a status that is text", {"name": "x", "httpStatus": "teapot"}, {"http_status": None}),
    ("invalid attempts", {"name": "x", "attempts": {"x": 1}}, {"attempts": 0}),
    ("attempts that are null", {"name": "x", "attempts": None}, {"attempts": 0}),
    ("an invalid time", {"name": "x", "timestamp": "noon"}, {"timestamp": None}),
    ("a time without a zone", {"name": "x", "timestamp": "2026-03-01T12:00:00"}, {"timestamp": None}),
    ("an id that is a number", {"name": "x", "id": 5}, {"id": None}),
    ("a claim that is odd", {"name": "x", "claimedBy": [], "claimedUntil": {}}, {"claimed_by": None}),
    ("unknown fields", {"name": "x", "sentBy": "operator", "receipt": {"a": 1}}, {"name": "x"}),
    (
        "fields in our own spelling",
        {"name": "x", "http_status": "x", "claimed_by": {}},
        {"http_status": None},
    ),
]


@pytest.mark.parametrize(("entry", "fields"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
def test_an_entry_of_another_program_is_read_without_an_error(
    entry: dict[str, Any], fields: dict[str, Any]
) -> None:
    receipt = Receipt.from_wire(entry)
    assert {key: getattr(receipt, key) for key in fields} == fields


_odd: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
_keys = st.sampled_from([*TAKEN_OVER, *DELIVERED, "http_status", "claimed_until"]) | st.text(max_size=5)


@unhurried
@given(st.dictionaries(_keys, _odd, max_size=8))
def test_no_entry_crashes_the_reader(entry: dict[str, Any]) -> None:
    Receipt.from_wire(entry).to_wire()


SETTLED = [
    (CLAIMED, False),
    (HANDED_BACK, False),
    (DELIVERED, True),
    (FAILED, True),
    ({"name": "x", "phase": "Pending"}, True),  # another program's
    ({"name": "x", "phase": "Sent"}, True),
    ({"name": "x", "phase": "Sent", "id": "msg_1"}, False),
]


@pytest.mark.parametrize(("entry", "settled"), SETTLED)
def test_an_entry_is_settled_if_it_says_so_or_is_another_program_s(
    entry: dict[str, Any], settled: bool
) -> None:
    assert Receipt.from_wire(entry).settled is settled


PHASES = {
    (): "Pending",
    ("Pending",): "Pending",
    ("Delivered",): "Delivered",
    ("Failed",): "Failed",
    ("Delivered", "Delivered"): "Delivered",
    ("Failed", "Failed"): "Failed",
    ("Delivered", "Failed"): "PartiallyDelivered",
    ("Delivered", "Pending"): "Pending",
    ("Failed", "Pending"): "Pending",
    ("Delivered", "Failed", "Pending"): "Pending",
    ("Delivered", "Delivered", "Failed"): "PartiallyDelivered",
}


@pytest.mark.parametrize(("phases", "overall"), PHASES.items())
def test_the_overall_phase_does_not_depend_on_the_order(phases: tuple[str, ...], overall: str) -> None:
    for order in itertools.permutations(phases):
        receipts = [Receipt(name=str(at), phase=Phase(phase), id="msg_1") for at, phase in enumerate(order)]
        assert overall_phase(receipts) == overall
        assert overall_phase(iter(receipts)) == overall


def test_an_id_is_deterministic() -> None:
    made = message_id("uid-1", "team.completed", "slack-1")
    assert made == message_id("uid-1", "team.completed", "slack-1")
    assert made == "msg_74b1c6b3070455bfa18becdc4001c92d", (
        "a change would make receivers treat retries as new messages"
    )
    assert re.fullmatch(r"msg_[0-9a-f]{32}", made)


def test_an_id_differs_if_any_input_differs() -> None:
    ids = {
        message_id(uid, event, name, supersedes)
        for uid in ("uid-1", "uid-2")
        for event in ("team.completed", "team.started")
        for name in ("slack-1", "slack-11", "slack-1 1")
        for supersedes in (FIRST, "2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z")
    }
    assert len(ids) == 2 * 2 * 3 * 3


def test_a_time_that_cannot_be_written_counts_as_absent() -> None:
    entry = {"name": "a", "id": "msg_1", "phase": "Pending", "timestamp": "0001-01-01T00:00:00+05:00"}
    assert Receipt.from_wire(entry).timestamp is None
    assert "timestamp" not in Receipt.from_wire(entry).to_wire()
    zero = {**entry, "timestamp": "0001-01-01T00:00:00Z"}
    assert Receipt.from_wire(zero).to_wire()["timestamp"] == "0001-01-01T00:00:00Z"
