"""The outcome of one target (an entry of `status.delivery[]`), and the report over all of them.

An entry is always valid for the operator: it has `type`, `success`, `deliveredAt`, `target` and `error`, and
these five fields contain all that the ledger must know. Our own fields beside them repeat it for readers. A
CRD may drop our fields at any time, and a typed write by the operator does. Only this module reads and writes
entries.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    computed_field,
    field_serializer,
)
from pydantic.alias_generators import to_camel

from app.domain.marks import Mark, split
from app.domain.reasons import Reason
from app.domain.targets import is_place
from app.domain.text import readable
from app.domain.times import format_time, parse_time

OPERATORS_FIELDS = ("type", "success", "deliveredAt", "target", "error")
"""All fields of an entry on a cluster that has only the operator's CRD."""

FIRST = "0"
"""What the first message to a target supersedes."""

_AWAITED, _LAST = "Pending: ", "; last attempt: "
_REASONS = frozenset(map(str, Reason))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID_NAMESPACE = uuid.UUID("6f0c1b0e-5c33-5a3e-9d0e-3f3f6d0a7c11").bytes
# RFC 9562, section 5.5. `uuid.uuid5` sets the same bits, and takes five times as long.
_UUID_5 = 5 << 76 | 0b10 << 62
_UUID_BITS = ~(0b1111 << 76 | 0b11 << 62)


class Phase(StrEnum):
    """The state of a target. `Pending`: claimed, released, or postponed to a later retry; not settled."""

    PENDING = "Pending"
    DELIVERED = "Delivered"
    FAILED = "Failed"


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("not a valid time") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
WrittenMoment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
ReportPhase = Literal["Pending", "Delivered", "PartiallyDelivered", "Failed", "Skipped"]


def _as_any_other(schema: dict[str, Any]) -> None:
    """Omit `readOnly` from a field that is computed from others: readers of an answer need not know."""
    schema.pop("readOnly", None)


