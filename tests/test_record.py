"""The target of an entry: by name, else by position, type and label; and the order of the list."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.receipts import OPERATORS_FIELDS, Phase, Receipt
from app.domain.record import Record

A = {"type": "webhook", "url": "https://a.example.com/x?token=1"}
B = {"type": "webhook", "url": "https://b.example.com"}
SLACK = {"type": "slack", "channel": "#x", "credentialsSecret": "keys"}
BAD = {"type": "slack", "channel": "#x"}
NO_CHANNEL = {"type": "slack", "credentialsSecret": "keys"}
MAIL = {"type": "email", "to": ["a@example.com", "b@example.com"]}
DRIVE = {"type": "google-drive", "folder": "Shared Reports/Q3"}
WEBHOOK_OF_SECRET = {"type": "webhook", "credentialsSecret": "keys"}


def entry(kind: str, label: str | None, **fields: Any) -> dict[str, Any]:
    """An entry as the operator's CRD keeps it."""
    given = {"type": kind, "target": label, "success": True, "deliveredAt": "2026-03-01T12:00:00Z", **fields}
    return {key: value for key, value in given.items() if value is not None}


def marked(name: str) -> dict[str, Any]:
    """Return the five fields that remain of a pending entry of A with a name."""
    wire = Receipt(name=name, type="webhook", target=ENTRY_A["target"], id="msg_1").to_wire()
    return {key: value for key, value in wire.items() if key in OPERATORS_FIELDS}


ENTRY_A = entry("webhook", "https://a.example.com/x")
ENTRY_B = entry("webhook", "https://b.example.com")
TWINS = [A | {"name": "a"}] * 2
CASES: list[tuple[str, list[Any], list[Any], list[str]]] = [
    ("in place", [A, B], [ENTRY_A, ENTRY_B], ["webhook-0", "webhook-1"]),
    ("out of place", [A, B], [ENTRY_B, ENTRY_A], ["webhook-1", "webhook-0"]),
    ("the first is missing", [A, B], [ENTRY_B], ["webhook-1"]),
    ("another type", [A], [entry("slack", "https://a.example.com/x")], [""]),
    ("another label", [A], [ENTRY_B], [""]),
    (
        "a label with its query, as the operator may write it",
        [A],
        [entry("webhook", A["url"])],
        ["webhook-0"],
    ),
    ("no label", [A], [entry("webhook", None)], [""]),
    ("no label, of a target that cannot be read", [A, BAD], [entry("slack", None)], ["slack-1"]),
    ("no label, of a target that could not be read", [SLACK], [entry("slack", None)], [""]),
    ("more than targets", [A], [ENTRY_A, ENTRY_A], ["webhook-0", ""]),
    ("two alike", [A, A], [ENTRY_A, ENTRY_A], ["webhook-0", "webhook-1"]),
    ("two alike behind another", [B, A, A], [ENTRY_A, ENTRY_A], ["webhook-2", "webhook-1"]),
    ("a name wins", [A, B | {"name": "b"}], [ENTRY_A | {"name": "b"}, ENTRY_A], ["b", "webhook-0"]),
    ("a position's name distinguishes twins", [A, A], [ENTRY_A | {"name": "webhook-1"}], ["webhook-1"]),
    (
        "a position's name is ignored if another target is there now",
        [A, B],
        [ENTRY_B | {"name": "webhook-0"}],
        ["webhook-1"],
    ),
    (
        "what looks like a place's name, and is given",
        [B | {"name": "webhook-5"}],
        [ENTRY_A | {"name": "webhook-5"}],
        ["webhook-5"],
    ),
    ("a place's name of a target that is gone", [B], [ENTRY_A | {"name": "webhook-0"}], [""]),
    ("an invalid twin keeps its position", TWINS, [ENTRY_B, ENTRY_A], ["", "a"]),
    ("the operator sent to both twins", TWINS, [ENTRY_A, entry("webhook", A["url"])], ["a", "a-2"]),
    ("a name that is no target's", [A | {"name": "a"}], [ENTRY_A | {"name": "pager"}], ["pager"]),
    ("a name that is no target's, of another label", [A], [ENTRY_B | {"name": "pager"}], ["pager"]),
    ("a name that was taken out of the spec", [B, A], [ENTRY_A | {"name": "a"}], ["webhook-1"]),
    (
        "a name removed from the spec, and one from the position",
        [A, A],
        [ENTRY_A | {"name": "a"}, ENTRY_A | {"name": "webhook-0"}],
        ["webhook-1", "webhook-0"],
    ),
    (
        "names that were taken out of the spec, which left one of them",
        [A, B | {"name": "b"}],
        [ENTRY_A | {"name": "x"}, ENTRY_A | {"name": "y"}, ENTRY_B | {"name": "z"}],
        ["webhook-0", "y", "z"],
    ),
    ("a name in the mark", [A | {"name": "a"}, A | {"name": "b"}], [marked("b"), ENTRY_A], ["b", "a"]),
    (
        "a name in the mark that the spec no longer has",
        [A, A],
        [ENTRY_A, marked("b")],
        ["webhook-0", "webhook-1"],
    ),
    (
        "a name that says another than its mark",
        [A | {"name": "a"}],
        [marked("a") | {"name": "pager"}],
        ["pager"],
    ),
    ("a name that is no text", [A], [ENTRY_A | {"name": 5}], [""]),
    ("a name that is null", [A], [ENTRY_A | {"name": None}], ["webhook-0"]),
    ("a channel", [SLACK], [entry("slack", "#x")], ["slack-0"]),
    ("a Secret's name for a channel", [NO_CHANNEL], [entry("slack", "secret/keys")], ["slack-0"]),
    ("no channel, as the operator writes it", [A, NO_CHANNEL], [entry("slack", None)], ["slack-1"]),
    ("recipients", [MAIL], [entry("email", "a@example.com, b@example.com")], ["email-0"]),
    ("a folder", [DRIVE], [entry("google-drive", "Shared Reports/Q3")], ["google-drive-0"]),
    ("a URL in a Secret", [WEBHOOK_OF_SECRET], [entry("webhook", "secret/keys")], ["webhook-0"]),
    (
        "a URL whose Secret has another one",
        [{**A, **WEBHOOK_OF_SECRET}],
        [entry("webhook", "secret/keys")],
        ["webhook-0"],
    ),
    ("odd labels", [A], [entry("webhook", 5), entry("webhook", ["x"]), entry([], {})], ["", "", ""]),  # type: ignore[arg-type]  # as by hand
    ("no entries", [A], [], []),
    ("no targets", [], [ENTRY_A], [""]),
]


