"""The API's description suits generators: complete, sorted, and consistent with its examples."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from app.domain.errors import Problem
from app.domain.events import TERMINAL_PHASES
from app.domain.problems import PROBLEM_JSON, PROBLEM_TYPE
from app.domain.reasons import Reason
from tests.harness.documents import read_yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "openapi/openapi.yaml").read_text()
DOCUMENT: dict[str, Any] = read_yaml(ROOT / "openapi/openapi.yaml")
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
    judge = Draft202012Validator(whole, validate_formats=True)
    return [error.message for error in judge.iter_errors(value)]


def test_the_same_code_gives_the_same_text() -> None:
    command = (Path(sys.executable).parent / "agentteam-delivery", "openapi")
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    made = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert made == TEXT, "to write the description again: make openapi"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_description_and_a_tag(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"]
    [tag] = operation["tags"]
    assert tag in {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(parameter["description"] for parameter in operation.get("parameters", []))


def test_exactly_the_operations_that_require_a_token_say_so() -> None:
    secured = {name for name, operation in OPERATIONS.items() if operation.get("security")}
    assert secured == {"deliver", "listDeliveries", "preview", "readDelivery"}
    assert all(operation["security"] == [] for name, operation in OPERATIONS.items() if name not in secured)
    assert all("401" in OPERATIONS[name]["responses"] for name in secured)


def test_every_error_is_documented_as_a_problem_with_an_example_of_each_kind() -> None:
    seen = set()
    for name, status, answer in answers():
        if status < "400" or (name, status) == (
            "readyz",
            "503",
        ):  # its error has the same content as its success
            continue
        [(media, content)] = answer["content"].items()
        assert media == PROBLEM_JSON
        assert content["schema"] == {"$ref": "#/components/schemas/ProblemDetails"}
        for slug, example in content["examples"].items():
            assert example["value"]["status"] == int(status)
            assert example["value"]["type"] == PROBLEM_TYPE + slug
            seen.add(slug)
    assert seen | {"no-such-path", "method-not-allowed"} == {
        kind.slug for kind in kinds()
    }  # these belong to no operation


def test_examples_are_valid_against_their_schemas() -> None:
    wrong = []
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


def test_every_answer_has_an_example_and_no_schema_has_a_general_one() -> None:
    for name, status, answer in answers():
        [content] = answer["content"].values()
        assert content["examples"], (name, status)
        assert all("example" in header or "$ref" in header for header in answer.get("headers", {}).values())
    assert not [name for name, schema in SCHEMAS.items() if "examples" in schema and "properties" in schema]


def test_requests_are_closed_and_answers_may_get_further_fields() -> None:
    closed = {name: one["additionalProperties"] for name, one in SCHEMAS.items() if "properties" in one}
    assert closed.pop("CompletionEvent") is False
    assert set(closed.values()) == {True}


def test_the_server_is_the_address_inside_the_cluster() -> None:
    [server] = DOCUMENT["servers"]
    defaults = {name: variable["default"] for name, variable in server["variables"].items()}
    assert server["url"].format(**defaults) == "https://agentteam-delivery.agentteam-delivery.svc:8080"


def test_problems_with_one_status_can_be_distinguished() -> None:
    for _, status, answer in answers():
        kinds_here = answer["content"].get(PROBLEM_JSON, {}).get("examples", {})
        several = len(kinds_here) > 1
        assert answer["description"].startswith("One of: ") is several, status
        assert not several or all(f"`{slug}`" in answer["description"] for slug in kinds_here)


def test_every_field_has_a_description_and_no_generated_title() -> None:
    undescribed = [
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, told in schema.get("properties", {}).items()
        if "description" not in told or "title" in told
    ]
    assert not undescribed
    assert all(schema["description"] for schema in SCHEMAS.values())


def test_an_answer_always_has_all_its_fields() -> None:
    for name in ("Report", "Receipt", "Previewed", "PreviewedTarget", "PreviewedRequest", "Health"):
        assert set(SCHEMAS[name]["required"]) == set(SCHEMAS[name]["properties"]), name


def test_a_reason_is_text_with_documented_values() -> None:
    told = SCHEMAS["Reason"]
    # With an enum, or an enum or text: Go does not compile, Java rejects pending reports, Rust settled ones.
    assert set(told) == {"type", "description", "examples"}
    assert told["type"] == "string"
    assert told["examples"] == [*Reason]
    assert all(f"- `{word}`: {word.meaning}" in told["description"] for word in Reason)


def test_no_answer_is_a_union_of_types() -> None:
    def unions(node: Any) -> Iterator[list[Any]]:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if key in {"anyOf", "oneOf"}:
                yield value
            if isinstance(value, dict | list):
                yield from unions(value)

    wrong = [one for one in unions(DOCUMENT) if len(one) != 2 or {"type": "null"} not in one]
    assert not wrong, (
        "clients merge the types of a union, or read only the first; they support only null next to a type"
    )


def test_no_word_is_in_two_named_lists() -> None:
    words = [word for schema in SCHEMAS.values() for word in schema.get("enum", [])]
    assert len(words) == len(set(words)), "Go generates a constant per word, and duplicates do not compile"


def test_the_types_of_problem_are_listed() -> None:
    kind = SCHEMAS["ProblemDetails"]["properties"]["type"]
    assert kind["examples"] == sorted(PROBLEM_TYPE + kind.slug for kind in kinds())


def test_times_and_fixed_words_are_marked_as_such() -> None:
    receipt = SCHEMAS["Receipt"]["properties"]
    for name in ("timestamp", "claimedUntil"):
        assert {"type": "string", "format": "date-time"} in receipt[name]["anyOf"]
    assert receipt["phase"]["enum"] == ["Pending", "Delivered", "Failed"]
    assert SCHEMAS["TerminalPhase"]["enum"] == [*TERMINAL_PHASES]
    ending = SCHEMAS["CompletionEvent"]["properties"]["phase"]["anyOf"]
    assert ending == [{"$ref": "#/components/schemas/TerminalPhase"}, {"type": "null"}]
    assert SCHEMAS["CompletionEvent"]["properties"]["redeliver"]["enum"] == ["none", "failed", "all"]
