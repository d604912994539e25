"""Installed on a real API server, the chart delivers, and may do nothing else."""

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import LOOPBACK, MATRIX
from tests.harness.callers import RBAC
from tests.harness.cluster import CRD, Cluster
from tests.harness.documents import read_yaml
from tests.harness.helm import CHART, Document, Helm, Rendering, apply, run
from tests.harness.kube import API, Kube
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.reviews import AUDIENCE
from tests.harness.service import Service, Watcher, lifecycle
from tests.harness.waiting import until

VERSIONS = (
    "v1",
    "apps/v1",
    "autoscaling/v2",
    "networking.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
)
"""Of the APIs that the chart's objects belong to."""

Grant = tuple[str, str, str]
"""Group, resource (with its subresource), verb."""


@dataclass
class Site:
    """Where the chart is installed: a real API server, and a kubectl."""

    server: RealCluster
    kubeconfig: Path
    kube: Kube
    kubectl: Path
    served: set[str] = field(default_factory=set)

    async def create(self, documents: list[Document]) -> None:
        """Create accounts, roles and their bindings."""
        for one in documents:
            namespace = one["metadata"].get("namespace")
            home = f"/namespaces/{namespace}" if namespace else ""
            prefix = "/apis" if "/" in one["apiVersion"] else "/api"
            path = f"{prefix}/{one['apiVersion']}{home}/{one['kind'].lower()}s"
            answer = await self.kube.request("POST", path, one)
            assert answer.status == HTTPStatus.CREATED, answer.body

    def apply(self, documents: list[Document], *options: str) -> str:
        """Apply objects with kubectl, and expect no warning."""
        return apply(self.kubectl, self.kubeconfig, documents, *options)

    @property
    def new_enough(self) -> bool:
        """Whether the chart supports this release; it does not support Debian's fallback release."""
        return "policy/v1 PodDisruptionBudget" in self.served

    def known(self, documents: list[Document]) -> list[Document]:
        """Return the objects whose API this server serves."""
        return [one for one in documents if f"{one['apiVersion']} {one['kind']}" in self.served]


@pytest.fixture(scope="module")
async def site(real_cluster: Cluster[RealCluster], kubectl: Path) -> Site:
    found = Site(real_cluster.server, real_cluster.kubeconfig, real_cluster.kube, kubectl)
    for version in VERSIONS:
        prefix = "/apis" if "/" in version else "/api"
        answer = await found.kube.request("GET", f"{prefix}/{version}")
        if answer.status == 200:
            found.served |= {f"{version} {one['kind']}" for one in answer.body["resources"]}
    return found


async def test_the_api_server_accepts_every_object(site: Site, helm: Helm) -> None:
    """All renderings at once: nothing is stored, so objects of one name do not disturb one another."""
    namespace = await site.kube.fresh_namespace()
    documents: dict[str, Document] = {}
    for values in MATRIX.values():
        for one in helm.render(values).documents:
            if "namespace" in one["metadata"]:
                one["metadata"]["namespace"] = namespace
            documents[json.dumps(one)] = one
    known = site.known([*documents.values()])
    left_out = {one["kind"] for one in documents.values() if one not in known}
    of_others = {"PodMonitor", "PrometheusRule"}
    assert left_out <= (
        of_others if site.new_enough else {*of_others, "PodDisruptionBudget", "HorizontalPodAutoscaler"}
    )
    assert len(known) > 3 * len(MATRIX)
    crd = read_yaml(CRD)
    crd["spec"]["group"] = f"{namespace}.example.com"  # its own is there already
    crd["metadata"]["name"] = f"agentteams.{namespace}.example.com"
    said = site.apply([*known, crd], "--dry-run=server")
    assert len(said.splitlines()) == len(known) + 1


async def test_two_releases_can_be_installed_upgraded_and_uninstalled_together(
    site: Site, helm: Helm
) -> None:
    if not site.new_enough:
        pytest.skip("the chart is for a later Kubernetes than Debian's packages hold")
    namespace = await site.kube.fresh_namespace()

    def do(verb: str, release: str, *options: str) -> None:
        where = ("--namespace", namespace, "--kubeconfig", str(site.kubeconfig))
        given = () if verb == "uninstall" else (str(CHART),)
        run(helm.path, verb, release, *given, *where, *options)

    async def replicas(release: str) -> int:
        name = f"{release}-agentteam-delivery"
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        found = await site.kube.request("GET", path)
        return int(found.body["spec"]["replicas"]) if found.status == 200 else 0

    do("install", "one", "--set", f"callerClusterRole.name={namespace}")
    do("install", "two", "--set", "callerClusterRole.create=false")
    do("upgrade", "one", "--set", "callerClusterRole.create=false,replicaCount=5,watcher.enabled=false")
    assert (await replicas("one"), await replicas("two")) == (5, 2)
    do("uninstall", "one")
    do("uninstall", "two")
    assert (await replicas("one"), await replicas("two")) == (0, 0)


