"""Measures three replicas and fifty namespaces, one of them hostile: nothing is lost, memory stays flat.

    python -m tests.bench.neighbours [--events 20000] [--minutes 20] [--cycles 4]

Each event is a new team with one webhook. Meanwhile the hostile namespace runs one attack after another:
hanging receivers, large messages, large Secrets, frequent reads of a large team. Each cycle starts without an
attack. Several cycles show whether a replica's memory grows.
"""

import argparse
import asyncio
import signal
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
from aiohttp import web
from rich.console import Console
from rich.table import Table

from app.domain.bounds import HOST
from tests.harness.cluster import prepared
from tests.harness.fake_api import EVENTS, SECRETS
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import GROUP, TEAMS, Kube
from tests.harness.processes import Memory, Processor
from tests.harness.receiver import Receiver, ok
from tests.harness.service import Service, lifecycle

REPLICAS = 3
NAMESPACES = 50
AT_ONCE = 24  # concurrent events of the other namespaces
CYCLES = 4
MINUTES = 20.0
EVERY = 1.0  # seconds between two rounds of an attack, so that the fakes in this process can keep up
MB = 1_000_000
ABOUT = {"producedBy": "writer", "producedAt": "2026-03-01T12:00:00Z"}


@dataclass
class Stretch:
    """The figures of the events that were delivered during one attack."""

    attack: str
    cycle: int
    seconds: list[float]  # per event
    held: list[int]  # bytes that each replica has at the end
    peak: list[int]  # bytes, the maximum of each replica
    cpu: float  # seconds, of all replicas together


@dataclass
class Outcome:
    """The figures of a run."""

    delivered: list[int] = field(default_factory=list)  # numbers of the submitted events
    lost: int = 0
    again: int = (
        0  # notifications that arrived more than once, because the answer to an attempt came too late
    )
    twice: int = 0  # of these, those with different ids
    refused: int = 0  # requests that the service refused with 503
    rounds: Counter[str] = field(default_factory=Counter)  # per attack
    stretches: list[Stretch] = field(default_factory=list)

    @property
    def peak(self) -> int:
        """The maximum memory of a replica, in bytes."""
        return max(max(stretch.peak) for stretch in self.stretches)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield for each attack the time and CPU per event during it, and the memory of the replicas."""
        for attack in dict.fromkeys(stretch.attack for stretch in self.stretches):
            cycles = [stretch for stretch in self.stretches if stretch.attack == attack]
            seconds = sorted(second for stretch in cycles for second in stretch.seconds)
            held = " ".join(f"{max(stretch.held) / MB:.0f}" for stretch in cycles)
            cpu = sum(stretch.cpu for stretch in cycles) / len(seconds)
            yield (
                attack,
                str(self.rounds[attack]),
                f"{len(seconds):,}",
                f"{seconds[len(seconds) // 2]:.2f}",
                f"{seconds[len(seconds) * 99 // 100]:.2f}",
                f"{cpu * 1e3:.0f}",
                held,
                f"{max(max(stretch.peak) for stretch in cycles) / MB:.0f}",
            )

    def __str__(self) -> str:
        return (
            f"{len(self.delivered):,} events: {self.lost} lost, {self.again} sent again"
            f" ({self.twice} with another id),"
            f" {self.refused} refused; at most {self.peak / MB:.0f} MB"
        )


@dataclass
class Field:
    """The replicas, on one Kubernetes API, and one host with all receivers."""

    kube: Kube
    server: FakeCluster
    hook: Receiver
    services: list[Service]
    http: aiohttp.ClientSession
    came: defaultdict[str, list[str]]  # the ids of the notifications that arrived, by path
    refused: int = 0
    _turn: int = 0

    async def deliver(self, namespace: str, team: str, *, prefer: str = "wait=120") -> float:
        """Submit a team to one replica after another until it is delivered; return the seconds this took."""
        began = monotonic()
        event = {"namespace": namespace, "team": team}
        while True:
            self._turn += 1
            url = f"{self.services[self._turn % len(self.services)].url}/deliveries"
            try:
                async with self.http.post(url, json=event, headers={"prefer": prefer}) as answer:
                    report = await answer.json()
            except aiohttp.ClientConnectionError:  # the service closed the idle connection at this moment
                continue
            if answer.status == 200 or prefer == "respond-async":
                return monotonic() - began
            self.refused += 1
            assert answer.status in {202, 503}, report
            await asyncio.sleep(float(answer.headers.get("retry-after", 0.2)))

    async def team(self, namespace: str, name: str, targets: list[dict[str, Any]], *, path: int = 0) -> None:
        """Finish a team; with `path`, it has 300 artifacts with paths of that many characters."""
        await self.kube.team(namespace, name, lifecycle(*targets))
        artifacts = [
            {"name": f"{one}.md", "path": f"/{one}/" + "p" * path, **ABOUT}
            for one in range(300 if path else 0)
        ]
        await self.kube.finish(namespace, name, artifacts=artifacts)

    def forget(self) -> None:
        """Empty the fakes and the replicas' logs, so that this process does not grow."""
        store = self.server.api.store
        for kind in ((GROUP, TEAMS), EVENTS.key, SECRETS.key):
            store.remove_all(kind=kind)
        store.history.clear()
        for service in self.services:
            service.lines.clear()
            service.raw.clear()

    def target(self, path: str, **more: Any) -> dict[str, Any]:
        return {"type": "webhook", "url": f"{self.hook.url}{path}", **more}


