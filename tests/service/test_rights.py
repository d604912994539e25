"""The rights that the account needs are those that the documentation lists, on a real API with RBAC."""

import secrets
from pathlib import Path
from typing import Any

import yaml

from tests.harness.callers import RBAC, Callers
from tests.harness.cluster import Cluster
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.service import Service, Watcher, lifecycle
from tests.harness.waiting import until

SECURITY = Path(__file__).parents[2] / "docs/SECURITY.md"


def documented_role() -> dict[str, Any]:
    """Return the ClusterRole that the documentation shows."""
    [block] = [
        block.partition("```")[0]
        for block in SECURITY.read_text().split("```yaml\n")[1:]
        if "kind: ClusterRole" in block
    ]
    role: dict[str, Any] = yaml.safe_load(block)
    return role


async def test_with_the_documented_rights_and_no_other_a_team_is_delivered(
    real_cluster: Cluster[RealCluster], tmp_path: Path
) -> None:
    kube = real_cluster.kube
    namespace, home = await kube.fresh_namespace(), await kube.fresh_namespace()
    account = await Callers(real_cluster).account(home)
    role = documented_role()
    name = role["metadata"]["name"] = f"documented-{secrets.token_hex(4)}"
    binding = {
        "apiVersion": role["apiVersion"],
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account.name, "namespace": home}],
    }
    for plural, document in (("clusterroles", role), ("clusterrolebindings", binding)):
        answer = await kube.request("POST", f"{RBAC}/{plural}", document)
        assert answer.status == 201, answer.body

    config = yaml.safe_load(real_cluster.kubeconfig.read_text())
    token = await Callers(real_cluster).token(account, "https://kubernetes.default.svc")
    config["users"][0]["user"] = {"token": token}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    own = tmp_path / "token"
    own.write_text(await Callers(real_cluster).token(account))

    async with (
        Receiver() as hook,
        Service(kubeconfig, auth="kubernetes") as service,
        Watcher(kubeconfig, service.url, token_file=own),
    ):
        await kube.secret(namespace, "keys", {"url": f"{hook.url}/hidden"})
        target = {"type": "webhook", "name": "hook", "credentialsSecret": "keys"}
        await kube.team(namespace, "report", lifecycle(target))
        await kube.finish(namespace, "report")

        async def delivered() -> bool:
            entries = await kube.delivery(namespace, "report")
            return [entry["phase"] for entry in entries] == ["Delivered"]

        await until(delivered, 30)
        assert [request.path for request in hook.requests] == ["/hidden"]
