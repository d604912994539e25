"""The command line after `pip install agentteam-delivery`, without the service's dependencies."""

import asyncio
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.release.conftest import Released
from tests.service.conftest import Bench, bench
from tests.test_repo import PROJECT, ROOT

__all__ = ["bench"]

pytestmark = pytest.mark.timeout(900)  # the first test builds the release

INSTALL = "pip install 'agentteam-delivery[service]'"
PARTS = (
    "aiohttp",
    "fastapi",
    "kubernetes_asyncio",
    "opentelemetry",
    "prometheus_client",
    "uvicorn",
    "uvloop",
)


def closure() -> set[str]:
    """Return all dependencies of the plain package, direct and indirect."""
    found: set[tuple[str, str]] = set()
    awaited = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    while awaited:
        one = awaited.pop()
        name = canonicalize_name(one.name)
        for extra in {"", *one.extras} - {extra for known, extra in found if known == name}:
            found.add((name, extra))
            needs = [Requirement(text) for text in importlib.metadata.requires(name) or []]
            awaited += [need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


@pytest.fixture(scope="session")
def alone(released: Released, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel with its dependencies, copied from this environment, and nothing else."""
    home = tmp_path_factory.mktemp("alone") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    [site] = home.glob("lib/python*/site-packages")
    for name in closure():
        files = importlib.metadata.files(name) or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            source = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if source.is_dir():
                shutil.copytree(source, site / top, dirs_exist_ok=True)
            else:
                shutil.copy2(source, site)
    [wheel] = released.folder.glob("agentteam_delivery-*.whl")
    uv = Path(sys.executable).with_name("uv")
    into = ("--quiet", "--python", home)
    offline = ("--offline", "--no-index", "--no-deps")
    subprocess.run([uv, "pip", "install", *into, *offline, wheel], check=True)
    subprocess.run([uv, "pip", "check", *into], check=True)
    return home


def typed(home: Path, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of that environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DELIVERY_", "PYTHON"))}
    command = [home / "bin/agentteam-delivery", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={**kept, **env})


def test_no_part_of_the_service_is_installed(alone: Path) -> None:
    script = f"import importlib.util as u, sys; sys.exit(any(u.find_spec(name) for name in {PARTS}))"
    assert subprocess.run([alone / "bin/python", "-c", script], check=False).returncode == 0


async def test_every_command_for_people_works(alone: Path, bench: Bench, tmp_path: Path) -> None:
    namespace = await bench.finished({"type": "webhook", "name": "hook", "url": bench.hook.url})
    asked = ("report", "-n", namespace, "--url", bench.service.url)
    for command, *more in (("preview",), ("deliver",), ("status",), ("redeliver", "--all")):
        ran = await _aside(alone, command, *asked, *more)
        assert (ran.returncode, ran.stderr) == (0, ""), command
        assert f"{namespace}/report" in ran.stdout
    tried = await _aside(alone, "test-target", "report", "hook", *asked[1:])
    assert (tried.returncode, tried.stderr) == (0, "")
    validated = await _aside(alone, "validate", *sorted((ROOT / "samples/teams").glob("*.yaml")))
    assert (validated.returncode, validated.stderr) == (0, "")
    version = await _aside(alone, "version")
    assert version.stdout == f"{PROJECT['project']['version']}\n"
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho a-token\n")
    kubectl.chmod(0o755)
    account = await _aside(
        alone, "status", *asked, "--service-account", "x", "-o", "json", PATH=str(tmp_path)
    )
    assert (account.returncode, account.stderr) == (0, "")


@pytest.mark.parametrize("command", ["serve", "watch", "openapi"])
def test_commands_of_the_service_say_what_to_install(alone: Path, command: str) -> None:
    ran = typed(alone, command, DELIVERY_AUTH="none")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert INSTALL in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_the_installation_is_as_small_as_documented(alone: Path) -> None:
    document = (ROOT / "docs/reference/commands.md").read_text()
    [said] = re.findall(r"^\| `agentteam-delivery` \| (\d+) \|$", document, re.MULTILINE)
    size = sum(path.stat().st_size for path in alone.rglob("*") if path.is_file() and not path.is_symlink())
    assert size < int(said) * 2**20
    for name in ("README.md", "CHANGELOG.md"):
        assert f"{said} MB]" in (ROOT / name).read_text(), name


async def _aside(home: Path, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command while the receiver answers in this loop."""
    return await asyncio.to_thread(typed, home, *arguments, **env)
