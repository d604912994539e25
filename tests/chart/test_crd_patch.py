"""The patches make an operator's CRD keep this service's fields: applied, repeated, undone, refused."""

import copy
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chart.conftest import remove_crd
from tests.docs.blocks import blocks
from tests.harness.cluster import CRD, Cluster
from tests.harness.documents import read_yaml
from tests.harness.helm import CHART, Document, Helm, Refused, run
from tests.harness.kube import CRDS, TEAMS, Kube
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.service import Service, lifecycle
from tests.harness.waiting import until

JSON_PATCH = "application/json-patch+json"
GUIDE = "docs/how-to/beside-the-operator.md"
FIXTURES = Path(__file__).parents[1] / "fixtures"
OURS: Document = read_yaml(CRD)
FIVE = {
    "type": "slack",
    "target": "#reports",
    "success": False,
    "deliveredAt": "2026-01-01T00:00:00Z",
    "error": "HTTPStatus: 404",
}


@dataclass(frozen=True)
class Release:
    """A release of the operator: its CRD, and the chart's patch for it."""

    number: str

    @property
    def crd(self) -> Document:
        """A copy, which a test may change."""
        found: Document = read_yaml(FIXTURES / f"operator-{self.number}-crd.yaml")
        return found

    @property
    def name(self) -> str:
        return str(self.crd["metadata"]["name"])

    @property
    def group(self) -> str:
        return str(self.crd["spec"]["group"])

    @property
    def add(self) -> Path:
        return CHART / f"crd/patch-{self.number}.yaml"

    @property
    def remove(self) -> Path:
        return CHART / f"crd/unpatch-{self.number}.yaml"


OLD, NEW = Release("0.7"), Release("0.8")


class Patched:
    """An operator's CRD on a real API server, and a kubectl."""

    def __init__(self, release: Release, kube: Kube, kubectl: Path) -> None:
        self.release = release
        self.kube = kube
        self._kubectl = kubectl

    def patch(self, file: Path) -> str:
        """Apply a patch by the documentation's command."""
        [told] = [
            block.text
            for block in blocks()
            if block.document == GUIDE and self.release.add.name in block.text
        ]
        command = told.replace(f"/{self.release.add.name}", f"/{file.name}").replace(
            "charts/agentteam-delivery", str(CHART)
        )
        place = f"PATH={self._kubectl.parent}:$PATH KUBECONFIG={self.kube.kubeconfig}"
        return run("bash", "-c", f"export {place}; {command}").strip()

    async def refuses(self, release: Release) -> None:
        """Check that both patches of a release are refused and change nothing; send them as kubectl does."""
        before = await self.spec()
        for file in (release.add, release.remove):
            operations = read_yaml(file)
            answer = await self.kube.patch(CRDS, None, self.release.name, operations, content_type=JSON_PATCH)
            assert answer.status == 422, answer.body
            assert await self.spec() == before

    async def spec(self) -> Document:
        found = await self.kube.get(CRDS, None, self.release.name)
        return dict(found.body["spec"])

    async def put(self, crd: Document) -> None:
        """Install a CRD, or replace the existing one."""
        present = (await self.kube.get(CRDS, None, self.release.name)).body
        if version := present["metadata"].get("resourceVersion"):
            metadata = crd["metadata"] | {"resourceVersion": version}
            answer = await self.kube.put(CRDS, None, self.release.name, {**crd, "metadata": metadata})
            assert answer.status == 200
        await self.kube.install_crd(crd)


@pytest.fixture(scope="module")
async def server(without_crd: Cluster[RealCluster]) -> AsyncIterator[Path]:
    yield without_crd.kubeconfig
    await remove_crd(without_crd.kube, OLD.name)


@pytest.fixture(params=[OLD, NEW], ids=lambda release: release.number)
def release(request: pytest.FixtureRequest) -> Release:
    """Each release of the operator in turn; a test of one release chooses it."""
    found: Release = request.param
    return found


@pytest.fixture
async def operators(server: Path, kubectl: Path, release: Release) -> AsyncIterator[Patched]:
    """Install the operator's CRD without changes, and nothing else."""
    async with Kube(server, group=release.group) as kube:
        patched = Patched(release, kube, kubectl)
        await patched.put(release.crd)
        yield patched


