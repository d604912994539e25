"""What a delivery costs, side by side in one run: the floor, this service, Apprise, Alertmanager.

    python -m tests.bench [--rounds N] [--fanouts 2,8] [--json FILE]

In each round every participant does the same work in turn, so that a machine whose speed drifts slows all of
them; figures are medians over the rounds, ratios are taken round by round. CPU is the operating system's
account of the participant's own process.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

from tests.harness.processes import Memory, free_ports
from tests.harness.service import Service
from tests.harness.waiting import until

AT_ONCE = 16  # events in flight
DELIVERIES = 1600  # a round
ROOT = Path(__file__).parents[2]

Ports = dict[str, str]


@dataclass(frozen=True)
class Measure:
    """One participant's work in one round: CPU and wall in seconds, seconds of each event, peak bytes."""

    cpu: float
    wall: float
    seconds: Sequence[float]
    memory: int


class Participant(Protocol):
    """Somebody who can be measured."""

    @property
    def name(self) -> str:
        """How it is called in the table."""

    async def work(self, events: int, fanout: int, prefix: str) -> Measure:
        """Deliver so many events to so many targets each."""


@dataclass(frozen=True)
class Script:
    """A participant that is a script of this folder; each round it is a new process."""

    name: str
    module: str
    folder: Path

    async def work(self, events: int, fanout: int, prefix: str) -> Measure:
        """Run it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self.module, str(self.folder)),
            *(str(events), str(fanout), str(AT_ONCE), prefix),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{self.module} failed")
        return Measure(**json.loads(said))


@dataclass(frozen=True)
class Ours:
    """The service, driven over HTTP as its callers do."""

    name: str
    service: Service

    async def work(self, events: int, fanout: int, prefix: str) -> Measure:
        """Hand the events in, and wait for each report."""
        process = psutil.Process(self.service.pid)
        names = iter([f"f{fanout}-{prefix}-{number}" for number in range(events)])
        seconds: list[float] = []
        headers = {"authorization": "Bearer bench"}
        async with aiohttp.ClientSession(self.service.url, headers=headers) as session:

            async def one(name: str) -> None:
                body = {"namespace": "bench", "team": name}
                async with session.post("/deliveries", json=body) as answer:
                    report = await answer.json()
                    attempts = {target["attempts"] for target in report["targets"]}
                    if (answer.status, report["phase"], attempts) != (200, "Delivered", {1}):
                        raise RuntimeError(f"{answer.status}: {report}")

            async def work() -> None:
                for name in names:
                    began = time.perf_counter()
                    await one(name)
                    seconds.append(time.perf_counter() - began)

            await asyncio.gather(*(one(f"f{fanout}-{prefix}w-{at}") for at in range(AT_ONCE)))
            before, began = _cpu(process), time.perf_counter()
            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
            wall = time.perf_counter() - began
            return Measure(_cpu(process) - before, wall, seconds, Memory(process.pid).peak)


@dataclass(frozen=True)
class Alertmanager:
    """Prometheus' Alertmanager: each event an alert of its own, sent to so many webhooks."""

    name: str
    binary: str
    folder: Path
    receiver: str

    async def work(self, events: int, fanout: int, prefix: str) -> Measure:
        """Fire the alerts, and wait until the last notice has arrived."""
        home = self.folder / f"{fanout}-{prefix}"
        home.mkdir()
        hooks = [{"url": f"{self.receiver}/hook/{at}", "send_resolved": False} for at in range(fanout)]
        route = {"receiver": "all", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1h"}
        config = {"route": route, "receivers": [{"name": "all", "webhook_configs": hooks}]}
        (home / "config.yml").write_text(json.dumps(config))
        [port] = free_ports(1)
        process = subprocess.Popen(  # noqa: ASYNC220  # it runs beside
            [
                self.binary,
                f"--config.file={home / 'config.yml'}",
                f"--storage.path={home}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
                "--log.level=error",
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession() as session:
                return await self._fire(session, process.pid, port, events * fanout, events)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    async def _fire(
        self, session: aiohttp.ClientSession, pid: int, port: int, notices: int, events: int
    ) -> Measure:
        async def up() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{port}/-/ready") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        async def arrived() -> bool:
            return await self._count(session) - before >= notices

        await until(up, 20)
        before = await self._count(session)
        process = psutil.Process(pid)
        used, began = _cpu(process), time.perf_counter()
        for number in range(events):
            alert = {"labels": {"alertname": f"report-{number}"}, "annotations": {"summary": "finished"}}
            async with session.post(f"http://127.0.0.1:{port}/api/v2/alerts", json=[alert]) as answer:
                answer.raise_for_status()
        await until(arrived, 60)
        return Measure(_cpu(process) - used, time.perf_counter() - began, (), Memory(process.pid).peak)

    async def _count(self, session: aiohttp.ClientSession) -> int:
        async with session.get(f"{self.receiver}/count") as answer:
            return int(await answer.text())


@asynccontextmanager
async def far_side(folder: Path) -> AsyncIterator[Ports]:
    """Start the Kubernetes API and the receiver."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.far_side", str(folder)], cwd=ROOT)  # noqa: ASYNC220  # it runs beside
    try:
        await until((folder / "ports.json").exists, 20)
        yield json.loads((folder / "ports.json").read_text())
    finally:
        process.terminate()
        process.wait()


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


async def run(rounds: int, fanouts: list[int], only: set[str]) -> dict[str, Any]:
    """Measure; return all figures."""
    figures: dict[str, Any] = {"cores": os.cpu_count(), "python": sys.version.split()[0], "at_once": AT_ONCE}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        ports = await stack.enter_async_context(far_side(folder))
        figures["receiver"] = round(await ceiling(ports["receiver"]))
        service = Service(folder / "kubeconfig", rate_limit=10**6, log_level="INFO", backoff_initial=0.5)
        service.covered = False
        await stack.enter_async_context(service)
        taking: list[Participant] = [
            Script("floor", "tests.bench.floor", folder),
            Ours("agentteam-delivery", service),
            Script("Apprise", "tests.bench.apprise", folder),
        ]
        if binary := shutil.which("prometheus-alertmanager") or shutil.which("alertmanager"):
            taking.append(Alertmanager("Alertmanager", binary, folder, ports["receiver"]))
        taking = [one for one in taking if not only or one.name in only]
        figures["work"] = {}
        for fanout in fanouts:
            measured: dict[str, list[Measure]] = {one.name: [] for one in taking}
            for number in range(rounds):
                for one in taking:
                    events = DELIVERIES // fanout
                    measured[one.name].append(await one.work(events, fanout, f"{one.name}-{number}"))
            figures["work"][str(fanout)] = summed(measured, DELIVERIES // fanout * fanout)
    return figures


def summed(measured: dict[str, list[Measure]], deliveries: int) -> dict[str, dict[str, float]]:
    """Return medians over the rounds, and ratios to the floor round by round."""
    floor = measured["floor"]
    rows: dict[str, dict[str, float]] = {}
    for name, rounds in measured.items():
        seconds = sorted(second for one in rounds for second in one.seconds)
        rows[name] = {
            "cpu_us": statistics.median(one.cpu for one in rounds) / deliveries * 1e6,
            "wall_us": statistics.median(one.wall for one in rounds) / deliveries * 1e6,
            "ratio": statistics.median(one.cpu / base.cpu for one, base in zip(rounds, floor, strict=True)),
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
        for head in ("", "CPU µs/delivery", "x floor", "wall µs/delivery", "p50 ms", "p99 ms", "peak MB"):
            table.add_column(head, justify="right" if head else "left")
        for name, row in rows.items():
            table.add_row(
                name,
                f"{row['cpu_us']:.0f}",
                f"{row['ratio']:.2f}",
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


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fanouts", default="2,8")
    parser.add_argument(
        "--only", default="", help="participants, comma-separated; the floor is always needed"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    fanouts = [int(fanout) for fanout in options.fanouts.split(",")]
    figures = asyncio.run(run(options.rounds, fanouts, set(filter(None, options.only.split(",")))))
    show(figures)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
