"""The current Alertmanager, built from its published Go module once per machine."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = "github.com/prometheus/alertmanager"
VERSION = "v0.35.0"


def current() -> Path | None:
    """Return the program from the user's cache, where it is kept; None without Go.

    Raises:
        subprocess.CalledProcessError: Go cannot fetch or compile it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    program = cache / "agentteam-delivery-bench" / f"alertmanager-{VERSION}"
    if program.exists():
        return program
    if not shutil.which("go"):
        return None
    sys.stderr.write(f"building Alertmanager {VERSION}; some minutes the first time\n")
    with tempfile.TemporaryDirectory(prefix="alertmanager-") as name:
        folder = Path(name)
        found = json.loads(_go("mod", "download", "-json", f"{MODULE}@{VERSION}", folder=folder))
        source = folder / "source"
        shutil.copytree(found["Dir"], source)
        subprocess.run(["chmod", "-R", "u+w", source], check=True)
        # The module lacks the files of its web interface, which its makers generate before a build.
        for part in ("elm", "mantine"):
            (source / "ui/app/dist" / part).mkdir(parents=True)
            (source / "ui/app/dist" / part / "index.html").touch()
        _go(
            "build",
            "-trimpath",
            "-ldflags=-s -w",
            "-o",
            str(folder / "made"),
            "./cmd/alertmanager",
            folder=source,
        )
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / "made", program)
    return program


def _go(*arguments: str, folder: Path) -> str:
    settings = {"GO111MODULE": "on", "GOFLAGS": "-buildvcs=false", "GOWORK": "off", "GOTOOLCHAIN": "auto"}
    environment = os.environ | settings | {"CGO_ENABLED": "0"}
    command = ["go", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
