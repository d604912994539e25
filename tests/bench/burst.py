"""Measures a burst on a real API server: many teams finish within seconds, and each is delivered.

    python -m tests.bench.burst --before COMMIT [--teams 600] [--rounds N] [--picture FILE]

An earlier build and this one take turns: a watcher and two replicas, on cores that they share with the API
server and the receiver. The lag of a notification is the time from the end of its team to its arrival.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pygal
from rich.console import Console
from rich.table import Table

from tests.bench.before import Before, BeforeWatcher, checkout
from tests.bench.scale import PICTURE
from tests.harness.cluster import Cluster, prepared
from tests.harness.processes import Processor
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.service import Service, Watcher, lifecycle
from tests.harness.waiting import until
from tests.ledger.support import Front

TEAMS = 600
SECONDS = 3.0  # within which they finish
TARGETS = 2  # per team
REPLICAS = 2
POINTS = 101  # of a curve in the picture


@dataclass(frozen=True)
class Burst:
    """The figures of one burst: the lags in seconds, sorted, and the CPU seconds of all replicas."""

    lags: list[float]
    cpu: float

    def percentile(self, percent: int) -> float:
        """Return the lag that so many percent of the notifications do not exceed."""
        return self.lags[min(len(self.lags) - 1, len(self.lags) * percent // 100)]


@asynccontextmanager
async def deployed(cluster: Cluster[Any], namespace: str, build: Path | None) -> AsyncIterator[list[Service]]:
    """Run the replicas and the watcher of an earlier build, or of this one; yield the replicas."""
    settings = {"namespaces": namespace}
    async with AsyncExitStack() as stack:
        replicas: list[Service] = []
        for _ in range(REPLICAS):
            if build:
                one: Service = Before(build, cluster.kubeconfig, **settings)
            else:
                one = Service(cluster.kubeconfig, **settings)
                one.covered = False
            replicas.append(await stack.enter_async_context(one))
        front = await stack.enter_async_context(Front(*replicas))
        if build:
            watcher: Watcher = BeforeWatcher(build, cluster.kubeconfig, front.url, **settings)
        else:
            watcher = Watcher(cluster.kubeconfig, front.url, **settings)
            watcher.covered = False
        await stack.enter_async_context(watcher)
        yield replicas


async def burst(cluster: Cluster[Any], build: Path | None, teams: int) -> Burst:
    """Let so many teams finish, and wait until every notification has arrived."""
    kube = cluster.kube
    namespace = await kube.fresh_namespace()
    async with Receiver() as receiver, deployed(cluster, namespace, build) as replicas:
        for number in range(teams):
            hooks = [{"type": "webhook", "url": f"{receiver.url}/{number}/{one}"} for one in range(TARGETS)]
            await kube.team(namespace, f"team-{number}", lifecycle(*hooks))
        processors = [Processor(replica.pid) for replica in replicas]
        used = sum(one.used for one in processors)
        began, ended = monotonic(), {}

        async def finish(number: int) -> None:
            await asyncio.sleep(max(0.0, began + SECONDS * number / teams - monotonic()))
            ended[str(number)] = monotonic()
            await kube.finish(namespace, f"team-{number}")

        async with asyncio.TaskGroup() as group:
            for number in range(teams):
                group.create_task(finish(number))
        await until(lambda: len(receiver.requests) >= teams * TARGETS, 120)

        async def idle() -> bool:
            answers = [await replica.request("GET", "/metrics") for replica in replicas]
            return all(b"agentteam_delivery_in_flight 0.0" in answer.content for answer in answers)

        await until(idle, 60)
        arrived = {request.path: request.at for request in receiver.requests}
        assert len(arrived) == len(receiver.requests) == teams * TARGETS, "each arrives, and once"
        lags = sorted(at - ended[path.split("/")[1]] for path, at in arrived.items())
        return Burst(lags, sum(one.used for one in processors) - used)


async def run(before: str, teams: int, rounds: int) -> dict[str, list[Burst]]:
    """Measure both builds in turn, each on an API server of its own, with its own CRD."""
    builds = {f"before ({before})": checkout(before), "now": None}
    found: dict[str, list[Burst]] = {name: [] for name in builds}
    async with AsyncExitStack() as stack:
        clusters = {}
        for name, build in builds.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="burst-")))
            server = await stack.enter_async_context(RealCluster())
            clusters[name] = await stack.enter_async_context(prepared(server, folder))
            if build:
                [crd] = (build / "charts/agentteam-delivery").glob("crd*/agentteams.yaml")
                await clusters[name].kube.install_crd(crd)
        for _ in range(rounds):
            for name, build in builds.items():
                found[name].append(await burst(clusters[name], build, teams))
    return found


def draw(found: dict[str, list[Burst]], path: Path) -> None:
    """Draw how long notifications take: for each share of them, the lag that it does not exceed."""
    chart = pygal.XY(
        title="A burst of teams: lag of a notification, s, by share of notifications, %",
        stroke=True,
        show_dots=False,
        **PICTURE,
    )
    for name, bursts in found.items():
        middle = sorted(bursts, key=lambda one: one.percentile(99))[len(bursts) // 2]
        chart.add(name, [(percent, round(middle.percentile(percent), 2)) for percent in range(POINTS)])
    path.write_text(chart.render(is_unicode=True))


def main() -> None:
    """Measure, show, draw."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.burst", description=__doc__)
    parser.add_argument("--before", required=True, metavar="COMMIT")
    parser.add_argument("--teams", type=int, default=TEAMS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    found = asyncio.run(run(options.before, options.teams, options.rounds))
    shown = Table()
    for head in ("", "lag p50 s", "lag p99 s", "CPU s of the replicas"):
        shown.add_column(head, justify="right" if head else "left")
    for name, bursts in found.items():
        figures = (
            statistics.median(one.percentile(50) for one in bursts),
            statistics.median(one.percentile(99) for one in bursts),
            statistics.median(one.cpu for one in bursts),
        )
        shown.add_row(name, *(f"{figure:.2f}" for figure in figures))
    Console(width=80).print(shown)
    then, now = found.values()
    ratio = statistics.median(b.percentile(99) / a.percentile(99) for a, b in zip(then, now, strict=True))
    sys.stdout.write(f"p99 now : before, median of {options.rounds} rounds: {ratio:.2f}\n")
    if options.picture:
        draw(found, options.picture)


if __name__ == "__main__":
    main()
