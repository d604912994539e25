"""The fields of an AgentTeam that this service reads, and when a team needs delivery; tolerates any input.

The service never writes the rest of the resource, so it stays as it is.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from propcache.api import cached_property

from app.domain.bounds import ENTRIES
from app.domain.events import TERMINAL_PHASES
from app.domain.receipts import Receipt
from app.domain.record import Listed, Record
from app.domain.targets import is_notified
from app.domain.text import readable, shortened
from app.domain.times import parse_time, spoken

VERSION = "v1alpha1"
KIND = "AgentTeam"
PLURAL = "agentteams"

FACTS = ("phase", "startedAt", "completedAt", "estimatedCost", "tasks", "totalTokensUsed")
"""The fields of the status that are read besides its lists; the rest may be large and is dropped."""

LONGEST_CLAIM = timedelta(hours=2)
"""The longest claim; settings that would allow a longer one are rejected."""
CLOCKS_APART = timedelta(minutes=5)
"""The largest expected difference between the clocks of a cluster's API servers."""

COMPLETION_GRACE = timedelta(seconds=30)
"""How long the operator has to write `completedAt` after the phase became terminal."""


def no_crd(group: str) -> str:
    """Say that the cluster has no AgentTeams of an API group, and what to do."""
    return (
        f"this cluster has no CRD {PLURAL}.{group}: install the operator that provides it, or set"
        " DELIVERY_API_GROUP to the group of the one that is there"
    )


