"""Error answers: every error becomes a problem document (RFC 9457)."""

import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

from app.domain.errors import (
    BodyTooLarge,
    Internal,
    Malformed,
    MethodNotAllowed,
    NoSuchPath,
    Problem,
    Unauthenticated,
)
from app.domain.problems import PROBLEM_JSON, ProblemDetails
from app.telemetry.correlation import HEADER, request_id

MOST_FIELDS = 20  # invalid fields that an answer names

HINTS = {
    "tuple_type": "must be a list",
    "too_short": "must contain at least one; omit it to mean all",
    "string_pattern_mismatch": "must be a lower-case DNS name, as Kubernetes names are",
    "extra_forbidden": "is not a field of this request; remove it",
    "missing": "is required",
}
"""Our texts by pydantic's type of error, in place of its own."""


def install(app: FastAPI, routes: list[BaseRoute]) -> None:
    """Turn every error of an application into a problem document; `routes` are all its routes."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        fields = _fields(error) if isinstance(error, RequestValidationError) else None
        response = _answer(ProblemDetails.of(problem, fields), problem.retry_after)
        if isinstance(problem, MethodNotAllowed):
            response.headers["allow"] = ", ".join(sorted(_methods(routes, request)))
        if isinstance(problem, Internal):
            response.headers[HEADER] = request_id()  # for answers that Starlette sends itself
        return response

    for kind in (Problem, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def problem_of(error: Exception) -> Problem:
    """Return the problem that answers an error."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return Malformed(f"nothing was done: {_fields(error)[0]}")
        case HTTPException(status_code=BodyTooLarge.status):
            return BodyTooLarge("the body is too large; send less")
        case HTTPException(status_code=NoSuchPath.status | MethodNotAllowed.status):
            kind = NoSuchPath if error.status_code == NoSuchPath.status else MethodNotAllowed
            return kind(f"{kind.title.lower()}: /openapi.json lists the API's paths and methods")
        case HTTPException():  # FastAPI's answer to a body that is not UTF-8
            return Malformed("nothing was done: the body is not valid JSON")
        case _:
            return Internal(f"an unexpected {type(error).__name__}; the service's log says where")


def _answer(details: ProblemDetails, retry_after: float | None) -> JSONResponse:
    headers = {} if retry_after is None else {"retry-after": str(max(1, math.ceil(retry_after)))}
    if details.status == Unauthenticated.status:
        headers["www-authenticate"] = "Bearer"  # RFC 6750, section 3
    return JSONResponse(
        details.model_dump(exclude_none=True), details.status, headers, media_type=PROBLEM_JSON
    )


def _fields(error: RequestValidationError) -> list[str]:
    return [_sentence(item) for item in error.errors()[:MOST_FIELDS]]


def _sentence(item: dict[str, Any]) -> str:
    """Name the field and what it should be, without the value."""
    if item["type"] == "json_invalid":
        return f"the body is not valid JSON: {item['ctx']['error']}"[:300]
    where, *path = item["loc"]
    # For an optional value, pydantic also names the alternative that it tried.
    field = ".".join(str(part) for part in path if not str(part).startswith("literal[")) or str(where)
    if item["type"] == "model_attributes_type":
        return "the body must be a JSON object, sent with the header content-type: application/json"
    hints = HINTS | {"value_error": str(item.get("ctx", {}).get("error", ""))}
    message = hints.get(item["type"]) or f"{item['msg'][0].lower()}{item['msg'][1:]}"
    return f"{field}: {message}"[:300]


def _methods(routes: list[BaseRoute], request: Request) -> set[str]:
    """Return the methods of all routes with this path; Starlette names only those of the first."""
    return {
        method
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
