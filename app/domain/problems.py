"""Problems as callers receive them, and as the API's description documents them: RFC 9457."""

from typing import Annotated, Self

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from app.domain.errors import Problem

PROBLEM_TYPE = "urn:agentteam-delivery:"
PROBLEM_JSON = "application/problem+json"

KINDS = tuple(sorted(PROBLEM_TYPE + kind.slug for kind in Problem.__subclasses__()))


class ProblemDetails(BaseModel):
    """An error, for programs (`type`) and for people (`detail`): RFC 9457."""

    type: Annotated[
        str,
        Field(
            description="Stable identifier of this type of problem.",
            json_schema_extra={"format": "uri", "examples": [*KINDS]},
        ),
    ]
    title: Annotated[str, Field(description="The type of problem, in words.")]
    status: Annotated[int, Field(description="The answer's HTTP status.")]
    detail: Annotated[str, Field(description="What is wrong, and what to do.")]
    recorded: Annotated[
        bool | SkipJsonSchema[None], Field(description="False if an outcome is not on record.")
    ] = None
    errors: Annotated[
        list[str] | SkipJsonSchema[None],
        Field(description="Each invalid field, and what it should be."),
    ] = None

    @classmethod
    def of(cls, problem: Problem, errors: list[str] | None = None) -> Self:
        """Return the details of a problem."""
        return cls(
            type=PROBLEM_TYPE + problem.slug,
            title=problem.title,
            status=problem.status,
            detail=problem.detail,
            recorded=problem.recorded,
            errors=errors,
        )