@pytest.mark.parametrize(
    ("spec", "entries", "names"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_each_entry_is_assigned_to_its_target(spec: list[Any], entries: list[Any], names: list[str]) -> None:
    assert [line.name for line in Record(spec, entries).lines] == names


FOR_FAILURES, FOR_SUCCESS = A | {"on": ["Failed", "TimedOut"]}, A | {"on": ["Completed"]}
PHASES: list[tuple[str, str, list[Any], list[Any], list[str]]] = [
    ("the first is for failures", "Completed", [FOR_FAILURES, FOR_SUCCESS], [ENTRY_A], ["webhook-1"]),
    ("the first is for success", "Completed", [FOR_SUCCESS, FOR_FAILURES], [ENTRY_A], ["webhook-0"]),
    ("it failed", "Failed", [FOR_FAILURES, FOR_SUCCESS], [ENTRY_A], ["webhook-0"]),
    ("one is for all", "TimedOut", [FOR_SUCCESS, A, FOR_FAILURES], [ENTRY_A] * 2, ["webhook-2", "webhook-1"]),
    ("it has not ended", "", [FOR_FAILURES, FOR_SUCCESS], [ENTRY_A], ["webhook-0"]),
    (
        "more than are notified",
        "Completed",
        [FOR_FAILURES, FOR_SUCCESS],
        [ENTRY_A] * 3,
        ["webhook-0", "webhook-1", ""],
    ),
    (
        "it says its place",
        "Completed",
        [FOR_FAILURES, FOR_SUCCESS],
        [ENTRY_A | {"name": "webhook-0"}],
        ["webhook-0"],
    ),
]


@pytest.mark.parametrize(
    ("phase", "spec", "entries", "names"), [row[1:] for row in PHASES], ids=[row[0] for row in PHASES]
)
def test_of_equal_targets_those_that_are_notified_get_the_entries(
    phase: str, spec: list[Any], entries: list[Any], names: list[str]
) -> None:
    assert [line.name for line in Record(spec, entries, phase=phase).lines] == names


def test_a_copy_of_our_entry_belongs_to_no_target_and_is_removed() -> None:
    pending = Receipt(name="webhook-0", type="webhook", target=ENTRY_A["target"], id="msg_1").to_wire()
    five = {key: value for key, value in pending.items() if key in OPERATORS_FIELDS}
    imitation = ENTRY_A | {"success": False, "error": "Timeout: x [agentteam-delivery/2 id=msg_1]"}
    for entries in ([pending, pending], [pending, five], [five, five, ENTRY_B, five]):
        record = Record([A, A], entries)
        assert [line.name for line in record.lines][:1] == ["webhook-0"]
        assert "webhook-1" not in record.by_key
        new = Receipt(name="webhook-1", type="webhook", target=ENTRY_A["target"], id="msg_2")
        assert record.written({"webhook-1": new}) == [entries[0], new.to_wire(), *entries[2:3]]
    # Entries of other programs are kept, even duplicates and imitations.
    assert [line.name for line in Record([A, A], [five, imitation, imitation]).lines] == [
        "webhook-0",
        "webhook-1",
        "",
    ]
    assert len(Record([A], [ENTRY_A, ENTRY_A, {"id": 5}, {"id": 5}]).lines) == 4


def test_of_entries_with_one_name_the_first_counts() -> None:
    first = Receipt(name="a", type="webhook", target=ENTRY_A["target"], id="msg_1", phase=Phase.DELIVERED)
    second = first.model_copy(update={"id": "msg_2", "phase": Phase.PENDING})
    record = Record([A | {"name": "a"}], [first.to_wire(), second.to_wire()])
    assert record.all_settled
    assert [receipt.id for receipt in record.receipts] == ["msg_1"]
    assert record.written({}) == [first.to_wire(), second.to_wire()]


def test_the_list_has_one_entry_per_target_in_the_order_of_the_spec() -> None:
    record = Record([A, SLACK, B], [{"odd": 1}, ENTRY_B])
    new = Receipt(name="slack-1", type="slack", target="#x")
    assert record.written({"slack-1": new}) == [new.to_wire(), ENTRY_B, {"odd": 1}]


def reads_back(record: Record, changes: dict[str, Receipt]) -> bool:
    return record.reads_back(changes, record.written(changes))


def test_only_twins_are_ambiguous() -> None:
    def new(*names: str) -> dict[str, Receipt]:
        return {name: Receipt(name=name, type="webhook", target=ENTRY_A["target"]) for name in names}

    assert reads_back(Record([B, A], []), new("webhook-1"))
    twins = Record([A, A], [])
    assert not reads_back(twins, new("webhook-1"))
    assert reads_back(twins, new("webhook-0", "webhook-1"))
    moved = Record([B, A | {"name": "a"}], [ENTRY_A | {"name": "gone"}])
    assert not reads_back(moved, new("a")), "the remains of another entry could be mistaken for it"
    named = Record([A | {"name": "a"}, A | {"name": "b"}], [])
    assert not reads_back(named, new("b")), "a delivered entry does not contain its name"


LISTED = st.sampled_from(
    [A, B, SLACK, BAD, NO_CHANNEL, A | {"on": ["Failed"]}, A | {"name": "a"}, B | {"on": []}]
)


@given(
    before=st.lists(LISTED, max_size=4),
    now=st.lists(LISTED, min_size=1, max_size=4),
    phase=st.sampled_from(["", "Completed", "Failed"]),
    which=st.lists(st.booleans(), min_size=8, max_size=8),
)
@example(  # the second entry could be the third target's, which is notified
    before=[],
    now=[A, A | {"on": ["Failed"]}, A],
    phase="Completed",
    which=[False] * 4 + [True, True, False, False],
)
@settings(max_examples=300)
def test_a_list_that_is_said_to_read_back_does(
    before: list[Any], now: list[Any], phase: str, which: list[bool]
) -> None:
    first = Record(before, [], phase=phase)
    recorded = first.written(receipts(first, which[:4]))
    record = Record(now, recorded, phase=phase)
    changes = receipts(record, which[4:])
    entries = record.written(changes)
    bare = [{key: value for key, value in one.items() if key in {"type", "target"}} for one in entries]
    names = [line.name for line in Record(now, bare, phase=phase).lines]
    meant = [name for name in record.names if name in changes or name in record.by_key]
    assert record.reads_back(changes, entries) is (names == meant + [""] * (len(entries) - len(meant)))


def receipts(record: Record, which: list[bool]) -> dict[str, Receipt]:
    """Return receipts of some targets."""
    return {
        target.name: Receipt(
            name=target.name, type=target.type, target=target.address, id=f"msg_{target.name}"
        )
        for target, chosen in zip(record.targets, which, strict=False)
        if chosen
    }
