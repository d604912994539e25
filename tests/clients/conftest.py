"""The generated clients, each as a program that runs steps, and a service for them to call."""

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

from tests.clients.generators import CACHE, MADE, ROOT, copied, done, kept, made, need
from tests.docs.blocks import blocks_of
from tests.harness.cluster import prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.receiver import Receiver
from tests.harness.reviews import Permission
from tests.harness.service import Service

HERE = Path(__file__).parent

CALLERS = {
    # Programs that use the client from outside its folder, on Node.js and without a browser.
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


@dataclass(frozen=True)
class Client:
    """A generated client: its driver, the example of its how-to page, and how to run both."""

    language: str
    driver: tuple[str, ...]
    example: tuple[str, ...]
    environment: Mapping[str, str]

    async def take(self, url: str, steps: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Run these steps with the driver, and return the result of each."""
        told: list[dict[str, Any]] = json.loads(await self.run(*self.driver, url, given=json.dumps(steps)))
        return told

    async def run(self, *command: str, given: str = "", **env: str) -> str:
        """Run a program that must succeed, and return what it prints."""
        code, out, err = await self.end(*command, given=given, **env)
        assert code == 0, err
        assert not err, err
        return out

    async def end(self, *command: str, given: str = "", **env: str) -> tuple[int | None, str, str]:
        """Run a program, and return its exit code, its output and its error output."""
        # Without this, a proxy of the machine would get requests for loopback too.
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
    """A service with authentication, and a receiver for its teams' notifications."""

    service: Service
    kube: Kube
    hook: Receiver
    server: FakeCluster
    tokens: Mapping[str, str]


@pytest.fixture(scope="session")
async def stand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    """Start the service and its surroundings, once."""
    settings = {"auth": "kubernetes", "api_timeout": 3, "record_timeout": 5}
    async with (
        FakeCluster() as server,
        prepared(server, tmp_path_factory.mktemp("stand")) as cluster,
        Receiver() as hook,
        Service(cluster.kubeconfig, **settings) as service,
    ):
        tokens = {
            "caller": server.reviews.token("caller", Permission("create"), Permission("get")),
            "stranger": server.reviews.token("stranger"),
            "nobody": "nobody-s",
        }
        yield Stand(service, cluster.kube, hook, server, tokens)


@pytest.fixture(scope="session")
def others(node: None) -> Path:
    """Install the tools that read the API description, by their lock; return the folder of their programs."""
    linters = HERE / "linters"

    def make(folder: Path) -> None:
        for name in (".npmrc", "package.json", "package-lock.json"):
            shutil.copy(linters / name, folder)
        done("npm", "ci", cwd=folder)

    return kept("linters", make, linters / "package-lock.json") / "node_modules/.bin"


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the clients' folder."""
    return copied(tmp_path_factory.mktemp("copy"))


def page(language: str) -> dict[str, str]:
    """Return the blocks of a language's how-to page, each under the heading above it."""
    document = f"docs/how-to/call-from-{language}.md"
    return {block.title: block.text for block in blocks_of(document, (ROOT / document).read_text())}


@pytest.fixture(scope="session")
def python(copy: Path) -> Client:
    """Generate the Python client by openapi-python-client, and copy its callers next to it."""
    done(copy / "generate", "python", cwd=copy)
    folder = copy / "python"
    shutil.copy(HERE / "driver.py", folder)
    (folder / "example.py").write_text(page("python")["Call"])
    program = (sys.executable, "-W", "error")
    return Client(
        "python",
        (*program, str(folder / "driver.py")),
        (*program, str(folder / "example.py")),
        {"PYTHONPATH": str(folder)},
    )


@pytest.fixture(scope="session")
def node() -> None:
    """Skip if Node.js with npm is missing; CI has both."""
    need("node", "npm")


@pytest.fixture(scope="session")
def callers(node: None) -> Path:
    """Build the TypeScript client, and a folder of programs that use it, compiled."""

    def make(folder: Path) -> None:
        client = copied(folder)
        done(client / "generate", "typescript", cwd=client)
        modules = folder / "callers/node_modules"
        modules.mkdir(parents=True)
        (modules / "agentteam-delivery-client").symlink_to("../../clients/typescript")
        (modules / "@types").symlink_to("../../clients/typescript/node_modules/@types")
        (folder / "callers/package.json").write_text('{"type": "module"}')
        (folder / "callers/tsconfig.json").write_text(json.dumps(CALLERS))
        shutil.copy(HERE / "driver.ts", folder / "callers")
        done(folder / "clients/typescript/node_modules/.bin/tsc", cwd=folder / "callers")

    sources = [ROOT / "clients/typescript", HERE / "driver.ts", Path(__file__)]
    return made("driver-typescript", make, *sources) / "callers"


@pytest.fixture(scope="session")
def tsc(callers: Path) -> Path:
    """Return the compiler that the client installs."""
    return callers.parent / "clients/typescript/node_modules/.bin/tsc"


@pytest.fixture(scope="session")
def typescript(callers: Path) -> Client:
    """Compile the how-to page's example by the page's commands, under the page's file name."""
    blocks = page("typescript")

    def make(folder: Path) -> None:
        (folder / "clients").symlink_to(callers.parent / "clients")
        (folder / "submit.ts").write_text(blocks["Call"])
        done("bash", "-euo", "pipefail", "-c", blocks["Compile"], cwd=folder)

    example = made("example-typescript", make, callers.parent.name, *blocks.values()) / "submit.js"
    return Client("typescript", ("node", str(callers / "dist/driver.js")), ("node", str(example)), {})


ARGUMENTS = ("research", "report")
NOBODY = "http://127.0.0.1:1"  # nothing listens there


@pytest.fixture(scope="session")
def go() -> Client:
    """Generate the Go client by OpenAPI Generator, and compile its driver and the example with it."""
    need("go", "java", "mvn")
    folder = compiled("go", "go build -o program .", page("go")["Build"])
    return Client(
        "go", (str(folder / "driver/program"),), (str(folder / "clients/go/controller"), *ARGUMENTS), {}
    )


@pytest.fixture(scope="session")
def java() -> Client:
    """Generate the Java client by OpenAPI Generator, and compile its driver and the example with it."""
    need("java", "javac", "mvn")
    pack = "jar --create --file target/program.jar -C target/classes ."
    folder = compiled(
        "java", f"mvn --batch-mode --quiet compile && {pack}", f"{page('java')['Build'].strip()} && {pack}"
    )
    driver = loaded(folder / "driver", "driver.Driver", NOBODY)
    example = loaded(folder / "clients/java", "controller.Controller", *ARGUMENTS)
    return Client("java", driver, (*example, *ARGUMENTS), {})


def loaded(folder: Path, name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command of a Java program whose classes come from an archive, which halves its start.

    The archive has what the program loads while it calls nobody. It is bound to the program's place.
    """
    machine = (
        "java",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xlog:disable",
        "-Xlog:all=error:stderr",
    )
    program = ("-cp", f"{folder}/target/program.jar:{folder}/target/lib/*", name)

    def make(archive: Path) -> None:
        step = {"namespace": "research", "team": "report", "token": "any", "call": "read"}
        (archive / "token").write_text("any")
        subprocess.run(
            (*machine, f"-XX:ArchiveClassesAtExit={archive / 'classes'}", *program, *arguments),
            check=False,  # the example ends with 1
            input=json.dumps([step]).encode(),
            env=os.environ | {"DELIVERY_URL": NOBODY, "DELIVERY_TOKEN_FILE": str(archive / "token")},
            capture_output=True,
        )
        assert (archive / "classes").exists()

    archive = kept(f"archive-{name}", make, str(folder), *machine) / "classes"
    return (*machine, f"-XX:SharedArchiveFile={archive}", *program)


@pytest.fixture(scope="session")
def rust() -> Client:
    """Generate the Rust client by OpenAPI Generator, and compile its driver and the example with it."""
    need("cargo", "java", "mvn")
    # The example needs the same libraries as the driver: they are compiled once, without debug information.
    shared = {
        "CARGO_TARGET_DIR": str(CACHE / "cargo"),
        "CARGO_PROFILE_DEV_DEBUG": "false",
        "CARGO_TERM_QUIET": "true",
    }
    # The example's TLS library takes minutes to compile; the test does without it.
    plain = page("rust")["Build"].replace("cargo build", "cargo build --no-default-features")
    assert "--no-default-features" in plain
    keep = "mkdir -p target && cp $CARGO_TARGET_DIR/debug/{} target/"
    folder = compiled(
        "rust",
        f"cargo build && {keep.format('driver')}",
        f"{plain.strip()} && {keep.format('controller')}",
        **shared,
    )
    return Client(
        "rust",
        (str(folder / "driver/target/driver"),),
        (str(folder / "clients/rust/target/controller"), *ARGUMENTS),
        {},
    )


def compiled(language: str, build: str, example: str, **env: str) -> Path:
    """Generate a client and compile its driver and, by the how-to page's commands, its example.

    The returned folder contains them as `driver` and `clients/LANGUAGE`.
    """

    def make(folder: Path) -> None:
        clients = copied(folder)
        done("bash", "-euo", "pipefail", "-c", example, cwd=folder, **env)
        driver = shutil.copytree(HERE / language, folder / "driver", ignore=shutil.ignore_patterns(*MADE))
        shutil.copytree(clients / language / "delivery", driver / "delivery")
        done("bash", "-euo", "pipefail", "-c", build, cwd=driver, **env)

    return made(f"driver-{language}", make, HERE / language, ROOT / "clients" / language, build, example)


LANGUAGES = ("python", "typescript", "go", "java", "rust")


@pytest.fixture(params=LANGUAGES)
def client(request: pytest.FixtureRequest) -> Client:
    """Run a test with each client."""
    found: Client = request.getfixturevalue(request.param)
    return found
