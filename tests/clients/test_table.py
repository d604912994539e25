"""The table of generators in the reference matches the tests' results; WRITE=1 writes it."""

import importlib.metadata
import json
import os
import re
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from app.api.examples import ANSWERS, HEADERS, PROBLEMS
from app.domain.errors import TooBusy
from app.domain.problems import PROBLEM_JSON
from tests.clients.conftest import Client
from tests.clients.generators import ROOT
from tests.clients.test_signatures import SIGNED, generated, signed
from tests.harness.receiver import Receiver

pytestmark = pytest.mark.timeout(1200)  # the first run downloads and compiles

PAGE = ROOT / "docs/reference/clients.md"
HEAD = """<!-- Made by tests/clients; to write it again: make clients-table -->

# Clients

This page compares what client generators make of the API's [description](../../openapi/openapi.yaml). The
suite compiles five clients and runs the same steps with each against a live service; it generates three more
and checks their signatures. [Clients](../../clients/README.md) explains how to generate and use them.

"""
FOOT = """
- **delivers**: `deliver` returns a `Report`, for 200 as for 202, and `preview` a `Previewed`.
- **reasons are text**: the client accepts an unknown reason, and an additional field of a later version.
- **`Location`**, **`Retry-After`**: whether the client exposes these headers of a 202, and of a problem.
- **problems**: how the client returns a problem.
"""


@dataclass(frozen=True)
class Tried:
    """A generator: its description, its options, and how a caller gets a problem."""

    language: str
    generator: str
    options: str
    problems: str


def _generator() -> str:
    [version] = re.findall(r"^generator=(\S+)", _SCRIPT, re.MULTILINE)
    return f"OpenAPI Generator {version}"


def _options(language: str) -> str:
    [options] = re.findall(
        rf"^{language}\(\) \{{\s+openapi_generator \w+ \"\$1\" ([^;}}]+?);?\s*\}}", _SCRIPT, re.MULTILINE
    )
    return ", ".join(f"`{option}`" for option in re.split(r"[,\s\\]+", options))


_SCRIPT = (ROOT / "clients/generate").read_text()
_LOCK = json.loads((ROOT / "clients/typescript/package-lock.json").read_text())["packages"]
_PYTHON = importlib.metadata.version("openapi-python-client")
_TYPESCRIPT, _FETCH = (
    _LOCK[f"node_modules/{name}"]["version"] for name in ("openapi-typescript", "openapi-fetch")
)

DRIVEN = {
    "python": Tried("Python", f"openapi-python-client {_PYTHON}", "", "returned, as `ProblemDetails`"),
    "typescript": Tried(
        "TypeScript",
        f"openapi-typescript {_TYPESCRIPT}, openapi-fetch {_FETCH}",
        "`--default-non-nullable=false`",
        "thrown, as our `Problem`",
    ),
    "go": Tried("Go", _generator(), _options("go"), "an error; `Model()` is the `ProblemDetails`"),
    "java": Tried(
        "Java", _generator(), _options("java"), "thrown; the body is text, to be read as `ProblemDetails`"
    ),
    "rust": Tried(
        "Rust",
        _generator(),
        _options("rust"),
        "an error; the typed one says `Status400` of each, so `content` is to be read as `ProblemDetails`",
    ),
}
GENERATED = {
    "csharp": Tried("C#", _generator(), _options("csharp"), "returned, one method a status"),
    "kotlin": Tried("Kotlin", _generator(), _options("kotlin"), "thrown; the body is text"),
    "php": Tried("PHP", _generator(), _options("php"), "thrown; `getResponseObject()` has it"),
}


async def answer(request: web.Request) -> web.StreamResponse:
    """Answer like a later service, with a new reason and new fields; or with a problem."""
    team = (await request.json())["team"] if request.method == "POST" else request.path.rpartition("/")[2]
    if team == "busy":
        headers = {
            "Retry-After": str(HEADERS["Retry-After"]),
            "Content-Type": PROBLEM_JSON,
            "X-Request-Id": "any",
        }
        return web.Response(status=503, text=json.dumps(PROBLEMS[TooBusy]["value"]), headers=headers)
    if request.path == "/previews":
        return web.json_response({**ANSWERS["preview", "200"]["previewed"]["value"], "unheard": True})
    report = ANSWERS["deliver", "202"]["under-way"]["value"]
    [target] = report["targets"]
    return web.json_response(
        {**report, "targets": [{**target, "reason": "Unheard", "unheard": True}], "unheard": True},
        status=202,
        headers={"Location": HEADERS["Location"]},
    )


STEPS: list[dict[str, str]] = [
    {"namespace": "research", "token": "any", "team": "report", "call": "deliver"},
    {"namespace": "research", "token": "any", "team": "report", "call": "preview"},
    {"namespace": "research", "token": "any", "team": "busy", "call": "deliver"},
]


def said(told: list[dict[str, Any]]) -> list[str]:
    """Return the table's cells for a client's results."""
    delivered, previewed, refused = told
    delivers = delivered.get("phase") == "Pending" and "would" in previewed
    text = [target["reason"] for target in delivered.get("targets", [])] == ["Unheard"]
    kind = refused.get("problem") == PROBLEMS[TooBusy]["value"]["type"]
    waits = refused.get("retryAfter") == HEADERS["Retry-After"]
    found = (delivers, text, delivered.get("location") == HEADERS["Location"], kind and waits)
    return ["yes" if one else "no" for one in found]


async def test_the_table_shows_the_result_of_each_generator(request: pytest.FixtureRequest) -> None:
    columns = ("generator", "options", "tried", "delivers", "reasons are text", "`Location`", "`Retry-After`")
    lines: list[tuple[str, ...]] = [("client", *columns, "problems"), ("---",) * 9]
    async with Receiver(respond=answer) as service:
        for name, tried in DRIVEN.items():
            client: Client = request.getfixturevalue(name)
            cells = said(await client.take(service.url, STEPS))
            lines.append(
                (tried.language, tried.generator, tried.options, "compiled, driven", *cells, tried.problems)
            )
    for name, tried in GENERATED.items():
        found = signed(generated(name), SIGNED[name])
        kept = ("deliver", "preview", "read"), ("reason", "grows"), ("headers",), ("headers",)
        cells = ["yes" if all(found[promise] for promise in promises) else "no" for promises in kept]
        lines.append((tried.language, tried.generator, tried.options, "generated", *cells, tried.problems))
    page = HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines) + FOOT
    if os.environ.get("WRITE"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "to write the page again: make clients-table"
