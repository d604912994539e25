"""A rehearsed release of a copy of this repository: built once, with an engine that records its calls."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import node
from tests.docs.blocks import ROOT, tracked
from tests.harness.once import once

__all__ = ["node"]

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
REPOSITORY = "registry.example.com/agents"

BUILDAH = f"""#!{sys.executable}
# A fake engine: it records its arguments, and writes the archive of an image with a known digest.
import io, json, os, sys, tarfile
with open(os.environ["TOLD"], "a") as told:
    told.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["manifest", "push"]:
    text = json.dumps({{"schemaVersion": 2, "manifests": [{{"digest": "{DIGEST}"}}]}}).encode()
    with tarfile.open(sys.argv[-1].removeprefix("oci-archive:"), "w") as tar:
        member = tarfile.TarInfo("index.json")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
"""


def copied(folder: Path) -> Path:
    """Copy every file that git tracks, or would track."""
    for name in tracked():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    return folder


def program(path: Path, text: str) -> Path:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def typed(repository: Path, *options: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the release script of a copy, with the tools of this environment."""
    path = f"{Path(sys.executable).parent}:{env.pop('PATH', os.environ['PATH'])}"
    return subprocess.run(
        [sys.executable, repository / ".ci/release", *options],
        check=False,
        env={**os.environ, "PATH": path, **env},
        capture_output=True,
        text=True,
    )


@dataclass(frozen=True)
class Released:
    """The built files, the output of the build, and the engine's recorded arguments."""

    folder: Path
    said: str
    told: list[list[str]]


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the repository, for tests that change it."""
    return copied(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory, kubectl: Path, node: None) -> Released:
    """Build the release of a copy, for all tests of all workers."""

    def make(folder: Path) -> Released:
        repository, tools = copied(folder / "repository"), folder / "tools"
        buildah, told = program(tools / "buildah", BUILDAH), tools / "told"
        done = typed(
            repository,
            *("--engine", buildah, "--repository", REPOSITORY),
            TOLD=str(told),
            PATH=f"{kubectl.parent}:{os.environ['PATH']}",
        )
        assert done.returncode == 0, done.stderr
        return Released(
            repository / "dist", done.stdout, [json.loads(line) for line in told.read_text().splitlines()]
        )

    return once(tmp_path_factory, "release", make)