@dataclass(frozen=True)
class AgentTeam:
    """One AgentTeam as the API server returned it; `targets` and `entries` are the lists as they are."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    on_complete: str = ""
    targets: Sequence[Any] = field(default=(), repr=False)  # a URL in it may contain a secret
    phase: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    artifacts: Sequence[Mapping[str, Any]] = ()
    status: Mapping[str, Any] = field(default_factory=dict, repr=False)
    entries: Sequence[Mapping[str, Any]] = field(default=(), repr=False)

    @classmethod
    def from_resource(cls, resource: Mapping[str, Any]) -> "AgentTeam":
        """Read a resource; a missing field, or one of an unexpected type, counts as absent."""
        metadata = _mapping(resource.get("metadata"))
        lifecycle = _mapping(_mapping(resource.get("spec")).get("lifecycle"))
        status = _mapping(resource.get("status"))
        return cls(
            namespace=_text(metadata.get("namespace")),
            name=_text(metadata.get("name")),
            uid=_text(metadata.get("uid")),
            resource_version=_text(metadata.get("resourceVersion")),
            on_complete=_text(lifecycle.get("onComplete")),
            targets=Listed(_sequence(lifecycle.get("delivery"))),
            phase=_text(status.get("phase")),
            started_at=parse_time(status.get("startedAt")),
            completed_at=parse_time(status.get("completedAt")),
            artifacts=[item for item in _sequence(status.get("artifacts")) if isinstance(item, dict)],
            status={key: status[key] for key in FACTS if key in status},
            entries=_entries(status),
        )

    def after_write(
        self, resource: Mapping[str, Any], written: Sequence[Mapping[str, Any]]
    ) -> "AgentTeam | None":
        """Return the team as the answer to a write of its record has it; None if the answer is not about it.

        The write was made under the team's resourceVersion, so nobody has changed the rest since; what an
        admission webhook changes of it counts from the next read. If the record came back as it was
        `written`, that is kept instead.
        """
        metadata = _mapping(resource.get("metadata"))
        version = _text(metadata.get("resourceVersion"))
        if not version or metadata.get("uid") != self.uid:
            return None
        entries = _entries(_mapping(resource.get("status")))
        # `dataclasses.replace` would compute again what is known of all the rest.
        team = object.__new__(AgentTeam)
        kept = written if entries == written else entries
        team.__dict__.update(self.__dict__, resource_version=version, entries=kept)
        team.__dict__.pop("record", None)
        return team

    @property
    def wants_delivery(self) -> bool:
        """Whether the team requests delivery and names a target."""
        return self.on_complete == "deliver" and bool(self.targets)

    @cached_property
    def record(self) -> Record:
        """The entries and the target of each; computed once, because an event needs it often."""
        return Record(self.targets, self.entries, phase=self.phase if self.finished else "")

    @cached_property
    def notified(self) -> list[str]:
        """The names of the targets that request notification in the team's phase."""
        named = zip(self.record.names, self.targets, strict=True)
        return [name for name, entry in named if is_notified(entry, self.phase)]

    @cached_property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What the status says about the run, for people: pairs of label and value."""
        return tuple(_facts(self))

    @property
    def finished(self) -> bool:
        """Whether the phase is terminal."""
        return self.phase in TERMINAL_PHASES


def _entries(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    # Entries of targets come first, and more than this are not read.
    recorded = islice(_sequence(status.get("delivery")), ENTRIES.most)
    return [item for item in recorded if isinstance(item, dict)]


def _facts(team: AgentTeam) -> Iterator[tuple[str, str]]:
    if team.started_at and team.completed_at and team.completed_at >= team.started_at:
        yield "Duration", spoken((team.completed_at - team.started_at).total_seconds())
    cost = team.status.get("estimatedCost")
    if isinstance(cost, str) and cost:
        yield "Cost", f"${shortened(cost, 40)}"
    tasks = team.status.get("tasks")
    if isinstance(tasks, dict) and isinstance(tasks.get("total"), int):
        yield "Tasks", f"{tasks.get('completed', 0)} of {tasks['total']}"
    tokens = team.status.get("totalTokensUsed")
    if isinstance(tokens, int):
        yield "Tokens", f"{tokens:,}"


def open_targets(team: AgentTeam, now: datetime, *, adopt: bool = False) -> dict[str, datetime]:
    """Return the targets that are not settled, by key, each with the time from which it may be claimed.

    A target that is new in the spec may be claimed at once, and so may a pending entry that nobody holds. A
    claim may be taken over when it expires. The result includes entries whose target has left the spec and,
    with `adopt`, those that another program failed to deliver.
    """
    record = team.record
    due = {
        key: _claimable(line.receipt, now)
        for key, line in record.by_key.items()
        if not (line.done or line.receipt.settled)
    }
    if team.wants_delivery:
        due.update((name, now) for name in team.notified if record.is_new(name, adopt=adopt))
    return due


def _claimable(receipt: Receipt, now: datetime) -> datetime:
    """Return the time from which a pending target may be claimed.

    A claim that expires later than any claim made now has the timestamp of a clock that was fast. It counts
    as expired; otherwise it would block its target until the real time has caught up.
    """
    due = receipt.due or now
    is_astray = receipt.claimed_by is not None and due - now > LONGEST_CLAIM + CLOCKS_APART
    return now if is_astray else due


def retried_targets(team: AgentTeam) -> tuple[list[Receipt], bool]:
    """Return the open targets that were postponed before, and whether nothing else is open."""
    record = team.record
    still = [line.receipt for line in record.by_key.values() if not (line.done or line.receipt.settled)]
    retried = [receipt for receipt in still if receipt.retries]
    if not retried:
        return [], False
    alone = len(retried) == len(still) and not any(record.is_new(name, adopt=False) for name in team.notified)
    return retried, alone


def needs_delivery(  # noqa: PLR0913  # settings of an installation, and two times
    team: AgentTeam,
    *,
    phases: Collection[str],
    max_age: timedelta,
    finished_since: datetime,
    now: datetime,
    adopt: bool = False,
) -> datetime | None:
    """Return when to submit the team next (not after `now`: immediately), or None if there is nothing to do.

    `finished_since` is when the caller first saw the terminal phase; all times are the API server's. A
    pending entry is work however old the team is, because its event was accepted.
    """
    if not (team.entries or team.phase in phases):
        return None  # most teams that change still run, and need not be read any further
    record = team.record
    finished_at = team.completed_at or finished_since
    fresh = team.phase in phases and now - finished_at <= max_age
    begins = team.completed_at or finished_since + COMPLETION_GRACE
    new = {key for key in team.notified if record.is_new(key, adopt=adopt)}
    return min(
        (
            begins if key in new else due
            for key, due in open_targets(team, now, adopt=adopt).items()
            if fresh or key not in new
        ),
        default=None,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) and readable(value) else ""