Attack = Callable[[Field, str, int], Awaitable[None]]
"""One round of an attack by the hostile namespace."""


async def hanging_receivers(field: Field, namespace: str, turn: int) -> None:
    """Deliver to a thousand webhooks that never answer."""
    name = f"hang-{turn}"
    await field.team(namespace, name, [field.target(f"/hang/{one}") for one in range(1000)])
    await field.deliver(namespace, name, prefer="respond-async")


async def large_messages(field: Field, namespace: str, turn: int) -> None:
    """Deliver fifty messages of a megabyte."""
    name = f"swell-{turn}"
    await field.team(namespace, name, [field.target(f"/swell/{one}") for one in range(50)], path=3000)
    await field.deliver(namespace, name, prefer="respond-async")


async def large_secrets(field: Field, namespace: str, turn: int) -> None:
    """Use thirty Secrets of almost a megabyte."""
    name = f"hoard-{turn}"
    for one in range(30):
        data: dict[str, str | bytes] = {"url": f"{field.hook.url}/hoard", "other": b"x" * 700_000}
        await field.kube.secret(namespace, f"{name}-{one}", data)
    targets = [{"type": "webhook", "credentialsSecret": f"{name}-{one}"} for one in range(30)]
    await field.team(namespace, name, targets)
    await field.deliver(namespace, name, prefer="respond-async")


async def frequent_reads(field: Field, namespace: str, turn: int) -> None:
    """Read a large team again and again."""
    name = f"stare-{turn}"
    await field.team(namespace, name, [field.target(f"/stare/{one}") for one in range(200)], path=2000)

    async def read(url: str) -> None:
        async with field.http.get(f"{url}/deliveries/{namespace}/{name}") as answer:
            await answer.read()

    async with asyncio.TaskGroup() as reads:
        for one in range(100):
            reads.create_task(read(field.services[one % len(field.services)].url))
            await asyncio.sleep(0.01)


async def costly_texts(field: Field, namespace: str, turn: int) -> None:
    """Finish a team with 80 patterns over 300 artifacts, and 20 hosts that are longer than a host may be."""
    host = "é" * (HOST.most + 10)
    long = [{"type": "webhook", "url": f"https://{host}{one}/"} for one in range(20)]
    picking = [field.target(f"/texts/{one}", artifactPath=f"*[!{one}]*d") for one in range(80)]
    await field.team(namespace, f"texts-{turn}", [*long, *picking], path=100)
    await field.deliver(namespace, f"texts-{turn}", prefer="respond-async")


async def no_attack(field: Field, namespace: str, turn: int) -> None:
    """Do nothing: the baseline for the attacks."""


ATTACKS: tuple[Attack, ...] = (
    no_attack, hanging_receivers, large_messages, large_secrets, frequent_reads, costly_texts,
)  # fmt: skip


