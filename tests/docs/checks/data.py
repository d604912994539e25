"""Checks JSON in documents: webhook bodies, requests and answers, each with its model."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from app.domain.errors import Problem
from app.domain.events import TERMINAL_PHASES, TEST, CompletionEvent
from app.domain.previews import Previewed
from app.domain.problems import PROBLEM_TYPE, ProblemDetails
from app.domain.receipts import Report
from tests.docs.blocks import ROOT, Block
from tests.docs.checks import Check, Faults, Tools
from tests.docs.checks.http import faults_of_event
from tests.docs.checks.kubernetes import faults_of_document
from tests.docs.checks.words import logged

KEYS = ["event", "team", "namespace", "phase", "message", "artifacts"]
"""What a webhook gets, in this order."""
ARTIFACT = ["name", "path", "producedBy", "producedAt"]
"""What it says of each artifact."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key} is a duplicate key")
        found[key] = value
    return found


def read(text: str) -> list[Any]:
    """Read one document, or one per line.

    Raises:
        ValueError: it is not JSON.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(line.startswith("{") and line.endswith("}") for line in lines):
        return [json.loads(line, object_pairs_hook=_once) for line in lines]
    return [json.loads(text, object_pairs_hook=_once)]


@cache
def problems() -> dict[str, type[Problem]]:
    """Return every problem by its type."""
    found: dict[str, type[Problem]] = {}
    waiting: list[type[Problem]] = [Problem]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if hasattr(kind, "slug"):
            found[PROBLEM_TYPE + kind.slug] = kind
    return found


def faults_of_value(value: Any, tools: Tools) -> Iterator[str]:
    """Report what is wrong with a document, depending on its kind."""
    keys = set(value) if isinstance(value, dict) else set[str]()
    if {"apiVersion", "kind"} <= keys:
        yield from faults_of_document(value, tools)
    elif {"event", "artifacts"} <= keys or {"event", "message", "team"} <= keys:
        yield from _faults_of_webhook(value)
    elif {"event", "level"} <= keys:
        if value["event"] not in logged():
            yield f"the log has no line {value['event']}"
    elif str(value.get("type", "") if keys else "").startswith("urn:"):
        yield from _faults_of_problem(value)
    elif "dryRun" in keys:
        yield from _faults_by(Previewed, value)
    elif {"phase", "targets"} <= keys:
        yield from _faults_by(Report, value)
    elif {"text", "blocks"} <= keys:
        yield from _faults_of_slack(value)
    elif {"namespace", "team"} <= keys <= set(CompletionEvent.model_fields):
        yield from faults_of_event(json.dumps(value))
    else:
        yield (
            "this is nothing that webhooks get, or the API takes or says, and nothing else that is known to"
            f" tests/docs/checks/data.py ({', '.join(sorted(keys)) or type(value).__name__})"
        )


def _faults_of_webhook(value: dict[str, Any]) -> Iterator[str]:
    if list(value) != KEYS:
        yield f"a webhook gets exactly {', '.join(KEYS)}, not {', '.join(value)}"
        return
    if value["event"] not in {"team.completed", TEST}:
        yield f"event: {value['event']} is not an event"
    if value["phase"] not in TERMINAL_PHASES:
        yield f"phase: {value['phase']} is not a terminal phase"
    for artifact in value["artifacts"]:
        if list(artifact) != ARTIFACT:
            yield f"artifacts: each has {', '.join(ARTIFACT)}, not {', '.join(artifact)}"


def _faults_of_problem(value: dict[str, Any]) -> Iterator[str]:
    yield from _faults_by(ProblemDetails, value)
    kind = problems().get(value["type"])
    if kind is None:
        yield f"type: there is no problem {value['type']}"
    elif (value.get("title"), value.get("status")) != (kind.title, kind.status):
        yield f"{value['type']} is {kind.status} {kind.title!r}"


def _faults_of_slack(value: dict[str, Any]) -> Iterator[str]:
    made = json.loads((ROOT / "tests/fixtures/slack-message.json").read_text())
    known = {block["type"] for block in made["blocks"]}
    for block in value["blocks"]:
        if block.get("type") not in known:
            yield f"blocks: {block.get('type')} is not in Slack's messages of the service"


def _faults_by(model: type[BaseModel], value: dict[str, Any]) -> Iterator[str]:
    try:
        held = model.model_validate(value)
    except ValidationError as error:
        for one in error.errors():
            yield f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
        return
    yield from _unknown(value, held.model_dump(by_alias=True, mode="json"))


def _unknown(given: Any, held: Any, path: str = "") -> Iterator[str]:
    if isinstance(given, dict) and isinstance(held, dict):
        for key, value in given.items():
            where = f"{path}.{key}" if path else key
            if key not in held:
                yield f"{where}: there is no such field"
            else:
                yield from _unknown(value, held[key], where)
    if isinstance(given, list) and isinstance(held, list):
        for position, (one, other) in enumerate(zip(given, held, strict=True)):
            yield from _unknown(one, other, f"{path}.{position}")


def faults(block: Block, tools: Tools) -> Faults:
    """Report what is wrong with a block of JSON."""
    try:
        shown = read(block.text)
    except ValueError as error:
        offset = error.lineno - 1 if isinstance(error, json.JSONDecodeError) else 0
        yield f"{block.at(offset)}: not JSON: {getattr(error, 'msg', error)}"
        return
    for value in shown:
        yield from (f"{block.at()}: {said}" for said in faults_of_value(value, tools))


CHECK = Check("JSON", lambda block: block.language == "json", faults)