class Receipt(BaseModel):
    """One entry of `status.delivery[]`: the record of one target."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        json_schema_serialization_defaults_required=True,
    )

    name: Annotated[
        str, Field(description="Name of the target, unique in its team; empty: it belongs to no target.")
    ] = ""
    type: Annotated[str, Field(description="`webhook`, `slack`, `email` or `google-drive`.")] = ""
    target: Annotated[str, Field(description="The destination, without secrets.")] = ""
    delivered_at: Annotated[
        Moment | None,
        Field(description="When the attempt ended, delivered or not; pending: when the target was claimed."),
    ] = None
    phase: Annotated[Phase, Field(description="Phase of the target.")] = Phase.PENDING
    reason: Annotated[Reason | None, Field(description="Why the target is in this phase, in one word.")] = (
        None
    )
    message: Annotated[str, Field(description="Explanation for people, in one line.")] = ""
    http_status: Annotated[int | None, Field(description="HTTP status of the last attempt.")] = None
    attempts: Annotated[int, Field(description="Number of attempts, as far as they are on record.")] = 0
    timestamp: Annotated[
        Moment | None,
        Field(description="When the entry last changed phase; pending: since its event was accepted."),
    ] = None
    id: Annotated[
        str | None,
        Field(description="Stable id of the notification, sent as `webhook-id`; null if none is on record."),
    ] = None
    claimed_by: Annotated[
        str | None, Field(description="The replica that is sending, or was the last to send.")
    ] = None
    claimed_until: Annotated[Moment | None, Field(description="When another replica may take over.")] = None
    retry_at: Annotated[Moment | None, Field(description="When the target is retried.")] = None
    takeovers: Annotated[int, Field(description="How often another replica took over.")] = 0
    redeliveries: Annotated[int, Field(description="How often it was sent again on request.")] = 0
    retries: Annotated[
        int, Field(description="How often the target was postponed after temporary errors.")
    ] = 0
    accepted: Annotated[
        tuple[str, ...],
        Field(description="Recipients that have received it, if others have not; they do not get it again."),
    ] = ()

    @computed_field(description="Whether it was delivered.", json_schema_extra=_as_any_other)  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def success(self) -> bool:
        """Whether the receiver has the message."""
        return self.phase is Phase.DELIVERED

    @computed_field(  # type: ignore[prop-decorator]  # as above
        description="Why it was not delivered, or not yet; the brackets at its end are for the service.",
        json_schema_extra=_as_any_other,
    )
    @property
    def error(self) -> str:
        """The text of the operator's field `error`; empty if delivered, or recorded by another program."""
        if self.phase is Phase.DELIVERED or not self.id:
            return ""
        if self.phase is Phase.PENDING:
            text = _AWAITED + self._awaited() + (_LAST + self.message if self.message else "")
        else:
            head = str(self.reason or Phase.FAILED)
            text = f"{head}: {self.message}" if self.message else head
        return text + str(self._mark())

    @field_serializer("timestamp", "claimed_until", "delivered_at", "retry_at")
    def _as_kubernetes_writes_it(self, time: datetime | None) -> WrittenMoment | None:
        return None if time is None else format_time(time)

    @classmethod
    def from_wire(cls, entry: Mapping[str, Any]) -> Self:
        """Read an entry: our own fields if present, otherwise the operator's five.

        Invalid fields, which only another program writes, count as absent.
        """
        own = {
            key: value
            for key, value in entry.items()
            if value is not None and (not isinstance(value, str) or readable(value))
        }
        five = _from_five(own)
        if isinstance(own.get("success"), bool) and not (five.get("id") or own.get("id")):
            own.pop("phase", None)  # any program may have written this entry; `success` has its outcome
        fields = {**five, **own}
        try:
            return cls.model_validate(fields, by_alias=True, by_name=False)
        except ValidationError as error:
            wrong = {str(item["loc"][0]) for item in error.errors()}
            rest = {key: value for key, value in fields.items() if key not in wrong}
            return cls.model_validate(
                {**{key: value for key, value in five.items() if key in wrong}, **rest},
                by_alias=True,
                by_name=False,
            )

    def changed(self, **values: Any) -> Self:
        """Return a copy with other values, by the fields' names; they are not validated.

        It is `model_copy`, which takes five times as long, for a receipt is changed several times per target.
        """
        copy = self.__class__.__new__(self.__class__)
        for name, value in (
            ("__dict__", self.__dict__ | values),
            ("__pydantic_fields_set__", self.__pydantic_fields_set__ | values.keys()),
            ("__pydantic_extra__", None),
            ("__pydantic_private__", None),
        ):
            object.__setattr__(copy, name, value)
        return copy

    def to_wire(self) -> "Entry":
        """Return the entry as it is written: without absent fields, except those that the CRD requires."""
        wire = Entry(
            type=self.type,
            success=self.success,
            deliveredAt=format_time(self.delivered_at or self.timestamp or _EPOCH),
            phase=str(self.phase),
            attempts=self.attempts,
        )
        wire.receipt = self
        known = self.__dict__
        for name, field, write in _WRITTEN_IF_KNOWN:
            if value := known[name]:
                wire[field] = value if write is None else write(value)
        if error := self.error:
            wire["error"] = error
        if self.http_status is not None:
            wire["httpStatus"] = self.http_status
        return wire

    @property
    def essence(self) -> tuple[Any, ...]:
        """What must be on record, in whichever fields; otherwise nothing may be sent."""
        if self.phase is Phase.DELIVERED:
            return (self.phase,)
        counts = (self.attempts, self.takeovers, self.redeliveries, self.retries)
        held = (self.id, self.claimed_by, *map(_whole, (self.claimed_until, self.retry_at)))
        return (self.phase, *held, *counts, self.accepted)

    @property
    def theirs(self) -> bool:
        """Whether the operator or a person wrote this entry, not this service.

        A delivered entry without an id may be ours: its five fields are the same for every writer.
        """
        return not self.id and not (self.phase is Phase.DELIVERED and self.delivered_at)

    @property
    def adoptable(self) -> bool:
        """Whether another program tried, and recorded a failure."""
        return not self.id and self.phase is Phase.FAILED and self.delivered_at is not None

    @property
    def postponed(self) -> bool:
        """Whether it waits for a later retry, and nobody holds it."""
        return not self.settled and self.claimed_by is None and self.retry_at is not None

    @property
    def due(self) -> datetime | None:
        """When a pending target may be claimed; None: immediately, because nobody holds it."""
        return self.claimed_until if self.claimed_by else self.retry_at

    def _awaited(self) -> str:
        if self.claimed_by:
            end = f", until {format_time(self.claimed_until)} at the latest" if self.claimed_until else ""
            return f"it is being sent{end}"
        if self.retry_at:
            return f"next try at {format_time(self.retry_at)}"
        return "waiting for a replica to send it"

    def _mark(self) -> Mark:
        return Mark(
            id=self.id or "",
            name="" if is_place(self.name, self.type) else self.name,
            holder=self.claimed_by or "",
            until=self.claimed_until,
            retry=self.retry_at,
            since=None if _equal(self.timestamp, self.delivered_at) else self.timestamp,
            reason=self.reason or "" if self.phase is Phase.PENDING else "",
            status=self.http_status or 0,
            attempts=self.attempts,
            takeovers=self.takeovers,
            redeliveries=self.redeliveries,
            retries=self.retries,
            has=self.accepted,
        )

    @property
    def settled(self) -> bool:
        """Whether the target is Delivered or Failed, or another program recorded it."""
        return self.phase is not Phase.PENDING or not self.id


_WRITTEN_IF_KNOWN: tuple[tuple[str, str, Callable[[Any], Any] | None], ...] = (
    ("name", "name", None),
    ("target", "target", None),
    ("reason", "reason", str),
    ("message", "message", None),
    ("timestamp", "timestamp", format_time),
    ("id", "id", None),
    ("claimed_by", "claimedBy", None),
    ("claimed_until", "claimedUntil", format_time),
    ("retry_at", "retryAt", format_time),
    ("takeovers", "takeovers", None),
    ("redeliveries", "redeliveries", None),
    ("retries", "retries", None),
    ("accepted", "accepted", list),
)
"""The attributes of a receipt, their fields in an entry, and how they are written."""


