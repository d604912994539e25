"""What a test gets that asks for a cluster."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.real_cluster import RealCluster

OPERATORS_CRD = Path(__file__).parents[1] / "fixtures/operator-0.8-crd.yaml"
OPERATORS_GROUP = "operator.kagents.dev"
"""Where the operator's own CRD is served beside the project's: the API group is a setting."""

CRD = Path(__file__).parents[2] / "charts/agentteam-delivery/crd/agentteams.yaml"

Server = TypeVar("Server", bound=FakeCluster | RealCluster)


@dataclass(frozen=True)
class Cluster(Generic[Server]):
    """A Kubernetes API with the project's CRD installed, and a client of it."""

    server: Server
    kubeconfig: Path
    kube: Kube
    whole: bool = True  # whether the service's own fields of targets and entries are kept

    @property
    def url(self) -> str:
        return self.server.url


def operators_crd() -> dict[str, Any]:
    """Read the operator's CRD, with nothing patched but the group under which it is served."""
    crd: dict[str, Any] = yaml.safe_load(OPERATORS_CRD.read_text())
    crd["metadata"]["name"] = f"agentteams.{OPERATORS_GROUP}"
    crd["spec"]["group"] = OPERATORS_GROUP
    return crd


@asynccontextmanager
async def operated(cluster: Cluster[Server], folder: Path) -> AsyncIterator[Cluster[Server]]:
    """Serve the operator's CRD beside the other, and speak of its teams."""
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
