"""The check finds what would break clients of the last release's description, and nothing else."""

import copy
import datetime as dt
import re
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.documents import read_yaml

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci/breaking"
RELEASED = ROOT / "openapi/released.yaml"
DESCRIPTION = read_yaml(RELEASED)
BREAKING = runpy.run_path(str(SCRIPT))

Document = dict[str, Any]
Change = Callable[[Document], object]


def schema(document: Document, name: str) -> Document:
    found: Document = document["components"]["schemas"][name]
    return found


def fields(document: Document, name: str) -> Document:
    found: Document = schema(document, name)["properties"]
    return found


def operation(document: Document, path: str = "/deliveries", method: str = "post") -> Document:
    found: Document = document["paths"][path][method]
    return found


def breaks(change: Change) -> list[str]:
    """Return the output for a change to the released description."""
    new = copy.deepcopy(DESCRIPTION)
    change(new)
    return compared(DESCRIPTION, new)


def compared(old: Document, new: Document) -> list[str]:
    return sorted(set(BREAKING["Comparison"](old, new).breaks()))


def about(name: str, schemas: Document | None = None, **schema: Any) -> Document:
    """Return a description of one operation whose request, or answer, has one schema."""
    content = {"application/json": {"schema": schema.get("schema", schema)}}
    call: Document = {"operationId": "do", "responses": {"200": {"description": ""}}}
    if name == "sent":
        call["requestBody"] = {"content": content}
    else:
        call["responses"]["200"]["content"] = content
    return {
        "openapi": "3.1.0",
        "info": {"title": "", "version": "0.1.0"},
        "paths": {"/": {"post": call}},
        "components": {"schemas": schemas or {}},
    }


def content(document: Document, status: str) -> Document:
    found: Document = operation(document)["responses"][status]["content"]
    return found


def parameter(document: Document, name: str) -> Document:
    found: Document = next(one for one in operation(document)["parameters"] if one["name"] == name)
    return found


def rename_schema(document: Document) -> None:
    text = yaml.safe_dump(document).replace("PreviewedRequest", "PreviewedCall")
    document.clear()
    document.update(yaml.load(text, yaml.CSafeLoader))


