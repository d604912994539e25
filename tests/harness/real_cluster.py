"""A real Kubernetes API (etcd and kube-apiserver) for the length of a test session."""

import asyncio
import json
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import yaml

from tests.harness.processes import free_ports

SCRIPT = Path(__file__).with_name("apiserver")
PORTS = ("KUBE_APISERVER_PORT", "ETCD_PORT", "ETCD_PEER_PORT")


class Ended(NamedTuple):
    """How the script ended: its exit code and its standard error."""

    code: int
    said: str


class RealCluster:
    """The API server that `tests/harness/apiserver` starts on free ports; its data is in a temporary folder.

    `release` is a release that the script knows: `newest`, `oldest` or a number.
    """

    url: str

    def __init__(self, release: str = "newest") -> None:
        self._release = release

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="apiserver-")
        attempts = 3  # another process may take a free port first
        for attempt in range(1, attempts + 1):
            numbers = map(str, free_ports(len(PORTS)))
            ports = dict(zip(PORTS, numbers, strict=True))
            code, said = await run("up", self._folder.name, KUBERNETES_RELEASE=self._release, **ports)
            if code == 0:
                break
            if attempt == attempts:
                self._folder.cleanup()
                raise RuntimeError(said)
        self._kubeconfig = Path(self._folder.name, "kubeconfig")
        self.url = yaml.safe_load(self._kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await run("down", self._folder.name)
        self._folder.cleanup()

    @property
    def signing_key(self) -> Path:
        """The key with which it signs tokens of service accounts."""
        return Path(self._folder.name, "sa.key")

    @property
    def pids(self) -> list[int]:
        """The processes of etcd and of the API server."""
        return [int(pid) for pid in Path(self._folder.name, "pids").read_text().split()]

    @property
    def audit(self) -> list[dict[str, Any]]:
        """The requests of service accounts and their permission checks, from the API server's audit log."""
        # the last line may be incomplete
        *lines, _ = Path(self._folder.name, "audit.log").read_text().split("\n")
        return [json.loads(line) for line in lines]

    def kubeconfig(self, path: Path) -> Path:
        """Write the kubeconfig of the cluster's admin."""
        shutil.copy(self._kubeconfig, path)
        return path


async def run(*arguments: str, **environment: str) -> Ended:
    """Run the script."""
    process = await asyncio.create_subprocess_exec(
        SCRIPT,
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | environment,
    )
    _, said = await process.communicate()
    return Ended(process.returncode or 0, said.decode())
