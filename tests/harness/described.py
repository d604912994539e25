"""Compares each answer of a running service in the tests with the API's description."""

import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jsonschema_rs import Draft202012Validator

from tests.harness.documents import read_yaml

DESCRIPTION = Path(__file__).parents[2] / "openapi/openapi.yaml"
NOT_OF_AN_OPERATION = {404: "no-such-path", 405: "method-not-allowed"}


def check(method: str, path: str, status: int, headers: dict[str, str], content: bytes) -> None:
    """Compare an answer with the description of its operation; `headers` have lower-case names.

    Raises:
        AssertionError: its status, media type, content or a header differs.
    """
    operation = _operation(method, unquote(urlsplit(path).path))
    if operation is None:
        if headers.get("content-type") == "application/problem+json":
            assert json.loads(content)["type"].rpartition(":")[2] == NOT_OF_AN_OPERATION[status]
        return
    if "deprecation" in headers:
        return  # works for one more release, but is no longer described
    name = f"{method} {path}: {status}"
    answer = operation["responses"].get(str(status))
    assert answer, f"{name} is not described"
    media = headers["content-type"].partition(";")[0]
    assert media in answer["content"], f"{name} is described as {list(answer['content'])}, and is {media}"
    missing = [header for header in answer.get("headers", {}) if header.lower() not in headers]
    assert not missing, f"{name} lacks {missing}"
    if media.endswith("json"):
        body = json.loads(content)
        assert not list(_judge(operation["operationId"], str(status)).iter_errors(body)), (name, body)
        if media == "application/problem+json":
            shown = {
                one["value"]["type"]: one["value"] for one in answer["content"][media]["examples"].values()
            }
            assert body["type"] in shown, f"{name} is not described as {body['type']}"
            for field in ("title", "status"):
                assert body[field] == shown[body["type"]][field], f"{name}: {field} is not the example's"


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = read_yaml(DESCRIPTION)
    return document


def _operation(method: str, path: str) -> dict[str, Any] | None:
    parts = path.split("/")
    for known, operations in _document()["paths"].items():
        shape = known.split("/")
        fits = len(shape) == len(parts) and all(
            mine == theirs or (mine.startswith("{") and theirs)
            for mine, theirs in zip(shape, parts, strict=True)
        )
        if fits and method.lower() in operations:
            found: dict[str, Any] = operations[method.lower()]
            return found
    return None


@cache
def _judge(identifier: str, status: str) -> Draft202012Validator:
    [operation] = [
        one
        for operations in _document()["paths"].values()
        for one in operations.values()
        if one["operationId"] == identifier
    ]
    [content] = operation["responses"][status]["content"].values()
    return Draft202012Validator({**content["schema"], "components": _document()["components"]})