BREAKS: dict[str, tuple[Change, str]] = {
    "a path is gone": (lambda d: d["paths"].pop("/readyz"), "GET /readyz is gone"),
    "a method is gone": (lambda d: d["paths"]["/deliveries"].pop("post"), "POST /deliveries is gone"),
    "an operation has another name": (
        lambda d: operation(d).update(operationId="send"),
        "POST /deliveries: operationId deliver is now send",
    ),
    "a schema has another name": (rename_schema, "schema PreviewedRequest is gone"),
    "an open operation requires a token": (
        lambda d: operation(d, "/metrics", "get").update(security=[{"kubernetes": []}]),
        "GET /metrics requires other credentials",
    ),
    "another kind of token": (
        lambda d: d["components"]["securitySchemes"]["kubernetes"].update(scheme="basic"),
        "POST /deliveries requires other credentials",
    ),
    "a parameter is gone": (
        lambda d: operation(d)["parameters"].remove(parameter(d, "dryRun")),
        "POST /deliveries: query parameter dryRun is gone",
    ),
    "a parameter is required": (
        lambda d: parameter(d, "prefer").update(required=True),
        "POST /deliveries: header parameter prefer is now required",
    ),
    "a new parameter is required": (
        lambda d: operation(d)["parameters"].append(
            {"name": "why", "in": "query", "required": True, "schema": {"type": "string"}}
        ),
        "POST /deliveries: query parameter why is now required",
    ),
    "a field of the request is gone": (
        lambda d: fields(d, "CompletionEvent").pop("uid"),
        "POST /deliveries, its body: field uid is gone",
    ),
    "a field of the request is required": (
        lambda d: schema(d, "CompletionEvent")["required"].append("uid"),
        "POST /deliveries, its body: field uid is now required",
    ),
    "a new field of the request is required": (
        lambda d: (
            fields(d, "CompletionEvent").update(why={"type": "string"}),
            schema(d, "CompletionEvent")["required"].append("why"),
        ),
        "POST /deliveries, its body: field why is now required",
    ),
    "a value of the request is gone": (
        lambda d: fields(d, "CompletionEvent")["redeliver"]["enum"].remove("all"),
        "POST /deliveries, its body.redeliver: value all is no longer taken",
    ),
    "a free field is limited to values": (
        lambda d: fields(d, "CompletionEvent")["team"].update(enum=["report"]),
        "POST /deliveries, its body.team is now limited to some values",
    ),
    "null is no longer taken": (
        lambda d: fields(d, "CompletionEvent")["uid"]["anyOf"].pop(),
        "POST /deliveries, its body.uid: null is no longer taken",
    ),
    "a field of the request has another type": (
        lambda d: fields(d, "CompletionEvent")["test"].update(type="string"),
        "POST /deliveries, its body.test: boolean is no longer taken",
    ),
    "a field of the request may be less long": (
        lambda d: fields(d, "CompletionEvent")["namespace"].update(maxLength=62),
        "POST /deliveries, its body.namespace: maxLength is now 62",
    ),
    "a list of the request may be less long": (
        lambda d: fields(d, "CompletionEvent")["targets"]["anyOf"][0].update(maxItems=10),
        "POST /deliveries, its body.targets: maxItems is now 10",
    ),
    "what is in a list of the request may be less short": (
        lambda d: fields(d, "CompletionEvent")["targets"]["anyOf"][0]["items"].update(minLength=2),
        "POST /deliveries, its body.targets[]: minLength is now 2",
    ),
    "a pattern is another": (
        lambda d: fields(d, "CompletionEvent")["team"].update(pattern="^[a-z]+$"),
        "POST /deliveries, its body.team: pattern is now ^[a-z]+$",
    ),
    "a format is required": (
        lambda d: fields(d, "CompletionEvent")["team"].update(format="uuid"),
        "POST /deliveries, its body.team: format is now uuid",
    ),
    "a kind of body is no longer taken": (
        lambda d: operation(d)["requestBody"].update(content={}),
        "POST /deliveries, its body: application/json is no longer taken",
    ),
    "a good answer is gone": (
        lambda d: operation(d)["responses"].pop("202"),
        "POST /deliveries: answer 202 is gone",
    ),
    "an answer is of another kind": (
        lambda d: operation(d)["responses"]["202"].update(content={"text/plain": {}}),
        "POST /deliveries, its 202 is no longer application/json",
    ),
    "a header of an answer is gone": (
        lambda d: operation(d)["responses"]["503"]["headers"].pop("Retry-After"),
        "POST /deliveries, its 503: header Retry-After may be absent",
    ),
    "a field of an answer is gone": (
        lambda d: fields(d, "Receipt").pop("attempts"),
        "POST /deliveries, its 200.targets[]: field attempts is gone",
    ),
    "a field of an answer may be absent": (
        lambda d: schema(d, "Receipt")["required"].remove("message"),
        "POST /deliveries, its 202.targets[]: field message may be absent",
    ),
    "a field of an answer may be null": (
        lambda d: fields(d, "Report").update(uid={"anyOf": [{"type": "string"}, {"type": "null"}]}),
        "POST /deliveries, its 202.uid: null is new",
    ),
    "a field of an answer has another type": (
        lambda d: fields(d, "Receipt").update(attempts={"type": "string"}),
        "POST /deliveries, its 202.targets[].attempts: string is new",
    ),
    "a value of an answer is gone": (
        lambda d: schema(d, "KnownReason")["enum"].remove("Timeout"),
        "POST /deliveries, its 202.targets[].reason: value Timeout is gone",
    ),
    "a value of an answer is new, where the list is closed": (
        lambda d: schema(d, "Phase")["enum"].append("Lost"),
        "POST /deliveries, its 202.targets[].phase: value Lost is new",
    ),
    "a list that was closed is open": (
        lambda d: schema(d, "Phase").pop("enum"),
        "POST /deliveries, its 202.targets[].phase is no longer limited to some values",
    ),
    "a time is no longer one": (
        lambda d: fields(d, "Receipt")["timestamp"]["anyOf"][0].pop("format"),
        "POST /deliveries, its 202.targets[].timestamp: format is gone",
    ),
    "a problem is something else": (
        lambda d: fields(d, "ProblemDetails").pop("type"),
        "GET /deliveries/{namespace}/{team}, its 404: field type is gone",
    ),
    "what happens by default is another": (
        lambda d: fields(d, "CompletionEvent")["redeliver"].update(default="all"),
        "POST /deliveries, its body.redeliver: default none is now all",
    ),
    "the default is no longer documented": (
        lambda d: fields(d, "CompletionEvent")["redeliver"].pop("default"),
        "POST /deliveries, its body.redeliver: default none is now None",
    ),
    "an answer is one of fewer schemas": (
        lambda d: content(d, "200")["application/json"]["schema"]["anyOf"].pop(),
        "POST /deliveries, its 200 is never Previewed",
    ),
    "another good answer": (
        lambda d: operation(d)["responses"].update({"201": {"description": ""}}),
        "POST /deliveries: answer 201 is new",
    ),
    "an answer may be of another kind": (
        lambda d: content(d, "200").update({"text/plain": {"schema": {"type": "string"}}}),
        "POST /deliveries, its 200 may be text/plain",
    ),
    "a header is another": (
        lambda d: operation(d)["responses"]["202"]["headers"]["Location"]["schema"].update(type="integer"),
        "POST /deliveries, its 202: header Location: integer is new",
    ),
    "a header that others share is another": (
        lambda d: d["components"]["headers"]["X-Request-Id"]["schema"].update(type="integer"),
        "POST /deliveries, its 200: header X-Request-Id: integer is new",
    ),
    "a path requires a parameter": (
        lambda d: d["paths"]["/deliveries"].update(
            parameters=[{"name": "why", "in": "query", "required": True, "schema": {}}]
        ),
        "POST /deliveries: query parameter why is now required",
    ),
    "it is elsewhere": (
        lambda d: d.update(servers=[{"url": "/v2"}]),
        "POST /deliveries is no longer at /",
    ),
    "one operation is elsewhere": (
        lambda d: operation(d).update(servers=[{"url": "/{v}/", "variables": {"v": {"default": "v2"}}}]),
        "POST /deliveries is no longer at /",
    ),
    "every operation requires a token": (
        lambda d: d.update(security=[{"kubernetes": []}]),
        "GET /metrics requires other credentials",
    ),
    "two tokens at once": (
        lambda d: (
            d["components"]["securitySchemes"].update(
                key={"type": "apiKey", "in": "header", "name": "X-Key"}
            ),
            operation(d).update(security=[{"kubernetes": [], "key": []}]),
        ),
        "POST /deliveries requires other credentials",
    ),
    "a token is to have a scope": (
        lambda d: operation(d).update(security=[{"kubernetes": ["deliver"]}]),
        "POST /deliveries requires other credentials",
    ),
    "a parameter is written another way": (
        lambda d: parameter(d, "dryRun").update(style="pipeDelimited"),
        "POST /deliveries: query parameter dryRun was form, exploded and is now pipeDelimited, not exploded",
    ),
    "a list is no longer written as several parameters": (
        lambda d: parameter(d, "dryRun").update(explode=False),
        "POST /deliveries: query parameter dryRun was form, exploded and is now form, not exploded",
    ),
    "an operation is under another tag": (
        lambda d: operation(d).update(tags=["messages"]),
        "POST /deliveries: tags deliveries are now messages",
    ),
    "an operation has a tag before its own": (
        lambda d: operation(d)["tags"].insert(0, "messages"),
        "POST /deliveries: tags deliveries are now messages, deliveries",
    ),
    "a kind of problem is gone": (
        lambda d: content(d, "404")["application/problem+json"]["examples"].pop("team-not-found"),
        "POST /deliveries, its 404: problem urn:agentteam-delivery:team-not-found is gone",
    ),
    "a kind of problem has another name": (
        lambda d: content(d, "404")["application/problem+json"]["examples"]["team-not-found"]["value"].update(
            type="urn:agentteam-delivery:lost"
        ),
        "POST /deliveries, its 404: problem urn:agentteam-delivery:team-not-found is gone",
    ),
    "an unknown extension": (
        lambda d: operation(d).update({"x-paged": True}),
        "POST /deliveries: x-paged cannot be compared; look at it",
    ),
    "a webhook": (
        lambda d: d.update(webhooks={"done": {"post": {"responses": {}}}}),
        "the document: webhooks cannot be compared; look at it",
    ),
    "a reference that leads nowhere": (
        lambda d: fields(d, "Receipt").update(phase={"$ref": "#/components/schemas/Stage"}),
        "#/components/schemas/Stage cannot be followed; look at it",
    ),
    "a reference to another file": (
        lambda d: fields(d, "Receipt").update(phase={"$ref": "other.yaml#/components/schemas/Phase"}),
        "other.yaml#/components/schemas/Phase cannot be followed; look at it",
    ),
}

