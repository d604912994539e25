"""The image, built by a container engine and run as the chart runs it; its pods on a real API server."""

import asyncio
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import trustme
import yaml

from tests.chart.conftest import LOOPBACK
from tests.harness.cluster import Cluster
from tests.harness.engine import SCRIPT, Container, Engine, confined, held, mebibytes
from tests.harness.fake_cluster import FakeCluster
from tests.harness.helm import Document, Helm, Rendering, apply
from tests.harness.pod import Kubelet
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.waiting import until, until_ready

pytestmark = pytest.mark.timeout(
    1500
)  # the first build on a machine builds the replacement of the base image, and all layers

ROOT = Path(__file__).parents[2]
NOBODY = 65532
ADDED = 155  # MB that the image may add to its base
WHOLE = 315  # MB, the maximum for the whole image on disk
VENV = "/opt/venv"

Record = Callable[[str, object], None]


def unavailable(why: str) -> None:
    """Skip the test, or fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI tries the image: {why}")
    pytest.skip(f"the image is not tried: {why}")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Build the image, once for all tests."""
    lacking = subprocess.run([SCRIPT, "lacks"], check=False, stdout=subprocess.PIPE, text=True)
    if lacking.returncode:
        unavailable(lacking.stdout.strip())
    with held() as engine:
        yield engine


@pytest.fixture
def service(helm: Helm) -> list[str]:
    """The options with which the chart confines the service."""
    pod = helm.render().pods[0]
    return confined(pod, pod["containers"][0])


