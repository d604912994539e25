"""What an event would do, target by target, as it is shown to callers: `POST /previews`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.events import TERMINAL_PHASES
from app.domain.reasons import Reason


class PreviewedRequest(BaseModel):
    """The request that a target would get; what of it comes out of a Secret is hidden."""

    model_config = ConfigDict(frozen=True)

    method: Annotated[str, Field(description="`POST`, or how the target's protocol calls it.")]
    url: Annotated[str, Field(description="Without its query; `secret/NAME` where a Secret holds it.")]
    headers: Annotated[dict[str, str], Field(description="`…` stands for what a Secret holds.")]
    body: Annotated[str, Field(description="What would be sent.")]


class PreviewedTarget(BaseModel):
    """What would become of one target."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    name: Annotated[str, Field(description="The target's, unique in its team.")]
    type: Annotated[str, Field(description="`webhook`, `slack`, `email` or `google-drive`.")]
    target: Annotated[str, Field(description="Where it goes, in words that hold no secret.")]
    would: Annotated[
        Literal["Send", "Fail", "Leave"],
        Field(description="`Leave`: it is settled, put off or being sent to, and would not be sent to now."),
    ]
    reason: Annotated[Reason | None, Field(description="Why it would fail.")] = None
    message: Annotated[str, Field(description="One line for a person.")] = ""
    request: Annotated[PreviewedRequest | None, Field(description="What it would get.")] = None


class Previewed(BaseModel):
    """What would be sent where. Nothing was sent, and nothing written."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    namespace: Annotated[str, Field(description="The team's.")]
    team: Annotated[str, Field(description="Its name.")]
    uid: Annotated[str, Field(description="Tells it from another of the same name, made before or after.")]
    phase: Annotated[
        str, Field(description="The ending that the notices would tell of.", examples=list(TERMINAL_PHASES))
    ]
    reason: Annotated[str | None, Field(description="Why nothing would be sent.")] = None
    dry_run: Annotated[
        Literal["All"], Field(alias="dryRun", description="Tells this answer from a report.")
    ] = "All"
    targets: Annotated[tuple[PreviewedTarget, ...], Field(description="What would become of each.")] = ()