STRING, NUMBER, INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
NULL, OBJECT = {"type": "null"}, {"type": "object"}
LOOK = "cannot be compared; look at it"

# What clients send, what they send now, and the output.
SENT_BREAKS: dict[str, tuple[Any, Any, str]] = {
    "minimum, without itself": (NUMBER, {**NUMBER, "exclusiveMinimum": 0}, ": exclusiveMinimum is now 0"),
    "maximum, without itself": (NUMBER, {**NUMBER, "exclusiveMaximum": 9}, ": exclusiveMaximum is now 9"),
    "multiples": (INTEGER, {**INTEGER, "multipleOf": 5}, ": multipleOf is now 5"),
    "other multiples": (
        {**INTEGER, "multipleOf": 5},
        {**INTEGER, "multipleOf": 3},
        ": multipleOf is now 3",
    ),
    "nothing twice": ({"type": "array"}, {"type": "array", "uniqueItems": True}, ": uniqueItems is now True"),
    "not": (STRING, {**STRING, "not": {"const": "a"}}, f": not {LOOK}"),
    "names of fields": (
        OBJECT,
        {**OBJECT, "propertyNames": {"maxLength": 3}},
        ", its names: maxLength is now 3",
    ),
    "fields that require others": (
        OBJECT,
        {**OBJECT, "dependentRequired": {"a": ["b"]}},
        ": dependentRequired is now {'a': ['b']}",
    ),
    "first items": ({"type": "array"}, {"type": "array", "prefixItems": [STRING]}, f": prefixItems {LOOK}"),
    "items": ({"type": "array"}, {"type": "array", "items": STRING}, "[]: anything is no longer taken"),
    "other fields": (
        OBJECT,
        {**OBJECT, "additionalProperties": STRING},
        ".*: anything is no longer taken",
    ),
    "another field, typed, among others of another type": (
        {**OBJECT, "additionalProperties": STRING},
        {**OBJECT, "additionalProperties": STRING, "properties": {"a": INTEGER}},
        ".a: string is no longer taken",
    ),
    "part of all": (STRING, {"allOf": [STRING, {"maxLength": 3}]}, ": maxLength is now 3"),
    "all of two, at odds": (STRING, {"allOf": [STRING, INTEGER]}, ": string is no longer taken"),
    "a field that another part requires": (
        {"allOf": [OBJECT, {"properties": {"a": STRING}}]},
        {"allOf": [OBJECT, {"properties": {"a": STRING}, "required": ["a"]}]},
        ": field a is now required",
    ),
    "a field that two parts describe": (
        {**OBJECT, "properties": {"a": STRING}},
        {**OBJECT, "allOf": [{"properties": {"a": STRING}}, {"properties": {"a": {"minLength": 1}}}]},
        ".a: minLength is now 1",
    ),
    "one alone of two that overlap": (
        {"anyOf": [OBJECT, {**OBJECT, "required": ["a"]}]},
        {"oneOf": [OBJECT, {**OBJECT, "required": ["a"]}]},
        ": oneOf is now exclusive",
    ),
    "an integer where any number was": (NUMBER, INTEGER, ": number is no longer taken"),
    "a number where its digits were": ({"enum": ["1"]}, {"enum": [1]}, ": value 1 is no longer taken"),
    "nothing": (STRING, False, ": string is no longer taken"),
    "a default": (STRING, {**STRING, "default": "a"}, ": default None is now a"),
    "a default next to a reference": (
        {"$ref": "#/components/schemas/A"},
        {"$ref": "#/components/schemas/A", "default": "b"},
        ": default None is now b",
    ),
    "an unknown word": (STRING, {**STRING, "x-secret": True}, f": x-secret {LOOK}"),
    "an unknown word that is gone": ({**STRING, "readOnly": True}, STRING, f": readOnly {LOOK}"),
}
GOT_BREAKS: dict[str, tuple[Any, Any, str]] = {
    "items that may be anything": (
        {"type": "array", "items": STRING},
        {"type": "array"},
        "[]: anything is new",
    ),
    "other fields that may be anything": (
        {**OBJECT, "additionalProperties": STRING},
        OBJECT,
        ".*: anything is new",
    ),
    "other fields where none were": (
        {**OBJECT, "additionalProperties": False},
        OBJECT,
        ": other fields are new",
    ),
    "a field where no other was": (
        {**OBJECT, "additionalProperties": False},
        {**OBJECT, "additionalProperties": False, "properties": {"a": STRING}},
        ".a: string is new",
    ),
    "any number where an integer was": (INTEGER, NUMBER, ": number is new"),
    "more characters": ({**STRING, "maxLength": 3}, {**STRING, "maxLength": 4}, ": maxLength is now 4"),
    "any length": ({**STRING, "maxLength": 3}, STRING, ": maxLength is gone"),
    "twice the same": ({"type": "array", "uniqueItems": True}, {"type": "array"}, ": uniqueItems is gone"),
    "a part is gone": ({"allOf": [STRING, {"maxLength": 3}]}, STRING, ": maxLength is gone"),
    "a field that a part promised": (
        {"allOf": [OBJECT, {"properties": {"a": STRING}}]},
        {"allOf": [OBJECT, {"properties": {}}]},
        ": field a is gone",
    ),
    "no type": (STRING, {}, ": anything is new"),
    "how to distinguish them": (
        {"anyOf": [OBJECT, NULL], "discriminator": {"propertyName": "a"}},
        {"anyOf": [OBJECT, NULL], "discriminator": {"propertyName": "b"}},
        f": discriminator {LOOK}",
    ),
}

