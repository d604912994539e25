"""The documents' installations, step by step, from an empty, real API server to a delivery.

After them, on the same API server, the blocks of pages that no other test runs.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import helm
from tests.docs.blocks import ROOT, Block, blocks
from tests.docs.checks.names import KEYS
from tests.docs.checks.runs import commands
from tests.docs.guides import run
from tests.harness.cluster import Cluster, prepared
from tests.harness.commands import forking
from tests.harness.fake_cluster import FakeCluster
from tests.harness.helm import CHART, Helm
from tests.harness.kube import API, Kube
from tests.harness.processes import free_ports
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.reviews import AUDIENCE
from tests.harness.service import LOOPBACK, Service, Watcher, lifecycle
from tests.harness.waiting import until, until_ready

__all__ = ["helm"]

pytestmark = pytest.mark.timeout(300)  # each starts an API server and runs many commands

NAMESPACE = "agentteam-delivery"
CHART_README = "charts/agentteam-delivery/README.md"
HIDDEN = "/services/T00/B00/hidden"
CHANGING = {"id", "timestamp", "deliveredAt"}
"""Fields of a record that are another each time."""

DOCKER = """#!/bin/sh
# No engine runs where tests do. What is pushed must have been built, from a folder with a Dockerfile.
case "$1" in
  build)
    shift
    if [ "$1" = --build-arg ]; then
      grep -q "^ARG ${{2%%=*}}=" Dockerfile && test -f "${{2#*=}}" || exit 2
      shift 2
    fi
    test "$1" = -t && test -f "$3/Dockerfile" && echo "$2" >> {folder}/built ;;
  push) grep -qx "$2" {folder}/built && echo "$2" >> {folder}/pushed ;;
  *) exit 2 ;;
esac
"""

HELM = """#!/bin/bash
# Helm waits for pods, which the test runs as processes. The API server here is older than the chart takes.
set -e
arguments=()
for argument; do
  case "$argument" in
    --wait) wait=yes ;;
    charts/agentteam-delivery | oci://registry.example.com/agents/charts/agentteam-delivery)
      arguments+=({folder}/chart --set podDisruptionBudget.enabled=false) ;;
    *) arguments+=("$argument") ;;
  esac
done
{helm} "${{arguments[@]}}"
[ -z "$wait" ] || {{ touch {folder}/installed; until [ -e {folder}/ready ]; do sleep 0.05; done; }}
"""

KUBECTL = """#!/bin/sh
# A way into a pod is a way to the process that stands for it, and nobody is here to empty a namespace.
case "$1 $2" in
  "port-forward "*) exec {kubectl} get "$4" -n "$3" -o name ;;
  "delete namespace") exec {kubectl} "$@" --wait=false ;;
esac
exec {kubectl} "$@"
"""


@dataclass
class Newcomer:
    """A new user with an empty cluster and the usual tools."""

    kube: Kube
    kubeconfig: Path
    folder: Path
    hook: Receiver
    commands: Path  # of the project
    more: dict[str, str]
    place: Path = ROOT  # where the commands are typed

    async def run(self, script: str) -> str:
        """Run commands, and return their output.

        Raises:
            AssertionError: one of them fails.
        """
        process = await self.start(script)
        out, err = await process.communicate()
        assert process.returncode == 0, (script, out.decode(), err.decode())
        return out.decode()

    async def start(self, script: str) -> Process:
        """Run commands in another terminal."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DELIVERY_")}
        own = {
            "PATH": f"{self.folder / 'bin'}:{self.commands}:{os.environ['PATH']}",
            "KUBECONFIG": str(self.kubeconfig),
            "REPOSITORY": "registry.example.com/agents",
            "IMAGE": "registry.example.com/agentteam-delivery",
            "SLACK_WEBHOOK_URL": self.hook.url + HIDDEN,
        }
        command = ["bash", "-euo", "pipefail", "-c", script]
        environment = {**kept, **own, **self.more}
        return await asyncio.create_subprocess_exec(
            *command, cwd=self.place, env=environment, stdout=PIPE, stderr=PIPE, start_new_session=True
        )

    async def installed(self) -> tuple[Path, dict[str, Any], Path]:
        """Wait until Helm has finished; return the account's kubeconfig, its settings and its token."""
        await until((self.folder / "installed").exists, 60)
        found = await self.kube.list("configmaps", NAMESPACE)
        [data] = [one["data"] for one in found.body["items"] if "DELIVERY_AUTH" in one.get("data", {})]
        settings = {
            name.removeprefix("DELIVERY_").lower(): value
            for name, value in data.items()
            if name not in LOOPBACK
        }
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAMESPACE}"
        deployment = (await self.kube.request("GET", path)).body
        account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": await self.kube.account_token(NAMESPACE, account, API)}
        own = self.folder / "account"
        own.write_text(yaml.safe_dump(config))
        token = self.folder / "token"
        token.write_text(await self.kube.account_token(NAMESPACE, account, AUDIENCE))
        return own, {**settings, "host": "127.0.0.1", "port": 0, "watch_port": 0}, token

    async def record(self, team: str) -> dict[str, Any]:
        """Return the only entry on record."""
        [entry] = await self.kube.delivery("research", team)
        return entry