@asynccontextmanager
async def set_up(folder: Path) -> AsyncIterator[Field]:
    """Start everything; at the end, kill the replicas without waiting for hanging requests."""
    came: defaultdict[str, list[str]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(FakeCluster())
        cluster = await stack.enter_async_context(prepared(server, folder))
        hook = await stack.enter_async_context(Receiver())
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

        async def respond(request: web.Request) -> web.StreamResponse:
            hook.requests.clear()
            server.requests.clear()
            if request.path.startswith("/hang"):
                await asyncio.Event().wait()
            if request.path.startswith("/good"):
                came[request.path].append(request.headers["webhook-id"])
            return await ok(request)

        hook.respond = respond
        services = [Service(cluster.kubeconfig) for _ in range(REPLICAS)]
        for service in services:
            service.covered = False
            service.settings["retry_for"] = 86_400  # the default
            await service.start()
            stack.push_async_callback(service.stop, signal.SIGKILL)
        yield Field(cluster.kube, server, hook, services, http, came)


async def run(events: int, folder: Path, cycles: int = CYCLES, minutes: float = MINUTES) -> Outcome:
    """Deliver events during the attacks, until all are delivered or the minutes are over."""
    async with set_up(folder) as field:
        homes = [await field.kube.fresh_namespace() for _ in range(NAMESPACES)]
        hostile = homes.pop()
        outcome = Outcome()
        plan = [(cycle, attack) for cycle in range(cycles) for attack in ATTACKS]
        for place, (cycle, attack) in enumerate(plan):
            share = range(place * events // len(plan), (place + 1) * events // len(plan))
            numbers = _until(monotonic() + minutes * 60 / len(plan), share)
            stretch = await _stretch(field, homes, hostile, numbers, attack, cycle, outcome)
            outcome.stretches.append(stretch)
            tell(stretch)
        came = [field.came[f"/good/{number}"] for number in outcome.delivered]
        outcome.lost = came.count([])
        outcome.again = sum(len(ids) > 1 for ids in came)
        outcome.twice = sum(len(set(ids)) > 1 for ids in came)
        outcome.refused = field.refused
        return outcome


def _until(ends: float, numbers: range) -> Iterator[int]:
    return takewhile(lambda _: monotonic() < ends, numbers)


async def _stretch(  # noqa: PLR0917  # each is one part of the set-up
    field: Field,
    homes: list[str],
    hostile: str,
    numbers: Iterator[int],
    attack: Attack,
    cycle: int,
    outcome: Outcome,
) -> Stretch:
    """Deliver some events during one attack."""
    name = attack.__name__.replace("_", " ")
    processes = [service.pid for service in field.services]
    for pid in processes:
        Memory(pid).forget_peak()
    used = sum(Processor(pid).used for pid in processes)
    seconds: list[float] = []

    async def attacking() -> None:
        while True:
            await attack(field, hostile, outcome.rounds[name])
            outcome.rounds[name] += 1
            await asyncio.sleep(EVERY)

    task = asyncio.create_task(attacking())
    try:
        await asyncio.gather(*(_work(field, homes, numbers, seconds, outcome) for _ in range(AT_ONCE)))
        if task.done():
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    stretch = Stretch(
        name,
        cycle,
        seconds,
        held=[Memory(pid).held for pid in processes],
        peak=[Memory(pid).peak for pid in processes],
        cpu=sum(Processor(pid).used for pid in processes) - used,
    )
    field.forget()
    return stretch


async def _work(
    field: Field, homes: list[str], numbers: Iterator[int], seconds: list[float], outcome: Outcome
) -> None:
    for number in numbers:
        outcome.delivered.append(number)
        namespace, name = homes[number % len(homes)], f"good-{number}"
        await field.team(namespace, name, [field.target(f"/good/{number}")])
        seconds.append(await field.deliver(namespace, name))


def tell(stretch: Stretch) -> None:
    """Print the progress."""
    held = ", ".join(f"{one / MB:.0f}" for one in stretch.held)
    line = f"cycle {stretch.cycle + 1}, {stretch.attack}: {len(stretch.seconds)} events; MB held: {held}"
    Console(stderr=True).print(line, highlight=False)


def table(outcome: Outcome) -> Table:
    """Return the figures as a table."""
    shown = Table()
    for head in ("attack", "rounds", "events", "p50 s", "p99 s", "CPU ms per event", "MB", "MB at most"):
        shown.add_column(head, justify="left" if head == "attack" else "right")
    for row in outcome.rows():
        shown.add_row(*row)
    return shown


def main() -> None:
    """Run the measurement and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="maximum duration; events that are left are skipped"
    )
    parser.add_argument("--cycles", type=int, default=CYCLES, help="rounds through all attacks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neighbours-") as folder:
        outcome = asyncio.run(run(options.events, Path(folder), options.cycles, options.minutes))
    console = Console(width=110)
    console.print(table(outcome))
    console.print(str(outcome), highlight=False)
    if outcome.lost:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
