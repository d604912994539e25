"""The slice of an AgentTeam that is read, and when a team needs delivery; nothing here fails on odd input.

Everything else in the resource is preserved by never being written.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app.domain.events import TERMINAL_PHASES
from app.domain.targets import target_names
from app.domain.text import readable
from app.domain.times import parse_time

VERSION = "v1alpha1"
KIND = "AgentTeam"
PLURAL = "agentteams"

COMPLETION_GRACE = timedelta(seconds=30)
"""How long the operator is given to write `completedAt` after the phase turned terminal."""


@dataclass(frozen=True, slots=True)
class AgentTeam:
    """One AgentTeam as the API server handed it in; `targets` and `entries` are the lists as they stand."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    on_complete: str = ""
    targets: Sequence[Any] = field(
        default=(), repr=False
    )  # a URL in it may hold what its author meant to hide
    phase: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    artifacts: Sequence[Mapping[str, Any]] = ()
    status: Mapping[str, Any] = field(default_factory=dict, repr=False)
    entries: Sequence[Mapping[str, Any]] = field(default=(), repr=False)

    @classmethod
    def from_resource(cls, resource: Mapping[str, Any]) -> "AgentTeam":
        """Read a resource; a field that is missing or of another type than expected counts as absent."""
        metadata = _mapping(resource.get("metadata"))
        lifecycle = _mapping(_mapping(resource.get("spec")).get("lifecycle"))
        status = _mapping(resource.get("status"))
        return cls(
            namespace=_text(metadata.get("namespace")),
            name=_text(metadata.get("name")),
            uid=_text(metadata.get("uid")),
            resource_version=_text(metadata.get("resourceVersion")),
            on_complete=_text(lifecycle.get("onComplete")),
            targets=_sequence(lifecycle.get("delivery")),
            phase=_text(status.get("phase")),
            started_at=parse_time(status.get("startedAt")),
            completed_at=parse_time(status.get("completedAt")),
            artifacts=[item for item in _sequence(status.get("artifacts")) if isinstance(item, Mapping)],
            status=status,
            entries=[item for item in _sequence(status.get("delivery")) if isinstance(item, Mapping)],
        )

    @property
    def wants_delivery(self) -> bool:
        """Whether the team asks for delivery and names somewhere to deliver to."""
        return self.on_complete == "deliver" and bool(self.targets)

    @property
    def finished(self) -> bool:
        """Whether the phase is terminal."""
        return self.phase in TERMINAL_PHASES


def by_name(entries: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the entries of `status.delivery` that have a name; of several of one name the first counts."""
    named: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if name := _text(entry.get("name")):
            named.setdefault(name, entry)
    return named


def settled(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of `status.delivery` is final: its own phase says so, or somebody else wrote it."""
    return entry.get("phase") in ("Delivered", "Failed") or not entry.get("id")


def claim_ends(entry: Mapping[str, Any]) -> datetime | None:
    """Return when the claim on a pending entry ends; None where nobody holds it, so that anybody may."""
    return parse_time(entry.get("claimedUntil")) if entry.get("claimedBy") else None


def open_targets(team: AgentTeam, now: datetime) -> dict[str, datetime]:
    """Return the targets that are not settled, by name, each with the time from which it may be claimed.

    A name that is new in the spec may be claimed at once, and so may a pending entry that nobody holds;
    a claim may be taken over when it ends. Entries whose target has left the spec are among them.
    """
    recorded = by_name(team.entries)
    due = {name: claim_ends(entry) or now for name, entry in recorded.items() if not settled(entry)}
    if team.wants_delivery:
        due.update((name, now) for name in target_names(team.targets) if name not in recorded)
    return due


def needs_delivery(
    team: AgentTeam, *, phases: Collection[str], max_age: timedelta, finished_since: datetime, now: datetime
) -> datetime | None:
    """Return when the team is to be handed in next (not after `now`: at once), or None: nothing to do.

    `finished_since` is when the caller first saw the terminal phase; all times are the API server's.
    A pending entry is work whatever the team's age, since its event was accepted once.
    """
    pending = by_name(team.entries)
    finished_at = team.completed_at or finished_since
    fresh = team.phase in phases and now - finished_at <= max_age
    return min(
        (
            due if name in pending else team.completed_at or finished_since + COMPLETION_GRACE
            for name, due in open_targets(team, now).items()
            if name in pending or fresh
        ),
        default=None,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) and readable(value) else ""
