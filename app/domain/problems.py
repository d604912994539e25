"""Problems as callers get them, and as the API's description tells of them: RFC 9457."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from app.domain.errors import Problem, TeamNotFound

PROBLEM_TYPE = "urn:agentteam-delivery:"
PROBLEM_JSON = "application/problem+json"

KINDS = tuple(sorted(PROBLEM_TYPE + kind.slug for kind in Problem.__subclasses__()))


class ProblemDetails(BaseModel):
    """What went wrong, for programs (`type`) and for people (`detail`): RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": PROBLEM_TYPE + TeamNotFound.slug,
                    "title": TeamNotFound.title,
                    "status": TeamNotFound.status,
                    "detail": 'there is no AgentTeam "report" in namespace "research"',
                }
            ]
        }
    )

    type: Annotated[
        str,
        Field(
            description="Stable; tells this kind of problem from others.",
            json_schema_extra={"format": "uri", "examples": [*KINDS]},
        ),
    ]
    title: Annotated[str, Field(description="The kind of problem, in words.")]
    status: Annotated[int, Field(description="The answer's HTTP status.")]
    detail: Annotated[str, Field(description="What is wrong this time, and what to do.")]
    recorded: Annotated[
        bool | SkipJsonSchema[None], Field(description="False where an outcome is not on record.")
    ] = None
    errors: Annotated[
        list[str] | SkipJsonSchema[None],
        Field(description="Each field that is wrong, and what it should be."),
    ] = None

    @classmethod
    def of(cls, problem: Problem, errors: list[str] | None = None) -> Self:
        """Tell of a problem."""
        return cls(
            type=PROBLEM_TYPE + problem.slug,
            title=problem.title,
            status=problem.status,
            detail=problem.detail,
            recorded=problem.recorded,
            errors=errors,
        )


_HEADERS = {
    401: {
        "WWW-Authenticate": {
            "description": "`Bearer` (RFC 6750, section 3).",
            "required": True,
            "schema": {"type": "string"},
        }
    },
    503: {
        "Retry-After": {
            "description": "Seconds to wait.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}


def documented(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return what the description is to say of an operation that has these problems: an example of each."""
    answers: dict[int | str, dict[str, Any]] = {}
    for kind in sorted(kinds, key=lambda kind: kind.status):
        answer = answers.setdefault(kind.status, {"description": "", "content": {PROBLEM_JSON: {}}})
        says = (kind.__doc__ or "").partition("\n")[0]
        answer["description"] = f"{answer['description']} {says}".strip()
        content = answer["content"][PROBLEM_JSON]
        content["schema"] = {"$ref": "#/components/schemas/ProblemDetails"}
        example = ProblemDetails.of(kind(says)).model_dump(exclude_none=True)
        content.setdefault("examples", {})[kind.slug] = {"summary": kind.title, "value": example}
        if headers := _HEADERS.get(kind.status):
            answer["headers"] = headers
    return answers
