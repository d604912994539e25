"""The image's steps, done in a clean root; and pods of the chart that run in it, on a real API server."""

import asyncio
import os
import shutil
import socket
import subprocess
from pathlib import Path

import aiohttp
import pytest
import trustme
import yaml

from tests.chart.conftest import LOOPBACK
from tests.harness import image as images
from tests.harness.cluster import Cluster
from tests.harness.helm import Document, Helm, Rendering, apply
from tests.harness.image import CONTEXT, Stage
from tests.harness.pod import Container, Kubelet
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.waiting import until

NOBODY = 65532


def unavailable(why: str) -> None:
    """Skip, or fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI tries the image: {why}")
    pytest.skip(f"the image is not tried: {why}")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Build it once."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        unavailable("run the tests as root, on Linux")
    return images.build(tmp_path_factory.mktemp("image"))


def inside(image: Stage, *command: str) -> str:
    """Run a command in the image as a container would, and return what it prints."""
    entered = image.entering(*command, read_only=True)
    return subprocess.run(entered, check=True, env=image.env, capture_output=True, text=True).stdout


def test_it_says_what_it_is(image: Stage) -> None:
    version = inside(image, *image.entrypoint, "version").strip()
    assert image.labels["org.opencontainers.image.version"] == version
    assert {"title", "description", "licenses"} <= {label.rpartition(".")[2] for label in image.labels}
    assert image.ports == [8080, 8081]


def test_it_runs_as_nobody_without_a_capability_and_can_write_nowhere(image: Stage) -> None:
    said = inside(image, "sh", "-c", "id -u; id -g; id -G; grep -E 'Cap|NoNewPrivs' /proc/self/status")
    user, group, groups, *status = said.splitlines()
    assert (user, group, groups) == (str(NOBODY),) * 3
    assert {line.split()[1] for line in status if line.startswith("Cap")} == {"0" * 16}
    assert "NoNewPrivs:\t1" in status
    places = "/ /tmp /opt/venv /opt/venv/bin /usr/local/lib /etc /usr"
    tried = f"for place in {places}; do if touch $place/x 2> /dev/null; then echo $place; fi; done"
    assert inside(image, "sh", "-c", tried) == ""


def test_its_files_are_the_user_s_own_and_not_to_be_written_to(image: Stage) -> None:
    for path in (image.root / "opt/venv").rglob("*"):
        found = path.lstat()
        assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY), path
        assert path.is_symlink() or not found.st_mode & 0o222, path


def test_no_build_tool_is_left_and_it_is_small(image: Stage) -> None:
    names = ("pip", "setuptools", "wheel", "hatchling", "uv", "pytest", "ensurepip")
    script = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    assert inside(image, "python", "-c", script).strip() == "[]"
    assert inside(image, "sh", "-c", "ls /opt/venv/bin /usr/local/bin | grep -E 'pip|wheel' || true") == ""
    assert [path.name for path in image.root.iterdir() if path.name in {"build", "app"}] == []
    size = sum(path.lstat().st_size for path in (image.root / "opt").rglob("*"))
    assert size < 120_000_000


@pytest.fixture
def kubelet(real_cluster: Cluster[RealCluster], image: Stage, tmp_path: Path) -> Kubelet:
    for port in image.ports:
        with socket.socket() as tried:
            if not tried.connect_ex(("127.0.0.1", port)):
                unavailable(f"port {port} is in use; end what listens there")
    return Kubelet(real_cluster.kube, image, tmp_path)


async def installed(kubelet: Kubelet, helm: Helm, kubectl: Path, values: Document) -> Rendering:
    """Install the chart in a namespace of its own, but for what only a cluster with pods makes use of."""
    namespace = await kubelet.kube.fresh_namespace()
    settings = {"host": "127.0.0.1", **LOOPBACK}
    ours = {"callerClusterRole": {"create": False}, "fullnameOverride": namespace, "settings": settings}
    rendering = helm.render({**ours, **values}, "--namespace", namespace)
    objects = [one for one in rendering.installed if one["kind"] != "PodDisruptionBudget"]
    await asyncio.to_thread(apply, kubectl, kubelet.kube.kubeconfig, objects)
    return rendering


async def delivered(kubelet: Kubelet, hook: Receiver) -> None:
    """Have the sample's team finish, and see it delivered."""
    kube = kubelet.kube
    namespace = await kube.fresh_namespace()
    [sample] = [
        one
        for one in yaml.safe_load_all((CONTEXT / "samples/delivery-team.yaml").read_text())
        if one["kind"] == "AgentTeam"
    ]
    targets = sample["spec"]["lifecycle"]["delivery"]
    for target in targets:
        if target["type"] == "webhook":
            target["url"] = hook.url
        if "credentialsSecret" in target:
            keys = {
                "slack-webhook-url": f"{hook.url}/slack",
                "signing-secret": "whsec_c2VjcmV0LWtleS1mb3ItdGVzdHM=",
            }
            await kube.secret(namespace, target["credentialsSecret"], keys)
    name = sample["metadata"]["name"]
    sample["metadata"] = {"name": name}
    assert (await kube.create("agentteams", namespace, sample)).status == 201
    await kube.finish(namespace, name)

    async def told() -> bool:
        events = (await kube.list("events", namespace)).body["items"]
        return bool(events)

    await until(told, 30)
    phases = {entry["type"]: entry["phase"] for entry in await kube.delivery(namespace, name)}
    assert {phases[kind] for kind in ("webhook", "slack")} == {"Delivered"}
    assert len(phases) == len({target["type"] for target in targets})


