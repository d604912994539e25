"""Two linters with all their recommended rules find nothing in the API's description."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.conftest import HERE
from tests.clients.generators import DESCRIPTION, made, ran
from tests.harness.documents import read_yaml

pytestmark = pytest.mark.timeout(1200)  # the first run downloads and compiles

LINTERS = HERE / "linters"
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
"""Environment in which the linters send no telemetry."""


def redocly(others: Path, description: Path) -> list[str]:
    """Return the names of Redocly's rules that the description breaks."""
    config = ("--config", LINTERS / "redocly.yaml")
    _, said = ran(
        others / "redocly", "lint", *config, "--format=json", description, cwd=description.parent, **QUIET
    )
    report = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert report["totals"]["ignored"] == 0
    return [problem["ruleId"] for problem in report["problems"]]


def spectral(others: Path, description: Path) -> list[str]:
    """Return the names of Spectral's rules that the description breaks, hints included."""
    how = ("--ruleset", LINTERS / ".spectral.yaml", "--fail-severity=hint", "--format=json", "--quiet")
    code, said = ran(others / "spectral", "lint", *how, description, cwd=description.parent)
    found = [problem["code"] for problem in json.loads(said)] if code else []
    assert bool(code) == bool(found), said
    return found


def unsecured(document: dict[str, Any]) -> None:
    del document["paths"]["/healthz"]["get"]["security"]
    del document["servers"]


def mistaken(document: dict[str, Any]) -> None:
    body = document["paths"]["/deliveries"]["post"]["requestBody"]["content"]["application/json"]
    body["examples"]["deliver"]["value"] = {"namespace": "research"}


LINTED = {
    "redocly": (redocly, unsecured, {"no-empty-servers", "security-defined"}),
    "spectral": (spectral, mistaken, {"oas3-valid-media-example"}),
}


@pytest.mark.parametrize("name", LINTED)
def test_a_linter_accepts_the_description_and_rejects_a_faulty_one(name: str, others: Path) -> None:
    lint, worsen, broken = LINTED[name]
    assert findings(name, lint, others, DESCRIPTION.read_text()) == []
    document = read_yaml(DESCRIPTION)
    worsen(document)
    assert broken <= set(findings(name, lint, others, yaml.safe_dump(document)))


def findings(name: str, lint: Callable[[Path, Path], list[str]], others: Path, description: str) -> list[str]:
    """Return what a linter finds, now or in an earlier run with the same input."""

    def make(folder: Path) -> None:
        (folder / "openapi.yaml").write_text(description)
        (folder / "found.json").write_text(json.dumps(lint(others, folder / "openapi.yaml")))

    found = made(f"linted-{name}", make, description, LINTERS, Path(__file__)) / "found.json"
    told: list[str] = json.loads(found.read_text())
    return told


def test_the_linters_have_no_exceptions_and_their_lock_has_no_address() -> None:
    assert yaml.safe_load((LINTERS / "redocly.yaml").read_text()) == {"extends": ["recommended"]}
    assert yaml.safe_load((LINTERS / ".spectral.yaml").read_text()) == {"extends": ["spectral:oas"]}
    assert not [*DESCRIPTION.parent.glob(".redocly*"), *LINTERS.glob(".redocly*")]
    lock = json.loads((LINTERS / "package-lock.json").read_text())
    pinned = [one for name, one in lock["packages"].items() if name]
    assert pinned
    assert all("integrity" in one and "resolved" not in one for one in pinned)
