"""The summary for people counts every target, whichever program wrote it and whichever CRD keeps it."""

import pytest

from app.domain.receipts import OPERATORS_FIELDS, Phase, Receipt
from app.domain.summary import summary_of
from app.domain.times import parse_time

AT = parse_time("2026-11-28T03:00:00Z")


def entry(phase: Phase) -> dict[str, object]:
    """Write an entry as the service does."""
    return Receipt(name="hook", type="webhook", phase=phase, id="msg_1", timestamp=AT).to_wire()


DELIVERED, FAILED, PENDING = (entry(phase) for phase in (Phase.DELIVERED, Phase.FAILED, Phase.PENDING))
THEIRS = {"type": "slack", "success": True, "deliveredAt": "2026-11-28T03:00:00Z", "target": "#reports"}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], None),
        ([DELIVERED] * 11, "Delivered 11/11"),
        ([DELIVERED, FAILED, DELIVERED], "PartiallyDelivered 2/3"),
        ([FAILED, FAILED], "Failed 0/2"),
        ([DELIVERED, PENDING, FAILED], "Pending 1/3"),
        ([PENDING], "Pending 0/1"),
        ([THEIRS, FAILED], "PartiallyDelivered 1/2"),
        ([THEIRS, THEIRS | {"success": False, "error": "dial tcp: refused"}], "PartiallyDelivered 1/2"),
        ([{"name": "a", "rubbish": 1}, THEIRS], "PartiallyDelivered 1/2"),
    ],
)
def test_the_summary_counts_delivered_targets_and_names_the_overall_phase(
    entries: list[dict[str, object]], said: str | None
) -> None:
    assert summary_of(entries) == said


def test_the_summary_is_the_same_if_the_crd_keeps_five_fields() -> None:
    entries = [DELIVERED, FAILED, PENDING]
    pruned = [{key: one[key] for key in OPERATORS_FIELDS if key in one} for one in entries]
    assert summary_of(pruned) == summary_of(entries)
