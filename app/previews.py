"""What an event would do, target by target, as it is shown to callers: `POST /deliveries?dryRun=All`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.reasons import Reason


class PreviewedRequest(BaseModel):
    """The request that a target would get; what of it comes out of a Secret is hidden."""

    model_config = ConfigDict(frozen=True)

    method: str
    url: Annotated[str, Field(description="Without its query; `secret/NAME` where a Secret holds it.")]
    headers: Annotated[dict[str, str], Field(description="`…` stands for what a Secret holds.")]
    body: str


class PreviewedTarget(BaseModel):
    """What would become of one target."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    target: Annotated[str, Field(description="Where it goes, in words that hold no secret.")]
    would: Annotated[
        Literal["Send", "Fail", "Leave"],
        Field(description="`Leave`: it is settled, or being sent to, and would not be sent to again."),
    ]
    reason: Annotated[Reason | None, Field(description="Why it would fail.")] = None
    message: Annotated[str, Field(description="One line for a person.")] = ""
    request: PreviewedRequest | None = None


class Previewed(BaseModel):
    """What would be sent where. Nothing was sent, and nothing written."""

    model_config = ConfigDict(frozen=True)

    namespace: str
    team: str
    uid: str
    phase: Annotated[str, Field(description="The ending that the notices would tell of.")]
    reason: Annotated[str | None, Field(description="Why nothing would be sent.")] = None
    dry_run: Annotated[Literal["All"], Field(alias="dryRun", serialization_alias="dryRun")] = "All"
    targets: tuple[PreviewedTarget, ...] = ()
