"""This service at an earlier commit, in a checkout and an environment of its own."""

import os
import subprocess
from pathlib import Path
from typing import Any

from tests.harness.service import Program, Service, Watcher

ROOT = Path(__file__).parents[2]


def checkout(commit: str) -> Path:
    """Return the folder of a commit's build, which is made once and kept in the user's cache.

    Raises:
        subprocess.CalledProcessError: there is no such commit, or it cannot be set up.
    """
    said = subprocess.run(
        ["git", "rev-parse", "--verify", f"{commit}^{{commit}}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "agentteam-delivery-before" / said.stdout.strip()
    if not (folder / ".venv/.ready").exists():
        folder.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "archive", folder.name], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "--extract"], cwd=folder, check=True, input=archive.stdout)
        subprocess.run(["make", "setup"], cwd=folder, check=True)
    return folder


class Earlier(Program):
    """A program of an earlier build, in its folder."""

    def __init__(self, folder: Path, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.folder = folder
        self.covered = False

    def arguments(self) -> list[str]:
        return [str(self.folder / ".venv/bin/agentteam-delivery"), self.command]


class Before(Earlier, Service):
    """An earlier build's `serve`."""


class BeforeWatcher(Earlier, Watcher):
    """An earlier build's `watch`."""
