"""Measures how the cost grows: targets per event, events in flight, watched teams.

    python -m tests.bench.scale [--pictures FOLDER] [--json FILE]

CPU is the operating system's account of the process that is measured: the service, or for teams the watcher.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import pygal
from pygal.style import CleanStyle
from rich.console import Console
from rich.table import Table

from tests.bench.participants import Ours, cpu_of, far_side
from tests.harness.cluster import prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.processes import Memory
from tests.harness.real_cluster import RealCluster, run
from tests.harness.receiver import Receiver
from tests.harness.service import Service, Watcher, finished, lifecycle
from tests.harness.waiting import until

SIZES = (1, 10, 100, 1000)
TEAMS = (10, 100, 1000, 5000)
DELIVERIES = 2000  # per size
FINISHING = 200  # teams that finish while others are watched
IDLE = 10.0  # seconds; how long the idle watcher is measured
ROUNDS = 3
UPSTREAM_EVENTS = 200


@dataclass(frozen=True)
class Point:
    """The cost at one size: CPU in µs per delivery, MB at most; of an idle watcher, the share of a core."""

    size: int
    cpu_us: float
    memory_mb: float
    idle: float | None = None


Curve = list[Point]


async def serving(size: int, events: int, fanout: int, at_once: int) -> Point:
    """Measure a new service, so no earlier work is in its memory; of several rounds, take the cheapest."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        async with far_side(folder):
            room = {"max_in_flight": 4000, "max_targets_in_flight": 8000, "namespaces": "bench"}
            service = Service(folder / "kubeconfig", rate_limit=10**6, max_callers=4000, **room)
            service.covered = False
            async with service:
                ours = Ours("agentteam-delivery", service)
                rounds = [
                    await ours.work(events, fanout, at_once, f"{fanout}-{at_once}-{number}")
                    for number in range(ROUNDS)
                ]
    least = min(one.cpu for one in rounds) / (events * fanout)
    return Point(size, least * 1e6, max(one.memory for one in rounds) / 1e6)


async def targets(size: int) -> Point:
    """Measure few events with many targets, or many with few."""
    return await serving(size, max(DELIVERIES // size, 4), size, 4)


async def in_flight(size: int) -> Point:
    """Measure events with two targets, so many at a time."""
    return await serving(size, max(DELIVERIES // 2, 2 * size), 2, size)


async def watched(size: int) -> Point:
    """Measure a number of running teams, while some others finish and are submitted."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        async with FakeCluster() as server, prepared(server, Path(name)) as cluster, Receiver() as receiver:
            kube = cluster.kube
            namespace = await kube.fresh_namespace()
            spec = lifecycle({"type": "webhook", "name": "hook", "url": receiver.url})
            for number in range(size):
                await kube.team(namespace, f"runs-{number}", spec)
            for number in range(FINISHING):
                await kube.team(namespace, f"ends-{number}", spec)
            watcher = Watcher(cluster.kubeconfig, receiver.url)
            watcher.covered = False
            async with watcher:
                process = psutil.Process(watcher.pid)
                await until(lambda: server.requests[-1:] and server.requests[-1][0] == "WATCH", 60)
                before = cpu_of(process)
                await asyncio.sleep(IDLE)
                idle = (cpu_of(process) - before) / IDLE
                before = cpu_of(process)
                for number in range(FINISHING):
                    await kube.finish(namespace, f"ends-{number}")
                await until(lambda: len(receiver.requests) >= FINISHING, 60)
                cpu = (cpu_of(process) - before) / FINISHING
                return Point(size, cpu * 1e6, Memory(watcher.pid).peak / 1e6, idle)


async def upstream() -> dict[str, float]:
    """Return the CPU in ms of one event: of etcd, of the API server and of the service."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        async with RealCluster() as server, prepared(server, Path(name)) as cluster, Receiver() as receiver:
            targets = [{"type": "webhook", "name": f"hook-{at}", "url": receiver.url} for at in range(2)]
            namespaces = [await finished(cluster.kube, *targets) for _ in range(UPSTREAM_EVENTS)]
            service = Service(cluster.kubeconfig)
            service.covered = False
            async with service:
                processes = [psutil.Process(pid) for pid in (*server.pids, service.pid)]
                before = [cpu_of(process) for process in processes]
                for namespace in namespaces:
                    answer = await service.deliver(namespace, "report")
                    if answer.body["phase"] != "Delivered":
                        raise RuntimeError(str(answer))
                used = [cpu_of(process) - then for process, then in zip(processes, before, strict=True)]
    names = ("etcd", "API server", "service")
    return {name: cpu / UPSTREAM_EVENTS * 1e3 for name, cpu in zip(names, used, strict=True)}


async def curve(measure: Callable[[int], Awaitable[Point]], sizes: tuple[int, ...]) -> Curve:
    """Measure each size."""
    return [await measure(size) for size in sizes]


def show(title: str, points: Curve) -> None:
    """Return a curve as a table."""
    table = Table(title=title, title_justify="left")
    for head in ("", "CPU µs/delivery", "peak MB", "idle, % of a core"):
        table.add_column(head, justify="right")
    for point in points:
        idle = "" if point.idle is None else f"{point.idle * 100:.2f}"
        table.add_row(f"{point.size:,}", f"{point.cpu_us:.0f}", f"{point.memory_mb:.0f}", idle)
    Console(width=100).print(table)


PICTURE: dict[str, Any] = {
    "style": CleanStyle,
    "width": 640,
    "height": 360,
    "legend_at_bottom": True,
    "truncate_legend": -1,
    "no_prefix": True,
    "js": [],  # a static picture, which loads nothing
    "disable_xml_declaration": True,
}


def draw(title: str, points: Curve, path: Path) -> None:
    """Draw a curve as SVG: its cost on the left axis, its memory on the right axis."""
    chart = pygal.Line(
        title=title,
        x_labels=[f"{point.size:,}" for point in points],
        range=(0, max(point.cpu_us for point in points) * 1.2),
        secondary_range=(0, max(point.memory_mb for point in points) * 1.2),
        value_formatter="{:,.0f}".format,
        **PICTURE,
    )
    chart.add("CPU, µs per delivery", [point.cpu_us for point in points])
    chart.add("maximum memory, MB", [point.memory_mb for point in points], secondary=True)
    path.write_text(chart.render(is_unicode=True))


CURVES: dict[str, tuple[str, Callable[[int], Awaitable[Point]], tuple[int, ...]]] = {
    "targets": ("Targets per event", targets, SIZES),
    "in-flight": ("Events in flight, two targets each", in_flight, SIZES),
    "teams": ("Watched AgentTeams", watched, TEAMS),
}


async def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--only", choices=[*CURVES, "upstream"], action="append")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    asked = options.only or [*CURVES, "upstream"]
    for name in (name for name in CURVES if name in asked):
        title, measure, sizes = CURVES[name]
        points = await curve(measure, sizes)
        figures[name] = [asdict(point) for point in points]
        show(title, points)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            draw(title, points, options.pictures / f"{name}.svg")
    if "upstream" in asked and (await run("find")).code == 0:
        figures["upstream"] = costs = await upstream()
        shares = ", ".join(f"{name} {cost:.1f}" for name, cost in costs.items())
        Console(width=100).print(f"CPU ms per event with two targets, on a real API server: {shares}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
