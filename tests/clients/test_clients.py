"""The generated clients compile, and understand the answers of a live service."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from app.api.examples import ANSWERS
from tests.clients.conftest import LANGUAGES, Client, Stand
from tests.clients.generators import CACHE, DESCRIPTION, ROOT, done, made, ran
from tests.harness.receiver import Gate, Receiver, Respond, ok
from tests.harness.service import finished, lifecycle
from tests.test_description import kinds

pytestmark = pytest.mark.timeout(1200)  # the first run downloads and compiles


@dataclass(frozen=True)
class Case:
    """Steps of a caller, and their results, the same for every client."""

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
    "a caller with an unknown token": Case(
        [{"call": "deliver", "caller": "nobody"}, {"call": "read", "caller": "nobody"}],
        [problem("unauthenticated", 401)] * 2,
    ),
    "a caller with a rotated token": Case(
        [{"call": "deliver", "caller": "nobody"}, {"call": "deliver"}],
        [problem("unauthenticated", 401), LANDED],
    ),
    "a caller without the permission": Case(
        [{"call": "deliver", "caller": "stranger"}, {"call": "read", "caller": "stranger"}],
        [problem("forbidden", 403)] * 2,
    ),
    "no such team": Case(
        [{"call": "deliver", "team": "absent"}, {"call": "read", "team": "absent"}],
        [problem("team-not-found", 404)] * 2,
    ),
    "a running team": Case([{"call": "deliver"}], [problem("team-not-finished", 409)], team="at work"),
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


async def prepare(stand: Stand, team: str = "finished", path: str = "") -> str:
    """Create a team with one valid and one invalid target, and return its namespace."""
    targets = (
        {"name": "archive", "type": "webhook", "url": stand.hook.url + path},
        {"name": "mail", "type": "email", "to": ["editors@example.com"]},
    )
    if team == "finished":
        return await finished(stand.kube, *targets)
    namespace = await stand.kube.fresh_namespace()
    await stand.kube.team(namespace, "report", lifecycle(*targets))
    return namespace


def filled(stand: Stand, namespace: str, *steps: dict[str, str]) -> list[dict[str, str]]:
    """Complete the steps with a caller that has the permissions, unless they name another."""
    return [
        {
            "namespace": namespace,
            "team": "report",
            "token": stand.tokens[step.get("caller", "caller")],
            **step,
        }
        for step in steps
    ]


@asynccontextmanager
async def no_teams(stand: Stand, namespace: str = "", gate: Gate | None = None) -> AsyncIterator[None]:
    """Make the Kubernetes API authenticate callers, and fail every read of a team, or of one namespace's.

    The first such read opens the gate.
    """

    async def away(request: web.Request) -> web.StreamResponse | None:
        if f"{namespace}/agentteams/" not in request.path:
            return None
        if gate:
            gate.open()
        return web.json_response({"kind": "Status"}, status=503)

    stand.server.intercept = away
    try:
        yield
    finally:
        stand.server.intercept = None


@dataclass(frozen=True)
class Driven:
    """What a client's driver printed, in two runs: many programs start slowly."""

    client: Client
    cases: dict[str, list[dict[str, Any]]]
    held: list[dict[str, Any]]  # of calls that do not wait for the outcome, and of one that does
    location: str  # of their report
    away: list[dict[str, Any]]  # of calls while the service cannot read teams
    answers: dict[str, list[dict[str, Any]]]  # of a call and a read that get an answer


@pytest.fixture(scope="module", params=LANGUAGES)
async def driven(request: pytest.FixtureRequest, stand: Stand) -> Driven:
    """Run all steps with each client: those with the service, and those with other answers."""
    client: Client = request.getfixturevalue(request.param)
    steps = []
    for case in CASES.values():
        steps += filled(stand, await prepare(stand, case.team), *case.steps)
    gate = Gate()

    async def respond(asked: web.Request) -> web.StreamResponse:
        return await (gate if asked.path == "/held" else ok)(asked)

    held, away = await prepare(stand, path="/held"), await prepare(stand)
    steps += filled(stand, held, {"call": "deliver", "prefer": "respond-async"})
    steps += filled(stand, away, {"call": "deliver"}, {"call": "read"})
    steps += filled(stand, held, {"call": "deliver"})
    stand.hook.respond = respond
    try:
        async with no_teams(stand, away, gate):
            told = iter(await client.take(stand.service.url, steps))
    finally:
        gate.open()
        stand.hook.respond = ok
    cases = {name: [next(told) for _ in case.steps] for name, case in CASES.items()}
    pending, *unavailable, landed = told
    answers = await answered(client)
    return Driven(client, cases, [pending, landed], f"/deliveries/{held}/report", unavailable, answers)


