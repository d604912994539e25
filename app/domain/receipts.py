"""What became of one target (an entry of `status.delivery[]`), and the report over all of them."""

import uuid
from collections.abc import Iterable, Mapping
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
    field_serializer,
)
from pydantic.alias_generators import to_camel

from app.domain.reasons import Reason
from app.domain.text import readable
from app.domain.times import format_time

ESSENTIAL_FIELDS = ("name", "phase", "id", "attempts", "claimedBy", "claimedUntil")
"""Without these on record nothing can be told apart, and nothing may be sent."""

_ID_NAMESPACE = uuid.UUID("6f0c1b0e-5c33-5a3e-9d0e-3f3f6d0a7c11")


class Phase(StrEnum):
    """Where a target is. `Pending`: claimed, or handed back, and not yet settled."""

    PENDING = "Pending"
    DELIVERED = "Delivered"
    FAILED = "Failed"


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("no time that can be written") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
WrittenMoment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
ReportPhase = Literal["Pending", "Delivered", "PartiallyDelivered", "Failed", "Skipped"]


class Receipt(BaseModel):
    """One entry of `status.delivery[]`: what is on record of one target."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        json_schema_serialization_defaults_required=True,
    )

    name: Annotated[str, Field(description="The target's, unique in its team.")]
    type: Annotated[str, Field(description="`webhook`, `slack`, `email` or `google-drive`.")] = ""
    target: Annotated[str, Field(description="Where it went, in words that hold no secret.")] = ""
    phase: Annotated[Phase, Field(description="Whether it is settled.")] = Phase.PENDING
    reason: Annotated[Reason | None, Field(description="Why, in one word.")] = None
    message: Annotated[str, Field(description="One line for a person.")] = ""
    http_status: Annotated[int | None, Field(description="Of the last attempt.")] = None
    attempts: Annotated[int, Field(description="How many were made in all.")] = 0
    timestamp: Annotated[Moment | None, Field(description="When the entry last changed phase.")] = None
    id: Annotated[str | None, Field(description="Stable message id, sent as `webhook-id`.")] = None
    claimed_by: Annotated[str | None, Field(description="Which replica is sending, or was the last to.")] = (
        None
    )
    claimed_until: Annotated[Moment | None, Field(description="When another may take over.")] = None
    takeovers: Annotated[int, Field(description="How often another replica had to.")] = 0
    redeliveries: Annotated[int, Field(description="How often it was sent again on request.")] = 0
    accepted: Annotated[
        tuple[str, ...],
        Field(
            description="Recipients that have it already, where others have not; they are not sent it again."
        ),
    ] = ()

    @field_serializer("timestamp", "claimed_until")
    def _as_kubernetes_writes_it(self, time: datetime | None) -> WrittenMoment | None:
        return None if time is None else format_time(time)

    @classmethod
    def from_wire(cls, entry: Mapping[str, Any]) -> Self:
        """Read an entry; fields that do not fit, which only another writer leaves, count as absent."""
        entry = {key: value for key, value in entry.items() if not isinstance(value, str) or readable(value)}
        try:
            return cls.model_validate(entry, by_alias=True, by_name=False)
        except ValidationError as error:
            wrong = {str(item["loc"][0]) for item in error.errors()}
            rest = {key: value for key, value in entry.items() if key not in wrong}
            named = {"name": str(entry.get("name", "")), **rest}
            return cls.model_validate(named, by_alias=True, by_name=False)

    def to_wire(self) -> dict[str, Any]:
        """Return the entry as it is written: absent fields left out, the count of attempts always there."""
        wire = self.model_dump(mode="json", exclude_none=True)
        for count in ("takeovers", "redeliveries"):
            if not wire[count]:
                del wire[count]
        return {key: value for key, value in wire.items() if value not in ("", [])}

    @property
    def settled(self) -> bool:
        """Whether the target is Delivered or Failed, or was recorded by somebody else: then it is theirs."""
        return self.phase is not Phase.PENDING or not self.id


class Report(BaseModel):
    """What is on record of a team's delivery."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_serialization_defaults_required=True,
    )

    namespace: Annotated[str, Field(description="The team's.")]
    team: Annotated[str, Field(description="Its name.")]
    uid: Annotated[str, Field(description="Tells it from another of the same name, made before or after.")]
    phase: Annotated[
        ReportPhase, Field(description="All targets together; `Skipped`: none is to be sent to.")
    ]
    recorded: Annotated[
        bool,
        Field(description="False when an outcome could not be written to the status; `reason` says why."),
    ] = True
    reason: Annotated[
        str | None, Field(description="Why an outcome is not on record, or nothing was sent.")
    ] = None
    targets: Annotated[tuple[Receipt, ...], Field(description="What is on record of each.")] = ()


def overall_phase(receipts: Iterable[Receipt]) -> ReportPhase:
    """Sum up: any target Pending, all Delivered, none Delivered, or some; no targets: Pending."""
    receipts = list(receipts)
    if not receipts or not all(receipt.settled for receipt in receipts):
        return "Pending"
    phases = {receipt.phase for receipt in receipts}
    if phases == {Phase.DELIVERED}:
        return "Delivered"
    return "PartiallyDelivered" if Phase.DELIVERED in phases else "Failed"


def message_id(uid: str, event: str, name: str, redeliveries: int) -> str:
    """Return the id of one message to one target: the same over retries, replicas and restarts."""
    identity = "\n".join((uid, event, name, str(redeliveries)))
    return f"msg_{uuid.uuid5(_ID_NAMESPACE, identity).hex}"