class Entry(dict[str, Any]):
    """A receipt in its written form; if the same entry is read again, it need not be parsed."""

    __slots__ = ("receipt",)

    receipt: Receipt


def read_entry(entry: Mapping[str, Any]) -> Receipt:
    """Return the receipt of an entry; one that was written here is not parsed again."""
    return entry.receipt if isinstance(entry, Entry) else Receipt.from_wire(entry)


def _from_five(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the operator's five fields as if in our own; nothing if they are invalid."""
    success, at, error = entry.get("success"), entry.get("deliveredAt"), entry.get("error", "")
    moment = parse_time(at)
    if not isinstance(success, bool) or moment is None or not isinstance(error, str):
        return {}
    if not isinstance(entry.get("type"), str):
        return {}
    said: dict[str, Any] = {"deliveredAt": at, "timestamp": at}
    if success:
        return {} if error else {**said, "phase": Phase.DELIVERED, "reason": Reason.DELIVERED}
    said["phase"] = Phase.FAILED
    marked = split(error)
    if marked is None:
        return said
    text, mark = marked
    if text.startswith(_AWAITED):
        said |= {"phase": Phase.PENDING, "message": text.partition(_LAST)[2], "reason": mark.reason or None}
    else:
        head, _, message = text.partition(": ")
        said |= {"message": message, "reason": None if head == Phase.FAILED else head}
        if head != Phase.FAILED and head not in _REASONS:
            return {**said, "reason": None, "message": ""}
    own = {
        "id": mark.id,
        "name": mark.name,
        "claimedBy": mark.holder or None,
        "claimedUntil": mark.until,
        "retryAt": mark.retry,
        "timestamp": mark.since or at,
        "httpStatus": mark.status or None,
        "attempts": mark.attempts,
        "takeovers": mark.takeovers,
        "redeliveries": mark.redeliveries,
        "retries": mark.retries,
        "accepted": mark.has,
    }
    return said | own


def _equal(one: datetime | None, other: datetime | None) -> bool:
    """Whether two times are written alike."""
    return one is other or _whole(one) == _whole(other)


def _whole(moment: datetime | None) -> datetime | None:
    """Return a time in whole seconds, as it is written."""
    return moment and moment.replace(microsecond=0)


class Report(BaseModel):
    """The record of a team's delivery."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_serialization_defaults_required=True,
    )

    namespace: Annotated[str, Field(description="Namespace of the team.")]
    team: Annotated[str, Field(description="Name of the team.")]
    uid: Annotated[str, Field(description="The team's `metadata.uid`; a recreated team has another.")]
    phase: Annotated[
        ReportPhase,
        Field(description="The outcome of all targets together; `Skipped`: nothing has to be sent."),
    ]
    recorded: Annotated[
        bool,
        Field(description="False if an outcome could not be recorded; `reason` says why."),
    ] = True
    reason: Annotated[
        str | None, Field(description="Why an outcome is not on record, or nothing was sent, or not yet.")
    ] = None
    targets: Annotated[tuple[Receipt, ...], Field(description="The record of each target.")] = ()


class Reports(BaseModel):
    """Teams with their targets that match the query."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    items: Annotated[
        tuple[Report, ...],
        Field(
            description="One report per team; `phase` is for all targets. An empty page can have a next one."
        ),
    ]
    next: Annotated[
        str | None, Field(description="Value of `after` for the next page; null: this is the last page.")
    ] = None


def overall_phase(receipts: Iterable[Receipt]) -> ReportPhase:
    """Sum up: any target Pending, all Delivered, none Delivered, or some; no targets: Pending."""
    receipts = list(receipts)
    if not receipts or not all(receipt.settled for receipt in receipts):
        return "Pending"
    phases = {receipt.phase for receipt in receipts}
    if phases == {Phase.DELIVERED}:
        return "Delivered"
    return "PartiallyDelivered" if Phase.DELIVERED in phases else "Failed"


def message_id(uid: str, event: str, name: str, supersedes: str = FIRST) -> str:
    """Return the id of one message to one target: the same across retries, replicas and restarts."""
    identity = f"{uid}\n{event}\n{name}\n{supersedes}"
    digest = hashlib.sha1(_ID_NAMESPACE + identity.encode(), usedforsecurity=False).digest()[:16]
    return f"msg_{int.from_bytes(digest, 'big') & _UUID_BITS | _UUID_5:032x}"


def lasting(name: str, kind: str, label: str) -> str:
    """Return what identifies a target in ids: its name; if that is only a position, the label too.

    When the spec changes, another target may take the position, and it must get an id of its own.
    """
    return f"{name}\n{label}" if is_place(name, kind) else name
