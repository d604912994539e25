"""The outcome of all targets of a team in one line: the column of `kubectl get agentteams`. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.receipts import Phase, overall_phase, read_entry


def summary_of(entries: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the overall phase and how many targets are delivered: `Failed 0/4`; empty without entries."""
    if not entries:
        return None
    receipts = [read_entry(entry) for entry in entries]
    delivered = sum(receipt.phase is Phase.DELIVERED for receipt in receipts)
    return f"{overall_phase(receipts)} {delivered}/{len(receipts)}"
