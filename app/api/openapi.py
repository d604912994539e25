"""The API's description, as clients are generated from it: OpenAPI 3.1.

https://spec.openapis.org/oas/v3.1.1.html
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.domain.problems import ProblemDetails

TAGS = [
    {"name": "deliveries", "description": "Have a finished team's notices sent, and read what landed."},
    {"name": "operations", "description": "For Kubernetes and Prometheus; these want no token."},
]

EVENTS: dict[str, Any] = {
    "deliver": {
        "summary": "A team has finished: send its notices",
        "value": {"namespace": "research", "team": "report"},
    },
    "only-this-team": {
        "summary": "The same, unless the team was made anew",
        "value": {"namespace": "research", "team": "report", "uid": "0b7c0f9e-0b0e-4f0e-8a53-3c3f5a0b3c11"},
    },
    "redeliver-failed": {
        "summary": "Send again what failed",
        "value": {"namespace": "research", "team": "report", "redeliver": "failed"},
    },
    "test": {
        "summary": "Try one target: the notice says that it is a test, and nothing is recorded",
        "value": {"namespace": "research", "team": "report", "targets": ["slack"], "test": True},
    },
}

REPORT: dict[str, Any] = {
    "namespace": "research",
    "team": "report",
    "uid": "0b7c0f9e-0b0e-4f0e-8a53-3c3f5a0b3c11",
    "phase": "Delivered",
    "recorded": True,
    "reason": None,
    "targets": [
        {
            "name": "archive",
            "type": "webhook",
            "target": "https://hooks.example.com/reports",
            "success": True,
            "deliveredAt": "2026-11-05T14:03:11Z",
            "error": "",
            "phase": "Delivered",
            "reason": "Delivered",
            "message": "answered 200",
            "httpStatus": 200,
            "attempts": 1,
            "timestamp": "2026-11-05T14:03:11Z",
            "id": "msg_51741cb3965c58f3b0964f7977df8786",
            "claimedBy": None,
            "claimedUntil": None,
            "retryAt": None,
            "takeovers": 0,
            "redeliveries": 0,
            "accepted": [],
        }
    ],
}

_REQUEST_ID = {
    "description": "The caller's id for this request, or one that was made; the log bears it too.",
    "required": True,
    "schema": {"type": "string"},
}
_BEFORE_THE_APPLICATION = {"400", "408", "431"}
"""What the port itself answers, before it has read whose request it is."""


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the description; it is made once.

    What FastAPI makes is put in order, so that the same code gives the same text, and rid of the titles that
    it makes out of names: generators would name things by them.
    """
    if not app.openapi_schema:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=TAGS,
            license_info=app.license_info,
        )
        components = document["components"]
        components["schemas"]["Report"]["examples"] = [REPORT]  # by hand: FastAPI would drop each null
        # As a response model it would be documented as plain application/json.
        components["schemas"]["ProblemDetails"] = ProblemDetails.model_json_schema(mode="serialization")
        components["schemas"] |= _open(components["schemas"]["Reason"])
        components["schemas"] = {name: _always(one) for name, one in sorted(components["schemas"].items())}
        components["headers"] = {"X-Request-Id": _REQUEST_ID}
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"] = dict(sorted(operation["responses"].items()))
                for status, response in operation["responses"].items():
                    if status not in _BEFORE_THE_APPLICATION:
                        header = {"$ref": "#/components/headers/X-Request-Id"}
                        response["headers"] = {**response.get("headers", {}), "X-Request-Id": header}
        app.openapi_schema = _untitled(document)
    return app.openapi_schema


def _open(words: dict[str, Any]) -> dict[str, Any]:
    """Let a list of words grow: clients that know the list of today are to read the answers of tomorrow."""
    told = f"{words['description']} The list may grow; `phase` says whether it failed."
    either = [{"$ref": "#/components/schemas/KnownReason"}, {"type": "string"}]
    return {
        "KnownReason": {**words, "description": "The reasons that this version gives."},
        "Reason": {"description": told, "anyOf": either},
    }


def _always(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop defaults of fields that are always there, and those of null: generators take them for optional."""
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
    """Drop each title beside a type; `info`, and a property that is called title, keep theirs."""
    if isinstance(node, list):
        return [_untitled(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {"type", "anyOf", "oneOf", "allOf", "$ref", "const", "enum"} & node.keys()
    return {
        key: value if key in {"examples", "default"} else _untitled(value)
        for key, value in node.items()
        if not (key == "title" and schema and isinstance(value, str))
    }
