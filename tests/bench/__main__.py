"""Measures the cost of a delivery in one run: the minimum, this service, Apprise, the current Alertmanager.

    python -m tests.bench [--rounds N] [--fanouts 2,8] [--before COMMIT] [--json FILE]

Debian's older Alertmanager takes part if it is installed. With `--before`, so does this service as it was at
an earlier commit, installed in an environment of its own.

In each round the participants do the same work, slice by slice in turn, so that a machine whose speed drifts
slows all of them; and each round has new processes, so that no process's luck lasts. Figures are medians over
the rounds, ratios are taken round by round. CPU is the operating system's account of the participant's own
process.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from tests.bench.alertmanager import VERSION, current
from tests.bench.before import Before, checkout
from tests.bench.participants import Alertmanager, Anew, Measure, Participant, Script, far_side
from tests.harness.processes import Memory
from tests.harness.service import Service
from tests.harness.waiting import until

AT_ONCE = 16  # events in flight
DELIVERIES = 1600  # a round
SLICES = 4  # of a round


async def ceiling(receiver: str, seconds: float = 1.0) -> float:
    """Return how many posts a second the receiver answers to callers who do nothing else."""
    host, port = receiver.removeprefix("http://").split(":")
    request = b"POST /hook/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    answered = 0
    ends = time.perf_counter() + seconds

    async def blast() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(host, int(port))
        while time.perf_counter() < ends:
            writer.write(request * 32)
            for _ in range(32):
                await reader.readuntil(b"\r\n\r\nok")
            answered += 32
        writer.close()

    await asyncio.gather(*(blast() for _ in range(4)))
    return answered / seconds


async def neighbours(service: Service, receiver: str, rounds: int) -> dict[str, float]:
    """Return how many ms an event takes to seven targets, p99: alone, and beside an eighth that hangs."""
    events = rounds * 60
    posted: dict[str, float] = {}
    async with aiohttp.ClientSession(service.url) as session:

        async def post(name: str) -> None:
            posted[name] = time.perf_counter()
            body = {"namespace": "bench", "team": name}
            async with session.post("/deliveries", json=body, headers={"prefer": "respond-async"}) as answer:
                answer.raise_for_status()

        async with asyncio.TaskGroup() as posts:
            for number in range(events):
                for kind in "th":  # in turn, so that other work on the machine affects both
                    posts.create_task(post(f"{kind}8-{number}"))
                    await asyncio.sleep(0.04)  # hardly any waits for another, which would blur it
        arrivals: dict[str, float] = {}

        async def all_arrived() -> bool:
            async with session.get(f"{receiver}/arrivals") as answer:
                arrivals.update(await answer.json(content_type=None))
            return len(arrivals) == events * (8 + 7)

        await until(all_arrived, 60)
    waits: dict[str, list[float]] = {"t": [], "h": []}
    for where, moment in arrivals.items():
        team, _, target = where.rpartition("/")
        if target != "0":
            waits[team[0]].append((moment - posted[team]) * 1e3)
    alone, beside = (sorted(waits[kind])[len(waits[kind]) * 99 // 100] for kind in "th")
    return {"alone_ms": alone, "beside_ms": beside, "ratio": beside / alone}


async def starts(kubeconfig: Path, number: int = 5) -> dict[str, float]:
    """Return the seconds from start to ready, the least of several, and the MB that an idle process holds."""
    seconds: list[float] = []
    held = 0
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has bytecode
    for _ in range(number):
        service = Service(kubeconfig)
        service.covered = False
        began = time.perf_counter()
        async with service:
            seconds.append(time.perf_counter() - began)
            held = max(held, Memory(service.pid).held)
    return {"ready_s": min(seconds), "idle_mb": held / 1e6}


async def in_turn(taking: Sequence[Participant], fanout: int, number: int) -> dict[str, Measure]:
    """Let each participant do the work of one round, slice by slice in turn; the first slices warm it up."""
    slices: dict[str, list[Measure]] = {one.name: [] for one in taking}
    async with AsyncExitStack() as stack:
        workers = [(one.name, await stack.enter_async_context(one.running())) for one in taking]
        for part in range(1 + SLICES):
            for name, worker in workers[:: -1 if part % 2 else 1]:  # to and fro, so that no place is better
                prefix = f"{name.partition(' ')[0].lower()}-{number}-{part}"
                done = await worker.work(DELIVERIES // SLICES // fanout, fanout, AT_ONCE, prefix)
                if part:
                    slices[name].append(done)
    return {name: Measure.of(some) for name, some in slices.items()}


async def run(rounds: int, fanouts: list[int], only: set[str], before: str = "") -> dict[str, Any]:
    """Measure; return all figures."""
    earlier = checkout(before) if before else None
    figures: dict[str, Any] = {"cores": os.cpu_count(), "python": sys.version.split()[0], "at_once": AT_ONCE}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        ports = await stack.enter_async_context(far_side(folder))
        figures["receiver"] = round(await ceiling(ports["receiver"]))
        figures["start"] = await starts(folder / "kubeconfig")
        once = {"attempts": 1, "attempt_timeout": 3, "rate_limit": 10**6}  # who hangs is soon given up

        def service() -> Service:
            one = Service(folder / "kubeconfig", **once)
            one.covered = False
            return one

        ours = "agentteam-delivery"
        taking: list[Participant] = [
            Script("floor", "tests.bench.floor", folder),
            Anew(ours, service),
            Script("Apprise", "tests.bench.apprise", folder),
        ]
        if earlier:
            then = partial(Before, earlier, folder / "kubeconfig", **once)
            taking.append(Anew(f"before ({before})", then))
        old = shutil.which("prometheus-alertmanager")  # Debian's
        for name, binary in (("Alertmanager (Debian)", old), (f"Alertmanager {VERSION}", current())):
            if binary:
                home = folder / name
                home.mkdir()
                taking.append(Alertmanager(name, str(binary), home, ports["receiver"]))
        always = {"floor", ours}
        taking = [one for one in taking if not only or one.name.partition(" ")[0] in only | always]
        figures["work"] = {}
        for fanout in fanouts:
            measured: dict[str, list[Measure]] = {one.name: [] for one in taking}
            for number in range(rounds):
                for name, measure in (await in_turn(taking, fanout, number)).items():
                    measured[name].append(measure)
            figures["work"][str(fanout)] = summed(measured, DELIVERIES // fanout * fanout)
        async with service() as alone:
            figures["neighbours"] = await neighbours(alone, ports["receiver"], rounds)
    return figures


def summed(measured: dict[str, list[Measure]], deliveries: int) -> dict[str, dict[str, float]]:
    """Return medians over the rounds, and ratios round by round: to the floor, and of this build to each."""
    floor, ours = measured["floor"], measured["agentteam-delivery"]
    rows: dict[str, dict[str, float]] = {}
    for name, rounds in measured.items():
        seconds = sorted(second for one in rounds for second in one.seconds)
        rows[name] = {
            "cpu_us": statistics.median(one.cpu for one in rounds) / deliveries * 1e6,
            "wall_us": statistics.median(one.wall for one in rounds) / deliveries * 1e6,
            "ratio": statistics.median(one.cpu / base.cpu for one, base in zip(rounds, floor, strict=True)),
            "ours": statistics.median(one.cpu / other.cpu for one, other in zip(ours, rounds, strict=True)),
            "p50_ms": seconds[len(seconds) // 2] * 1e3 if seconds else 0.0,
            "p99_ms": seconds[len(seconds) * 99 // 100] * 1e3 if seconds else 0.0,
            "memory_mb": max(one.memory for one in rounds) / 1e6,
        }
    return rows


def show(figures: dict[str, Any]) -> None:
    """Print the figures as a table."""
    console = Console(width=100)
    for fanout, rows in figures["work"].items():
        table = Table(title=f"{fanout} targets an event", title_justify="left")
        for head in (
            "",
            "CPU µs/delivery",
            "x floor",
            "ours : it",
            "wall µs/delivery",
            "p50 ms",
            "p99 ms",
            "peak MB",
        ):
            table.add_column(head, justify="right" if head else "left")
        for name, row in rows.items():
            table.add_row(
                name,
                f"{row['cpu_us']:.0f}",
                f"{row['ratio']:.2f}",
                f"{row['ours']:.2f}",
                f"{row['wall_us']:.0f}",
                f"{row['p50_ms']:.1f}" if row["p50_ms"] else "",
                f"{row['p99_ms']:.1f}" if row["p99_ms"] else "",
                f"{row['memory_mb']:.0f}",
            )
        console.print(table)
    console.print(
        f"{figures['at_once']} events in flight; the receiver alone answers {figures['receiver']:,} posts/s;"
        f" {figures['cores']} cores, Python {figures['python']}"
    )
    near, start = figures["neighbours"], figures["start"]
    console.print(
        f"7 targets, p99 from event to arrival: {near['alone_ms']:.1f} ms; beside an eighth that hangs:"
        f" {near['beside_ms']:.1f} ms, x {near['ratio']:.2f}"
    )
    console.print(f"start to ready {start['ready_s']:.2f} s; idle {start['idle_mb']:.0f} MB")


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fanouts", default="2,8")
    parser.add_argument(
        "--only", default="", help="participants beside the floor and this service, comma-separated"
    )
    parser.add_argument("--before", default="", metavar="COMMIT", help="an earlier build takes part")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    fanouts = [int(fanout) for fanout in options.fanouts.split(",")]
    only = set(filter(None, options.only.split(",")))
    figures = asyncio.run(run(options.rounds, fanouts, only, options.before))
    show(figures)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
