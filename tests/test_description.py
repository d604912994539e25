"""The API's description is made for generating clients: complete, in order, and true to its own examples."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from app.domain.errors import Problem
from app.domain.problems import PROBLEM_JSON, PROBLEM_TYPE
from app.domain.reasons import Reason

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "openapi/openapi.yaml").read_text()
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]

OPERATIONS = {
    one["operationId"]: one for operations in DOCUMENT["paths"].values() for one in operations.values()
}


def kinds(base: type[Problem] = Problem) -> Iterator[type[Problem]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def answers() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, operation in OPERATIONS.items():
        for status, answer in operation["responses"].items():
            yield name, status, answer


def errors_of(value: Any, schema: dict[str, Any]) -> list[str]:
    whole = {**schema, "components": DOCUMENT["components"]}
    judge = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.message for error in judge.iter_errors(value)]


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_same_code_gives_the_same_text(seed: str) -> None:
    command = (Path(sys.executable).parent / "agentteam-delivery", "openapi")
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    made = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert made == TEXT, "to write it anew: make openapi"


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_says_what_it_does_and_under_which_tag(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"]
    [tag] = operation["tags"]
    assert tag in {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(parameter["description"] for parameter in operation.get("parameters", []))


def test_whoever_needs_a_token_is_told_and_nobody_else() -> None:
    secured = {name for name, operation in OPERATIONS.items() if operation.get("security")}
    assert secured == {"deliver", "readDelivery"}
    assert all("401" in OPERATIONS[name]["responses"] for name in secured)


def test_every_error_is_documented_as_a_problem_with_an_example_of_each_kind() -> None:
    seen = set()
    for name, status, answer in answers():
        if status < "400" or (name, status) == (
            "readyz",
            "503",
        ):  # which answers what is wrong, as when all is well
            continue
        [(media, content)] = answer["content"].items()
        assert media == PROBLEM_JSON
        assert content["schema"] == {"$ref": "#/components/schemas/ProblemDetails"}
        for slug, example in content["examples"].items():
            assert example["value"]["status"] == int(status)
            assert example["value"]["type"] == PROBLEM_TYPE + slug
            seen.add(slug)
    assert seen | {"no-such-path", "method-not-allowed"} == {kind.slug for kind in kinds()}  # of no operation


def test_examples_are_what_their_schemas_allow() -> None:
    wrong = []
    for name, schema in SCHEMAS.items():
        wrong += [
            (name, error) for example in schema.get("examples", []) for error in errors_of(example, schema)
        ]
    body = OPERATIONS["deliver"]["requestBody"]["content"]["application/json"]
    contents = [
        body,
        *(content for _, _, answer in answers() for content in answer.get("content", {}).values()),
    ]
    for content in contents:
        for title, example in content.get("examples", {}).items():
            wrong += [(title, error) for error in errors_of(example["value"], content["schema"])]
    assert not wrong
    assert len(body["examples"]) > 1
    assert SCHEMAS["Report"]["examples"]


def test_every_field_is_described_and_no_name_is_made_up_for_it() -> None:
    undescribed = [
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, told in schema.get("properties", {}).items()
        if "description" not in told or "title" in told
    ]
    assert not undescribed
    assert all(schema["description"] for schema in SCHEMAS.values())


def test_an_answer_always_has_all_of_its_fields() -> None:
    for name in ("Report", "Receipt", "Previewed", "PreviewedTarget", "PreviewedRequest", "Health"):
        assert set(SCHEMAS[name]["required"]) == set(SCHEMAS[name]["properties"]), name


def test_reasons_are_listed_and_may_become_more() -> None:
    known, others = SCHEMAS["Reason"]["anyOf"]
    assert known == {"$ref": "#/components/schemas/KnownReason"}
    assert SCHEMAS["KnownReason"]["enum"] == [*Reason]
    assert others == {"type": "string"}


def test_the_kinds_of_problems_are_listed() -> None:
    kind = SCHEMAS["ProblemDetails"]["properties"]["type"]
    assert kind["examples"] == sorted(PROBLEM_TYPE + kind.slug for kind in kinds())


def test_what_is_a_time_or_one_of_a_few_words_says_so() -> None:
    receipt = SCHEMAS["Receipt"]["properties"]
    for name in ("timestamp", "claimedUntil"):
        assert {"type": "string", "format": "date-time"} in receipt[name]["anyOf"]
    assert "enum" in SCHEMAS["Phase"]
    assert SCHEMAS["CompletionEvent"]["properties"]["redeliver"]["enum"] == ["none", "failed", "all"]
