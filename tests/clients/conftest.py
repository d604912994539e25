"""The generated clients, each as a program that takes steps; and a service for them to call."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.generators import generate, made, need, run
from tests.docs.blocks import Block, blocks_of
from tests.harness.cluster import prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.receiver import Receiver
from tests.harness.reviews import Right
from tests.harness.service import Service

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOOLS = Path(sys.executable).parent

MADE = ("python", "node_modules", "dist", "api.ts", "problems.ts")
"""What `clients/generate` makes; a copy begins without."""

CALLERS = {
    # For programs that call the client from outside of its folder, on Node.js and without a browser.
    "compilerOptions": {
        "target": "ES2022",
        "lib": ["ES2022"],
        "module": "NodeNext",
        "types": ["node"],
        "outDir": "dist",
        "strict": True,
        "noUncheckedIndexedAccess": True,
        "noUnusedLocals": True,
        "exactOptionalPropertyTypes": True,
    },
    "include": ["*.ts"],
}


def done(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a program with the project's tools on its path, and return what it printed."""
    found = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}", **env}
    process = subprocess.run(
        command, check=False, cwd=cwd, env=found, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


@dataclass(frozen=True)
class Client:
    """A generated client: its driver, the README's example of it, and how to run either."""

    language: str
    driver: tuple[str, ...]
    example: tuple[str, ...]
    environment: Mapping[str, str]

    async def take(self, url: str, steps: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Have the driver take these steps, and return what came of each."""
        told: list[dict[str, Any]] = json.loads(await self.run(*self.driver, url, given=json.dumps(steps)))
        return told

    async def run(self, *command: str, given: str = "", **env: str) -> str:
        """Run a program that goes well, and return what it prints."""
        code, out, err = await self.end(*command, given=given, **env)
        assert code == 0, err
        assert not err, err
        return out

    async def end(self, *command: str, given: str = "", **env: str) -> tuple[int | None, str, str]:
        """Run a program, and return its exit code and what it printed, for people and of errors."""
        # A proxy of the machine's would be asked for loopback too.
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**kept, **self.environment, **env},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(given.encode())
        return process.returncode, out.decode(), err.decode()


@dataclass(frozen=True)
class Stand:
    """A service that asks who calls, with a receiver that its teams send to."""

    service: Service
    kube: Kube
    hook: Receiver
    server: FakeCluster
    tokens: Mapping[str, str]


@pytest.fixture(scope="session")
async def stand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    """Start it once."""
    settings = {"auth": "kubernetes", "api_timeout": 3, "record_timeout": 5}
    async with (
        FakeCluster() as server,
        prepared(server, tmp_path_factory.mktemp("stand")) as cluster,
        Receiver() as hook,
        Service(cluster.kubeconfig, **settings) as service,
    ):
        tokens = {
            "caller": server.reviews.token("caller", Right("create"), Right("get")),
            "stranger": server.reviews.token("stranger"),
            "nobody": "nobody-s",
        }
        yield Stand(service, cluster.kube, hook, server, tokens)


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what the clients are made from, so that the tree stays as it is; return the clients' folder."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "openapi", root / "openapi")
    return Path(shutil.copytree(ROOT / "clients", root / "clients", ignore=shutil.ignore_patterns(*MADE)))


def example(language: str) -> Block:
    """Return the README's example."""
    document = "clients/README.md"
    blocks = blocks_of(document, (ROOT / document).read_text())
    [found] = [block for block in blocks if block.language == language]
    return found


@pytest.fixture(scope="session")
def python(copy: Path) -> Client:
    """Generate the Python client by openapi-python-client, and put its callers beside it."""
    done(copy / "generate", "python", cwd=copy)
    folder = copy / "python"
    shutil.copy(HERE / "driver.py", folder)
    (folder / "example.py").write_text(example("python").text)
    program = (sys.executable, "-W", "error")
    return Client(
        "python",
        (*program, str(folder / "driver.py")),
        (*program, str(folder / "example.py")),
        {"PYTHONPATH": str(folder)},
    )


@pytest.fixture(scope="session")
def node() -> None:
    """Skip where there is no Node.js with npm; CI has both."""
    if shutil.which("node") and shutil.which("npm"):
        return
    assert os.environ.get("CI") != "true", "CI runs no suite without node and npm"
    pytest.skip("no node and npm: install Node.js 20 or later, and npm")


@pytest.fixture(scope="session")
def callers(node: None, copy: Path) -> Path:
    """Make the TypeScript client, and a folder of programs that have it installed, not yet compiled."""
    done(copy / "generate", "typescript", cwd=copy)
    made = copy / "typescript"
    folder = copy / "callers"
    modules = folder / "node_modules"
    modules.mkdir(parents=True)
    (modules / "agentteam-delivery-client").symlink_to(made)
    (modules / "@types").symlink_to(made / "node_modules/@types")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps(CALLERS))
    shutil.copy(HERE / "driver.ts", folder)
    (folder / "example.ts").write_text(example("typescript").text)
    return folder


@pytest.fixture(scope="session")
def tsc(copy: Path, callers: Path) -> Path:
    """Find the compiler that the client brings."""
    return copy / "typescript/node_modules/.bin/tsc"


@pytest.fixture(scope="session")
def typescript(callers: Path, tsc: Path) -> Client:
    """Compile the TypeScript client's callers."""
    done(tsc, cwd=callers)
    built = callers / "dist"
    return Client("typescript", ("node", str(built / "driver.js")), ("node", str(built / "example.js")), {})


@pytest.fixture(scope="session")
def go() -> Client:
    """Generate the Go client by OpenAPI Generator, and compile its driver and the example with it."""
    need(go="install Go 1.21 or later (Debian: golang-go)")
    programs = {"driver": HERE / "go", "controller": ROOT / "clients/go"}
    sources = [folder / name for folder in programs.values() for name in ("go.mod", "main.go")]

    def make(folder: Path) -> None:
        generate("go", folder / "delivery", packageName="delivery", withGoMod="false")
        for name, source in programs.items():
            within = Path(shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("delivery")))
            shutil.copytree(folder / "delivery", within / "delivery")
            run("go", "build", "-o", "program", ".", cwd=within)

    folder = made("go", make, *sources)
    example = (str(folder / "controller/program"), "research", "report")
    return Client("go", (str(folder / "driver/program"),), example, {})


@pytest.fixture(params=["python", "typescript", "go"])
def client(request: pytest.FixtureRequest) -> Client:
    """Run a test with each client."""
    found: Client = request.getfixturevalue(request.param)
    return found