@dataclass(frozen=True)
class Installed:
    """The chart's account and permissions on the API server, and the two processes that use them."""

    site: Site
    rendering: Rendering
    namespace: str
    config: Path
    token: Path
    since: int

    @property
    def account(self) -> str:
        name = self.rendering.pods[0]["serviceAccountName"]
        return f"system:serviceaccount:{self.namespace}:{name}"

    @property
    def kube(self) -> Kube:
        return self.site.kube

    def settings(self) -> dict[str, str]:
        """The rendered settings, as the test harness passes them; the ports are free ones."""
        data = self.rendering.settings
        return {name.removeprefix("DELIVERY_").lower(): value for name, value in data.items()}

    def asked(self) -> list[Document]:
        """The permissions that the account has used since it was installed."""
        return [
            one
            for one in self.site.server.audit[self.since :]
            if one["user"]["username"] == self.account and "objectRef" in one
        ]

    def used(self) -> set[Grant]:
        """The permissions used by the account: on the API server, and on the service, which checks them."""
        own = {_grant(one["objectRef"], one["verb"]) for one in self.asked()}
        return own | {_grant(attributes, attributes["verb"]) for attributes, _ in self.reviewed()}

    def refused(self) -> list[Grant]:
        """The requests of the account that either refused."""
        own = [
            _grant(one["objectRef"], one["verb"])
            for one in self.asked()
            if one["annotations"]["authorization.k8s.io/decision"] != "allow"
        ]
        return own + [_grant(asked, asked["verb"]) for asked, allowed in self.reviewed() if not allowed]

    def reviewed(self) -> list[tuple[Document, bool]]:
        """The permissions that the service checked for the account, and the results."""
        reviews = [one for one in self.asked() if one["objectRef"]["resource"] == "subjectaccessreviews"]
        return [
            (
                one["requestObject"]["spec"]["resourceAttributes"],
                one.get("responseObject", {}).get("status", {}).get("allowed", False),
            )
            for one in reviews
            if one.get("requestObject", {}).get("spec", {}).get("user") == self.account
        ]


def _grant(place: Document, verb: str) -> Grant:
    subresource = place.get("subresource")
    resource = f"{place['resource']}/{subresource}" if subresource else str(place["resource"])
    return str(place.get("apiGroup", place.get("group", ""))), resource, verb


