"""A complete delivery with real processes on loopback: a team completes, and its targets are notified.

The Kubernetes API is a fake, or a real one if KUBEBUILDER_ASSETS names a folder with kube-apiserver and etcd.
The receivers are in this process. `serve` and `watch` are the programs that run in a cluster.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yaml
from aiohttp import web

from samples.display import Display
from samples.processes import ROOT, Processes, Trouble
from tests.harness.kube import TEAMS, Answer, Document, Documents, Kube
from tests.harness.receiver import Received, Receiver

SAMPLE = Path("samples/delivery-team.yaml")
CRD = ROOT / "charts/agentteam-delivery/crd/agentteams.yaml"
APISERVER = ROOT / "tests/harness/apiserver"
SERVICE = Path(sys.executable).with_name("agentteam-delivery")

SETTINGS = {
    "DELIVERY_AUTH": "none",  # the watcher next to it is the only caller
    "DELIVERY_EGRESS_ALLOW": "127.0.0.0/8",  # the receivers are local,
    "DELIVERY_EGRESS_HTTP": "true",  # do not use TLS,
    "DELIVERY_SLACK_HOSTS": "127.0.0.1",  # and one of them replaces Slack
    "DELIVERY_PORT": "0",  # any free port
    "DELIVERY_WATCH_PORT": "0",
}
EXPECTED = {
    **dict.fromkeys(("webhook", "slack"), "Delivered"),
    **dict.fromkeys(("email", "google-drive"), "NotImplemented"),
}
"""The expected reason for each type of target."""

WORK = {
    "estimatedCost": "4.50",
    "totalTokensUsed": 1_482_000,
    "tasks": {"total": 7, "completed": 7, "inProgress": 0, "pending": 0},
}
"""What the team has done, as its operator reports it."""

MADE = {"report.md": "writer", "figures.csv": "analyst"}
"""The files that it wrote, and their authors."""

UP_AND_DOWN = """
trap '"$0" down "$1"' EXIT
trap exit TERM
"$0" up "$1" || exit
sleep infinity & wait
"""
"""Combines `apiserver up` and `apiserver down` in one process, which ends after both its servers."""


class Interrupted(Exception):
    """A signal requested the end."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"Stopped by {number.name}; nothing is left running.")
        self.exit_code = 128 + number  # as shells report it


def main() -> int:
    """Run the demo, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m samples.demo", description="Shows the main job at work.")
    parser.add_argument("--sample", type=Path, default=SAMPLE, metavar="FILE", help="the team: %(default)s")
    options = parser.parse_args()
    try:
        return asyncio.run(_run(options.sample))
    except KeyboardInterrupt:  # before anything was started
        return Interrupted(signal.SIGINT).exit_code


async def _run(sample: Path) -> int:
    display = Display()
    with TemporaryDirectory(prefix="agentteam-demo-") as folder:
        processes = Processes(Path(folder))
        async with Receiver(respond=_received) as webhook, Receiver() as slack:
            try:
                with processes:
                    story = _deliver(sample, processes, display, webhook.url, slack.url)
                    team = await _interruptible(story)
            except Interrupted as interrupted:
                display.closing(str(interrupted))
                return interrupted.exit_code
            except (Trouble, AssertionError, aiohttp.ClientError, OSError) as error:
                display.trouble([str(error) or repr(error)], processes.programs)
                return 1
        display.webhook(map(_receipt, webhook.requests))
        display.slack(map(_receipt, slack.requests))
        display.ledger(team)
        if faults := list(_faults(team, webhook=len(webhook.requests), slack=len(slack.requests))):
            display.trouble(faults, processes.programs)
            return 1
        display.closing(
            f"Done in {display.elapsed}: each notification arrived once, and targets without a backend failed"
            " as they should."
        )
        return 0


async def _interruptible(story: Coroutine[Any, Any, Document]) -> Document:
    """Let a signal end the story, but not the cleanup after it."""
    task = asyncio.create_task(story)
    caught: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        caught.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not caught:
            raise
        raise Interrupted(caught[0]) from None


async def _deliver(
    sample: Path, processes: Processes, display: Display, webhook: str, slack: str
) -> Document:
    """Start everything, complete a team as its operator would, and return it when its targets are settled.

    Processes start in parallel: first start them all, then wait for each.
    """
    team = _read(sample)
    display.title(f"A team completes, and its {len(_targets(team))} targets are notified")
    with display.busy():
        kind, kubeconfig = _start_kubernetes(processes)
        await processes.text(kubeconfig)
        environment = SETTINGS | {"KUBECONFIG": str(kubeconfig)}
        serve = processes.start("serve", SERVICE, "serve", **environment)
        async with Kube(kubeconfig) as kube:
            display.step(f"Kubernetes API, {kind}", kube.url)
            display.step("Receiver for the webhook", webhook)
            display.step("Receiver in Slack's place", slack)
            await _prepare(kube, team, slack)
            display.step("CRD, namespace and Secret created")
            service = f"http://127.0.0.1:{(await processes.event(serve, 'serving'))['port']}"
            display.step("agentteam-delivery serve", service)
            watch = processes.start("watch", SERVICE, "watch", **environment, DELIVERY_URL=service)
            _redirect(team, webhook)
            team = _done(await kube.create(TEAMS, team["metadata"]["namespace"], team))
            display.step(f"Applied {sample}", "with the webhook's address replaced")
            team = await _report(kube, team, phase="Running", startedAt=_ago(minutes=42))
            display.step("Its operator reports the team Running")
            await processes.event(watch, "watching")
            display.step("agentteam-delivery watch")
            team = await _report(kube, team, phase="Completed")
            team = await _report(kube, team, completedAt=_ago(minutes=0), artifacts=_artifacts(), **WORK)
            display.step("Its operator reports the team Completed")
            team = await processes.until("outcome for every target", lambda: _settled(kube, team))
            display.step("The watcher has handed it in, and every target is settled")
    return team


def _start_kubernetes(processes: Processes) -> tuple[str, Path]:
    """Start a Kubernetes API; return its kind, and where its kubeconfig will be."""
    if not os.environ.get("KUBEBUILDER_ASSETS"):
        kubeconfig = processes.folder / "kubeconfig"
        module = ("-m", "tests.harness.fake_cluster", "--kubeconfig", kubeconfig)
        processes.start("kubernetes", sys.executable, *module)
        return "a fake", kubeconfig
    folder = processes.folder / "kubernetes"
    processes.start("kubernetes", "bash", "-c", UP_AND_DOWN, APISERVER, folder, **_free_ports())
    return "a real one", folder / "kubeconfig"


async def _received(_: web.Request) -> web.StreamResponse:
    """Answer as a webhook's receiver may; Slack answers otherwise."""
    return web.json_response({"received": True})


