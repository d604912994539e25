"""The clusters that tests use."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests.harness.documents import read_yaml
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.real_cluster import RealCluster

OPERATORS_CRD = Path(__file__).parents[1] / "fixtures/operator-0.8-crd.yaml"
OPERATORS_GROUP = "operator.kagents.dev"
"""The API group of the operator's own CRD, served beside the project's: the group is a setting."""

CRD = Path(__file__).parents[2] / "charts/agentteam-delivery/crd/agentteams.yaml"

Server = TypeVar("Server", bound=FakeCluster | RealCluster)


@dataclass(frozen=True)
class Cluster(Generic[Server]):
    """A Kubernetes API with the project's CRD, and a client for it."""

    server: Server
    kubeconfig: Path
    kube: Kube
    whole: bool = True  # whether the CRD keeps the service's own fields of targets and entries

    @property
    def url(self) -> str:
        return self.server.url


def operators_crd() -> dict[str, Any]:
    """Read the operator's CRD, changing only its group."""
    crd: dict[str, Any] = read_yaml(OPERATORS_CRD)
    crd["metadata"]["name"] = f"agentteams.{OPERATORS_GROUP}"
    crd["spec"]["group"] = OPERATORS_GROUP
    return crd


@asynccontextmanager
async def operated(cluster: Cluster[Server], folder: Path) -> AsyncIterator[Cluster[Server]]:
    """Serve the operator's CRD as well, and return a cluster for its teams."""
    await cluster.kube.install_crd(operators_crd())
    kubeconfig = cluster.server.kubeconfig(folder / "kubeconfig")
    async with Kube(kubeconfig, group=OPERATORS_GROUP) as kube:
        yield Cluster(cluster.server, kubeconfig, kube, whole=False)


@asynccontextmanager
async def prepared(server: Server, folder: Path) -> AsyncIterator[Cluster[Server]]:
    """Connect to an API and install the CRD."""
    kubeconfig = server.kubeconfig(folder / "kubeconfig")
    async with Kube(kubeconfig) as kube:
        await kube.install_crd(CRD)
        yield Cluster(server, kubeconfig, kube)