def equip(folder: Path, kubectl: Path) -> None:
    """Put the tools of the trade into a folder, each with what it must know of the test."""
    chart = shutil.copytree(CHART, folder / "chart")
    manifest = chart / "Chart.yaml"
    manifest.write_text(re.sub("^kubeVersion:.*$", "", manifest.read_text(), flags=re.MULTILINE))
    paths = {"folder": folder, "helm": kubectl.with_name("helm"), "kubectl": kubectl}
    for name, text in {"docker": DOCKER, "helm": HELM, "kubectl": KUBECTL}.items():
        tool = folder / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(text.format(**paths))
        tool.chmod(0o755)


@pytest.fixture(scope="module")
async def server(apiserver: None) -> AsyncIterator[RealCluster]:
    """Start an API server for all walks, each of which finds it empty."""
    async with RealCluster() as server:
        yield server


@pytest.fixture
async def newcomer(server: RealCluster, kubectl: Path, tmp_path: Path) -> AsyncIterator[Newcomer]:
    """Give somebody an empty cluster and the tools of the trade."""
    equip(tmp_path, kubectl)
    kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
    async with Kube(kubeconfig) as kube, Receiver() as hook, forking() as commands:
        user = Newcomer(kube, kubeconfig, tmp_path, hook, commands, {})
        yield user
        await emptied(user)


async def emptied(user: Newcomer) -> None:
    """Delete what a walk has created, and the namespaces, which no controller empties here."""
    script = f"helm uninstall {NAMESPACE} --namespace {NAMESPACE} --ignore-not-found"
    await user.run(f"{script}\nkubectl delete crd agentteams.kagents.dev")
    kube = user.kube
    for name in ("research", NAMESPACE):
        for plural in ("secrets", "configmaps", "serviceaccounts", "events"):
            await kube.request("DELETE", kube.path(plural, name))
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings"
        await kube.request("DELETE", path)
        await kube.delete("namespaces", None, name)
        body = {"metadata": {"name": name}, "spec": {"finalizers": []}}
        await kube.put("namespaces", None, name, body, subresource="finalize")
        assert (await kube.get("namespaces", None, name)).status == 404


@contextlib.asynccontextmanager
async def pods(newcomer: Newcomer) -> AsyncIterator[None]:
    """Run the pods that Helm installed, as soon as they are there."""
    config, settings, token = await newcomer.installed()
    async with (
        Service(config, **settings) as service,
        Watcher(config, service.url, token_file=token, **settings),
    ):
        newcomer.more["DELIVERY_URL"] = service.url
        (newcomer.folder / "ready").touch()
        yield


def told(document: str, title: str = "") -> list[Block]:
    """Return a document's blocks, or those under one of its headings."""
    return [block for block in blocks() if block.document == document and title in {"", block.title}]


