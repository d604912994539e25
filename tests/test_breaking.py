"""What would break clients generated from the last release's description is found, and nothing else."""

import copy
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci/breaking"
RELEASED = ROOT / "openapi/released.yaml"
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
    """Return what is said of a change to the description as it was released."""
    old = yaml.safe_load(RELEASED.read_text())
    new = copy.deepcopy(old)
    change(new)
    return sorted(set(BREAKING["Comparison"](old, new).breaks()))


def parameter(document: Document, name: str) -> Document:
    found: Document = next(one for one in operation(document)["parameters"] if one["name"] == name)
    return found


def rename_schema(document: Document) -> None:
    text = yaml.safe_dump(document).replace("PreviewedRequest", "PreviewedCall")
    document.clear()
    document.update(yaml.safe_load(text))


BREAKS: dict[str, tuple[Change, str]] = {
    "a path is gone": (lambda d: d["paths"].pop("/readyz"), "GET /readyz is gone"),
    "a method is gone": (lambda d: d["paths"]["/deliveries"].pop("post"), "POST /deliveries is gone"),
    "an operation has another name": (
        lambda d: operation(d).update(operationId="send"),
        "POST /deliveries: operationId deliver is now send",
    ),
    "a schema has another name": (rename_schema, "schema PreviewedRequest is gone"),
    "what was open wants a token": (
        lambda d: operation(d, "/metrics", "get").update(security=[{"kubernetes": []}]),
        "GET /metrics wants other credentials",
    ),
    "another kind of token": (
        lambda d: d["components"]["securitySchemes"]["kubernetes"].update(scheme="basic"),
        "POST /deliveries wants other credentials",
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
        "POST /deliveries, its body.redeliver: all is no longer taken",
    ),
    "a free field is limited to values": (
        lambda d: fields(d, "CompletionEvent")["team"].update(enum=["report"]),
        "POST /deliveries, its body.team is now limited to some values",
    ),
    "null is no longer taken": (
        lambda d: fields(d, "CompletionEvent")["uid"]["anyOf"].pop(),
        "POST /deliveries, its body.uid: null is not what it was",
    ),
    "a field of the request has another type": (
        lambda d: fields(d, "CompletionEvent")["test"].update(type="string"),
        "POST /deliveries, its body.test: boolean is not what it was",
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
        "POST /deliveries, its body.team: another pattern",
    ),
    "a format is asked for": (
        lambda d: fields(d, "CompletionEvent")["team"].update(format="uuid"),
        "POST /deliveries, its body.team: format None is now uuid",
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
        "POST /deliveries, its 202.uid: null is not what it was",
    ),
    "a field of an answer has another type": (
        lambda d: fields(d, "Receipt").update(attempts={"type": "string"}),
        "POST /deliveries, its 202.targets[].attempts: string is not what it was",
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
        "POST /deliveries, its 202.targets[].timestamp: format date-time is now None",
    ),
    "a problem is something else": (
        lambda d: fields(d, "ProblemDetails").pop("type"),
        "GET /deliveries/{namespace}/{team}, its 404: field type is gone",
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
        test={"anyOf": [{"type": "boolean"}, {"type": "null"}]}
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
}


@pytest.mark.parametrize("change", BREAKS)
def test_a_break_is_found_and_named(change: str) -> None:
    made, sentence = BREAKS[change]
    assert sentence in breaks(made)


@pytest.mark.parametrize("change", HARMLESS)
def test_what_breaks_nobody_is_let_through(change: str) -> None:
    assert breaks(HARMLESS[change]) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "1.0.0", True),
        ("1.0.0", "1.1.0", False),
        ("1.9.0", "2.0.0", True),
        ("0.2.0", "0.1.0", False),
    ],
)
def test_a_version_tells_of_a_break_or_does_not(old: str, new: str, told: bool) -> None:
    assert BREAKING["announced"](old, new) is told


@pytest.mark.parametrize(("version", "code"), [("0.1.7", 1), ("0.2.0", 0)])
def test_a_break_ends_it_with_an_error_unless_the_version_tells_of_it(
    version: str, code: int, tmp_path: Path
) -> None:
    document = yaml.safe_load(RELEASED.read_text())
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
    assert "GET /readyz is gone\n" in ran.stdout


def test_what_is_compared_with_is_the_last_release() -> None:
    headings = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    dated = [version for version, date in headings if re.fullmatch(r"\d{4}-\d\d-\d\d", date)]
    # Before the first release, what that is going to be is promised already.
    last = dated[0] if dated else headings[-1][0]
    assert yaml.safe_load(RELEASED.read_text())["info"]["version"] == last, (
        "a release takes its description along: cp openapi/openapi.yaml openapi/released.yaml"
    )