async def answered(client: Client) -> dict[str, list[dict[str, Any]]]:
    """Make both calls of a client get each of the other answers, and check that no call is retried."""
    answers = {**ANSWERED}
    if client.language == "typescript":  # other clients leave it to their callers which of both they trust
        answers["another status than in its body"] = ours(500)
    steps = [
        {"call": call, "namespace": "research", "team": f"answer-{number}", "token": "any"}
        for number in range(len(answers))
        for call in CALLS
    ]

    async def respond(request: web.Request) -> web.StreamResponse:
        team = (await request.json())["team"] if request.method == "POST" else request.path
        return await [*answers.values()][int(team.rpartition("-")[2])](request)

    async with Receiver(respond=respond) as gateway:
        told = iter(await client.take(gateway.url, steps))
        assert [one.method for one in gateway.requests] == ["POST", "GET"] * len(answers)
    return {name: [next(told) for _ in CALLS] for name in answers}


@dataclass(frozen=True)
class Stray:
    """An answer from a proxy in between, and what the Python client raises for it."""

    status: int
    body: str
    raised: str
    content_type: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, _: web.Request) -> web.StreamResponse:
        headers = {**self.headers, "Content-Type": self.content_type}
        return web.Response(status=self.status, body=self.body.encode(), headers=headers)


HTML = "<h1>This is no answer</h1>"
JSON, PROBLEM = "application/json", "application/problem+json"

STRAYS = {
    "a gateway whose backend is down": Stray(502, HTML, "UnexpectedStatus"),
    "a gateway with a rate limit": Stray(429, HTML, "UnexpectedStatus"),
    "a redirect": Stray(302, "", "UnexpectedStatus", headers={"Location": "/elsewhere"}),
    "a redirect that keeps the method": Stray(
        307, "", "UnexpectedStatus", headers={"Location": "/elsewhere"}
    ),
    "nothing": Stray(204, "", "UnexpectedStatus"),
    "a router that knows no such path": Stray(404, HTML, "JSONDecodeError"),
    "a router with a message": Stray(404, '{"message": "no such route"}', "KeyError", JSON),
    "a router with a list": Stray(404, "[1]", "TypeError", JSON),
    "a page to sign in": Stray(200, HTML, "JSONDecodeError"),
    "a report that was cut": Stray(200, '{"namespace": "research", "tar', "JSONDecodeError", JSON),
    "an empty answer": Stray(200, "", "JSONDecodeError", JSON),
    "a list": Stray(200, "[1]", "TypeError", JSON),
    "another object": Stray(200, '{"hello": 1}', "KeyError", JSON),
    "a report without a list": Stray(200, '{"phase": "Delivered", "targets": null}', "KeyError", JSON),
    "a problem that was cut": Stray(404, '{"type": "urn:agentte', "JSONDecodeError", PROBLEM),
    "a problem without a body": Stray(503, "", "JSONDecodeError", PROBLEM),
    "a problem that is null": Stray(404, "null", "TypeError", PROBLEM),
    "a problem without a type": Stray(404, '{"title": "x"}', "KeyError", PROBLEM),
}


def ours(status: int, content_type: str = PROBLEM, **headers: str) -> Stray:
    """Make a problem in the service's format."""
    body = {
        "type": "urn:agentteam-delivery:too-busy",
        "title": "Too busy",
        "status": 503,
        "detail": "come again",
    }
    return Stray(status, json.dumps(body), "", content_type, {"X-Request-Id": "any", **headers})