def test_the_image_s_labels_describe_it(engine: Engine, record_property: Record) -> None:
    stands_on = subprocess.run([SCRIPT, "base"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    record_property("image", f"built on {stands_on}")
    config = engine.inspect(engine.image)["Config"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert labels["version"] == engine.run([], "version").stdout.strip()
    assert {"title", "description", "licenses"} <= set(labels)
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8081/tcp"}
    assert config["User"] == f"{NOBODY}:{NOBODY}"


def test_the_image_runs_without_root_and_capabilities_and_can_write_nowhere(
    engine: Engine, service: list[str]
) -> None:
    said = engine.script(
        service,
        """
import os, pathlib
status = dict(line.split(":\t") for line in pathlib.Path("/proc/self/status").read_text().splitlines())
print(os.getuid(), os.getgid(), os.getgroups())
print({status[name] for name in status if name.startswith("Cap")}, status["NoNewPrivs"], status["Seccomp"])
for folder in "/", "/tmp", "/var/tmp", "/opt/venv", "/opt/venv/bin", "/usr/local/lib", "/etc", "/usr", "/run":
    try:
        pathlib.Path(folder, "x").touch()
    except OSError:
        continue
    print("written to:", folder)
""",
    )
    assert said == f"{NOBODY} {NOBODY} [{NOBODY}]\n{{'0000000000000000'}} 1 2\n"


def test_the_user_cannot_change_the_image_s_files_even_on_a_writable_root(
    engine: Engine,
) -> None:
    # The user owns or can write to nothing in the root file system except the usual temporary folders.
    rest = ["-c", "find / -xdev '(' -user 65532 -o -group 65532 -o -writable ')' ! -type l ! -path '/proc*'"]
    found = engine.run(["--entrypoint", "sh"], *rest).stdout.split()
    assert set(found) <= {"/tmp", "/var/tmp", "/run/lock"}  # noqa: S108  # only named

    said = engine.script(
        [],
        f"""
import os, pathlib
def changed(how, path, *arguments):
    try:
        how(path, *arguments)
    except PermissionError:
        return False
    return True
tried = 0
for path in [pathlib.Path("{VENV}"), *pathlib.Path("{VENV}").rglob("*")]:
    if path.is_symlink():
        continue
    tried += 1
    if changed(os.chmod, path, 0o777) or changed(os.rename, path, str(path) + ".x"):
        print("changed:", path)
    if path.is_dir():
        if changed(pathlib.Path.touch, path / "planted.py"):
            print("written into:", path)
    elif changed(open, path, "r+b"):
        print("written to:", path)
print(tried > 1000)
""",
    )
    assert said == "True\n"


def test_all_bytecode_is_hash_based_complete_and_current(engine: Engine) -> None:
    said = engine.script(
        [],
        f"""
import importlib.util, marshal, pathlib
seen = 0
library = pathlib.Path(importlib.util.__file__).parents[1]
for folder in pathlib.Path("{VENV}/lib"), library:
    for path in folder.rglob("*.pyc"):
        source = pathlib.Path(importlib.util.source_from_cache(str(path))).read_bytes()
        unchecked = importlib.util.MAGIC_NUMBER + bytes([1, 0, 0, 0])
        content = path.read_bytes()
        if content[:16] != unchecked + importlib.util.source_hash(source):
            print("not by hash:", path)
        marshal.loads(content[16:])
        seen += 1
for path in pathlib.Path("{VENV}/lib").rglob("*.py"):
    if not pathlib.Path(importlib.util.cache_from_source(str(path))).exists():
        print("without:", path)
print(seen > 1000)
""",
    )
    assert said == "True\n"


@pytest.mark.parametrize("command", ["serve", "watch"])
def test_a_start_compiles_nothing(engine: Engine, service: list[str], command: str) -> None:
    done = engine.run([*service, "--env", "PYTHONVERBOSE=1"], command)
    loaded = re.findall(r"^# code object from '?(/\S+?)'?$", done.stderr, re.MULTILINE)
    assert len(loaded) > 500
    assert [path for path in loaded if not path.endswith(".pyc")] == []


def test_no_build_tool_is_in_the_image(engine: Engine) -> None:
    names = ("pip", "setuptools", "wheel", "hatchling", "uv", "pytest", "ensurepip")
    script = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    assert engine.script([], script).strip() == "[]"
    assert engine.run(["--entrypoint", "ls"], f"{VENV}/bin", "/usr/local/bin").stdout.count("pip") == 0
    assert engine.run(["--entrypoint", "ls"], "/").stdout.split().count("build") == 0


def test_the_image_is_small(engine: Engine, record_property: Record) -> None:
    [base] = re.findall(r"^ARG BASE=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    whole = engine.inspect(engine.image)["Size"] / 1e6
    added = whole - engine.inspect(base)["Size"] / 1e6
    record_property("image", f"{whole:.0f} MB, of which {added:.0f} are not the base's")
    assert added < ADDED
    assert whole < WHOLE


@pytest.mark.parametrize(
    ("command", "settings", "said"),
    [
        ("serve", [], "DELIVERY_TLS_CERT_FILE"),
        ("serve", ["--env", "DELIVERY_ALLOW_PLAIN_HTTP=true"], "no Kubernetes API is configured"),
        ("watch", [], "no Kubernetes API is configured"),
    ],
)
def test_without_a_cluster_the_error_says_what_to_set(
    engine: Engine, service: list[str], command: str, settings: list[str], said: str
) -> None:
    done = engine.run([*service, *settings], command)
    assert (done.returncode, done.stdout) == (2, "")
    *_, last = done.stderr.splitlines()
    assert last.startswith("agentteam-delivery: ")
    assert said in last


async def test_each_idle_process_uses_less_memory_than_the_chart_requests(
    engine: Engine, helm: Helm, fake_cluster: Cluster[FakeCluster], tmp_path: Path, record_property: Record
) -> None:
    pod = helm.render().pods[0]
    kubeconfig = tmp_path / "for-anybody.yaml"
    kubeconfig.write_bytes(fake_cluster.kubeconfig.read_bytes())
    settings = {"AUTH": "none", "HOST": "127.0.0.1", "PORT": "0", "WATCH_PORT": "0"}
    variables = {f"DELIVERY_{name}": value for name, value in settings.items()}
    for one, started in zip(pod["containers"], ["serving", "watching"], strict=True):
        container = Container(
            command=one["args"][0],
            started=started,
            engine=engine,
            options=confined(pod, one),
            run=one["args"],
            named=f"idle-{one['name']}",
            variables={**variables, "KUBECONFIG": "/kubeconfig.yaml"},
            mounts={kubeconfig: "/kubeconfig.yaml"},
        )
        async with container:
            await until_ready(f"{container.url}/readyz")
            idle = container.held()
        record_property("image", f"{one['name']} holds {idle:.0f} MiB when idle")
        assert idle < mebibytes(one["resources"]["requests"]["memory"])


@pytest.fixture
def kubelet(real_cluster: Cluster[RealCluster], engine: Engine, tmp_path: Path) -> Kubelet:
    for port in (8080, 8081):  # the chart's
        with socket.socket() as tried:
            if not tried.connect_ex(("127.0.0.1", port)):
                unavailable(f"port {port} is in use; end what listens there")
    return Kubelet(real_cluster.kube, engine, tmp_path)


async def installed(kubelet: Kubelet, helm: Helm, kubectl: Path, values: Document) -> Rendering:
    """Install the chart in its own namespace, without the objects that only a cluster with pods uses."""
    namespace = await kubelet.kube.fresh_namespace()
    settings = {"host": "127.0.0.1", **LOOPBACK}
    ours = {"callerClusterRole": {"create": False}, "fullnameOverride": namespace, "settings": settings}
    rendering = helm.render({**ours, **values}, "--namespace", namespace)
    objects = [one for one in rendering.installed if one["kind"] != "PodDisruptionBudget"]
    await asyncio.to_thread(apply, kubectl, kubelet.kube.kubeconfig, objects)
    return rendering


async def delivered(kubelet: Kubelet, hook: Receiver) -> None:
    """Finish the sample's team, and check that it is delivered."""
    kube = kubelet.kube
    namespace = await kube.fresh_namespace()
    [sample] = [
        one
        for one in yaml.safe_load_all((ROOT / "samples/delivery-team.yaml").read_text())
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
    """Send the kubelet's probe until it succeeds; like the kubelet, without checking certificates."""
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


async def test_a_pod_of_the_chart_delivers_the_sample_and_ends_within_its_grace_period(
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


async def test_with_tls_the_watcher_and_the_test_pod_verify_the_service_by_its_name(
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

        # In a cluster, DNS knows the Service's name; here, the pod gets a hosts entry.
        pod = rendering.one("Pod")["spec"] | {"hostAliases": rendering.pods[0]["hostAliases"]}
        tester = await kubelet.container(namespace, pod, pod["containers"][0])
        done = await asyncio.create_subprocess_exec(
            *tester.arguments(), env=tester.environment(), stdout=subprocess.PIPE
        )
        said, _ = await done.communicate()
        assert done.returncode == 0
        assert said.decode().startswith(f"https://{namespace}.{namespace}.svc:8080/readyz 200 ")
