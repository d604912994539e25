"""No Helm version changes a CRD, however it was created, and no installation fails because of one."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.chart.conftest import remove_crd
from tests.harness.cluster import CRD, Cluster
from tests.harness.helm import CHART, Document, Helm, run
from tests.harness.kube import CRDS, Kube
from tests.harness.real_cluster import RealCluster
from tests.harness.waiting import until

OPERATORS = Path(__file__).parents[1] / "fixtures/operator-0.8-crd.yaml"
NAME = "agentteams.kagents.dev"
CHART_YAML = "apiVersion: v2\nname: operator\nversion: 0.8.0\n"


@dataclass(frozen=True)
class Maker:
    """Installs the CRD in one of the usual ways."""

    kubeconfig: Path
    kubectl: Path
    folder: Path

    def kubectl_with(self, *arguments: str | Path) -> None:
        run(self.kubectl, "--kubeconfig", self.kubeconfig, *arguments)

    def chart(self, helm: Path, home: str) -> None:
        """Install an operator's chart that has the CRD in one of the two places that Helm knows."""
        chart = self.folder / "operator"
        (chart / home).mkdir(parents=True)
        (chart / "Chart.yaml").write_text(CHART_YAML)
        (chart / home / "crd.yaml").write_text(OPERATORS.read_text())
        where = ("--kubeconfig", self.kubeconfig, "--namespace", "operator", "--create-namespace")
        run(helm, "install", "operator", chart, *where)


def _helm3(maker: Maker) -> Path:
    return maker.kubectl.with_name("helm3")


WAYS: dict[str, Callable[[Maker], None]] = {
    "kubectl create": lambda maker: maker.kubectl_with("create", "-f", OPERATORS),
    "kubectl apply": lambda maker: maker.kubectl_with("apply", "-f", OPERATORS),
    "kubectl apply on the server's side": lambda maker: maker.kubectl_with(
        "apply", "--server-side", "-f", OPERATORS
    ),
    "Helm 4, crds": lambda maker: maker.chart(maker.kubectl.with_name("helm"), "crds"),
    "Helm 4, templates": lambda maker: maker.chart(maker.kubectl.with_name("helm"), "templates"),
    "Helm 3, crds": lambda maker: maker.chart(_helm3(maker), "crds"),
    "Helm 3, templates": lambda maker: maker.chart(_helm3(maker), "templates"),
    "this project's file": lambda maker: maker.kubectl_with("create", "-f", CRD),
}


@pytest.fixture
def kube(without_crd: Cluster[RealCluster]) -> Kube:
    return without_crd.kube


@pytest.fixture
async def maker(kube: Kube, kubectl: Path, tmp_path: Path) -> AsyncIterator[Maker]:
    """Prepare a way to install the CRD; uninstall everything after the test."""
    if not kubectl.with_name("helm3").exists():
        pytest.skip("no helm3: tests/harness/kubectl fetch brings it")
    yield Maker(kube.kubeconfig, kubectl, tmp_path)
    if (tmp_path / "operator").exists():
        where = ("--kubeconfig", str(kube.kubeconfig), "--namespace", "operator")
        await asyncio.to_thread(run, kubectl.with_name("helm"), "uninstall", "operator", *where)
    await remove_crd(kube, NAME)


async def _crd(kube: Kube) -> Document | None:
    """Return the whole CRD, with its version and the managers of its fields."""
    found = await kube.get(CRDS, None, NAME)
    return dict(found.body) if found.status == 200 else None


async def _settled(kube: Kube) -> Document:
    """Return the CRD once the API server has stopped updating its status."""
    found: Document = {}

    async def established() -> bool:
        found.clear()
        found.update(await _crd(kube) or {})
        conditions = {one["type"]: one["status"] for one in found.get("status", {}).get("conditions") or []}
        return conditions.get("Established") == "True"

    await until(established, 60)
    return found


async def _life(kube: Kube, helm: Helm) -> AsyncIterator[str]:
    """Install, change and uninstall the chart; yield each step when it is done."""
    namespace = await kube.fresh_namespace()
    where = ("--namespace", namespace, "--kubeconfig", str(kube.kubeconfig))
    steps = {
        "install": (CHART, "--set", f"callerClusterRole.name={namespace}"),
        "upgrade": (CHART, "--set", f"callerClusterRole.name={namespace},replicaCount=3"),
        "uninstall": (),
    }
    for verb, given in steps.items():
        await asyncio.to_thread(run, helm.path, verb, "delivery", *given, *where)
        yield verb


PROGRAMS = ("helm", "newest_helm3", "oldest_helm3")
CHOSEN = {
    # The ways that leave the most behind: managed fields, Helm's own labels, or nothing at all.
    ("helm", "kubectl apply on the server's side"),
    ("helm", "Helm 3, templates"),
    ("newest_helm3", "this project's file"),
    ("oldest_helm3", "Helm 4, templates"),
}
PAIRS = [
    pair for pair in itertools.product(PROGRAMS, WAYS) if os.environ.get("HELM_MATRIX") or pair in CHOSEN
]
"""Each Helm with a way of its own; with HELM_MATRIX set, with every way."""


@pytest.mark.parametrize(("program", "way"), PAIRS)
async def test_the_chart_does_not_change_an_existing_crd(
    kube: Kube, maker: Maker, program: str, way: str, request: pytest.FixtureRequest
) -> None:
    await asyncio.to_thread(WAYS[way], maker)
    before = await _settled(kube)
    async for verb in _life(kube, request.getfixturevalue(program)):
        assert await _crd(kube) == before, verb


async def test_the_chart_creates_no_crd(kube: Kube, maker: Maker, helm: Helm) -> None:
    async for verb in _life(kube, helm):
        assert await _crd(kube) is None, verb


def test_helm_finds_no_crd_in_the_chart(any_helm: Helm) -> None:
    assert run(any_helm.path, "show", "crds", CHART).strip() == ""
    assert "CustomResourceDefinition" not in {
        one["kind"] for one in yaml.safe_load_all(any_helm.template({}, "--include-crds")) if one
    }