async def later(_: web.Request) -> web.StreamResponse:
    """Answer as a later service may, with a reason and a field that no client knows."""
    report = ANSWERS["deliver", "200"]["delivered"]["value"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    target = {**report["targets"][0], "name": "archive", "reason": "Unheard", "timestamp": now}
    return web.json_response({**report, "targets": [target], "unheard": True})


def waiting(wait: str) -> Stray:
    """Make an answer with a Retry-After."""
    return Stray(429, HTML, "", headers={"Retry-After": wait})


LATER, SOONER = (
    format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True) for minutes in (60, -60)
)
ANSWERED: dict[str, Respond] = {
    **STRAYS,
    "a later service": later,
    "no Retry-After": ours(503),
    "a media type in capitals": ours(503, "Application/Problem+JSON ; charset=utf-8"),
    **{f"Retry-After: {wait}": waiting(wait) for wait in (LATER, SOONER, "1.5", "soon")},
}


async def test_each_client_understands_the_service_s_answers(driven: Driven) -> None:
    assert driven.cases == {name: case.told for name, case in CASES.items()}


async def test_each_client_can_submit_without_waiting_for_the_outcome(driven: Driven) -> None:
    report, landed = driven.held
    assert report["phase"] == "Pending"
    assert receipt("archive", "Pending") in report["targets"]
    if driven.client.language != "typescript":  # its example reads on by names
        assert report["location"] == driven.location
    assert landed == LANDED


async def test_each_client_reports_when_to_retry(driven: Driven) -> None:
    waits = [one.get("retryAfter", 0) for one in driven.away]
    assert min(waits) >= 1
    expected = problem("cluster-unavailable", 503)
    assert driven.away == [{**expected, "retryAfter": wait} for wait in waits]
    assert len(waits) == 2


async def test_each_client_reads_a_reason_of_a_later_service(driven: Driven) -> None:
    told = driven.answers["a later service"]
    assert [one["targets"] for one in told] == [[receipt("archive", "Delivered", "Unheard", 200)]] * 2


async def test_each_client_rejects_answers_that_are_not_from_the_service(driven: Driven) -> None:
    for name, stray in STRAYS.items():
        here = driven.answers[name]
        if driven.client.language in {"go", "java", "rust"}:
            assert [list(one) for one in here] == [["raised"]] * 2, (name, here)
            continue
        if driven.client.language == "python":
            expected: dict[str, Any] = {"raised": stray.raised}
        else:
            expected = {"problem": "about:blank", "status": stray.status}
        assert here == [expected] * 2, name


async def test_each_client_reads_a_problem_with_and_without_retry_after(driven: Driven) -> None:
    for name in ("no Retry-After", "a media type in capitals"):
        assert driven.answers[name] == [problem("too-busy", 503)] * 2, name
    if driven.client.language != "typescript":
        return  # the others leave the headers to their callers
    assert driven.answers["another status than in its body"] == [problem("too-busy", 500)] * 2
    waits = {wait: driven.answers[f"Retry-After: {wait}"] for wait in (LATER, SOONER, "1.5", "soon")}
    assert all(0 < one["retryAfter"] <= 3600 for one in waits[LATER])
    assert [one["retryAfter"] for one in waits[SOONER]] == [0, 0]
    assert all("retryAfter" not in one for wait in ("1.5", "soon") for one in waits[wait])


CONNECTING = r"""
import { connect } from "agentteam-delivery-client";

const [url] = process.argv.slice(2);
const tries = [
  () => connect("", "token"),
  () => connect(undefined, "token"),
  () => connect("127.0.0.1:8080", "token"),
  () => connect("http://user:planted@127.0.0.1", "token"),
  () => connect(url, undefined),
  () => connect(url, () => undefined).read("research", "report"),
  () => connect(url, "  ").read("research", "report"),
  () => connect(url, "planted\nplanted").read("research", "report"),
  () => connect(url, () => { throw new Error("the token's own"); }).read("research", "report"),
];
for (const one of tries) {
  try {
    console.log("went well", await one());
  } catch (error) {
    console.log(error.message);
  }
}
const leave = new AbortController();
setTimeout(() => leave.abort(new Error("the caller's reason")), 50); // nothing else keeps this process
const never = new Promise(() => {});
await connect(url, () => never)
  .read("research", "report", { signal: leave.signal })
  .catch((error) => console.log(error.message));
"""