def granted(rendering: Rendering) -> set[Grant]:
    """The permissions that the chart grants."""
    return {
        (group, resource, verb)
        for rule in rendering.rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def installed(
    site: Site, helm: Helm, folder: Path, *, without: int | None = None, settings: Document | None = None
) -> Installed:
    """Install the account in its own namespace with all permissions, or all but one rule."""
    namespace = await site.kube.fresh_namespace()
    values = {
        "settings": {**LOOPBACK, **(settings or {})},
        "callerClusterRole": {"create": False},
        "fullnameOverride": namespace,
    }
    rendering = helm.render(values, "--namespace", namespace)
    if without is not None:
        rule = rendering.rules[without]
        for role in [*rendering.of("ClusterRole"), *rendering.of("Role")]:
            if rule in role["rules"]:
                role["rules"].remove(rule)
    kinds = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    await site.create([one for one in rendering.installed if one["kind"] in kinds])

    account = rendering.pods[0]["serviceAccountName"]
    config = yaml.safe_load(site.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": await site.kube.account_token(namespace, account, API)}
    path = folder / "account"
    path.write_text(yaml.safe_dump(config))
    own = folder / "token"
    own.write_text(await site.kube.account_token(namespace, account, AUDIENCE))
    return Installed(site, rendering, namespace, path, own, len(site.server.audit))


async def exercise(found: Installed, teams: str) -> None:
    """Deliver, read and redeliver a team with the chart's account, which must use all its permissions.

    Raises:
        AssertionError: a permission is missing, or was granted and not used.
    """
    settings = found.settings() | {"host": "127.0.0.1", "events": "all"}
    own = {"Authorization": f"Bearer {found.token.read_text()}"}
    async with (
        Receiver() as hook,
        Service(found.config, **settings) as service,
        Watcher(found.config, service.url, token_file=found.token, **settings),
    ):
        await found.kube.secret(teams, "keys", {"url": f"{hook.url}/hidden"})
        targets = [{"type": "webhook", "name": "hook", "credentialsSecret": "keys"}]
        await found.kube.team(teams, "report", lifecycle(*targets))
        await found.kube.finish(teams, "report")

        async def told(times: int) -> bool:
            assert not found.refused()
            listed = (await found.kube.list("events", teams)).body["items"]
            return [event["count"] for event in listed if event["reason"] == "Delivered"] == [times]

        await until(lambda: told(1), 30)
        answer = await service.request("GET", f"/deliveries/{teams}/report", headers=own)
        assert (answer.status, answer.body["phase"]) == (200, "Delivered")
        body = {"namespace": teams, "team": "report", "redeliver": "all"}
        answer = await service.request("POST", "/deliveries", headers=own, json=body)
        assert (answer.status, answer.body["phase"]) == (200, "Delivered")
        await until(lambda: told(2), 30)
        assert [request.path for request in hook.requests] == ["/hidden", "/hidden"]
    assert not found.refused()
    assert found.used() == granted(found.rendering)


async def test_a_delivery_uses_every_permission_of_the_chart_and_no_other(
    site: Site, helm: Helm, tmp_path: Path
) -> None:
    found = await installed(site, helm, tmp_path)
    await exercise(found, await site.kube.fresh_namespace())
    kinds = {role["kind"] for role in [*found.rendering.of("ClusterRole"), *found.rendering.of("Role")]}
    assert kinds == {"ClusterRole"}


async def test_permissions_in_the_listed_namespaces_are_sufficient(
    site: Site, helm: Helm, tmp_path: Path
) -> None:
    teams, elsewhere = await site.kube.fresh_namespace(), await site.kube.fresh_namespace()
    found = await installed(site, helm, tmp_path, settings={"namespaces": [teams]})
    await exercise(found, teams)
    async with Kube(found.config) as account:
        assert (await account.list("agentteams", teams)).status == 200
        assert (await account.list("agentteams", elsewhere)).status == 403
        assert (await account.get("secrets", elsewhere, "keys")).status == 403
        assert (await account.list("agentteams")).status == 403


RULES = 7


@pytest.mark.parametrize("rule", range(RULES))
async def test_a_delivery_fails_without_any_one_of_the_rules(
    site: Site, helm: Helm, tmp_path: Path, rule: int
) -> None:
    found = await installed(site, helm, tmp_path, without=rule)
    assert len(found.rendering.rules) == RULES - 1
    with pytest.raises(AssertionError):
        await exercise(found, await site.kube.fresh_namespace())
    assert found.refused()


async def test_a_permission_that_is_not_used_fails_the_check(site: Site, helm: Helm, tmp_path: Path) -> None:
    found = await installed(site, helm, tmp_path)
    found.rendering.one("ClusterRole")["rules"].append(
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    )
    with pytest.raises(AssertionError, match="pods"):
        await exercise(found, await site.kube.fresh_namespace())


async def test_the_account_can_do_nothing_else(site: Site, helm: Helm, tmp_path: Path) -> None:
    found = await installed(site, helm, tmp_path)
    teams = await site.kube.fresh_namespace()
    await site.kube.secret(teams, "keys", {"url": "https://hooks.example.com"})
    await site.kube.team(teams, "report", lifecycle({"type": "webhook", "credentialsSecret": "keys"}))
    secrets, pods = f"/api/v1/namespaces/{teams}/secrets", f"/api/v1/namespaces/{teams}/pods"
    async with Kube(found.config) as account:
        refused: list[tuple[str, str, Any]] = [
            ("GET", pods, None),
            ("POST", pods, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}),
            ("GET", secrets, None),
            ("GET", "/api/v1/secrets", None),
            ("POST", secrets, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}}),
            ("PUT", f"{secrets}/keys", {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "keys"}}),
            ("DELETE", f"{secrets}/keys", None),
            ("DELETE", account.path("agentteams", teams, "report"), None),
            ("GET", "/api/v1/nodes", None),
            ("GET", f"{RBAC}/clusterroles", None),
            ("GET", f"/api/v1/namespaces/{teams}/events", None),
            ("POST", f"/api/v1/namespaces/{found.namespace}/serviceaccounts/default/token", {}),
        ]
        for method, path, body in refused:
            assert (await account.request(method, path, body)).status == 403, (method, path)
        spec = await account.patch("agentteams", teams, "report", {"spec": {"lifecycle": None}})
        assert spec.status == 403
        assert (await account.get("secrets", teams, "keys")).status == 200


async def test_the_cluster_role_for_callers_gives_a_caller_access(
    site: Site, helm: Helm, tmp_path: Path
) -> None:
    found = await installed(site, helm, tmp_path)
    name = f"{found.namespace}-caller"
    [role] = [
        one
        for one in helm.render({"callerClusterRole": {"name": name}}).of("ClusterRole")
        if one["metadata"]["name"] == name
    ]
    teams = await site.kube.fresh_namespace()
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "c", "namespace": teams}}
    await site.create([role, account])
    token = await site.kube.account_token(teams, "c", AUDIENCE)
    settings = found.settings() | {"host": "127.0.0.1", "auth_cache": 0.1}
    async with Service(found.config, **settings) as service:

        async def status() -> int:
            own = {"Authorization": f"Bearer {token}"}
            return (await service.request("GET", f"/deliveries/{teams}/report", headers=own)).status

        assert await status() == 403
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "c", "namespace": teams},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "c", "namespace": teams}],
        }
        await site.create([binding])

        async def let_in() -> bool:
            return await status() == 404  # this team does not exist

        await until(let_in, 60)
        body = {"namespace": teams, "team": "report"}
        own = {"Authorization": f"Bearer {token}"}
        assert (await service.request("POST", "/deliveries", headers=own, json=body)).status == 404
