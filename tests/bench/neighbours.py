"""Three replicas, fifty namespaces, one of them hostile in each way in turn: nothing is lost, memory is flat.

    python -m tests.bench.neighbours [--events 20000]

Each event is a team of its own with one webhook. Meanwhile one namespace hangs on to connections, sends large
messages, brings large Secrets, and reads a large team all the time.
"""

import argparse
import asyncio
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from time import monotonic
from typing import Any

import aiohttp
from aiohttp import web
from rich.console import Console

from tests.harness.cluster import prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.processes import Memory
from tests.harness.receiver import Receiver, ok
from tests.harness.service import Service, lifecycle

REPLICAS = 3
NAMESPACES = 50
AT_ONCE = 24  # good events that are under way
MB = 1_000_000
ABOUT = {"producedBy": "writer", "producedAt": "2026-03-01T12:00:00Z"}


@dataclass
class Outcome:
    """What came of a run."""

    events: int
    lost: int
    again: int  # notices that came more than once
    refused: int  # requests that were told to come later
    seconds: list[float] = field(default_factory=list)  # an event
    memory: list[list[int]] = field(default_factory=list)  # bytes, of each replica at the end of each quarter

    @property
    def growth(self) -> float:
        """How much larger a replica is at the end than after the first quarter, at most."""
        return max(last / first for first, last in zip(self.memory[0], self.memory[-1], strict=True))

    def __str__(self) -> str:
        cuts = quantiles(self.seconds, n=100)
        held = "; ".join(", ".join(f"{one / MB:.0f}" for one in quarter) for quarter in self.memory)
        return (
            f"{self.events} events, {self.lost} lost, {self.again} sent again, {self.refused} put off;"
            f" {cuts[49]:.2f} s an event, 99 % in {cuts[98]:.2f} s; MB of the replicas by quarters: {held}"
        )


@dataclass
class Field:
    """Replicas on one API, with one host at which all receivers are."""

    kube: Kube
    hook: Receiver
    services: list[Service]
    http: aiohttp.ClientSession
    came: Counter[str]
    refused: int = 0
    _turn: int = 0

    async def deliver(self, namespace: str, team: str, *, prefer: str = "wait=120") -> float:
        """Hand a team in, to one replica after the other until it is done; return the seconds it took."""
        began = monotonic()
        event = {"namespace": namespace, "team": team}
        while True:
            self._turn += 1
            url = f"{self.services[self._turn % len(self.services)].url}/deliveries"
            try:
                async with self.http.post(url, json=event, headers={"prefer": prefer}) as answer:
                    report = await answer.json()
            except aiohttp.ClientConnectionError:  # an idle connection that was closed at this moment
                continue
            if answer.status == 200 or prefer == "respond-async":
                return monotonic() - began
            self.refused += 1
            assert answer.status in {202, 503}, report
            await asyncio.sleep(float(answer.headers.get("retry-after", 0.2)))

    async def team(self, namespace: str, name: str, targets: list[dict[str, Any]], *, path: int = 0) -> None:
        """Finish a team; with `path`, it has 300 artifacts with paths of so many characters."""
        await self.kube.team(namespace, name, lifecycle(*targets))
        artifacts = [
            {"name": f"{one}.md", "path": f"/{one}/" + "p" * path, **ABOUT}
            for one in range(300 if path else 0)
        ]
        await self.kube.finish(namespace, name, artifacts=artifacts)

    def target(self, path: str, **more: Any) -> dict[str, Any]:
        return {"type": "webhook", "url": f"{self.hook.url}{path}", **more}


Hostility = Callable[[Field, str, int], Awaitable[None]]
"""One round of what a hostile namespace does."""


async def hang(field: Field, namespace: str, turn: int) -> None:
    """A thousand webhooks that never answer."""
    name = f"hang-{turn}"
    await field.team(namespace, name, [field.target(f"/hang/{one}") for one in range(1000)])
    await field.deliver(namespace, name, prefer="respond-async")
    await asyncio.sleep(5)


async def swell(field: Field, namespace: str, turn: int) -> None:
    """Fifty messages of a megabyte."""
    name = f"swell-{turn}"
    await field.team(namespace, name, [field.target(f"/swell/{one}") for one in range(50)], path=3000)
    await field.deliver(namespace, name, prefer="respond-async")
    await asyncio.sleep(1)


async def hoard(field: Field, namespace: str, turn: int) -> None:
    """Thirty Secrets of most of a megabyte."""
    name = f"hoard-{turn}"
    for one in range(30):
        data: dict[str, str | bytes] = {"url": f"{field.hook.url}/hoard", "other": b"x" * 700_000}
        await field.kube.secret(namespace, f"{name}-{one}", data)
    targets = [{"type": "webhook", "credentialsSecret": f"{name}-{one}"} for one in range(30)]
    await field.team(namespace, name, targets)
    await field.deliver(namespace, name, prefer="respond-async")
    await asyncio.sleep(1)


async def stare(field: Field, namespace: str, turn: int) -> None:
    """A large team, read as often as it is answered."""
    name = f"stare-{turn}"
    await field.team(namespace, name, [field.target(f"/stare/{one}") for one in range(200)], path=2000)
    for one in range(100):
        service = field.services[one % len(field.services)]
        async with field.http.get(f"{service.url}/deliveries/{namespace}/{name}") as answer:
            await answer.read()


HOSTILE: tuple[Hostility, ...] = (hang, swell, hoard, stare)


@asynccontextmanager
async def set_up(folder: Path) -> AsyncIterator[Field]:
    """Start everything; at the end what hangs is not waited for."""
    came: Counter[str] = Counter()
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
            came[request.path] += 1
            return await ok(request)

        hook.respond = respond
        services = [Service(cluster.kubeconfig) for _ in range(REPLICAS)]
        for service in services:
            service.covered = False
            await service.start()
            stack.push_async_callback(service.stop, signal.SIGKILL)
        yield Field(cluster.kube, hook, services, http, came)


async def run(events: int, folder: Path) -> Outcome:
    """Deliver so many events while one namespace does its worst."""
    async with set_up(folder) as field:
        homes = [await field.kube.fresh_namespace() for _ in range(NAMESPACES)]
        hostile = homes.pop()
        outcome = Outcome(events, 0, 0, 0)

        async def harm() -> None:
            for turn, act in enumerate(cycle(HOSTILE)):
                await act(field, hostile, turn)

        harming = asyncio.create_task(harm())
        try:
            for quarter in range(4):
                numbers = iter(range(quarter * events // 4, (quarter + 1) * events // 4))
                await asyncio.gather(*(_work(field, homes, numbers, outcome) for _ in range(AT_ONCE)))
                outcome.memory.append([Memory(service.pid).held for service in field.services])
                if harming.done():
                    await harming
        finally:
            harming.cancel()
            await asyncio.gather(harming, return_exceptions=True)
        counts = [field.came[f"/good/{number}"] for number in range(events)]
        outcome.lost, outcome.again = counts.count(0), sum(count > 1 for count in counts)
        outcome.refused = field.refused
        return outcome


async def _work(field: Field, homes: list[str], numbers: Any, outcome: Outcome) -> None:
    for number in numbers:
        namespace, name = homes[number % len(homes)], f"good-{number}"
        await field.team(namespace, name, [field.target(f"/good/{number}")])
        outcome.seconds.append(await field.deliver(namespace, name))
        await field.kube.delete("agentteams", namespace, name)  # so that the far side does not grow


def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neighbours-") as folder:
        outcome = asyncio.run(run(options.events, Path(folder)))
    Console().print(str(outcome), highlight=False)
    if outcome.lost:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