async def test_the_typescript_client_checks_its_configuration_before_a_request(
    typescript: Client, callers: Path, tmp_path: Path
) -> None:
    async with Receiver() as service:
        (tmp_path / "node_modules").symlink_to(callers / "node_modules")
        program = tmp_path / "connecting.mjs"
        program.write_text(CONNECTING)
        said = (await typescript.run("node", str(program), service.url)).splitlines()
        assert not service.requests
    address = "baseUrl must be the service's address: http:// or https://, a host, and no user"
    none = "the token is empty or has invalid characters; check what provides it"
    assert said == [
        *[address] * 4,
        "token must be a string, or a function that returns one",
        *[none] * 3,
        "the token's own",
        "the caller's reason",
    ]


async def test_the_guides_examples_print_outcomes_and_errors(
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
        code, out, err = await client.end(*client.example, **told)
    assert code == 1
    assert re.fullmatch(r"urn:agentteam-delivery:cluster-unavailable .+\nagain in \d+ s\n", out + err)


OTHERS = {
    # Answers to the guides' examples, and what they print.
    "a gateway whose backend is down": "answered 502, and not as agentteam-delivery does",
    "a redirect": "answered( 302)?, and not as agentteam-delivery does",
    "a router with a message": "answered( 404)?, and not as agentteam-delivery does",
    "a router with a list": "answered( 404)?, and not as agentteam-delivery does",
    "a page to sign in": "answered( 200)?, and not as agentteam-delivery does",
    "no Retry-After": "urn:agentteam-delivery:too-busy come again",
}


async def test_the_guides_examples_fail_if_nothing_was_delivered(client: Client, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("any\n")
    for name, said in OTHERS.items():
        if name == "a router with a list" and client.language != "python":
            continue  # to the other clients, it is a body that they cannot read, as that of the gateway
        async with Receiver(respond=ANSWERED[name]) as gateway:
            told = {"DELIVERY_URL": gateway.url, "DELIVERY_TOKEN_FILE": str(token)}
            code, out, err = await client.end(*client.example, **told)
        assert code == 1, name
        assert re.fullmatch(rf"(about:blank )?{said}\n", out + err), name


@pytest.fixture
def standing(tmp_path: Path) -> Path:
    """Make a clients' folder with generated clients, each with one extra file."""
    folder = tmp_path / "clients"
    (tmp_path / "openapi").mkdir()
    shutil.copy(DESCRIPTION, tmp_path / "openapi")
    for one in ("python", "typescript/node_modules", "typescript/dist", "typescript/src", "go/delivery"):
        (folder / one).mkdir(parents=True)
        (folder / one / "kept").touch()
    clients = ROOT / "clients"
    parts = (
        ".npmrc",
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "src/constants.ts",
        "src/index.ts",
    )
    for place in ("generate", "python.yaml", *(f"typescript/{part}" for part in parts)):
        shutil.copy(clients / place, folder / place)
    return folder


def generated(standing: Path, tools: dict[str, str], *clients: str) -> tuple[int, str]:
    """Run `generate` with only these tools; return the exit code and the output."""
    path = standing.parent / "bin"
    path.mkdir()
    for name in (
        *("bash", "cat", "cp", "cut", "dirname", "find", "mkdir"),
        *("mktemp", "mv", "rm", "sha256sum"),
    ):
        (path / name).symlink_to(shutil.which(name) or name)
    for name, script in tools.items():
        (path / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (path / name).chmod(0o755)
    before = {one.relative_to(standing) for one in standing.rglob("*")}
    process = subprocess.run(
        [standing / "generate", *clients],
        check=False,
        env={"PATH": str(path), "XDG_CACHE_HOME": str(standing.parent / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert {one.relative_to(standing) for one in standing.rglob("*")} == before, "the folder is unchanged"
    return process.returncode, process.stdout


BEGUN = "echo begun; exit 3"
PYTHON_TOOLS = {"openapi-python-client": BEGUN, "ruff": BEGUN}
TYPESCRIPT_TOOLS = {"node": BEGUN, "npm": BEGUN, "npx": BEGUN}
GENERATOR_TOOLS = {"java": BEGUN, "mvn": BEGUN}
JAVA = "no java: install a Java runtime, 17 or later, and Maven, which fetches OpenAPI Generator\n"


@pytest.mark.parametrize(
    ("tools", "clients", "said"),
    [
        (
            {},
            ["python"],
            "no openapi-python-client: run make clients, which has it\n",
        ),
        ({"openapi-python-client": BEGUN}, ["python"], "no ruff: run make clients"),
        (PYTHON_TOOLS, [], "no node: install Node.js 20 or later, and npm\n"),
        ({**PYTHON_TOOLS, "node": BEGUN}, [], "no npm: install Node.js 20 or later, and npm\n"),
        ({**PYTHON_TOOLS, **TYPESCRIPT_TOOLS}, [], JAVA),
        ({"java": BEGUN}, ["rust"], "no mvn: install"),
        (PYTHON_TOOLS, ["python", "cobol"], "there is no client for cobol"),
    ],
)
def test_without_a_required_tool_nothing_is_generated_or_lost(
    tools: dict[str, str], clients: list[str], said: str, standing: Path
) -> None:
    code, told = generated(standing, tools, *clients)
    assert code in {1, 2}
    assert told.startswith(said)
    assert "begun" not in told


@pytest.mark.parametrize(("language", "said"), [("python", ""), ("typescript", "begun\n"), ("go", "begun\n")])
def test_a_client_that_cannot_be_generated_again_is_kept(language: str, said: str, standing: Path) -> None:
    tools = {**PYTHON_TOOLS, **TYPESCRIPT_TOOLS, **GENERATOR_TOOLS}
    assert generated(standing, tools, language) == (3, said)


def test_the_python_client_and_its_callers_pass_the_type_check(python: Client, copy: Path) -> None:
    folder = copy / "python"
    done(sys.executable, "-W", "error", "-m", "compileall", "-q", "agentteam_delivery_client", cwd=folder)
    config = folder / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\n")
    programs = ("agentteam_delivery_client", "driver.py", "example.py")
    cache = ("--cache-dir", CACHE / "mypy")
    done(sys.executable, "-m", "mypy", *cache, "--config-file", config, *programs, cwd=folder)


def test_the_python_client_passes_the_linter(python: Client, copy: Path) -> None:
    what = ("--no-respect-gitignore", "agentteam_delivery_client")
    done("ruff", "check", *what, cwd=copy / "python")
    done("ruff", "format", "--check", *what, cwd=copy / "python")


def test_a_wrong_typescript_call_does_not_compile(callers: Path, tsc: Path) -> None:
    driver = (callers / "driver.ts").read_text()
    expected = re.findall(r"// @ts-expect-error (TS\d+)", driver)
    bare = re.sub(r"// @ts-expect-error.*", "", driver)

    def make(folder: Path) -> None:
        (folder / "node_modules").symlink_to(callers / "node_modules")
        for name in ("package.json", "tsconfig.json"):
            shutil.copy(callers / name, folder)
        (folder / "bare.ts").write_text(bare)
        code, said = ran(tsc, "--noEmit", "--pretty", "false", cwd=folder)
        assert code
        (folder / "said").write_text(said)

    said = (made("wrong-typescript", make, callers.parent.name, bare) / "said").read_text()
    assert re.findall(r"^bare\.ts\(\d+,\d+\): error (TS\d+)", said, re.MULTILINE) == expected
    assert len(expected) >= 5


def test_the_typescript_client_knows_each_kind_of_problem(typescript: Client, callers: Path) -> None:
    program = 'import * as client from "agentteam-delivery-client"; console.log(`${client.PROBLEM_KINDS}`)'
    printed = done("node", "--input-type=module", "--eval", program, cwd=callers)
    assert printed.strip().split(",") == sorted(kind.slug for kind in kinds())


def test_the_typescript_lock_has_the_project_s_version_and_no_address() -> None:
    folder = ROOT / "clients/typescript"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    package = json.loads((folder / "package.json").read_text())
    lock = json.loads((folder / "package-lock.json").read_text())
    assert (package["version"], lock["version"]) == (version, version)
    pinned = [one for name, one in lock["packages"].items() if name]
    assert pinned
    assert all("integrity" in one and "resolved" not in one for one in pinned)
