"""The body of `POST /deliveries`: which team finished, and what the caller requests."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

TERMINAL_PHASES = ("Completed", "Failed", "TimedOut", "BudgetExceeded")

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""RFC 1123 label: the syntax of a namespace's name."""
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""RFC 1123 subdomain: the syntax of the name of a custom resource or Secret; at most 253 characters.

https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
"""

FIELDS_LIMIT = 32
"""An event with more fields is rejected as a whole: each unknown field would be an error of its own."""

Namespace = Annotated[
    str, Field(description="Namespace of the team.", pattern=DNS_LABEL, max_length=63, examples=["research"])
]
TeamName = Annotated[
    str, Field(description="Name of the team.", pattern=DNS_SUBDOMAIN, max_length=253, examples=["report"])
]
EventName = Literal["team.completed"]
TEST = "team.test"
"""The event of a test notification, so that no receiver mistakes it for a completion."""
Redeliver = Literal["none", "failed", "all"]


class CompletionEvent(BaseModel):
    """A team has finished.

    What is sent, and where to, comes from the team's own resource: a caller names no address and no text.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
    )

    namespace: Namespace
    team: TeamName
    uid: Annotated[
        str | None,
        Field(max_length=128, description="The team's `metadata.uid`; if it differs, the answer is 409."),
    ] = None
    event: Annotated[EventName, Field(description="Type of the event; there is only one.")] = "team.completed"
    phase: Annotated[
        str | None,
        Field(max_length=64, description="The terminal phase, if the resource does not have it yet."),
    ] = None
    redeliver: Annotated[Redeliver, Field(description="Which settled targets to send again.")] = "none"
    targets: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] | None,
        Field(
            min_length=1,
            max_length=1000,
            strict=False,
            fail_fast=True,  # otherwise a hundred thousand wrong names would be as many errors
            description="Names of the targets; by default all.",
        ),
    ] = None
    test: Annotated[bool, Field(description="Send a marked test notification and record nothing.")] = False

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > FIELDS_LIMIT:
            raise ValueError(f"an event has no more than {len(cls.model_fields)} fields")
        return data