async def probe(container: Container, one: Document) -> None:
    """Ask what the kubelet asks, until it answers well; like the kubelet, without a look at certificates."""
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    async with aiohttp.ClientSession() as session:
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = one[name]["httpGet"]
            port = ports.get(asked["port"], asked["port"])
            url = f"{asked.get('scheme', 'HTTP').lower()}://127.0.0.1:{port}{asked['path']}"

            async def well(url: str = url) -> bool:
                async with session.get(url, ssl=False) as answer:
                    return answer.status == 200

            await until(well, 20)
    assert not container.ended


async def test_a_pod_of_the_chart_delivers_the_sample_and_ends_in_its_grace(
    kubelet: Kubelet, helm: Helm, kubectl: Path
) -> None:
    rendering = await installed(kubelet, helm, kubectl, {})
    deployment = rendering.one("Deployment")
    async with Receiver() as hook, kubelet.running(deployment) as containers:
        for one in rendering.pods[0]["containers"]:
            await probe(containers[one["name"]], one)
        await delivered(kubelet, hook)
        assert sorted(request.path for request in hook.requests) == ["/", "/slack"]
        grace = rendering.pods[0]["terminationGracePeriodSeconds"]
        async with asyncio.timeout(grace):
            assert [await one.stop() for one in containers.values()] == [0, 0]


async def test_with_tls_the_watcher_and_the_test_pod_trust_the_service_by_its_name(
    kubelet: Kubelet, helm: Helm, kubectl: Path
) -> None:
    authority = trustme.CA()
    rendering = await installed(kubelet, helm, kubectl, {"tls": {"secretName": "delivery-tls"}})
    deployment = rendering.one("Deployment")
    namespace = deployment["metadata"]["namespace"]
    leaf = authority.issue_cert(f"{namespace}.{namespace}.svc")
    await kubelet.kube.secret(
        namespace,
        "delivery-tls",
        {
            "tls.crt": b"".join(pem.bytes() for pem in leaf.cert_chain_pems),
            "tls.key": leaf.private_key_pem.bytes(),
            "ca.crt": authority.cert_pem.bytes(),
        },
    )
    async with Receiver() as hook, kubelet.running(deployment) as containers:
        for one in rendering.pods[0]["containers"]:
            await probe(containers[one["name"]], one)
        await delivered(kubelet, hook)

        # The cluster's DNS would know the Service's name; here the pod is told where it is.
        pod = rendering.one("Pod")["spec"] | {"hostAliases": rendering.pods[0]["hostAliases"]}
        tester = await kubelet.container(namespace, pod, pod["containers"][0])
        done = await asyncio.create_subprocess_exec(
            *tester.arguments(), env=tester.environment(), stdout=subprocess.PIPE
        )
        said, _ = await done.communicate()
        assert done.returncode == 0
        assert said.decode().startswith(f"https://{namespace}.{namespace}.svc:8080/readyz 200 ")
