"""The patch that teaches an operator's CRD what delivery needs: applied, again, undone, refused."""

import copy
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from tests.harness.cluster import CRD
from tests.harness.helm import CHART, Document, Helm, Refused, run
from tests.harness.kube import CRDS, Kube
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.service import Service, lifecycle
from tests.harness.waiting import until

GROUP = "claude.amcheste.io"
NAME = f"agentteams.{GROUP}"
ADD, REMOVE = CHART / "crd-patches/add-delivery.yaml", CHART / "crd-patches/remove-delivery.yaml"
OPERATORS: Document = yaml.safe_load((Path(__file__).parents[1] / "fixtures/operator-crd.yaml").read_text())


class Patched:
    """An operator's CRD on a real API server, and a kubectl."""

    def __init__(self, kube: Kube, kubectl: Path) -> None:
        self.kube = kube
        self._kubectl = kubectl

    def patch(self, file: Path) -> str:
        """Apply a patch as the documentation says."""
        command = ("patch", "crd", NAME, "--type=json", f"--patch-file={file}")
        return run(self._kubectl, "--kubeconfig", self.kube.kubeconfig, *command).strip()

    async def spec(self) -> Document:
        found = await self.kube.get(CRDS, None, NAME)
        return dict(found.body["spec"])


@pytest.fixture(scope="module")
async def server(apiserver: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    async with RealCluster() as server:
        yield server.kubeconfig(tmp_path_factory.mktemp("operator") / "kubeconfig")


@pytest.fixture
async def operators(server: Path, kubectl: Path) -> AsyncIterator[Patched]:
    """Install the operator's CRD as it comes, and nothing else."""
    async with Kube(server, group=GROUP) as kube:
        await put(kube, OPERATORS)
        yield Patched(kube, kubectl)


async def put(kube: Kube, crd: Document) -> None:
    """Install a CRD, or put it in the place of the one that is there."""
    present = (await kube.get(CRDS, None, NAME)).body
    if version := present["metadata"].get("resourceVersion"):
        metadata = crd["metadata"] | {"resourceVersion": version}
        assert (await kube.put(CRDS, None, NAME, {**crd, "metadata": metadata})).status == 200
    await kube.install_crd(crd)


def schema(spec: Document) -> Document:
    return dict(spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"])


def without_delivery(spec: Document) -> Document:
    """Return the spec as it would be had nothing been added."""
    bare = copy.deepcopy(spec)
    end = schema(bare)["spec"]["properties"]["lifecycle"]["properties"]
    end["onComplete"]["enum"].remove("deliver")
    del end["delivery"], schema(bare)["status"]["properties"]["delivery"]
    return bare


async def test_it_adds_the_value_and_both_lists_and_leaves_all_else(operators: Patched) -> None:
    before = await operators.spec()
    assert operators.patch(ADD).endswith("patched")
    after = await operators.spec()
    assert without_delivery(after) == before
    ours = schema(yaml.safe_load(CRD.read_text())["spec"])
    assert schema(after)["status"]["properties"]["delivery"] == ours["status"]["properties"]["delivery"]
    end, our_end = (one["spec"]["properties"]["lifecycle"]["properties"] for one in (schema(after), ours))
    assert end["delivery"] == our_end["delivery"]
    assert end["onComplete"]["enum"] == our_end["onComplete"]["enum"]


async def test_applied_again_it_changes_nothing_and_its_counterpart_undoes_it(operators: Patched) -> None:
    before = await operators.spec()
    operators.patch(ADD)
    after = await operators.spec()
    assert operators.patch(ADD).endswith("patched (no change)")
    assert await operators.spec() == after
    assert operators.patch(REMOVE).endswith("patched")
    assert await operators.spec() == before
    assert operators.patch(REMOVE).endswith("patched (no change)")
    assert await operators.spec() == before


@pytest.mark.parametrize(
    "enum",
    [
        ["create-pr", "push-branch", "notify", "none", "archive"],
        ["create-pr", "push-branch", "notify", "none", "deliver", "archive"],
        ["create-pr", "push-branch", "notify", "none", "archive", "deliver"],
        ["push-branch", "create-pr", "notify", "none"],
        ["create-pr", "push-branch", "notify"],
    ],
    ids=lambda enum: "-".join(enum[-2:]),
)
@pytest.mark.parametrize("file", [ADD, REMOVE], ids=["add", "remove"])
async def test_an_enum_that_looks_otherwise_is_left_alone(
    operators: Patched, enum: list[str], file: Path
) -> None:
    changed = copy.deepcopy(OPERATORS)
    schema(changed["spec"])["spec"]["properties"]["lifecycle"]["properties"]["onComplete"]["enum"] = enum
    await put(operators.kube, changed)
    before = await operators.spec()
    with pytest.raises(Refused):
        operators.patch(file)
    assert await operators.spec() == before


@pytest.mark.parametrize("file", [ADD, REMOVE], ids=["add", "remove"])
@pytest.mark.parametrize("at", [0, 1], ids=["before", "behind"])
async def test_a_second_version_is_left_alone(operators: Patched, at: int, file: Path) -> None:
    changed = copy.deepcopy(OPERATORS)
    versions: list[Document] = changed["spec"]["versions"]
    versions.insert(at, {**copy.deepcopy(versions[0]), "name": "v1beta1", "storage": False})
    await put(operators.kube, changed)
    before = await operators.spec()
    with pytest.raises(Refused):
        operators.patch(file)
    assert await operators.spec() == before


async def test_teams_are_refused_before_and_delivered_after(operators: Patched) -> None:
    kube = operators.kube
    async with Receiver() as hook, Service(kube.kubeconfig, api_group=GROUP) as service:
        namespace = await kube.fresh_namespace()
        lead = {"lead": {"prompt": "write the report"}}
        asks = {**lead, **lifecycle({"type": "webhook", "name": "hook", "url": hook.url})}
        refused = await kube.create("agentteams", namespace, kube.team_document("report", asks))
        assert refused.status == 422

        operators.patch(ADD)

        async def served() -> bool:
            answer = await kube.create("agentteams", namespace, kube.team_document("report", asks))
            return answer.status == 201

        await until(served)
        await kube.finish(namespace, "report")
        answer = await service.deliver(namespace, "report")
        assert (answer.status, answer.body["phase"], answer.body["recorded"]) == (200, "Delivered", True)
        [entry] = await kube.delivery(namespace, "report")
        assert entry["phase"] == "Delivered"


async def test_the_notes_of_an_installation_tell_of_a_crd_that_keeps_no_record(
    operators: Patched, helm: Helm, tmp_path: Path
) -> None:
    # The server that is built here is older than the chart allows, which matters nothing to what is told.
    chart = shutil.copytree(CHART, tmp_path / "chart")
    (chart / "Chart.yaml").write_text((chart / "Chart.yaml").read_text().replace(">=1.27", ">=1.20"))

    def notes(group: str = GROUP) -> str:
        config = ("--kubeconfig", operators.kube.kubeconfig)
        sets = ("--set", f"settings.apiGroup={group}", "--set", "podDisruptionBudget.enabled=false")
        said = run(helm.path, "install", "x", chart, *config, *sets, "--dry-run=server", "--skip-crds")
        return said.partition("NOTES:\n")[2]

    assert "this cluster has no CRD agentteams.teams.example.com" in notes("teams.example.com")
    assert "does not know status.delivery" in notes()
    assert f"kubectl patch crd {NAME}" in notes()
    operators.patch(ADD)
    assert "NOTHING WILL BE" not in notes()

    keeps_all = copy.deepcopy(OPERATORS)
    schema(keeps_all["spec"])["status"]["x-kubernetes-preserve-unknown-fields"] = True
    await put(operators.kube, keeps_all)
    assert "refuses onComplete: deliver" in notes()
    del schema(keeps_all["spec"])["spec"]["properties"]["lifecycle"]["properties"]["onComplete"]["enum"]
    await put(operators.kube, keeps_all)
    assert "NOTHING WILL BE" not in notes()
