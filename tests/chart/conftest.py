"""The versions of Helm, and the values with which the chart is rendered."""

import os
import subprocess
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import pytest
import yaml

from tests.harness.cluster import CRD, Cluster
from tests.harness.helm import CHART, Document, Helm
from tests.harness.kube import CRDS, GROUP, TEAMS, Kube
from tests.harness.real_cluster import RealCluster
from tests.harness.waiting import until

PROGRAMS = Path(__file__).parents[1] / "harness/programs"

BACKENDS = (CHART.parents[1] / "docs/how-to/email-and-google-drive.md").read_text()

MATRIX: dict[str, Document] = {
    "nothing": {},
    "email, as its document has it": yaml.safe_load(
        "settings:" + BACKENDS.partition("```yaml\nsettings:")[2].partition("```")[0]
    ),
    "everything that can be off": {
        "serviceAccount": {"create": False, "name": "theirs"},
        "rbac": {"create": False},
        "callerClusterRole": {"create": False},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "watcher": {"enabled": False},
        "topologySpreadConstraints": [],
        "resources": {},
        "settings": {"allowPlainHttp": True},
    },
    "everything that can be on": {
        "replicaCount": 3,
        "nameOverride": "messages",
        "commonLabels": {"team": "platform"},
        "commonAnnotations": {"owner": "platform@example.com"},
        "image": {"repository": "registry.example.com:5000/team/delivery", "digest": f"sha256:{'ab' * 32}"},
        "imagePullSecrets": [{"name": "registry"}],
        "tls": {"secretName": "delivery-tls"},
        "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["hooks.corp.example"]}],
        "autoscaling": {"enabled": True, "targetMemoryUtilizationPercentage": 80},
        "networkPolicy": {
            "callers": [{"namespaceSelector": {"matchLabels": {"team": "platform"}}}],
            "scrapers": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "prometheus"}}}],
            "apiServerCidrs": ["192.0.2.10/32", "2001:db8::/64"],
            "apiServerPorts": [6443],
            "publicPorts": [443, 8443],
            "egressAllowPorts": [9000],
            "extraIngress": [{"from": [{"podSelector": {}}]}],
            "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 3128}]}],
        },
        "podDisruptionBudget": {"maxUnavailable": "25%"},
        "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
        "serviceAccount": {"annotations": {"a": "b"}},
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}, "selector": 'job="ops/x"'},
        "dashboard": {"enabled": True, "annotations": {"folder": "Agents"}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "extraEnv": [
            {
                "name": "DELIVERY_EGRESS_PROXY",
                "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}},
            }
        ],
        "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
        "extraVolumeMounts": [{"name": "authorities", "mountPath": "/authorities", "readOnly": True}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "settings": {
            "egressAllow": ["10.0.0.0/8", "fd00::/8"],
            "egressDeny": ["10.9.0.0/16"],
            "egressHttp": True,
            "egressCaFile": "/authorities/ca.crt",
            "egressNoProxy": ["svc.cluster.local", "10.0.0.0/8", "fd00::/8", ".bücher.example"],
            "secretLabel": "delivery=allowed",
            "phases": ["Completed", "Failed"],
            "waitLimit": 12.5,
            "drainTimeout": 30.5,
            "logFormat": None,
            "tracing": True,
        },
    },
    "two namespaces": {"settings": {"namespaces": ["research", "sales"]}},
    "two namespaces, no watcher": {
        "settings": {"namespaces": ["research", "sales"]},
        "watcher": {"enabled": False},
    },
    "no authentication": {"settings": {"auth": "none", "allowAnyone": True}},
    "no authentication, one namespace": {
        "settings": {"auth": "none", "allowAnyone": True, "namespaces": ["research"]}
    },
    "TLS by a public certificate authority": {"tls": {"secretName": "delivery-tls", "caKey": ""}},
    "TLS by a certificate authority in a ConfigMap": {
        "tls": {"secretName": "delivery-tls", "caKey": ""},
        "extraEnv": [{"name": "DELIVERY_CA_FILE", "value": "/authorities/ca.crt"}],
        "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
        "extraVolumeMounts": [{"name": "authorities", "mountPath": "/authorities", "readOnly": True}],
    },
    "TLS, no watcher": {"tls": {"secretName": "delivery-tls"}, "watcher": {"enabled": False}},
    "the older group": {"settings": {"apiGroup": "claude.amcheste.io"}},
    "a long name": {"fullnameOverride": "a" * 52},
    "an account of theirs": {"serviceAccount": {"create": False, "name": "theirs"}},
    "IPv6 alone": {"settings": {"host": "::"}},
}

LOOPBACK: Document = {"egressAllow": ["127.0.0.0/8"], "egressHttp": True, "slackHosts": ["127.0.0.1"]}
"""Settings with which receivers on this machine can be reached."""


@pytest.fixture(scope="session")
def helm(kubectl: Path) -> Helm:
    """The Helm version that is current."""
    return Helm(kubectl.with_name("helm"))


@pytest.fixture(scope="session")
def newest_helm3() -> Helm:
    """The newest Helm 3, built from its module; CI builds it."""
    verb = "build" if os.environ.get("CI") == "true" else "find"
    found = subprocess.run([PROGRAMS, verb, "newest", "helm"], check=False, stdout=subprocess.PIPE, text=True)
    if found.returncode and verb == "find":
        pytest.skip("no newest Helm 3: tests/harness/programs build newest helm makes it")
    assert found.returncode == 0, "CI requires the newest Helm 3; the output above says why it is missing"
    return Helm(Path(found.stdout.strip(), "helm"))


@pytest.fixture(scope="session")
def oldest_helm3(kubectl: Path) -> Helm:
    """The oldest Helm version that the chart supports."""
    path = kubectl.with_name("helm3")
    if not path.exists():
        pytest.skip("no helm3: tests/harness/kubectl fetch brings it")
    return Helm(path)


@pytest.fixture(scope="module")
async def without_crd(
    real_cluster: Cluster[RealCluster], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster[RealCluster]]:
    """Use the API without the project's CRD, which comes back after the module.

    kubectl remembers for hours which resources a server has. What it learns meanwhile, nobody else may read.
    """
    await remove_crd(real_cluster.kube, f"{TEAMS}.{GROUP}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("KUBECACHEDIR", str(tmp_path_factory.mktemp("kubectl")))
        yield real_cluster
    await remove_crd(real_cluster.kube, f"{TEAMS}.{GROUP}")
    await real_cluster.kube.install_crd(CRD)


async def remove_crd(kube: Kube, name: str) -> None:
    """Remove a CRD with its objects, and wait until it is gone."""
    await kube.delete(CRDS, None, name)

    async def gone() -> bool:
        return (await kube.get(CRDS, None, name)).status == HTTPStatus.NOT_FOUND

    await until(gone, 60)


@pytest.fixture(scope="session", params=["helm", "newest_helm3", "oldest_helm3"])
def any_helm(request: pytest.FixtureRequest) -> Helm:
    """Each in turn: the current Helm, the newest Helm 3, and the oldest that the chart supports."""
    found: Helm = request.getfixturevalue(request.param)
    return found