HARMLESS: dict[str, Change] = {
    "nothing": lambda _: None,
    "a new operation": lambda d: d["paths"].update(
        {"/new": {"get": {"operationId": "new", "responses": {"200": {"description": ""}}}}}
    ),
    "a new field that may be sent": lambda d: fields(d, "CompletionEvent").update(why={"type": "string"}),
    "a field need no longer be sent": lambda d: schema(d, "CompletionEvent")["required"].remove("team"),
    "a new value that may be sent": lambda d: fields(d, "CompletionEvent")["redeliver"]["enum"].append("one"),
    "more may be sent": lambda d: fields(d, "CompletionEvent")["namespace"].update(maxLength=64),
    "null may be sent": lambda d: fields(d, "CompletionEvent").update(
        test={"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": False}
    ),
    "a new parameter that may be sent": lambda d: operation(d)["parameters"].append(
        {"name": "why", "in": "query", "schema": {"type": "string"}}
    ),
    "a new field of an answer": lambda d: fields(d, "Receipt").update(why={"type": "string"}),
    "a new reason": lambda d: schema(d, "KnownReason")["enum"].append("Moved"),
    "an answer is never null again": lambda d: fields(d, "Receipt")["httpStatus"]["anyOf"].pop(),
    "another error": lambda d: operation(d)["responses"].update({"418": {"description": ""}}),
    "an error that no longer happens": lambda d: operation(d)["responses"].pop("413"),
    "other words": lambda d: operation(d).update(summary="Send", description="It sends."),
    "a scheme of another name": lambda d: (
        d["components"]["securitySchemes"].update(token=d["components"]["securitySchemes"]["kubernetes"]),
        operation(d).update(security=[{"token": []}]),
    ),
    "a kind of body with its characters": lambda d: operation(d)["requestBody"].update(
        content={
            "Application/JSON; charset=utf-8": operation(d)["requestBody"]["content"]["application/json"]
        }
    ),
    "an answer with its characters": lambda d: content(d, "202").update(
        {"application/json; charset=utf-8": content(d, "202").pop("application/json")}
    ),
    "a token is no longer required": lambda d: operation(d).update(security=[{"kubernetes": []}, {}]),
    "another token would do": lambda d: operation(d)["security"].append({"key": []}),
    "one more tag": lambda d: operation(d)["tags"].append("messages"),
    "one more server": lambda d: d.update(servers=[{"url": "/"}, {"url": "/v1"}]),
    "a new kind of problem": lambda d: content(d, "404")["application/problem+json"]["examples"].update(
        new={"value": {"type": "urn:agentteam-delivery:new"}}
    ),
    "another example of a request": lambda d: operation(d)["requestBody"]["content"]["application/json"][
        "examples"
    ].pop("test"),
    "one more header": lambda d: operation(d)["responses"]["202"]["headers"].update(Age={"schema": {}}),
    "a header in other letters": lambda d: operation(d)["responses"]["202"]["headers"].update(
        location=operation(d)["responses"]["202"]["headers"].pop("Location")
    ),
    "a style that is so anyway": lambda d: parameter(d, "dryRun").update(style="form", explode=True),
    "a parameter of the path, not of its one operation": lambda d: d["paths"]["/deliveries"].update(
        parameters=operation(d).pop("parameters")
    ),
    "a reference around a reference": lambda d: fields(d, "Receipt").update(
        phase={"allOf": [{"$ref": "#/components/schemas/Phase"}]}
    ),
    "an answer by reference": lambda d: (
        d["components"].update(responses={"Accepted": operation(d)["responses"]["202"]}),
        operation(d)["responses"].update({"202": {"$ref": "#/components/responses/Accepted"}}),
    ),
}

