"""OpenAPI Generator, and a place outside the clone where what it made waits for the next run."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DESCRIPTION = ROOT / "openapi/openapi.yaml"
VERSION = "7.25.0"  # the newest that Maven Central has
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentteam-delivery-clients"
REPOSITORY = Path.home() / ".m2/repository/org/openapitools/openapi-generator-cli"
JAR = REPOSITORY / VERSION / f"openapi-generator-cli-{VERSION}.jar"


def need(**tools: str) -> None:
    """Skip where one of these programs is missing, and say what to install; CI has them all."""
    for tool, advice in tools.items():
        if not shutil.which(tool):
            assert os.environ.get("CI") != "true", f"CI runs no suite without {tool}"
            pytest.skip(f"no {tool}: {advice}")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program, and return what it printed.

    Raises:
        AssertionError: it ended with another code than 0.
    """
    done = subprocess.run(
        command, check=False, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def generate(language: str, folder: Path, *, description: Path = DESCRIPTION, **properties: str) -> None:
    """Generate a client with its default options, but for names; the first time fetches the jar."""
    need(
        java="install a Java runtime, 17 or later (Debian: default-jre-headless)",
        mvn="install Maven (Debian: maven), which fetches OpenAPI Generator",
    )
    if not JAR.exists():
        artifact = f"-Dartifact=org.openapitools:openapi-generator-cli:{VERSION}"
        run("mvn", "-q", "dependency:get", artifact, "-Dtransitive=false", cwd=ROOT)
    # It runs once for some seconds: no second compiler, one thread to collect.
    java = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", JAR)
    left_out = "models,apis,supportingFiles,apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"
    options = (
        f"--additional-properties={','.join(f'{name}={value}' for name, value in properties.items())}",
        f"--global-property={left_out}",
    )
    run(*java, "generate", "-g", language, "-i", description, "-o", folder, *options, cwd=ROOT)


def made(name: str, make: Callable[[Path], None], *sources: Path) -> Path:
    """Return a folder that `make` has filled from these files, this time or before."""
    parts = [VERSION.encode(), Path(__file__).read_bytes()]
    parts += [one.read_bytes() for one in (DESCRIPTION, *sources)]
    folder = CACHE / f"{name}-{hashlib.sha256(b'|'.join(parts)).hexdigest()[:16]}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=CACHE))
        try:
            make(beside)
            for other in CACHE.glob(f"{name}-*"):  # of another description
                shutil.rmtree(other)
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return folder
