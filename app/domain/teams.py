"""The fields of an AgentTeam that are read, and when a team needs delivery; tolerates any input.

Everything else in the resource is preserved by never being written.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any

from app.domain.bounds import ENTRIES
from app.domain.events import TERMINAL_PHASES
from app.domain.receipts import Receipt
from app.domain.record import Record
from app.domain.targets import told_of
from app.domain.text import readable
from app.domain.times import parse_time

VERSION = "v1alpha1"
KIND = "AgentTeam"
PLURAL = "agentteams"

FACTS = ("phase", "startedAt", "completedAt", "estimatedCost", "tasks", "totalTokensUsed")
"""What is read of the status beside its lists; all else in it is let go at once, for it may be large."""

LONGEST_CLAIM = timedelta(hours=2)
"""No claim lasts longer: settings that would make it do so are refused."""
CLOCKS_APART = timedelta(minutes=5)
"""How far the clocks of two API servers of one cluster may be apart."""

COMPLETION_GRACE = timedelta(seconds=30)
"""How long the operator is given to write `completedAt` after the phase turned terminal."""


def no_crd(group: str) -> str:
    """Say that a cluster knows no teams of a group, and what to do."""
    return (
        f"this cluster has no CRD {PLURAL}.{group}: install the operator that brings it, or set"
        " DELIVERY_API_GROUP to the group of the one that is there"
    )


@dataclass(frozen=True)
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
    def from_resource(
        cls, resource: Mapping[str, Any], written: Sequence[Mapping[str, Any]] = ()
    ) -> "AgentTeam":
        """Read a resource; a field that is missing or of another type than expected counts as absent.

        Where its record came back as it was `written`, that is what is kept.
        """
        metadata = _mapping(resource.get("metadata"))
        lifecycle = _mapping(_mapping(resource.get("spec")).get("lifecycle"))
        status = _mapping(resource.get("status"))
        # Those of targets stand first, and there is no room for so many.
        listed = islice(_sequence(status.get("delivery")), ENTRIES.most)
        entries = [item for item in listed if isinstance(item, Mapping)]
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
            status={key: status[key] for key in FACTS if key in status},
            entries=written if entries == written else entries,
        )

    @property
    def wants_delivery(self) -> bool:
        """Whether the team asks for delivery and names somewhere to deliver to."""
        return self.on_complete == "deliver" and bool(self.targets)

    @cached_property
    def record(self) -> Record:
        """The entries, and whose each is; read once, for an event asks for it often."""
        return Record(self.targets, self.entries, ending=self.phase if self.finished else "")

    @property
    def finished(self) -> bool:
        """Whether the phase is terminal."""
        return self.phase in TERMINAL_PHASES


def open_targets(team: AgentTeam, now: datetime, *, adopt: bool = False) -> dict[str, datetime]:
    """Return the targets that are not settled, by key, each with the time from which it may be claimed.

    A name that is new in the spec may be claimed at once, and so may a pending entry that nobody holds;
    a claim may be taken over when it ends. Entries whose target has left the spec are among them, and with
    `adopt` those that somebody else failed to deliver.
    """
    record = team.record
    due = {
        key: _claimable(line.receipt, now)
        for key, line in record.by_key.items()
        if not (line.done or line.receipt.settled)
    }
    if team.wants_delivery:
        due.update((name, now) for name in told_targets(team) if record.is_new(name, adopt=adopt))
    return due


def _claimable(receipt: Receipt, now: datetime) -> datetime:
    """Return from when a pending target may be claimed.

    A claim that ends later than any that is made now was stamped by a clock that was ahead, and would keep
    its target until the world has caught up with that; it counts as ended.
    """
    due = receipt.due or now
    is_astray = receipt.claimed_by is not None and due - now > LONGEST_CLAIM + CLOCKS_APART
    return now if is_astray else due


def told_targets(team: AgentTeam) -> list[str]:
    """Return the names of the targets that request notification in the team's phase."""
    names = team.record.names
    return [name for name, entry in zip(names, team.targets, strict=True) if told_of(entry, team.phase)]


def retried_targets(team: AgentTeam) -> tuple[list[Receipt], bool]:
    """Return the open targets that have been put off before, and whether nothing else is open."""
    record = team.record
    still = [line.receipt for line in record.by_key.values() if not (line.done or line.receipt.settled)]
    retried = [receipt for receipt in still if receipt.retries]
    if not retried:
        return [], False
    alone = len(retried) == len(still) and not any(
        record.is_new(name, adopt=False) for name in told_targets(team)
    )
    return retried, alone


def needs_delivery(  # noqa: PLR0913  # what an installation is asked for, and two times
    team: AgentTeam,
    *,
    phases: Collection[str],
    max_age: timedelta,
    finished_since: datetime,
    now: datetime,
    adopt: bool = False,
) -> datetime | None:
    """Return when the team is to be submitted next (not after `now`: at once), or None: nothing to do.

    `finished_since` is when the caller first saw the terminal phase; all times are the API server's.
    A pending entry is work whatever the team's age, since its event was accepted once.
    """
    record = team.record
    finished_at = team.completed_at or finished_since
    fresh = team.phase in phases and now - finished_at <= max_age
    begins = team.completed_at or finished_since + COMPLETION_GRACE
    new = {key for key in told_targets(team) if record.is_new(key, adopt=adopt)}
    return min(
        (
            begins if key in new else due
            for key, due in open_targets(team, now, adopt=adopt).items()
            if fresh or key not in new
        ),
        default=None,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) and readable(value) else ""
