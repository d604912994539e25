"""The measured programs, each used as its users do, and their fake servers."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import aiohttp
import psutil

from tests.harness.processes import Memory, free_ports
from tests.harness.service import Service
from tests.harness.waiting import until

ROOT = Path(__file__).parents[2]

Ports = dict[str, str]


@dataclass(frozen=True)
class Measure:
    """One participant's work in one round: CPU and wall in seconds, seconds of each event, peak bytes."""

    cpu: float
    wall: float
    seconds: Sequence[float]
    memory: int

    @classmethod
    def of(cls, slices: Sequence["Measure"]) -> "Measure":
        """Return what several slices of work took together."""
        return cls(
            sum(one.cpu for one in slices),
            sum(one.wall for one in slices),
            [second for one in slices for second in one.seconds],
            max(one.memory for one in slices),
        )


class Worker(Protocol):
    """A program at work."""

    async def work(self, events: int, fanout: int, at_once: int, prefix: str) -> Measure:
        """Deliver so many events to so many targets each, so many events at once."""


class Participant(Protocol):
    """A program that can be measured."""

    @property
    def name(self) -> str:
        """How it is called in the table."""

    def running(self) -> AbstractAsyncContextManager[Worker]:
        """Run it for one round."""


class Momentary:
    """A participant that runs only while it works: each time it is a new process."""

    def running(self) -> AbstractAsyncContextManager[Self]:
        """Start nothing yet."""
        return nullcontext(self)


@dataclass(frozen=True)
class Script(Momentary):
    """A participant that is a script of this folder."""

    name: str
    module: str
    folder: Path

    async def work(self, events: int, fanout: int, at_once: int, prefix: str) -> Measure:
        """Run it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self.module, str(self.folder)),
            *(str(events), str(fanout), str(at_once), prefix),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{self.module} failed")
        return Measure(**json.loads(said))


@dataclass(frozen=True)
class Ours:
    """The service, called over HTTP as its callers do."""

    name: str
    service: Service

    async def work(self, events: int, fanout: int, at_once: int, prefix: str) -> Measure:
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

            await asyncio.gather(*(one(f"f{fanout}-{prefix}w-{at}") for at in range(at_once)))
            before, began = cpu_of(process), time.perf_counter()
            await asyncio.gather(*(work() for _ in range(at_once)))
            wall = time.perf_counter() - began
            return Measure(cpu_of(process) - before, wall, seconds, Memory(process.pid).peak)


@dataclass(frozen=True)
class Anew:
    """The service, or an earlier build: a new process for each round."""

    name: str
    started: Callable[[], Service]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Worker]:
        """Start it."""
        async with self.started() as service:
            yield Ours(self.name, service)


@dataclass(frozen=True)
class Alertmanager(Momentary):
    """Prometheus' Alertmanager: each event an alert of its own, sent to so many webhooks."""

    name: str
    binary: str
    folder: Path
    receiver: str

    async def work(self, events: int, fanout: int, at_once: int, prefix: str) -> Measure:
        """Fire the alerts, and wait until the last notification has arrived."""
        del at_once  # it takes them as they come
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
        used, began = cpu_of(process), time.perf_counter()
        for number in range(events):
            alert = {"labels": {"alertname": f"report-{number}"}, "annotations": {"summary": "finished"}}
            async with session.post(f"http://127.0.0.1:{port}/api/v2/alerts", json=[alert]) as answer:
                answer.raise_for_status()
        await until(arrived, 60)
        return Measure(cpu_of(process) - used, time.perf_counter() - began, (), Memory(process.pid).peak)

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


def cpu_of(process: psutil.Process) -> float:
    """Return the seconds of CPU that a process has used."""
    used = process.cpu_times()
    return float(used.user + used.system)
