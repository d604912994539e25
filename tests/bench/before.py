"""This service at an earlier commit, in a checkout and an environment of its own."""

import os
import subprocess
from pathlib import Path

from tests.harness.service import Service, Watcher

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


class Before(Service):
    """An earlier build's `serve`."""

    def __init__(self, folder: Path, kubeconfig: Path, **settings: object) -> None:
        super().__init__(kubeconfig, **settings)
        self.folder = folder
        self.covered = False

    def arguments(self) -> list[str]:
        return _command(self.folder, self.command)


class BeforeWatcher(Watcher):
    """An earlier build's `watch`."""

    def __init__(self, folder: Path, kubeconfig: Path, url: str, **settings: object) -> None:
        super().__init__(kubeconfig, url, **settings)
        self.folder = folder
        self.covered = False

    def arguments(self) -> list[str]:
        return _command(self.folder, self.command)


def _command(folder: Path, command: str) -> list[str]:
    return [str(folder / ".venv/bin/agentteam-delivery"), command]
