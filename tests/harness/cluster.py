"""What a test gets that asks for a cluster."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.real_cluster import RealCluster

CRD = Path(__file__).parents[2] / "charts/agentteam-delivery/crd/agentteams.yaml"

Server = TypeVar("Server", bound=FakeCluster | RealCluster)


@dataclass(frozen=True)
class Cluster(Generic[Server]):
    """A Kubernetes API with the project's CRD installed, and a client of it."""

    server: Server
    kubeconfig: Path
    kube: Kube

    @property
    def url(self) -> str:
        return self.server.url


@asynccontextmanager
async def prepared(server: Server, folder: Path) -> AsyncIterator[Cluster[Server]]:
    """Connect to an API and install the CRD."""
    kubeconfig = server.kubeconfig(folder / "kubeconfig")
    async with Kube(kubeconfig) as kube:
        await kube.install_crd(CRD)
        yield Cluster(server, kubeconfig, kube)
