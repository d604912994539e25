"""The clients that service authors generate compile, and understand what a live service answers."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from tests.clients.conftest import ROOT, Client, Stand, done
from tests.harness.receiver import Gate, Receiver, ok
from tests.harness.service import finished, lifecycle
from tests.test_description import kinds

pytestmark = pytest.mark.timeout(300)  # npm may have to fetch what it installs


@dataclass(frozen=True)
class Case:
    """Steps of a caller, and what comes of them, whichever client it has."""

    steps: list[dict[str, str]]
    told: list[dict[str, Any]]
    team: str = "finished"


def receipt(name: str, phase: str, reason: str | None = None, status: int | None = None) -> dict[str, Any]:
    return {"name": name, "phase": phase, "reason": reason, "httpStatus": status, "changedLately": True}


def problem(kind: str, status: int, **particulars: object) -> dict[str, Any]:
    return {"problem": f"urn:agentteam-delivery:{kind}", "status": status, **particulars}


CALLS = ("deliver", "read")

LANDED = {
    "phase": "PartiallyDelivered",
    "targets": [
        receipt("archive", "Delivered", "Delivered", 200),
        receipt("mail", "Failed", "NotImplemented"),
    ],
}

CASES = {
    "what was delivered is read": Case([{"call": "deliver"}, {"call": "read"}], [LANDED, LANDED]),
    "what failed is sent again": Case(
        [{"call": "deliver"}, {"call": "deliver", "redeliver": "failed"}], [LANDED, LANDED]
    ),
    "what was not begun is pending": Case([{"call": "read"}], [{"phase": "Pending", "targets": []}]),
    "a preview sends nothing": Case(
        [{"call": "preview"}, {"call": "read"}],
        [{"would": {"archive": "Send", "mail": "Fail"}}, {"phase": "Pending", "targets": []}],
    ),
    "a caller whom nobody knows": Case(
        [{"call": "deliver", "caller": "nobody"}, {"call": "read", "caller": "nobody"}],
        [problem("unauthenticated", 401)] * 2,
    ),
    "a caller whose token is renewed": Case(
        [{"call": "deliver", "caller": "nobody"}, {"call": "deliver"}],
        [problem("unauthenticated", 401), LANDED],
    ),
    "a caller without the right": Case(
        [{"call": "deliver", "caller": "stranger"}, {"call": "read", "caller": "stranger"}],
        [problem("forbidden", 403)] * 2,
    ),
    "no such team": Case(
        [{"call": "deliver", "team": "absent"}, {"call": "read", "team": "absent"}],
        [problem("team-not-found", 404)] * 2,
    ),
    "a team at work": Case([{"call": "deliver"}], [problem("team-not-finished", 409)], team="at work"),
    "a malformed field": Case(
        [{"call": "deliver", "namespace": "Research"}],
        [
            problem(
                "malformed",
                422,
                errors=["namespace: must be a lower-case DNS name, as Kubernetes names are"],
            )
        ],
    ),
}


async def prepare(stand: Stand, team: str = "finished") -> str:
    """Make a team with a target that works and one that cannot, and return its namespace."""
    targets = (
        {"name": "archive", "type": "webhook", "url": stand.hook.url},
        {"name": "mail", "type": "email", "to": ["editors@example.com"]},
    )
    if team == "finished":
        return await finished(stand.kube, *targets)
    namespace = await stand.kube.fresh_namespace()
    await stand.kube.team(namespace, "report", lifecycle(*targets))
    return namespace


async def take(client: Client, stand: Stand, namespace: str, *steps: dict[str, str]) -> list[dict[str, Any]]:
    """Take steps as a caller who has the rights, unless a step says other."""
    filled = [
        {
            "namespace": namespace,
            "team": "report",
            "token": stand.tokens[step.get("caller", "caller")],
            **step,
        }
        for step in steps
    ]
    return await client.take(stand.service.url, filled)


@pytest.mark.parametrize("name", CASES)
async def test_each_client_understands_what_the_service_answers(
    name: str, client: Client, stand: Stand
) -> None:
    case = CASES[name]
    namespace = await prepare(stand, case.team)
    assert await take(client, stand, namespace, *case.steps) == case.told


async def test_each_client_need_not_wait_for_the_outcome(client: Client, stand: Stand) -> None:
    namespace = await prepare(stand)
    gate = Gate()
    stand.hook.respond = gate
    try:
        [report] = await take(client, stand, namespace, {"call": "deliver", "prefer": "respond-async"})
        assert report["phase"] == "Pending"
        assert receipt("archive", "Pending") in report["targets"]
        gate.open()
        assert await take(client, stand, namespace, {"call": "deliver"}) == [LANDED]
    finally:
        gate.open()
        stand.hook.respond = ok


@asynccontextmanager
async def no_teams(stand: Stand) -> AsyncIterator[None]:
    """Have the Kubernetes API know who calls, and fail whoever asks for a team."""

    async def away(request: web.Request) -> web.StreamResponse | None:
        return web.json_response({"kind": "Status"}, status=503) if "/agentteams/" in request.path else None

    stand.server.intercept = away
    try:
        yield
    finally:
        stand.server.intercept = None


async def test_each_client_says_when_to_try_again(client: Client, stand: Stand) -> None:
    namespace = await prepare(stand)
    async with no_teams(stand):
        told = await take(client, stand, namespace, {"call": "deliver"}, {"call": "read"})
    for one in told:
        assert one.pop("retryAfter") >= 1
    assert told == [problem("cluster-unavailable", 503)] * 2


async def test_each_client_reads_a_reason_that_a_later_service_gives(client: Client) -> None:
    document = yaml.safe_load((ROOT / "openapi/openapi.yaml").read_text())
    [report] = document["components"]["schemas"]["Report"]["examples"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    target = {**report["targets"][0], "name": "archive", "reason": "Unheard", "timestamp": now}

    async def later(_: web.Request) -> web.StreamResponse:
        return web.json_response({**report, "targets": [target], "unheard": True})

    steps = [{"call": call, "namespace": "research", "team": "report", "token": "any"} for call in CALLS]
    async with Receiver(respond=later) as service:
        told = await client.take(service.url, steps)
    assert [one["targets"] for one in told] == [[receipt("archive", "Delivered", "Unheard", 200)]] * 2


async def test_a_gateway_s_own_answer_is_a_problem_without_a_kind_in_typescript(typescript: Client) -> None:
    async def down(_: web.Request) -> web.StreamResponse:
        return web.Response(status=502, text="<h1>Bad gateway</h1>", content_type="text/html")

    step = {"call": "read", "namespace": "research", "team": "report", "token": "unused"}
    async with Receiver(respond=down) as gateway:
        [told] = await typescript.take(gateway.url, [step])
    assert told == {"problem": "about:blank", "status": 502}


async def test_the_readme_s_examples_print_what_landed_or_what_is_wrong(
    client: Client, stand: Stand, tmp_path: Path
) -> None:
    if (await stand.kube.get("namespaces", None, "research")).status == 404:
        await stand.kube.namespace("research")
        await stand.kube.team(
            "research", "report", lifecycle({"name": "archive", "type": "webhook", "url": stand.hook.url})
        )
        await stand.kube.finish("research", "report")
    token = tmp_path / "token"
    token.write_text(stand.tokens["caller"] + "\n")
    told = {"DELIVERY_URL": stand.service.url, "DELIVERY_TOKEN_FILE": str(token)}
    assert await client.run(*client.example, **told) == "archive Delivered Delivered\n"
    async with no_teams(stand):
        wrong = await client.run(*client.example, **told)
    assert re.fullmatch(r"urn:agentteam-delivery:cluster-unavailable .+\nagain in \d+ s\n", wrong)


def test_the_python_client_and_its_callers_are_typed(python: Client, copy: Path) -> None:
    folder = copy / "python"
    done(sys.executable, "-W", "error", "-m", "compileall", "-q", "agentteam_delivery_client", cwd=folder)
    config = folder / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\n")
    programs = ("agentteam_delivery_client", "driver.py", "example.py")
    done(sys.executable, "-m", "mypy", "--config-file", config, *programs, cwd=folder)


def test_the_python_client_is_generated_in_order(python: Client, copy: Path) -> None:
    what = ("--no-respect-gitignore", "agentteam_delivery_client")
    done("ruff", "check", *what, cwd=copy / "python")
    done("ruff", "format", "--check", *what, cwd=copy / "python")


def test_a_typescript_caller_who_is_wrong_does_not_compile(callers: Path, tsc: Path) -> None:
    driver = (callers / "driver.ts").read_text()
    expected = re.findall(r"// @ts-expect-error (TS\d+)", driver)
    bare = callers / "bare.mts"
    bare.write_text(re.sub(r"// @ts-expect-error.*", "", driver))
    try:
        project = callers / "tsconfig.bare.json"
        project.write_text('{"extends": "./tsconfig.json", "include": ["bare.mts"]}')
        said = subprocess.run(
            [tsc, "--noEmit", "--pretty", "false", "--project", project],
            check=False,
            cwd=callers,
            capture_output=True,
            text=True,
        ).stdout
    finally:
        bare.unlink()
    assert re.findall(r"^bare\.mts\(\d+,\d+\): error (TS\d+)", said, re.MULTILINE) == expected
    assert len(expected) >= 5


def test_the_typescript_client_knows_each_kind_of_problem(typescript: Client, callers: Path) -> None:
    program = 'import * as client from "agentteam-delivery-client"; console.log(`${client.PROBLEM_KINDS}`)'
    printed = done("node", "--input-type=module", "--eval", program, cwd=callers)
    assert printed.strip().split(",") == sorted(kind.slug for kind in kinds())


def test_the_typescript_client_has_the_project_s_version_and_no_address_in_its_lock() -> None:
    folder = ROOT / "clients/typescript"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    package = json.loads((folder / "package.json").read_text())
    lock = json.loads((folder / "package-lock.json").read_text())
    assert (package["version"], lock["version"]) == (version, version)
    pinned = [one for name, one in lock["packages"].items() if name]
    assert pinned
    assert all("integrity" in one and "resolved" not in one for one in pinned)
