"""Differences between Kubernetes releases: the docs' table, tested on the oldest and the newest."""

import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.callers import Callers
from tests.harness.cluster import CRD, Cluster
from tests.harness.documents import read_yaml
from tests.harness.kube import CRDS, MERGE_PATCH, TEAMS, Document, Kube
from tests.harness.waiting import until

PAGE = Path(__file__).parents[2] / "docs/reference/kubernetes.md"


@pytest.fixture(params=["real_cluster", "oldest_cluster"])
def release(request: pytest.FixtureRequest) -> Cluster[Any]:
    found: Cluster[Any] = request.getfixturevalue(request.param)
    return found


async def _crd_beside(kube: Kube, namespace: str, schema: Document) -> Document:
    """Install a CRD with one field `value`, whose objects are called probes."""
    crd: Document = read_yaml(CRD)
    group = f"{namespace}.example.com"
    names = {"plural": "probes", "singular": "probe", "kind": "Probe", "listKind": "ProbeList"}
    spec = {
        "type": "object",
        "properties": {"value": {"type": "string", **schema}, "other": {"type": "string"}},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    crd["metadata"] = {"name": f"probes.{group}"}
    crd["spec"] = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    await kube.install_crd(crd)
    return crd


def _probes(crd: Document, namespace: str, name: str = "") -> str:
    path = f"/apis/{crd['spec']['group']}/v1/namespaces/{namespace}/probes"
    return f"{path}/{name}" if name else path


async def _make_probe(
    kube: Kube, crd: Document, namespace: str, name: str, spec: Document, **params: str
) -> int:
    """Create a probe, and return the status of the answer."""
    api_version = f"{crd['spec']['group']}/v1"
    body = {"apiVersion": api_version, "kind": "Probe", "metadata": {"name": name}, "spec": spec}
    return (await kube.request("POST", _probes(crd, namespace), body, params=params)).status


async def serves(kube: Kube, version: str, kind: str) -> bool:
    answer = await kube.request("GET", f"/apis/{version}")
    return answer.status == 200 and kind in {one["kind"] for one in answer.body["resources"]}


async def disruption_budgets(cluster: Cluster[Any]) -> bool:
    return await serves(cluster.kube, "policy/v1", "PodDisruptionBudget")


async def autoscalers(cluster: Cluster[Any]) -> bool:
    return await serves(cluster.kube, "autoscaling/v2", "HorizontalPodAutoscaler")


async def strict_fields(cluster: Cluster[Any]) -> bool:
    namespace = await cluster.kube.fresh_namespace()
    crd = await _crd_beside(cluster.kube, namespace, {})
    spec = {"nobodyKnows": "this"}
    answer = await _make_probe(cluster.kube, crd, namespace, "one", spec, fieldValidation="Strict")
    return answer == 400


async def rules_in_schemas(cluster: Cluster[Any]) -> bool:
    namespace = await cluster.kube.fresh_namespace()
    rule = {"x-kubernetes-validations": [{"rule": "self != 'forbidden'"}]}
    crd = await _crd_beside(cluster.kube, namespace, rule)
    return await _make_probe(cluster.kube, crd, namespace, "one", {"value": "forbidden"}) == 422


async def ratcheting(cluster: Cluster[Any]) -> bool:
    kube, namespace = cluster.kube, await cluster.kube.fresh_namespace()
    crd = await _crd_beside(kube, namespace, {})
    old = {"value": "of before"}
    assert await _make_probe(kube, crd, namespace, "one", old) == 201

    name = crd["metadata"]["name"]
    stricter = (await kube.get(CRDS, None, name)).body
    spec = stricter["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["value"]["enum"] = ["nothing else"]
    assert (await kube.put(CRDS, None, name, stricter)).status == 200

    async def in_force() -> bool:
        return await _make_probe(kube, crd, namespace, f"probe-{secrets.token_hex(4)}", old) == 422

    await until(in_force)
    path, change = _probes(crd, namespace, "one"), {"spec": {"other": "changed"}}
    answer = await kube.request("PATCH", path, change, content_type=MERGE_PATCH)
    assert answer.status in {200, 422}, answer.body
    return answer.status == 200


async def named_tokens(cluster: Cluster[Any]) -> bool:
    callers = Callers(cluster)
    account = await callers.account(await cluster.kube.fresh_namespace())
    token = await callers.token(account)
    spec = {"token": token, "audiences": ["agentteam-delivery"]}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    answer = await cluster.kube.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)
    return "authentication.kubernetes.io/credential-id" in answer.body["status"]["user"].get("extra", {})


async def streamed_lists(cluster: Cluster[Any]) -> bool:
    params: dict[str, str | int] = {
        "watch": "1",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": 1,
    }
    path = cluster.kube.path(TEAMS, await cluster.kube.fresh_namespace())
    return (await cluster.kube.request("GET", path, params=params)).status == 200


ROWS: dict[str, Callable[[Cluster[Any]], Awaitable[bool]]] = {
    "`policy/v1` PodDisruptionBudget": disruption_budgets,
    "`autoscaling/v2` HorizontalPodAutoscaler": autoscalers,
    "unknown fields are rejected if a client requests it (`fieldValidation=Strict`)": strict_fields,
    "rules in a CRD's schema (`x-kubernetes-validations`)": rules_in_schemas,
    "a value that a stricter schema forbids survives a change of another field (ratcheting)": ratcheting,
    "a token's own id in reviews and audit logs": named_tokens,
    "lists as a stream (`sendInitialEvents`)": streamed_lists,
}


def table() -> dict[str, dict[str, str]]:
    """Read the page's table: for each row, the word in each release's column."""
    rows = [
        [cell.strip() for cell in line.strip("| \n").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("|")
    ]
    head, _, *body = rows
    return {cells[0]: dict(zip(head[1:], cells[1:], strict=True)) for cells in body}


def test_the_page_has_each_row() -> None:
    assert set(ROWS) <= set(table())


@pytest.mark.parametrize("row", ROWS)
async def test_a_release_behaves_as_the_table_says(release: Cluster[Any], row: str) -> None:
    version = (await release.kube.request("GET", "/version")).body
    column = f"{version['major']}.{re.sub('[^0-9].*', '', version['minor'])}"
    said = table()[row]
    if column not in said:
        pytest.skip(f"the table knows nothing of Kubernetes {column}")
    assert await ROWS[row](release) == (said[column] == "yes")
