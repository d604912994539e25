"""Clients from `clients/generate`, and their compiled forms, cached outside the clone."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DESCRIPTION = ROOT / "openapi/openapi.yaml"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentteam-delivery-clients"
TOOLS = Path(sys.executable).parent

MADE = ("python", "csharp", "kotlin", "php", "delivery", "target", "node_modules", "dist", "api.ts")
"""What `clients/generate` and compilers make; a copy begins without."""

NEEDED = {
    "node": "install Node.js 20 or later (Debian: nodejs)",
    "npm": "install npm (Debian: npm)",
    "java": "install a Java runtime, 17 or later (Debian: default-jre-headless)",
    "javac": "install a JDK, 17 or later (Debian: default-jdk-headless)",
    "mvn": "install Maven (Debian: maven), which fetches OpenAPI Generator",
    "go": "install Go 1.21 or later (Debian: golang-go)",
    "cargo": "install Rust 1.88 or later (Debian: cargo-web)",
}


def need(*tools: str) -> None:
    """Skip if one of these programs is missing, and say what to install; CI has them all."""
    for tool in tools:
        if not shutil.which(tool):
            assert os.environ.get("CI") != "true", f"CI requires {tool}"
            pytest.skip(f"no {tool}: {NEEDED[tool]}")


def ran(*command: str | Path, cwd: Path, **env: str) -> tuple[int, str]:
    """Run a program with the project's tools on its path; return its exit code and its output."""
    found = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}", **env}
    process = subprocess.run(
        command, check=False, cwd=cwd, env=found, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return process.returncode, process.stdout


def done(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a program that must succeed, and return its output."""
    code, said = ran(*command, cwd=cwd, **env)
    assert code == 0, said[-6000:]
    return said


def copied(root: Path) -> Path:
    """Copy the sources of the clients, so that the tree stays unchanged; return the clients' folder."""
    shutil.copytree(ROOT / "openapi", root / "openapi")
    return Path(shutil.copytree(ROOT / "clients", root / "clients", ignore=shutil.ignore_patterns(*MADE)))


def made(name: str, make: Callable[[Path], None], *sources: Path | str) -> Path:
    """Return a folder that `make` has filled, now or earlier, from the description and these sources."""
    return kept(name, make, DESCRIPTION, ROOT / "clients/generate", *sources)


def kept(name: str, make: Callable[[Path], None], *sources: Path | str) -> Path:
    """Return a folder that `make` has filled, now or earlier, from these files, folders and texts."""
    texts = [one if isinstance(one, str) else json.dumps(_texts(one)) for one in sources]
    folder = CACHE / f"{name}-{hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(
            lock, fcntl.LOCK_EX
        )  # concurrent tests need the same, and Maven's repository is not safe to share
        if not folder.exists():
            beside = Path(tempfile.mkdtemp(prefix=f"making.{name}.", dir=CACHE))
            try:
                make(beside)
                beside.rename(folder)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    folder.touch()  # `clients/generate` removes what was not used for a month
    return folder


def _texts(place: Path) -> dict[str, str]:
    """Return the content of a file, or of each source file of a folder."""
    if place.is_file():
        return {place.name: place.read_text()}
    files = (path for path in sorted(place.rglob("*")) if path.is_file())
    inner = {path.relative_to(place): path for path in files}
    return {str(name): path.read_text() for name, path in inner.items() if not {*MADE} & {*name.parts}}