of_old = pytest.mark.parametrize("release", [OLD], ids=["0.7"])
of_new = pytest.mark.parametrize("release", [NEW], ids=["0.8"])


def schema(spec: Document) -> Document:
    return dict(spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"])


def lifecycle_of(spec: Document) -> Document:
    return dict(schema(spec)["spec"]["properties"]["lifecycle"]["properties"])


def lists(spec: Document) -> tuple[Document, Document]:
    """Return the schemas of the targets and of the records."""
    return lifecycle_of(spec)["delivery"], schema(spec)["status"]["properties"]["delivery"]


def differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Return what is in only one of the two, or in another place; the order of keys does not count."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            if key not in before or key not in after:
                yield f"{'-' if key in before else '+'}{where}.{key}"
            else:
                yield from differences(before[key], after[key], f"{where}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(*pair, f"{where}[{at}]")
    elif before != after:
        yield f"~{where}"


SCHEMA = ".versions[0].schema.openAPIV3Schema.properties"


@of_old
async def test_the_patch_of_the_older_crd_adds_only_the_value_and_both_lists(operators: Patched) -> None:
    before = await operators.spec()
    assert operators.patch(OLD.add).endswith("patched")
    after = await operators.spec()
    end = f"{SCHEMA}.spec.properties.lifecycle.properties"
    assert set(differences(before, after)) == {
        f"~{end}.onComplete.enum",
        f"+{end}.delivery",
        f"+{SCHEMA}.status.properties.delivery",
    }
    assert lifecycle_of(after)["onComplete"]["enum"] == [
        *lifecycle_of(before)["onComplete"]["enum"],
        "deliver",
    ]
    assert lists(after) == lists(OURS["spec"])


@of_new
async def test_the_patch_of_the_newer_crd_adds_only_optional_fields_to_the_items(operators: Patched) -> None:
    before = await operators.spec()
    assert operators.patch(NEW.add).endswith("patched")
    after = await operators.spec()
    homes = (
        f"{SCHEMA}.spec.properties.lifecycle.properties.delivery.items.properties",
        f"{SCHEMA}.status.properties.delivery.items.properties",
    )
    added: Document = {}
    for home, theirs, ours in zip(homes, lists(before), lists(OURS["spec"]), strict=True):
        known, all_of_them = theirs["items"]["properties"], ours["items"]["properties"]
        added |= {f"{home}.{field}": all_of_them[field] for field in all_of_them.keys() - known.keys()}
    assert set(differences(before, after)) == {f"+{where}" for where in added}
    assert len(added) > 10
    got = {
        f"{home}.{field}": schema_of
        for home, found in zip(homes, lists(after), strict=True)
        for field, schema_of in found["items"]["properties"].items()
    }
    assert {where: got[where] for where in added} == added


async def test_a_patch_is_idempotent_and_its_counterpart_removes_it(operators: Patched) -> None:
    before = await operators.spec()
    assert operators.patch(operators.release.remove).endswith("patched (no change)")
    operators.patch(operators.release.add)
    after = await operators.spec()
    assert operators.patch(operators.release.add).endswith("patched (no change)")
    assert await operators.spec() == after
    assert operators.patch(operators.release.remove).endswith("patched")
    assert await operators.spec() == before
    assert operators.patch(operators.release.remove).endswith("patched (no change)")
    assert await operators.spec() == before


async def test_a_patch_refuses_the_crd_of_another_release(operators: Patched) -> None:
    other = NEW if operators.release == OLD else OLD
    await operators.refuses(other)
    with pytest.raises(Refused):
        operators.patch(other.add)


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
@of_old
async def test_a_patch_refuses_an_unexpected_enum(operators: Patched, enum: list[str]) -> None:
    changed = OLD.crd
    lifecycle_of(changed["spec"])["onComplete"]["enum"] = enum
    await operators.put(changed)
    await operators.refuses(OLD)


@pytest.mark.parametrize("at", [0, 1], ids=["before", "behind"])
async def test_a_patch_refuses_a_crd_with_a_second_version(operators: Patched, at: int) -> None:
    changed = operators.release.crd
    versions: list[Document] = changed["spec"]["versions"]
    versions.insert(at, {**copy.deepcopy(versions[0]), "name": "v1beta1", "storage": False})
    await operators.put(changed)
    await operators.refuses(operators.release)


@of_new
async def test_own_fields_are_dropped_before_the_patch_and_kept_after_it(operators: Patched) -> None:
    kube = operators.kube
    namespace = await kube.fresh_namespace()
    await kube.team(namespace, "report", lifecycle({"type": "slack", "channel": "#reports"}))
    own = FIVE | {"name": "slack-0", "phase": "Failed", "attempts": 4, "accepted": []}

    async def recorded() -> Any:
        body = {"status": {"delivery": [own]}}
        answer = await kube.patch(TEAMS, namespace, "report", body, subresource="status")
        assert answer.status == 200
        return answer.body["status"]["delivery"]

    assert await recorded() == [FIVE]
    operators.patch(NEW.add)

    async def kept() -> bool:
        return bool(await recorded() == [own])

    await until(kept, 60)


@of_old
async def test_teams_are_refused_before_the_patch_and_delivered_after_it(operators: Patched) -> None:
    kube = operators.kube
    async with Receiver() as hook, Service(kube.kubeconfig, api_group=OLD.group) as service:
        namespace = await kube.fresh_namespace()
        asks = lifecycle({"type": "webhook", "name": "hook", "url": hook.url})
        refused = await kube.create(TEAMS, namespace, kube.team_document("report", asks))
        assert refused.status == 422

        operators.patch(OLD.add)

        async def served() -> bool:
            answer = await kube.create(TEAMS, namespace, kube.team_document("report", asks))
            return answer.status == 201

        await until(served, 60)
        await kube.finish(namespace, "report")
        answer = await service.deliver(namespace, "report")
        assert (answer.status, answer.body["phase"], answer.body["recorded"]) == (200, "Delivered", True)
        [entry] = await kube.delivery(namespace, "report")
        assert entry["phase"] == "Delivered"


@of_old
async def test_the_notes_warn_of_a_crd_that_drops_the_record(operators: Patched, helm: Helm) -> None:
    def notes(group: str = OLD.group) -> str:
        config = ("--kubeconfig", operators.kube.kubeconfig)
        sets = ("--set", f"settings.apiGroup={group}")
        said = run(helm.path, "install", "x", CHART, *config, *sets, "--dry-run=server")
        return said.partition("NOTES:\n")[2]

    assert "this cluster has no CRD agentteams.teams.example.com" in notes("teams.example.com")
    assert "does not have status.delivery" in notes()
    assert f"kubectl patch crd {OLD.name}" in notes()
    assert OLD.add.name in notes()
    operators.patch(OLD.add)
    assert "NOTHING WILL BE" not in notes()

    keeps_all = OLD.crd
    schema(keeps_all["spec"])["status"]["x-kubernetes-preserve-unknown-fields"] = True
    await operators.put(keeps_all)
    assert "rejects onComplete: deliver" in notes()
    del lifecycle_of(keeps_all["spec"])["onComplete"]["enum"]
    await operators.put(keeps_all)
    assert "NOTHING WILL BE" not in notes()


@of_new
async def test_with_the_newer_operator_nothing_has_to_be_patched(operators: Patched, helm: Helm) -> None:
    config = ("--kubeconfig", operators.kube.kubeconfig)
    said = run(helm.path, "install", "x", CHART, *config, "--dry-run=server")
    assert "NOTHING WILL BE" not in said


def test_the_chart_s_crd_is_the_newer_operator_s_plus_optional_fields() -> None:
    ours, theirs = _without_prose(OURS["spec"]), _without_prose(NEW.crd["spec"])
    [column] = [
        one
        for one in ours["versions"][0]["additionalPrinterColumns"]
        if one not in theirs["versions"][0]["additionalPrinterColumns"]
    ]
    assert column["name"] == "Delivery"
    ours["versions"][0]["additionalPrinterColumns"].remove(column)
    added = set(differences(theirs, ours))
    targets = f"{SCHEMA}.spec.properties.lifecycle.properties.delivery.items.properties"
    records = f"{SCHEMA}.status.properties.delivery.items.properties"
    assert {one for one in added if not one.startswith(f"+{records}.")} == {
        f"+{targets}.name",
        f"+{targets}.on",
        f"+{SCHEMA}.status.properties.deliverySummary",
    }


def _without_prose(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            key: _without_prose(value)
            for key, value in part.items()
            if not (key == "description" and isinstance(value, str))
        }
    return [_without_prose(one) for one in part] if isinstance(part, list) else part
