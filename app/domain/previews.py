"""What an event would do to each target: the answer of `POST /previews`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.events import TERMINAL_PHASES
from app.domain.reasons import Reason


class PreviewedRequest(BaseModel):
    """The request that a target would get, with all parts from a Secret hidden."""

    model_config = ConfigDict(frozen=True)

    method: Annotated[str, Field(description="`POST`, or the operation of the target's protocol.")]
    url: Annotated[str, Field(description="The URL without its query; `secret/NAME` if it is in a Secret.")]
    headers: Annotated[dict[str, str], Field(description="Headers; `…` replaces values from a Secret.")]
    body: Annotated[str, Field(description="The body that would be sent.")]


class PreviewedTarget(BaseModel):
    """What would happen to one target."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    name: Annotated[str, Field(description="Name of the target, unique in its team.")]
    type: Annotated[str, Field(description="`webhook`, `slack`, `email` or `google-drive`.")]
    target: Annotated[str, Field(description="The destination, without secrets.")]
    would: Annotated[
        Literal["Send", "Fail", "Leave"],
        Field(
            description="`Leave`: the target is settled, postponed or in progress, and would not be sent now."
        ),
    ]
    reason: Annotated[Reason | None, Field(description="Why it would fail.")] = None
    message: Annotated[str, Field(description="Explanation for people, in one line.")] = ""
    request: Annotated[
        PreviewedRequest | None, Field(description="The request that the target would get.")
    ] = None


class Previewed(BaseModel):
    """What would be sent. Nothing was sent and nothing was recorded."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    namespace: Annotated[str, Field(description="Namespace of the team.")]
    team: Annotated[str, Field(description="Name of the team.")]
    uid: Annotated[str, Field(description="The team's `metadata.uid`; a recreated team has another.")]
    phase: Annotated[
        str,
        Field(description="The phase that the notifications would contain.", examples=list(TERMINAL_PHASES)),
    ]
    reason: Annotated[str | None, Field(description="Why nothing would be sent.")] = None
    dry_run: Annotated[
        Literal["All"], Field(alias="dryRun", description="Distinguishes this answer from a report.")
    ] = "All"
    targets: Annotated[
        tuple[PreviewedTarget, ...], Field(description="What would happen to each target.")
    ] = ()
