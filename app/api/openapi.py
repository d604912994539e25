"""The API's description, from which clients are generated: OpenAPI 3.1.

https://spec.openapis.org/oas/v3.1.1.html
"""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.examples import ANSWERS, HEADERS, PROBLEMS
from app.domain.errors import BadRequest, HeadTooLarge, Problem, ReadTimeout
from app.domain.events import TERMINAL_PHASES
from app.domain.problems import PROBLEM_JSON, ProblemDetails
from app.domain.reasons import Reason

Description = dict[str, Any]

TAGS = [
    {
        "name": "deliveries",
        "description": "Deliver the notifications of finished teams, and read the outcomes.",
    },
    {"name": "operations", "description": "For Kubernetes and Prometheus; these require no token."},
]

SERVERS: list[Description] = [
    {
        "url": "{scheme}://{host}:{port}",
        "description": "The service, from pods in its cluster.",
        "variables": {
            "scheme": {
                "enum": ["https", "http"],
                "default": "https",
                "description": "`https` if the port has a certificate.",
            },
            "host": {
                "default": "agentteam-delivery.agentteam-delivery.svc",
                "description": "`SERVICE.NAMESPACE.svc` of the installation.",
            },
            "port": {"default": "8080", "description": "The Service's port."},
        },
    }
]

OF_CALLERS: Description = {"security": [{"kubernetes": []}]}
"""What an operation says if it requires a token."""
_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": (
        "A Kubernetes token from a projected volume or `kubectl create token --audience=agentteam-delivery`."
        " Its account requires the permission `create` (to read: `get`) on `agentteams/delivery` in the"
        " team's namespace."
    ),
}

UNREADABLE = (BadRequest, ReadTimeout, HeadTooLarge)
"""Problems that the port answers before the application sees a request."""

REQUEST = "CompletionEvent"
"""The only schema that clients send. It lists every allowed field; answers may get further fields."""

_PROBLEM_HEADERS: dict[int, Description] = {
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
_REQUEST_ID = {
    "description": "The caller's id for this request, or a generated one; the log contains it too.",
    "required": True,
    "schema": {"type": "string"},
    "example": HEADERS["X-Request-Id"],
}
_BEFORE_THE_APPLICATION = {"400", "408", "431"}
"""Statuses that the port answers before it knows the caller."""


def documented(*kinds: type[Problem]) -> dict[int | str, Description]:
    """Return the documentation of an operation's problems, with an example of each."""
    answers: dict[int | str, Description] = {}
    for status in sorted({kind.status for kind in kinds}):
        here = [kind for kind in kinds if kind.status == status]
        content = {
            "schema": {"$ref": "#/components/schemas/ProblemDetails"},
            "examples": {kind.slug: PROBLEMS[kind] for kind in here},
        }
        answers[status] = {"description": _one_of(here), "content": {PROBLEM_JSON: content}}
        if headers := _PROBLEM_HEADERS.get(status):
            answers[status]["headers"] = headers
    return answers


def _one_of(kinds: list[type[Problem]]) -> str:
    """Say when this status is the answer: in one sentence, or one per kind of problem."""
    says = {kind.slug: (kind.__doc__ or "").partition("\n")[0] for kind in kinds}
    if len(says) == 1:
        return "".join(says.values())
    told = (f"`{slug}`, {text[0].lower()}{text[1:].rstrip('.')}" for slug, text in says.items())
    return f"One of: {'; '.join(told)}."


def describe(app: FastAPI) -> Description:
    """Return the description; it is generated once.

    This function sorts FastAPI's output, so that the same code gives the same text, and removes the titles
    that FastAPI derives from names, because generators would use them as names.
    """
    if not app.openapi_schema:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=TAGS,
            servers=SERVERS,
            contact=app.contact,
            license_info=app.license_info,
        )
        components = document["components"]
        # As a response model it would be documented as plain application/json.
        components["schemas"]["ProblemDetails"] = ProblemDetails.model_json_schema(mode="serialization")
        components["schemas"]["Reason"] = _reason()
        components["schemas"]["TerminalPhase"] = _ending(components["schemas"][REQUEST])
        # With a name it would be the second enum with "Failed", and Go generators make constants of a named
        # enum's values.
        receipt = components["schemas"]["Receipt"]["properties"]
        receipt["phase"] = components["schemas"].pop("Phase")
        for name, schema in components["schemas"].items():
            if "properties" in schema and name != REQUEST:
                schema["additionalProperties"] = True
        components["schemas"] = {name: _always(one) for name, one in sorted(components["schemas"].items())}
        components["securitySchemes"] = {"kubernetes": _TOKEN}
        components["headers"] = {"X-Request-Id": _REQUEST_ID}
        for operations in document["paths"].values():
            for operation in operations.values():
                _complete(operation)
        app.openapi_schema = _untitled(document)
    return app.openapi_schema


def _complete(operation: Description) -> None:
    """Add to an operation whether it requires a token, and to each answer its examples and headers."""
    operation.setdefault("security", [])
    operation["responses"] = dict(sorted(operation["responses"].items()))
    for status, response in operation["responses"].items():
        # Here, because FastAPI would drop each null of an example.
        if examples := ANSWERS.get((operation["operationId"], status)):
            [content] = response["content"].values()
            content["examples"] = examples
        for name, header in response.get("headers", {}).items():
            header["example"] = HEADERS[name]
        if status not in _BEFORE_THE_APPLICATION:
            header = {"$ref": "#/components/headers/X-Request-Id"}
            response["headers"] = {**response.get("headers", {}), "X-Request-Id": header}


def _reason() -> Description:
    """Describe a reason as text with known values, because today's clients will meet future values.

    No enum, and none combined with text: generators reject a value that an enum lacks, and cannot handle the
    combination.
    """
    words = "\n".join(f"- `{word}`: {word.meaning}" for word in Reason)
    told = "Why a target is in its phase. Later versions may add words; `phase` says whether it failed."
    return {
        "type": "string",
        "description": f"{told}\n\n{words}",
        "examples": [word.value for word in Reason],
    }


def _ending(event: Description) -> Description:
    """Document the values of an event's `phase`; another value has a problem of its own."""
    phase = event["properties"]["phase"]
    phase["anyOf"] = [{"$ref": "#/components/schemas/TerminalPhase"}, {"type": "null"}]
    return {
        "type": "string",
        "enum": [*TERMINAL_PHASES],
        "description": "The phase in which a team finished.",
    }


def _always(schema: Description) -> Description:
    """Remove defaults of fields that are always present, and of null; generators take them as optional."""
    required = schema.get("required", [])
    fields = {
        name: {
            key: value
            for key, value in field.items()
            if key != "default" or not (name in required or value is None)
        }
        for name, field in schema.get("properties", {}).items()
    }
    return {**schema, "properties": fields} if fields else schema


def _untitled(node: Any) -> Any:
    """Remove each title beside a type; `info`, and a property with the name `title`, keep theirs."""
    if isinstance(node, list):
        return [_untitled(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {"type", "anyOf", "oneOf", "allOf", "$ref", "const", "enum"} & node.keys()
    return {
        # Copied, because YAML would use references between examples that share a part.
        key: json.loads(json.dumps(value)) if key in {"examples", "example", "default"} else _untitled(value)
        for key, value in node.items()
        if not (key == "title" and schema and isinstance(value, str))
    }