def _receipt(request: Received) -> Document:
    """Return a received request, for the display."""
    return asdict(request) | {"body": request.body.decode(errors="replace")}


def _read(sample: Path) -> Document:
    try:
        team: Document = yaml.safe_load(sample.read_text())
        complete = team["metadata"]["namespace"] and [target["type"] for target in _targets(team)]
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        complete = False
    if not complete:
        raise Trouble(f"{sample} is no AgentTeam with a namespace and with targets to deliver to.")
    return team


def _targets(team: Document) -> Documents:
    targets: Documents = team["spec"]["lifecycle"]["delivery"]
    return targets


def _redirect(team: Document, receiver: str) -> None:
    """Point the team's webhooks to the receiver."""
    for target in _targets(team):
        if target["type"] == "webhook":
            target["url"] = receiver + urlsplit(target.get("url", "")).path


async def _prepare(kube: Kube, team: Document, slack: str) -> None:
    """Create what the team needs, before the team."""
    await kube.install_crd(CRD)
    namespace = team["metadata"]["namespace"]
    answer = await kube.create("namespaces", None, {"metadata": {"name": namespace}})
    if answer.status != HTTPStatus.CONFLICT:  # the namespace may always exist
        _done(answer)
    for target in _targets(team):
        if target["type"] == "slack" and "credentialsSecret" in target:
            url = f"{slack}/services/T00000000/B00000000/XXXXXXXX"
            await kube.secret(namespace, target["credentialsSecret"], {"slack-webhook-url": url})


async def _report(kube: Kube, team: Document, **status: Any) -> Document:
    """Write a team's whole status as its operator does, over the version that it read last."""
    body = team | {"status": team.get("status", {}) | status}
    where = team["metadata"]["namespace"], team["metadata"]["name"]
    return _done(await kube.put(TEAMS, *where, body, subresource="status"))


async def _settled(kube: Kube, team: Document) -> Document | None:
    """Return the team as it is now, if its status has the outcome of every target."""
    team = _done(await kube.get(TEAMS, team["metadata"]["namespace"], team["metadata"]["name"]))
    ledger = team["status"].get("delivery", [])
    settled = [entry for entry in ledger if entry["phase"] != "Pending"]
    return team if len(settled) == len(_targets(team)) else None


def _faults(team: Document, **received: int) -> Iterator[str]:
    """Say what differs from the expectation."""
    for entry in team["status"]["delivery"]:
        expected = EXPECTED.get(entry["type"])
        if entry["reason"] != expected:
            yield f"{entry['name']} should be {expected}, but is {entry['reason']}: {entry['message']}."
    asked = Counter(target["type"] for target in _targets(team))
    for name, count in received.items():
        if count != asked[name]:
            yield f"“{name}” should have received {asked[name]}, but received {count}."


def _done(answer: Answer) -> Document:
    if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise Trouble(f"The Kubernetes API refused: {answer.body['message']}")
    body: Document = answer.body
    return body


def _artifacts() -> Documents:
    made = {"producedAt": _ago(minutes=1)}
    return [
        {"name": name, "path": f"/workspace/output/{name}", "producedBy": maker, **made}
        for name, maker in MADE.items()
    ]


def _ago(minutes: int) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _free_ports() -> dict[str, str]:
    names = ("KUBE_APISERVER_PORT", "ETCD_PORT", "ETCD_PEER_PORT")
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {name: str(one.getsockname()[1]) for name, one in zip(names, sockets, strict=True)}
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    sys.exit(main())
