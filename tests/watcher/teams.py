"""Teams for the watcher's tests."""

from datetime import UTC, datetime
from typing import Any

from app.domain.reasons import Reason
from app.domain.receipts import OPERATORS_FIELDS, Receipt
from app.domain.teams import AgentTeam
from app.domain.times import format_time

WEBHOOK = {"type": "webhook", "url": "https://hooks.example.com/a"}
SPEC = {"lifecycle": {"onComplete": "deliver", "delivery": [WEBHOOK]}}


def delivered(name: str = "webhook-0") -> dict[str, Any]:
    """A settled entry of the ledger."""
    return {
        "name": name,
        "type": "webhook",
        "success": True,
        "deliveredAt": "2026-03-01T10:00:00Z",
        "phase": "Delivered",
        "id": f"msg_{name}",
        "attempts": 1,
    }


def claimed(until: datetime, name: str = "webhook-0") -> dict[str, Any]:
    """An entry with a claim that ends at a time."""
    return {
        "name": name,
        "type": "webhook",
        "success": False,
        "deliveredAt": "2026-03-01T10:00:00Z",
        "phase": "Pending",
        "id": f"msg_{name}",
        "attempts": 0,
        "claimedBy": "somebody",
        "claimedUntil": format_time(until),
    }


def postponed(until: datetime, name: str = "webhook-0", *, since: float = 0.0) -> dict[str, Any]:
    """A postponed entry, as the operator's CRD keeps it; `since`: when its event was accepted."""
    receipt = Receipt(
        name=name,
        type="webhook",
        target="https://hooks.example.com/a",
        id=f"msg_{name}",
        delivered_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
        timestamp=datetime.fromtimestamp(since, UTC),
        reason=Reason.HTTP_STATUS,
        message="answered 503 Service Unavailable, after 4 attempts",
        attempts=4,
        retries=1,
        retry_at=until,
    )
    return {key: value for key, value in receipt.to_wire().items() if key in {*OPERATORS_FIELDS, "timestamp"}}


def team(
    name: str = "report",
    *,
    namespace: str = "research",
    uid: str = "u-1",
    version: int = 1,
    phase: str = "Completed",
    completed: float | None = None,
    delivery: list[dict[str, Any]] | None = None,
) -> AgentTeam:
    """A team that requests delivery to one webhook; `completed` in seconds since 1970."""
    at = None if completed is None else format_time(datetime.fromtimestamp(completed, UTC))
    return AgentTeam.from_resource(
        {
            "metadata": {
                "namespace": namespace,
                "name": name,
                "uid": uid,
                "resourceVersion": str(version),
            },
            "spec": SPEC,
            "status": {"phase": phase, "completedAt": at, "delivery": delivery or []},
        }
    )
