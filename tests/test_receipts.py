"""Receipts: what is on record of a target, read from and written to `status.delivery[]`."""

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.reasons import Reason
from app.domain.receipts import Phase, Receipt, message_id, overall_phase
from tests.examples import NOW, unhurried

CLAIMED = {
    "name": "hook",
    "type": "webhook",
    "target": "https://hooks.example.com/x",
    "phase": "Pending",
    "attempts": 0,
    "timestamp": "2026-03-01T12:00:00Z",
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
    "id": "msg_1",
}
FAILED = {
    **DELIVERED,
    "phase": "Failed",
    "reason": "HTTPStatus",
    "message": "answered 404",
    "httpStatus": 404,
}
BARE = {"name": "hook", "phase": "Failed", "attempts": 0}


@pytest.mark.parametrize(
    "entry",
    [CLAIMED, TAKEN_OVER, HANDED_BACK, DELIVERED, FAILED, BARE],
    ids=["claimed", "taken over", "handed back", "delivered", "failed", "bare"],
)
def test_an_entry_is_read_and_written_back_as_it_was(entry: dict[str, Any]) -> None:
    receipt = Receipt.from_wire(entry)
    assert receipt.to_wire() == entry
    assert Receipt.from_wire(json.loads(json.dumps(receipt.to_wire()))) == receipt


_lines = st.text(st.characters(codec="utf-8"), max_size=20)
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
    timestamp=st.none() | st.just(NOW),
    id=st.none() | _lines.filter(bool),
    claimed_by=st.none() | _lines.filter(bool),
    claimed_until=st.none() | st.just(NOW),
    takeovers=st.integers(0, 2**31),
    redeliveries=st.integers(0, 2**31),
)


@unhurried
@given(_receipts)
def test_every_receipt_survives_the_wire(receipt: Receipt) -> None:
    wire = json.loads(json.dumps(receipt.to_wire()))
    assert Receipt.from_wire(wire) == receipt
    assert all(value is not None for value in wire.values()), "a null would remove a field, not say it"
    assert {type(value) for value in wire.values()} <= {str, int}, "the CRD knows texts and integers"


def test_times_are_written_as_kubernetes_writes_them() -> None:
    receipt = Receipt(name="hook", timestamp=NOW.replace(microsecond=999_999), claimed_until=NOW)
    wire = receipt.to_wire()
    assert (wire["timestamp"], wire["claimedUntil"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z")


ODD = [
    ("nothing but a name", {"name": "x"}, {"name": "x", "phase": Phase.PENDING, "id": None}),
    ("nothing at all", {}, {"name": ""}),
    ("a name that is a number", {"name": 5}, {"name": "5"}),
    ("a name that is null", {"name": None}, {}),
    ("another phase", {"name": "x", "phase": "Sent", "id": "a"}, {"phase": Phase.PENDING, "id": "a"}),
    ("a phase that is a list", {"name": "x", "phase": ["Failed"]}, {"phase": Phase.PENDING}),
    ("another reason", {"name": "x", "reason": "BadLuck", "message": "m"}, {"reason": None, "message": "m"}),
    ("a status that is text", {"name": "x", "httpStatus": "teapot"}, {"http_status": None}),
    ("attempts that are none", {"name": "x", "attempts": {"x": 1}}, {"attempts": 0}),
    ("attempts that are null", {"name": "x", "attempts": None}, {"attempts": 0}),
    ("a time that is none", {"name": "x", "timestamp": "noon"}, {"timestamp": None}),
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
def test_what_somebody_else_wrote_is_read_without_a_complaint(
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
def test_no_entry_whatsoever_brings_the_reader_down(entry: dict[str, Any]) -> None:
    Receipt.from_wire(entry).to_wire()


SETTLED = [
    (CLAIMED, False),
    (HANDED_BACK, False),
    (DELIVERED, True),
    (FAILED, True),
    ({"name": "x", "phase": "Pending"}, True),  # somebody else's
    ({"name": "x", "phase": "Sent"}, True),
    ({"name": "x", "phase": "Sent", "id": "msg_1"}, False),
]


@pytest.mark.parametrize(("entry", "settled"), SETTLED)
def test_an_entry_is_settled_when_it_says_so_or_is_somebody_else_s(
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
def test_the_phases_of_the_targets_sum_up_in_whatever_order(phases: tuple[str, ...], overall: str) -> None:
    for order in itertools.permutations(phases):
        receipts = [Receipt(name=str(at), phase=Phase(phase), id="msg_1") for at, phase in enumerate(order)]
        assert overall_phase(receipts) == overall
        assert overall_phase(iter(receipts)) == overall


def test_an_id_is_the_same_whoever_makes_it_and_whenever() -> None:
    made = message_id("uid-1", "team.completed", "slack-1", 0)
    assert made == message_id("uid-1", "team.completed", "slack-1", 0)
    assert made == "msg_74b1c6b3070455bfa18becdc4001c92d", "changing it makes receivers take repeats for new"
    assert re.fullmatch(r"msg_[0-9a-f]{32}", made)


def test_an_id_differs_where_anything_else_does() -> None:
    ids = {
        message_id(uid, event, name, redeliveries)
        for uid in ("uid-1", "uid-2")
        for event in ("team.completed", "team.started")
        for name in ("slack-1", "slack-11", "slack-1 1")
        for redeliveries in (0, 1, 11)
    }
    assert len(ids) == 2 * 2 * 3 * 3


def test_a_time_that_cannot_be_written_counts_as_absent() -> None:
    entry = {"name": "a", "id": "msg_1", "phase": "Pending", "timestamp": "0001-01-01T00:00:00+05:00"}
    assert Receipt.from_wire(entry).to_wire() == {
        "name": "a",
        "id": "msg_1",
        "phase": "Pending",
        "attempts": 0,
    }
    zero = {**entry, "timestamp": "0001-01-01T00:00:00Z"}
    assert Receipt.from_wire(zero).to_wire()["timestamp"] == "0001-01-01T00:00:00Z"