A = {"$ref": "#/components/schemas/A"}
SENT_HARMLESS: dict[str, tuple[Any, Any]] = {
    "any number": (INTEGER, NUMBER),
    "any type": (STRING, {}),
    "any format": ({**STRING, "format": "uuid"}, STRING),
    "any pattern": ({**STRING, "pattern": "a"}, STRING),
    "all of one": (A, {"allOf": [A]}),
    "values in two parts": (
        {"enum": ["a", "b"]},
        {"anyOf": [{"type": "string", "const": "a"}, {"type": "string", "enum": ["b", "c"]}]},
    ),
    "any of the values": ({"type": "string", "enum": ["a", "b"]}, STRING),
    "a field fewer, where others may be sent": (
        {**OBJECT, "properties": {"a": STRING}},
        {**OBJECT, "properties": {}},
    ),
    "types in a list": (
        {"type": ["string", "null"], "maxLength": 3},
        {"anyOf": [{**STRING, "maxLength": 3}, NULL]},
    ),
    "one of two that are unlike": ({"anyOf": [STRING, NULL]}, {"oneOf": [STRING, NULL]}),
    "more multiples": ({**INTEGER, "multipleOf": 10}, {**INTEGER, "multipleOf": 5}),
    "a minimum of nothing": (STRING, {**STRING, "minLength": 0}),
    "a part is gone": ({"allOf": [STRING, {"maxLength": 3}]}, STRING),
    "anything": (False, True),
}
GOT_HARMLESS: dict[str, tuple[Any, Any]] = {
    "an integer": (NUMBER, INTEGER),
    "all of one": (A, {"allOf": [A]}),
    "a part more": (STRING, {"allOf": [STRING, {"maxLength": 3}]}),
    "items that are described": ({"type": "array"}, {"type": "array", "items": STRING}),
    "one type of two, without a name": ({"anyOf": [STRING, NULL]}, STRING),
    "another default": ({**STRING, "default": "a"}, {**STRING, "default": "b"}),
}