def installing(script: str) -> str:
    """Return the command that installs the chart, with its continuation lines."""
    [found] = re.findall(r"^helm install .*?[^\\]\n", script, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("source", [False, True], ids=["released", "source"])
async def test_the_readme_s_five_commands_end_with_a_delivery(newcomer: Newcomer, source: bool) -> None:
    block, _ = told("README.md", "From an empty cluster to delivered")
    assert block.language == "console"
    assert len(re.findall(r"^\S", block.text, re.MULTILINE)) == 5
    script = block.text
    if source:
        [instead] = told("README.md", "From source")
        script = script.replace(installing(script), instead.text)
    typed = asyncio.create_task(newcomer.run(script))
    async with pods(newcomer):
        assert "condition met" in await typed
    pushed = newcomer.folder / "pushed"
    image = f"registry.example.com/agentteam-delivery:{version('agentteam-delivery')}\n"
    assert (pushed.read_text() if pushed.exists() else "") == (image if source else "")
    assert [request.path for request in newcomer.hook.requests] == [HIDDEN]
    assert (await newcomer.record("report"))["phase"] == "Delivered"


async def test_the_tutorial_s_commands_print_what_it_shows(newcomer: Newcomer) -> None:
    shown = ""
    seen: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        for block in told("docs/tutorial.md"):
            seen.append(block.language)
            if block.language == "console" and block.text.startswith("export "):
                names = set(re.findall(r"^export (\w+)=", block.text, re.MULTILINE))
                assert names == {"REPOSITORY", "SLACK_WEBHOOK_URL"}
            elif "helm install" in block.text:
                typed = asyncio.create_task(newcomer.run(block.text))
                await stack.enter_async_context(pods(newcomer))
                await typed
            elif "pip install" in block.text:
                assert block.text.startswith("pip install agentteam-delivery\n"), "tests/release covers this"
                shown = await newcomer.run(block.text.partition("\n")[2])
            elif block.language == "console":
                shown = await newcomer.run(block.text)
            elif block.language == "text":
                assert block.text.rstrip() in shown.replace("\r", "")
            elif "status:" in block.text:
                found, expected = yaml.safe_load(shown)["status"], yaml.safe_load(block.text)["status"]
                assert found["phase"] == expected["phase"]
                [ours], [theirs] = found["delivery"], expected["delivery"]
                assert ours.keys() == theirs.keys()
                assert {k: v for k, v in ours.items() if k not in CHANGING} == {
                    k: v for k, v in theirs.items() if k not in CHANGING
                }
            else:
                sample = yaml.safe_load((ROOT / "samples/teams/slack.yaml").read_text())
                asked = yaml.safe_load(block.text)["spec"]["lifecycle"]
                assert asked == sample["spec"]["lifecycle"]
    assert {"console", "text", "yaml"} == set(seen)
    assert [request.path for request in newcomer.hook.requests] == [HIDDEN, HIDDEN]


async def test_a_checkout_runs_as_its_guide_says(newcomer: Newcomer) -> None:
    service, watcher, team = told("docs/how-to/run-from-a-checkout.md")
    ports = free_ports(2)
    newcomer.more.update(LOOPBACK)
    newcomer.more["DELIVERY_PORT"], newcomer.more["DELIVERY_WATCH_PORT"] = map(str, ports)
    newcomer.more["DELIVERY_URL"] = f"http://127.0.0.1:{ports[0]}"
    assert service.text.startswith("make setup\n"), "it has already run for these tests"
    async with contextlib.AsyncExitStack() as stack:
        for script, port in ((service.text.partition("\n")[2], ports[0]), (watcher.text, ports[1])):
            process = await newcomer.start(script)
            stack.push_async_callback(_end, process)
            await until_ready(f"http://127.0.0.1:{port}/readyz", 60)
        await newcomer.run(team.text)

        async def delivered() -> bool:
            return [one["phase"] for one in await newcomer.kube.delivery("research", "report")] == [
                "Delivered"
            ]

        await until(delivered)
    assert [request.path for request in newcomer.hook.requests] == [HIDDEN]


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()


@pytest.fixture(scope="module")
async def stocked(
    server: RealCluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster[RealCluster]]:
    """Install the CRD, after the walks that begin without it."""
    async with prepared(server, tmp_path_factory.mktemp("stocked")) as cluster:
        yield cluster


@pytest.fixture
async def user(stocked: Cluster[RealCluster], kubectl: Path, tmp_path: Path) -> AsyncIterator[Newcomer]:
    """Give somebody the tools of the trade, and a copy of the checkout to write files to."""
    equip(tmp_path, kubectl)
    (tmp_path / "ready").touch()  # Helm waits for nobody
    place = tmp_path / "checkout"
    shutil.copytree(ROOT / "charts", place / "charts")
    shutil.copytree(ROOT / "samples", place / "samples")
    for name in ("Dockerfile", "requirements-extras.txt"):
        shutil.copy(ROOT / name, place)
    async with Receiver() as hook, forking() as commands:
        yield Newcomer(stocked.kube, stocked.kubeconfig, tmp_path, hook, commands, {}, place)


def shown(document: str, language: str, title: str = "", **names: str) -> list[str]:
    """Return the blocks of a document in one language, with its names replaced by those of a test."""
    found = []
    for block in blocks():
        if (block.document, block.language) == (document, language) and title in {"", block.title}:
            text = block.text
            for name, other in names.items():
                text = text.replace(name, other)
            found.append(text)
    return found


async def installed(kube: Kube, plural: str) -> dict[str, Any]:
    """Read the installation's object of a kind."""
    group = {"deployments": "apps", "networkpolicies": "networking.k8s.io"}[plural]
    path = f"/apis/{group}/v1/namespaces/{NAMESPACE}/{plural}/{NAMESPACE}"
    return dict((await kube.request("GET", path)).body)


async def settings(kube: Kube) -> dict[str, str]:
    """Read the settings of the installation."""
    found = (await kube.list("configmaps", NAMESPACE)).body["items"]
    [data] = [one["data"] for one in found if "DELIVERY_AUTH" in one.get("data", {})]
    return dict(data)


async def test_the_chart_is_installed_and_upgraded_as_its_readme_says(user: Newcomer) -> None:
    kube = user.kube
    research, sales = await kube.fresh_namespace(), await kube.fresh_namespace()
    names = {"research": research, "sales": sales}
    released, source, rendered, upgrade, uninstall, let_in, grant = shown(CHART_README, "console", **names)
    callers, certificate = shown(CHART_README, "yaml")
    started = shown("README.md", "console", "From an empty cluster to delivered")[0]
    assert commands(released)[0] in commands(started), "which a walk runs; helm test needs a pod"

    # Without `helm install`, and then away with it; the CRD is there already.
    create, crd, apply = commands(rendered)
    assert crd in commands(started)
    await user.run("kubectl delete clusterrole agentteam-delivery-caller --ignore-not-found")
    await user.run(f"{create}\n{apply}")
    assert (await installed(kube, "deployments"))["spec"]
    await user.run(apply.replace("kubectl apply", "kubectl delete"))

    await user.run(source)
    [image, *_] = [
        one["image"]
        for one in (await installed(kube, "deployments"))["spec"]["template"]["spec"]["containers"]
    ]
    assert image in (user.folder / "pushed").read_text()
    await user.run(upgrade)
    (user.place / "callers.yaml").write_text(callers)
    await user.run(let_in + grant)
    asked, signed = yaml.safe_load(callers), yaml.safe_load(certificate)
    ingress = (await installed(kube, "networkpolicies"))["spec"]["ingress"]
    assert asked["networkPolicy"]["callers"] in [rule.get("from") for rule in ingress]
    assert signed["spec"]["secretName"] == asked["tls"]["secretName"]
    assert signed["spec"]["dnsNames"] == [f"{NAMESPACE}.{NAMESPACE}.svc"]

    # The guides that change values.
    (user.place / "ca.crt").write_text("x")
    guides = ("docs/how-to/in-cluster-receivers.md", "docs/how-to/multi-tenant.md")
    for guide, expected in zip(guides, ("10.96.44.7/32", f"{research},{sales}"), strict=True):
        (user.place / "values.yaml").write_text(shown(guide, "yaml", **names)[0])
        [change] = [one for one in shown(guide, "console", **names) if "helm upgrade" in one]
        await user.run(change)
        assert expected in (await settings(kube)).values()
    await user.run(uninstall)
    assert (await installed(kube, "deployments"))["reason"] == "NotFound"


async def test_targets_are_listed_and_values_taken_as_the_operator_s_guide_says(
    user: Newcomer, helm: Helm
) -> None:
    document, namespace = "docs/how-to/beside-the-operator.md", await user.kube.fresh_namespace()
    [columns, _, _, create, validate] = shown(document, "console", research=namespace)
    assert commands(create)[0] in commands(
        shown("README.md", "console", "From an empty cluster to delivered")[0]
    )
    for values, setting in zip(shown(document, "yaml"), ("ADOPT", "API_GROUP"), strict=True):
        [given] = yaml.safe_load(values)["settings"].values()
        assert helm.render(yaml.safe_load(values)).settings[f"DELIVERY_{setting}"] == given
    entry = {"type": "slack", "target": "#reports", "success": True, "deliveredAt": "2026-01-01T00:00:00Z"}
    await user.kube.team(namespace, "report", lifecycle({"type": "webhook", "url": "https://example.com"}))
    await user.kube.finish(namespace, "report", delivery=[entry])
    said = (await user.run(columns)).splitlines()
    assert [line.split() for line in said] == [
        ["TEAM", "PHASE", "TARGETS", "DELIVERED"],
        ["report", "Completed", "#reports", "true"],
    ]
    assert await user.run(validate) == "2 files checked, nothing to change\n"


async def test_the_record_in_the_readme_is_what_kubectl_prints(user: Newcomer) -> None:
    kube, namespace = user.kube, await user.kube.fresh_namespace()
    names = {"research": namespace, "https://hooks.example.com": user.hook.url}
    [session] = shown("README.md", "console", "agentteam-delivery", **names)
    [asked] = shown("README.md", "yaml", "Ask for delivery", **names)
    await kube.team(namespace, "report", yaml.safe_load(asked)["spec"])
    await kube.finish(namespace, "report")
    async with Service(user.kubeconfig) as service:
        await service.deliver(namespace, "report")
    typed, _, prints = session.removeprefix("$ ").partition("\n")
    found, expected = yaml.safe_load(await user.run(typed))["status"], yaml.safe_load(prints)["status"]
    assert found["phase"] == expected["phase"]
    for ours, theirs in zip(found["delivery"], expected["delivery"], strict=True):
        assert theirs.keys() <= ours.keys()
        assert all(ours[key] == value for key, value in theirs.items() if key not in CHANGING)


async def test_a_call_is_answered_and_a_webhook_gets_what_its_reference_shows(
    fake_cluster: Cluster[FakeCluster], tmp_path: Path
) -> None:
    kube = fake_cluster.kube
    artifact = {
        "name": "report.md",
        "path": "/r.md",
        "producedBy": "writer",
        "producedAt": "2026-11-28T02:59:00Z",
    }
    await kube.namespace("research")
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        await kube.team("research", "report", lifecycle({"type": "webhook", "url": hook.url}))
        await kube.finish("research", "report", artifacts=[artifact])
        [call] = shown("README.md", "console", "Call it", **{"http://127.0.0.1:8080": service.url})
        [samples] = shown("samples/README.md", "console", **{"http://127.0.0.1:8080": service.url})
        ran = await run(call, tmp_path)
        assert json.loads(ran.out)["phase"] == "Delivered"
        ran = await run(samples.replace(".venv/bin/", ""), ROOT)
        assert json.loads(ran.out.splitlines()[-1])["phase"] == "Delivered", ran
        [sent] = hook.requests
    [documented] = map(json.loads, shown("docs/reference/targets.md", "json"))
    received = json.loads(sent.body)
    assert list(documented) == list(received)
    assert [list(one) for one in documented["artifacts"]] == [list(one) for one in received["artifacts"]]


async def test_a_caller_gets_the_permission_that_the_security_page_grants(user: Newcomer) -> None:
    research, ops = await user.kube.fresh_namespace(), await user.kube.fresh_namespace()
    names = {"-n research": f"-n {research}", "-n ops": f"-n {ops}", "ops:": f"{ops}:"}
    grant, ask = shown("docs/explanation/security.md", "console", **names)
    [may] = shown("docs/how-to/troubleshoot.md", "console", "The service refuses a call", **names)
    await user.run(f"kubectl create serviceaccount my-controller -n {ops}")
    assert await user.run(f"{may.strip()} || true") == "no\n"
    await user.run(grant)
    assert await user.run(may) == "yes\n"
    payload = (await user.run(ask)).split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["aud"] == [NAMESPACE]


async def test_targets_for_email_and_google_drive_are_set_up_as_their_guide_says(
    user: Newcomer, helm: Helm
) -> None:
    document, namespace = "docs/how-to/email-and-google-drive.md", await user.kube.fresh_namespace()
    build, mail, drive = shown(document, "console", research=namespace)
    values, editors, archive = map(yaml.safe_load, shown(document, "yaml"))
    assert shown("docs/how-to/operate.md", "console", "Traces") == [build]
    (user.place / "service-account.json").write_text("{}")
    await user.run(build + mail + drive)
    for name in ("mail", "drive"):
        assert set((await user.kube.get("secrets", namespace, name)).body["data"]) <= KEYS
    assert helm.render(values).settings["DELIVERY_EMAIL"] == values["settings"]["email"]
    team = user.kube.team_document("report", lifecycle(*editors, *archive))
    (user.place / "team.yaml").write_text(yaml.safe_dump(team))
    await user.run(f"agentteam-delivery validate team.yaml && kubectl create -n {namespace} -f team.yaml")
