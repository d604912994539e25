"""Teams as the watcher's tests need them."""

from datetime import UTC, datetime
from typing import Any

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
    """An entry that somebody is at, until a time."""
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
    """A team that asks for delivery to one webhook; `completed` in seconds since 1970."""
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
