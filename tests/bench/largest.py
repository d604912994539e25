"""Measures the memory that the largest teams take, per sender: many targets, many artifacts, and both.

    python -m tests.bench.largest

Each team is delivered by a service that has just started. Teams of both kinds have as many artifacts as fit
beside the record of their targets; the service refuses what the API server would not take.
"""

import asyncio
import json
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.harness.cluster import Cluster, prepared
from tests.harness.drive import Drive
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import TEAMS
from tests.harness.processes import Memory
from tests.harness.receiver import Receiver
from tests.harness.relay import Relay
from tests.harness.service import Service, lifecycle

MB = 1_000_000
MOST = 60  # MB over idle
SHAPES = {"targets": (1000, 0), "artifacts": (20, 7000), "both": (1000, 3000)}
"""Numbers of targets and artifacts; the latter is lowered until the service takes the team."""
FEWER = 250  # artifacts, from one try to the next
ABOUT = {"producedBy": "writer", "producedAt": "2026-03-01T12:00:00Z"}


@dataclass(frozen=True)
class Receivers:
    """What the targets of each type lead to."""

    hook: Receiver
    relay: Relay
    drive: Drive

    def target(self, kind: str) -> dict[str, Any]:
        """Return a target of a type."""
        fields: dict[str, dict[str, Any]] = {
            "webhook": {"url": f"{self.hook.url}/hook"},
            "slack": {"credentialsSecret": "keys"},
            "email": {"to": ["ann@example.com"]},
            "google-drive": {"folder": "1AbC-d_E", "credentialsSecret": "keys"},
        }
        return {"type": kind, **fields[kind]}

    def service(self, kubeconfig: Path) -> Service:
        """Return a service with all senders."""
        service = Service(
            kubeconfig,
            email="smtp",
            smtp_host="127.0.0.1",
            smtp_port=self.relay.port,
            smtp_tls="none",
            smtp_from="teams@example.com",
            google_drive="api",
            google_api_url=self.drive.url,
            slack_interval=0,
        )
        service.covered = False
        return service


@dataclass(frozen=True)
class Largest:
    """A dispatch of the largest team of a shape."""

    kind: str
    shape: str
    artifacts: int
    size: int  # bytes of the team, with its record
    seconds: float
    over_idle: int  # bytes


async def create(cluster: Cluster[FakeCluster], receivers: Receivers, kind: str, number: int) -> str:
    """Create a team with so many targets of a type, and return its namespace."""
    namespace = await cluster.kube.fresh_namespace()
    keys = {
        "slack-webhook-url": f"{receivers.hook.url}/slack",
        "service-account.json": receivers.drive.key_file(),
    }
    await cluster.kube.secret(namespace, "keys", keys)
    await cluster.kube.team(namespace, "report", lifecycle(*[receivers.target(kind)] * number))
    return namespace


async def measure(cluster: Cluster[FakeCluster], receivers: Receivers, kind: str, shape: str) -> Largest:
    """Deliver the largest team that the service takes, and return what it took."""
    targets, most = SHAPES[shape]
    namespace = await create(cluster, receivers, kind, targets)
    service = receivers.service(cluster.kubeconfig)
    await service.start()
    try:
        memory, loop = Memory(service.pid), asyncio.get_running_loop()
        idle = memory.held
        memory.forget_peak()
        for number in range(most, -1, -FEWER):
            artifacts = [
                {"name": f"{one}.md", "path": f"/workspace/output/{one}/report-of-the-team.md", **ABOUT}
                for one in range(number)
            ]
            await cluster.kube.finish(namespace, "report", artifacts=artifacts)
            began = loop.time()
            answer = await service.deliver(namespace, "report", "respond-async")
            if answer.status == 202:
                break
            assert answer.problem == "ledger-refused", answer

        # The service answers 202 while it is still sending, and can only be asked again.
        while (report := await service.deliver(namespace, "report", "wait=120")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(1)
        assert report.body["phase"] == "Delivered", report
        took, peak = loop.time() - began, memory.peak
        size = len(json.dumps((await cluster.kube.get(TEAMS, namespace, "report")).body))
        return Largest(kind, shape, number, size, took, peak - idle)
    finally:
        await service.stop(signal.SIGKILL)


async def run() -> list[Largest]:
    """Measure each sender with each shape."""
    with tempfile.TemporaryDirectory(prefix="largest-") as folder:
        async with (
            FakeCluster() as server,
            prepared(server, Path(folder)) as cluster,
            Receiver() as hook,
            Relay() as relay,
            Drive() as drive,
        ):
            receivers = Receivers(hook, relay, drive)
            kinds = ("webhook", "slack", "email", "google-drive")
            return [await measure(cluster, receivers, kind, shape) for kind in kinds for shape in SHAPES]


def main() -> None:
    """Print the figures; fail if a team takes too much."""
    found = asyncio.run(run())
    shown = Table()
    for head in ("sender", "targets", "artifacts", "MB of the team", "seconds", "MB over idle"):
        shown.add_column(head, justify="left" if head == "sender" else "right")
    for one in found:
        figures = f"{one.size / MB:.2f}", f"{one.seconds:.1f}", f"{one.over_idle / MB:.0f}"
        shown.add_row(one.kind, f"{SHAPES[one.shape][0]:,}", f"{one.artifacts:,}", *figures)
    Console(width=100).print(shown)
    if max(one.over_idle for one in found) > MOST * MB:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
