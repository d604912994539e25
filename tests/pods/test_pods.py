"""The chart in real pods: installed, called, upgraded, rolled back, killed, drained, isolated.

The tests follow one installation from its start to its end. Each leaves the installation working.
"""

import asyncio
import base64
import json
import os
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import trustme

from tests.harness.cluster import CRD
from tests.harness.helm import CHART
from tests.harness.kube import Document
from tests.harness.node import ADDRESS, Node
from tests.harness.processes import free_ports
from tests.harness.receiver import Receiver
from tests.harness.service import SCRIPT, lifecycle
from tests.harness.waiting import until

pytestmark = [pytest.mark.pods, pytest.mark.timeout(480)]

OPS, RELEASE = "ops", "agentteam-delivery"
PODS = "/api/v1/namespaces/ops/pods"
SELECTOR = "app.kubernetes.io/name=agentteam-delivery"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
TEAMS = "research"


@dataclass(frozen=True)
class Installation:
    """A release of the chart on the node, and a receiver on the node for its teams."""

    node: Node
    kubectl: Path
    hook: Receiver
    values: Document

    async def run(
        self, tool: str | Path, *arguments: str | Path, stdin: str = "", fails: bool = False
    ) -> str:
        """Run kubectl, Helm or a program with the admin's kubeconfig; return its output.

        If it must fail, its standard error is appended.
        """
        process = await asyncio.create_subprocess_exec(
            self.kubectl.with_name(tool) if isinstance(tool, str) else tool,
            *arguments,
            env=os.environ | {"KUBECONFIG": str(self.node.kubeconfig)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, said = (part.decode() for part in await process.communicate(stdin.encode()))
        assert (process.returncode != 0) is fails, f"{tool} {arguments}: {printed}\n{said}"
        return printed + said if fails else printed

    async def story(self) -> str:
        """Describe the pods, for the message of a failure."""
        parts = []
        for command in (
            ("get", "pods", "-A", "-o", "wide"),
            ("get", "events", "-n", OPS, "--sort-by=.lastTimestamp"),
            (
                "logs",
                "-n",
                OPS,
                "-l",
                SELECTOR,
                "--all-containers",
                "--tail=5",
                "--ignore-errors",
                "--prefix",
            ),
        ):
            process = await asyncio.create_subprocess_exec(
                *(self.kubectl, *command),
                env=os.environ | {"KUBECONFIG": str(self.node.kubeconfig)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            printed, _ = await process.communicate()
            parts.append(printed.decode())
        return "\n".join(parts)

    async def helm(
        self, verb: str, *options: str, values: Document | None = None, fails: bool = False
    ) -> str:
        """Install or upgrade the release with the current Helm, and wait for its pods."""
        where = ("--namespace", OPS, "--wait", "--values", "-", *options)
        given = json.dumps(self.values | (values or {}))
        try:
            return await self.run("helm", verb, RELEASE, CHART, *where, stdin=given, fails=fails)
        except AssertionError as error:
            error.add_note(await self.story())
            raise

    async def exec(self, pod: str, container: str, *command: str, fails: bool = False) -> str:
        """Run a command in a container."""
        return await self.run("kubectl", "exec", "-n", OPS, pod, "-c", container, "--", *command, fails=fails)

    async def pods(self) -> dict[str, Document]:
        """Return the release's ready pods by name, without those that are ending."""
        found = await self.node.kube.request("GET", PODS, params={"labelSelector": SELECTOR})
        return {
            one["metadata"]["name"]: one
            for one in found.body["items"]
            if "deletionTimestamp" not in one["metadata"] and _is_ready(one)
        }

    async def finish(self, *teams: str) -> None:
        """Create teams with two targets each at the receiver, and finish them."""
        for team in teams:
            targets = [
                {"type": "webhook", "name": name, "url": f"{self.hook.url}/{team}/{name}"} for name in "ab"
            ]
            await self.node.kube.team(TEAMS, team, lifecycle(*targets))
            await self.node.kube.finish(TEAMS, team)

    async def delivered(self, *teams: str, seconds: float = 60) -> None:
        """Wait until all targets of the teams are recorded as delivered."""

        async def all_are() -> bool:
            for team in teams:
                entries = await self.node.kube.delivery(TEAMS, team)
                if [one.get("phase") for one in entries] != ["Delivered", "Delivered"]:
                    return False
            return True

        await until(all_are, seconds)

    def sent(self, *teams: str) -> Counter[str]:
        """Count the requests for these teams by path."""
        return Counter(one.path for one in self.hook.requests if one.path.split("/")[1] in teams)


def _is_ready(pod: Document) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"


def each_once(*teams: str) -> Counter[str]:
    """The requests that the receiver gets if nothing is lost or duplicated."""
    return Counter(f"/{team}/{name}" for team in teams for name in "ab")


@pytest.fixture(scope="module")
async def installation(node: Node, kubectl: Path) -> AsyncIterator[Installation]:
    """Install the chart as a platform engineer does, in a namespace that enforces the restricted standard."""
    async with Receiver(host=ADDRESS) as hook:
        values = {
            "image": {"pullPolicy": "Never"},
            "settings": {
                "egressAllow": [f"{ADDRESS}/32"],
                "egressHttp": True,
                "allowPlainHttp": True,
                # so that a killed process's claims end within the test's time
                "attemptTimeout": 5,
                "targetTimeout": 15,
                "recordTimeout": 15,
            },
            "networkPolicy": {
                "egressAllowPorts": [hook.port],
                "apiServerCidrs": [f"{ADDRESS}/32"],
                "callers": [{"podSelector": {"matchLabels": {"may": "call"}}}],
            },
        }
        node.start_router()
        found = Installation(node, kubectl, hook, values)
        for name, labels in {OPS: RESTRICTED, TEAMS: {}}.items():
            await node.kube.create("namespaces", None, {"metadata": {"name": name, "labels": labels}})
        await found.run("kubectl", "create", "-f", CRD)
        await found.helm("install", "--timeout", "240s")
        await node.name_services()
        yield found


async def test_helm_installs_the_chart_waits_until_it_is_ready_and_tests_it(
    installation: Installation,
) -> None:
    assert len(await installation.pods()) == 2
    tested = await installation.run("helm", "test", RELEASE, "--namespace", OPS, "--timeout", "60s")
    assert "Succeeded" in tested


async def test_the_pods_run_without_root_and_can_write_nothing(installation: Installation) -> None:
    look = "import os; print(open('/proc/self/status').read())"
    for pod in await installation.pods():
        for container in ("service", "watcher"):
            printed = await installation.exec(pod, container, "python", "-c", look)
            status = dict(line.split(":\t", 1) for line in printed.splitlines() if ":\t" in line)
            assert status["Uid"].split() == ["65532"] * 4
            assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
            for place in ("/", "/tmp", "/opt/venv"):  # noqa: S108 - it is not written to
                write = f"open('{place}/written', 'w')"
                said = await installation.exec(pod, container, "python", "-c", write, fails=True)
                assert "Read-only file system" in said


async def test_the_watcher_and_the_service_deliver_a_finished_team(installation: Installation) -> None:
    await installation.finish("first")
    await installation.delivered("first")
    assert installation.sent("first") == each_once("first")


@asynccontextmanager
async def forwarded(installation: Installation) -> AsyncIterator[str]:
    """A port-forward to one pod, by the docs' command."""
    [port] = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        installation.kubectl,
        *("port-forward", "-n", OPS, "deployment/agentteam-delivery", f"{port}:8080"),
        env=os.environ | {"KUBECONFIG": str(installation.node.kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    assert b"Forwarding" in await asyncio.wait_for(process.stdout.readline(), 30)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def test_a_user_redelivers_through_a_port_forward(installation: Installation) -> None:
    await installation.run("kubectl", "create", "serviceaccount", "editor", "-n", TEAMS)
    role = ("--clusterrole=agentteam-delivery-caller", f"--serviceaccount={TEAMS}:editor")
    await installation.run("kubectl", "create", "rolebinding", "editor", "-n", TEAMS, *role)
    async with forwarded(installation) as url:
        asked = ("redeliver", "first", "--all", "-n", TEAMS, "--url", url, "--service-account", "editor")
        printed = await installation.run(SCRIPT, *asked)
    assert "Delivered" in printed
    assert installation.sent("first") == each_once("first") + each_once("first")


def _token_id(token: str) -> str:
    claims = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["jti"])


ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
OWN = "/var/run/secrets/agentteam-delivery/token"


async def test_tokens_that_the_kubelet_rotated_are_used(installation: Installation) -> None:
    """A restarted kubelet renews all tokens; otherwise it does so when most of their hour is over."""
    [pod, *_] = await installation.pods()

    async def tokens() -> list[str]:
        read = f"print(open('{ACCOUNT}').read()); print(open('{OWN}').read())"
        printed = await installation.exec(pod, "watcher", "python", "-c", read)
        return [_token_id(token) for token in printed.split()]

    def used() -> set[str]:
        key = "authentication.kubernetes.io/credential-id"
        asked = [one["user"].get("extra", {}).get(key, []) for one in installation.node.audit]
        return {name.removeprefix("JTI=") for names in asked for name in names}

    before = await tokens()
    installation.node.stop("kubelet")
    installation.node.start_kubelet()

    async def renewed() -> list[str]:
        try:
            now = await tokens()
        except AssertionError:  # the kubelet does not answer yet
            return []
        return [] if set(now) & set(before) else now

    account, _ = await until(renewed, 60)
    await until(lambda: account in used(), 120)  # both processes read it once a minute
    await installation.finish("renewed")
    await installation.delivered("renewed")


async def test_an_upgrade_with_a_wrong_setting_causes_no_outage_and_can_be_rolled_back(
    installation: Installation,
) -> None:
    before = set(await installation.pods())
    wrong = {"extraEnv": [{"name": "DELIVERY_EGRESS_PROXY", "value": "nonsense"}]}
    await installation.helm("upgrade", "--timeout", "10s", values=wrong, fails=True)
    logs = ("logs", "-n", OPS, "-l", SELECTOR, "-c", "service", "--tail=5", "--ignore-errors")

    async def says_what_is_wrong() -> bool:
        return "DELIVERY_EGRESS_PROXY" in await installation.run("kubectl", *logs)

    await until(says_what_is_wrong, 60)
    await installation.finish("meanwhile")
    await installation.delivered("meanwhile")
    await installation.run("helm", "rollback", RELEASE, "--namespace", OPS, "--wait", "--timeout", "60s")
    assert set(await installation.pods()) == before
    assert installation.sent("meanwhile") == each_once("meanwhile")


async def test_a_rollout_while_teams_finish_sends_each_notification_once(
    installation: Installation,
) -> None:
    before = set(await installation.pods())
    teams = [f"rollout-{number}" for number in range(30)]
    logs = ("logs", "-n", OPS, "-l", SELECTOR, "--all-containers", "--prefix", "--ignore-errors", "--tail=-1")
    of_old_pods = asyncio.create_task(installation.run("kubectl", *logs, "--follow", "--max-log-requests=8"))
    await installation.run("kubectl", "rollout", "restart", "-n", OPS, "deployment/agentteam-delivery")

    async def finish_them() -> None:
        for team in teams:
            await installation.finish(team)
            await asyncio.sleep(0.3)  # so that teams finish during the whole rollout

    status = ("rollout", "status", "-n", OPS, "deployment/agentteam-delivery", "--timeout=120s")
    await asyncio.gather(finish_them(), installation.run("kubectl", *status))
    await installation.delivered(*teams)
    assert not set(await installation.pods()) & before
    sent = installation.sent(*teams)
    again = {path.split("/")[1] for path, times in sent.items() if times > 1}
    lines = (await of_old_pods + await installation.run("kubectl", *logs)).splitlines()
    assert not again, "\n".join(line for line in lines if any(f'"{team}"' in line for team in again))
    assert sent == each_once(*teams)


async def test_killed_containers_restart_and_nothing_is_lost(installation: Installation) -> None:
    teams = [f"killed-{number}" for number in range(10)]
    await asyncio.gather(*(installation.finish(team) for team in teams))
    killed = 0
    for process in psutil.process_iter(["cmdline", "uids"]):
        command = process.info["cmdline"] or []
        if command[-1:] == ["serve"] and process.info["uids"].real == 65532:
            process.send_signal(signal.SIGKILL)
            killed += 1
    assert killed >= 2  # one more if a pod is still ending
    await installation.delivered(*teams, seconds=120)
    sent = installation.sent(*teams)
    assert set(sent) == set(each_once(*teams))
    ids: dict[str, set[str]] = {}
    for one in installation.hook.requests:
        ids.setdefault(one.path, set()).add(one.headers["webhook-id"])
    assert all(len(ids[path]) == 1 for path in sent)  # a duplicate has the first id

    async def both_are_back() -> bool:
        return len(await installation.pods()) == 2

    await until(both_are_back, 60)
    statuses = [
        one for pod in (await installation.pods()).values() for one in pod["status"]["containerStatuses"]
    ]
    assert Counter(one["name"] for one in statuses if one["restartCount"]) == {"service": 2}


async def test_pods_of_a_drained_node_are_replaced_one_by_one(installation: Installation) -> None:
    before = set(await installation.pods())
    teams = [f"drained-{number}" for number in range(10)]
    drain = ("drain", "node", "--pod-selector", SELECTOR, "--delete-emptydir-data", "--timeout=120s")
    draining = asyncio.create_task(installation.run("kubectl", *drain))

    async def cordoned() -> bool:
        node = await installation.node.kube.request("GET", "/api/v1/nodes/node")
        return bool(node.body["spec"].get("unschedulable"))

    await until(cordoned)
    for team in teams:
        await installation.finish(team)
    assert await installation.pods()  # the disruption budget keeps one
    await installation.run("kubectl", "uncordon", "node")  # the only node: it takes the new pods
    await draining
    await installation.delivered(*teams)

    async def replaced() -> bool:
        now = set(await installation.pods())
        return len(now) == 2 and not now & before

    await until(replaced, 60)
    assert installation.sent(*teams) == each_once(*teams)


STRANGER = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=4)
except OSError as error:
    print("no way", type(error).__name__)
else:
    print("connected")
"""


async def test_the_network_policy_permits_only_the_peers_that_the_chart_names(
    installation: Installation,
) -> None:
    values = await installation.run("helm", "get", "values", RELEASE, "-n", OPS, "--all", "-o", "json")
    chart = json.loads(values)
    [pod, *_] = (await installation.pods()).values()
    image = pod["spec"]["containers"][0]["image"]
    for name, labels in {"friend": {"may": "call"}, "stranger": {"may": "not"}}.items():
        container = {
            "name": "main",
            "image": image,
            "imagePullPolicy": "Never",
            "command": ["python", "-c", "import time; time.sleep(300)"],
            "securityContext": chart["securityContext"],
        }
        spec = {
            "containers": [container],
            "securityContext": chart["podSecurityContext"],
            "terminationGracePeriodSeconds": 0,
        }
        made = await installation.node.kube.request(
            "POST", PODS, {"metadata": {"name": name, "labels": labels}, "spec": spec}
        )
        assert made.status == 201, made.body
    await installation.run(
        "kubectl", "wait", "-n", OPS, "--for=condition=Ready", "pod/friend", "pod/stranger", "--timeout=60s"
    )

    async def reaches(pod: str, container: str, host: str, port: int) -> bool:
        printed = await installation.exec(pod, container, "python", "-c", STRANGER, host, str(port))
        return printed.strip() == "connected"

    async def in_force() -> bool:
        return await reaches("friend", "main", RELEASE, 8080)

    await until(in_force, 60)  # rules follow a pod within seconds
    assert not await reaches("stranger", "main", RELEASE, 8080)
    assert not await reaches("friend", "main", RELEASE, 8081)  # metrics, only for scrapers
    async with Receiver(host=ADDRESS) as unnamed:
        assert await reaches("stranger", "main", ADDRESS, unnamed.port)  # which no policy restricts
        [name, *_] = await installation.pods()
        assert await reaches(name, "service", ADDRESS, installation.hook.port)
        assert not await reaches(name, "service", ADDRESS, unnamed.port)


async def test_a_renewed_certificate_is_used_without_a_restart(installation: Installation) -> None:
    authority = trustme.CA()
    host = f"{RELEASE}.{OPS}.svc"

    async def renew() -> bytes:
        leaf = authority.issue_cert(host)
        chain = b"".join(one.bytes() for one in leaf.cert_chain_pems)
        data = {
            "tls.crt": chain,
            "tls.key": leaf.private_key_pem.bytes(),
            "ca.crt": authority.cert_pem.bytes(),
        }
        await installation.node.kube.secret(OPS, "delivery-tls", data)
        return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())

    async def served() -> set[bytes | None]:
        found = set()
        for pod in (await installation.pods()).values():
            context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
            address = (pod["status"]["podIP"], 8080)
            _, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=host)
            found.add(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            writer.close()
        return found

    first = await renew()
    await installation.helm("upgrade", "--timeout", "240s", values={"tls": {"secretName": "delivery-tls"}})
    assert await served() == {first}
    before = set(await installation.pods())
    second = await renew()

    async def both_serve_it() -> bool:
        return await served() == {second}

    await until(both_serve_it, 90)
    await installation.finish("over-tls")
    await installation.delivered("over-tls")
    assert set(await installation.pods()) == before
    tested = await installation.run("helm", "test", RELEASE, "--namespace", OPS, "--timeout", "60s")
    assert "Succeeded" in tested