def one(operation: Document, **path: Any) -> Document:
    """Return a description of one operation, with these components."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "", "version": "0.1.0"},
        "paths": {"/a/{b}": {"get": {"responses": {200: {"description": ""}}, **operation}, **path}},
        "components": {
            "parameters": {"P": {"name": "p", "in": "query", "schema": STRING}},
            "requestBodies": {"B": {"content": {"text/plain": {}}}},
            "responses": {"R": {"description": "", "headers": {"H": {"$ref": "#/components/headers/H"}}}},
            "headers": {"H": {"schema": STRING}},
            "pathItems": {"I": {"get": {"responses": {"200": {"description": ""}}}}},
        },
    }


def answered(header: Document) -> Document:
    """Return a description of an answer with a header by reference."""
    document = one({"responses": {"200": {"$ref": "#/components/responses/R"}}})
    document["components"]["headers"]["H"] = header
    return document


def shown(*choices: Document) -> Document:
    return one({"security": [*choices]})


def queried(schema: Any) -> Document:
    return one({}, parameters=[{"name": "q", "in": "query", "schema": schema}])


PAIRS: dict[str, tuple[Document, Document, list[str]]] = {
    "a header that is referred to may be absent": (
        answered({"schema": STRING, "required": True}),
        answered({"schema": STRING}),
        ["GET /a/{b}, its 200: header H may be absent"],
    ),
    "a header that is referred to is now sure": (
        answered({"schema": STRING}),
        answered({"schema": STRING, "required": True}),
        [],
    ),
    "nothing need be shown, and then it must": (
        shown({"k": []}, {}),
        shown({"k": []}),
        ["GET /a/{b} requires other credentials"],
    ),
    "either of two, and then one": (
        shown({"k": []}, {"l": []}),
        shown({"k": []}),
        ["GET /a/{b} requires other credentials"],
    ),
    "both of two, and then one": (shown({"k": [], "l": []}), shown({"k": []}), []),
    "a parameter of the path takes less": (
        queried(STRING),
        queried({**STRING, "maxLength": 3}),
        ["GET /a/{b}: query parameter q: maxLength is now 3"],
    ),
    "a parameter of the path is gone": (queried(STRING), one({}), ["GET /a/{b}: query parameter q is gone"]),
    "an operation without a name has one": (
        one({}),
        one({"operationId": "a"}),
        ["GET /a/{b}: operationId None is now a"],
    ),
    "a status is no longer quoted": (
        one({"responses": {"200": {"description": ""}}}),
        one({"responses": {200: {"description": ""}}}),
        [],
    ),
    "a parameter has a kind": (
        one({"parameters": [{"name": "p", "in": "query", "schema": STRING}]}),
        one({"parameters": [{"name": "p", "in": "query", "content": {"text/plain": {"schema": STRING}}}]}),
        ["GET /a/{b}: query parameter p was form, exploded and is now text/plain"],
    ),
}


def recursive(schema: Document) -> Document:
    return about("got", {"A": schema}, **A)


VALID: dict[str, Document] = {
    "a tree": recursive({**OBJECT, "properties": {"inner": {"type": "array", "items": A}, "next": A}}),
    "a schema that is itself": recursive({"anyOf": [A, NULL]}),
    "a schema that is nothing but itself": recursive(A),
    "a schema that grows as it is joined": recursive(
        {"allOf": [{"properties": {"a": {"allOf": [A, A, {"maxProperties": 3}]}}}, {"properties": {"a": A}}]}
    ),
    "anything": about("sent", schema=True),
    "nothing": about("got", schema=False),
    "a field of anything": about("sent", properties={"a": True, "b": False}),
    "a path with words": one({}, summary="", description="", parameters=[], **{"x-of": "us"}),
    "a path by reference": {**one({}), "paths": {"/a": {"$ref": "#/components/pathItems/I"}, "x-of": "us"}},
    "a parameter by reference": one({"parameters": [{"$ref": "#/components/parameters/P"}]}),
    "a body by reference": one({"requestBody": {"$ref": "#/components/requestBodies/B"}}),
    "an answer by reference": one({"responses": {"200": {"$ref": "#/components/responses/R"}}}),
    "a parameter with a kind": one(
        {"parameters": [{"name": "p", "in": "query", "content": {"application/json": {"schema": STRING}}}]}
    ),
    "a parameter of no schema": one({"parameters": [{"name": "p", "in": "query"}]}),
    "a path in a reference": one(
        {"parameters": [{"$ref": "#/paths/~1a~1%7Bb%7D/parameters/0"}]},
        parameters=[{"name": "b", "in": "path", "required": True, "schema": STRING}],
    ),
    "a status in a reference": one(
        {"responses": {200: {"description": ""}, "400": {"$ref": "#/paths/~1a~1{b}/get/responses/200"}}}
    ),
    "a range of statuses": one({"responses": {"2XX": {"description": ""}, "default": {"description": ""}}}),
    "a body of no kind": one({"requestBody": {"content": {"application/json": None}}}),
    "no components": {key: value for key, value in one({}).items() if key != "components"},
    "no paths": {"openapi": "3.1.0", "info": {"title": "", "version": "1"}, "components": {}},
    "a token of an unknown scheme": one({"security": [{"lost": ["a"]}]}),
    "a time": about("got", type="string", enum=[dt.date(2026, 1, 1)]),
}


@pytest.mark.parametrize("change", BREAKS)
def test_a_breaking_change_is_reported(change: str) -> None:
    made, sentence = BREAKS[change]
    assert sentence in breaks(made)


@pytest.mark.parametrize("change", HARMLESS)
def test_a_compatible_change_is_accepted(change: str) -> None:
    assert breaks(HARMLESS[change]) == []


@pytest.mark.parametrize(
    ("way", "change"), [*(("sent", one) for one in SENT_BREAKS), *(("got", one) for one in GOT_BREAKS)]
)
def test_a_breaking_change_of_a_schema_is_reported(way: str, change: str) -> None:
    old, new, sentence = {"sent": SENT_BREAKS, "got": GOT_BREAKS}[way][change]
    found = compared(*(about(way, {"A": STRING}, schema=schema) for schema in (old, new)))
    assert f"POST /, its {'body' if way == 'sent' else '200'}{sentence}" in found


@pytest.mark.parametrize(
    ("way", "change"), [*(("sent", one) for one in SENT_HARMLESS), *(("got", one) for one in GOT_HARMLESS)]
)
def test_a_compatible_change_of_a_schema_is_accepted(way: str, change: str) -> None:
    old, new = {"sent": SENT_HARMLESS, "got": GOT_HARMLESS}[way][change]
    assert compared(*(about(way, {"A": STRING}, schema=schema) for schema in (old, new))) == []


@pytest.mark.parametrize("name", VALID)
def test_every_valid_description_can_be_compared(name: str) -> None:
    assert compared(VALID[name], copy.deepcopy(VALID[name])) == []


@pytest.mark.parametrize("change", PAIRS)
def test_two_different_descriptions_are_distinguished(change: str) -> None:
    old, new, sentences = PAIRS[change]
    assert compared(old, new) == sentences


@pytest.mark.parametrize("depth", ["left", "right"])
def test_a_breaking_change_within_a_recursive_schema_is_found(depth: str) -> None:
    tree: Document = {**OBJECT, "properties": {"left": A, "right": {"anyOf": [A, NULL]}, "leaf": INTEGER}}
    other = copy.deepcopy(tree)
    other["properties"][depth] = STRING
    assert f"POST /, its 200.{depth}: string is new" in compared(recursive(tree), recursive(other))


def test_unknown_keywords_are_compared_too() -> None:
    schema = {"not": A}
    assert compared(about("sent", {"A": STRING}, **schema), about("sent", {"A": INTEGER}, **schema)) == [
        f"POST /, its body: not {LOOK}"
    ]


@pytest.mark.parametrize("leaf", [INTEGER, STRING])
def test_schemas_that_all_refer_to_each_other_are_compared_quickly(leaf: Document) -> None:
    inner = {
        f"S{number}": {"anyOf": [{"$ref": f"#/components/schemas/S{number}"}, NULL]} for number in range(9)
    }
    value = {"value": {"enum": [*range(50)]}}
    old: Document = {name: {**OBJECT, "properties": {**inner, **value, "leaf": INTEGER}} for name in inner}
    new = copy.deepcopy(old)
    new["S8"]["properties"]["leaf"] = leaf
    started = time.perf_counter()
    found = compared(about("got", old, **inner["S0"]), about("got", new, **inner["S0"]))
    assert time.perf_counter() - started < 5  # trying every path through them would take minutes
    assert bool(found) == (leaf == STRING)


def test_a_result_that_depends_on_an_open_comparison_is_not_cached() -> None:
    """A schema contains itself through another one, which is compared again outside the recursion."""
    ring: Document = {
        "A": {
            **OBJECT,
            "properties": {"b": {"$ref": "#/components/schemas/B"}, "leaf": INTEGER, "z": STRING},
        },
        "B": {**OBJECT, "properties": {"a": {"$ref": "#/components/schemas/A"}}},
    }
    other = copy.deepcopy(ring)
    other["A"]["properties"]["leaf"] = STRING
    schema = {
        **OBJECT,
        "properties": {"one": {"$ref": "#/components/schemas/A"}, "two": {"$ref": "#/components/schemas/B"}},
    }
    found = compared(about("got", ring, **schema), about("got", other, **schema))
    assert "POST /, its 200.one.leaf: string is new" in found
    assert "POST /, its 200.two.a.leaf: string is new" in found


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "1.0.0", True),
        ("1.0.0", "1.1.0", False),
        ("1.9.0", "2.0.0", True),
        ("0.2.0", "0.1.0", False),
        ("0.2.0", "0.3.0-rc.1", True),
        ("1", "2", True),
        ("v1.2", "v1.3", False),
    ],
)
def test_a_version_announces_a_break_or_does_not(old: str, new: str, told: bool) -> None:
    assert BREAKING["announced"](old, new) is told


@pytest.mark.parametrize(
    ("version", "code", "verdict"),
    [
        ("0.1.7", 1, "clients of 0.1.0 would break: undo the change, or announce it with the version"),
        ("0.2.0", 0, "allowed: the version announces it"),
    ],
)
def test_a_breaking_change_fails_unless_the_version_announces_it(
    version: str, code: int, verdict: str, tmp_path: Path
) -> None:
    document = read_yaml(RELEASED)
    document["info"]["version"] = "0.1.0"
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(document))
    document["info"]["version"] = version
    del document["paths"]["/readyz"]
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(document))
    ran = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "old.yaml", tmp_path / "new.yaml"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == code
    assert ran.stdout == f"GET /readyz is gone\n{verdict}\n"


def test_without_arguments_the_script_prints_its_usage() -> None:
    ran = subprocess.run([sys.executable, SCRIPT], check=False, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: breaking")


def test_the_description_is_compared_with_the_last_release() -> None:
    headings = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    dated = [version for version, date in headings if re.fullmatch(r"\d{4}-\d\d-\d\d", date)]
    # Before the first release, the description of that release is already a promise.
    last = dated[0] if dated else headings[-1][0]
    assert read_yaml(RELEASED)["info"]["version"] == last, (
        "after a release, copy its description: cp openapi/openapi.yaml openapi/released.yaml"
    )
