"""Runs a long outage of a receiver, and a burst to a slow one: counts what is lost, doubled, delayed.

    python -m tests.bench.outage [away|burst] [--teams N] [--replicas N]

`away`: nobody listens for longer than a hundred times what the attempts of one try take; meanwhile the
service is killed twice and the watcher once. Minutes between tries are seconds here. `burst`: teams with a
webhook and one Slack webhook, which takes one message a second, finish at once; before it the same teams
without Slack.
"""

import argparse
import asyncio
import re
import signal
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any, Self

import psutil
from aiohttp import web
from rich.console import Console

from tests.bench.participants import cpu_of
from tests.harness.cluster import Cluster, prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import TEAMS, Kube
from tests.harness.processes import free_ports
from tests.harness.receiver import Receiver, ok
from tests.harness.service import Program, Service, Watcher, lifecycle
from tests.harness.waiting import until
from tests.ledger.support import Front

NAMESPACES = 20
BACKOFF = 0.1
BUDGET = BACKOFF * (1 + 2 + 4)  # seconds that the attempts of one try take at most where nobody listens
WAITS = (4.0, 8.0)
ONE_WAIT = 1.2 * max(WAITS) + 4  # with its jitter, whole seconds, and what the watcher leaves to clocks
SHORT: dict[str, object] = {
    # A claim of ten seconds, so that what a killed process leaves is soon taken over.
    "attempt_timeout": 1,
    "target_timeout": 2,
    "place_timeout": 1,
    "record_timeout": 1,
    "api_timeout": 1,
    "backoff_initial": BACKOFF,
    "retry_for": 3600,
    "retry_waits": ",".join(map(str, WAITS)),
}
TAKES = 1.0  # second between two messages that Slack takes
TEAM = re.compile(r"team-\d+")

say = Console(highlight=False, width=110).print
Key = tuple[str, str, str]
"""A target: namespace, team, name."""


@dataclass
class Ledgers:
    """All teams' entries as a watch brings them, and when each was first seen to be delivered."""

    kube: Kube
    entries: dict[Key, dict[str, Any]] = field(default_factory=dict)
    delivered: dict[Key, float] = field(default_factory=dict)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _follow(self) -> None:
        while True:  # each watch begins with all that there is
            async for event in self.kube.watch(TEAMS, timeoutSeconds=240):
                team = event["object"]
                for entry in team.get("status", {}).get("delivery", []):
                    key = (team["metadata"]["namespace"], team["metadata"]["name"], entry["name"])
                    self.entries[key] = entry
                    if entry["success"]:
                        self.delivered.setdefault(key, monotonic())

    def number(self, fits: Callable[[dict[str, Any]], bool]) -> int:
        return sum(map(fits, self.entries.values()))

    def on_record(self, name: str) -> list[float]:
        """When each target of this name was seen to be delivered."""
        return [at for key, at in self.delivered.items() if key[2] == name]


@asynccontextmanager
async def api() -> AsyncIterator[Cluster[FakeCluster]]:
    """Start a fake API."""
    with tempfile.TemporaryDirectory(prefix="outage-") as folder:
        async with FakeCluster() as server, prepared(server, Path(folder)) as cluster:
            yield cluster


class Processes:
    """Replicas of the service behind one address, and a watcher; any can be killed."""

    def __init__(self, cluster: Cluster[FakeCluster], replicas: int = 1, **settings: object) -> None:
        self._kubeconfig = cluster.kubeconfig
        self._settings = {**settings, "max_callers": 4000}
        self._names = [f"service {number}" for number in range(replicas)]
        self._front = Front()
        self._used: defaultdict[str, float] = defaultdict(float)
        self.running: dict[str, Program] = {}

    def cpu(self, what: str) -> float:
        """Seconds of CPU so far of all whose name begins so, without what their starts have cost."""
        now = sum(cpu_of(psutil.Process(one.pid)) for name, one in self._of(what))
        return now + sum(used for name, used in self._used.items() if name.startswith(what))

    async def start(self, what: str) -> None:
        program: Program
        if what == "watcher":
            program = Watcher(self._kubeconfig, self._front.url)
        else:
            program = Service(self._kubeconfig, **self._settings)
        program.covered = False
        await program.start()
        self.running[what] = program
        self._used[what] -= cpu_of(psutil.Process(program.pid))
        self._front.replicas = [one for _, one in self._of("service") if isinstance(one, Service)]

    async def kill(self, what: str) -> None:
        program = self.running.pop(what)
        self._used[what] += cpu_of(psutil.Process(program.pid))
        await program.stop(signal.SIGKILL)

    async def __aenter__(self) -> Self:
        await self._front.__aenter__()
        for what in (*self._names, "watcher"):
            await self.start(what)
        return self

    async def __aexit__(self, *_: object) -> None:
        for what in list(self.running):
            await self.kill(what)
        await self._front.__aexit__(None, None, None)

    def _of(self, what: str) -> list[tuple[str, Program]]:
        return [(name, one) for name, one in self.running.items() if name.startswith(what)]


async def away(number: int, replicas: int) -> bool:
    """Return whether nothing was lost or came twice, and the first came within one wait of the return."""
    async with api() as cluster:
        kube, ledgers = cluster.kube, Ledgers(cluster.kube)
        receiver = Receiver(port=free_ports(1)[0])
        homes = [await kube.fresh_namespace() for _ in range(NAMESPACES)]
        for one in range(number):
            home, target = homes[one % NAMESPACES], {"type": "webhook", "name": "hook"}
            await kube.team(home, f"team-{one}", lifecycle(target | {"url": f"{receiver.url}/{one}"}))
            await kube.finish(home, f"team-{one}")
        cluster.server.requests.clear()
        began = monotonic()
        async with Processes(cluster, replicas, **SHORT) as processes, ledgers.following():
            await _outlive(number, processes, ledgers)
            await asyncio.sleep(max(0.0, 101 * BUDGET - (monotonic() - began)))
            gone, used = monotonic() - began, processes.cpu("service")
            tries = sum(one["retries"] for one in ledgers.entries.values())
            attempts = sum(one["attempts"] for one in ledgers.entries.values())
            calls = Counter(method for method, _ in cluster.server.requests)
            async with receiver:
                back = monotonic()
                await until(lambda: receiver.requests, 60)
                first = receiver.requests[0].at - back
                await until(lambda: ledgers.number(lambda one: one["success"]) == number, 600)
                last = monotonic() - back
        came = Counter(request.path for request in receiver.requests)
    lost, again = number - len(came), sum(one > 1 for one in came.values())
    say(
        f"{number} teams, {gone:.0f} s away, {gone / BUDGET:.0f} times the attempts of one try: {lost} lost,"
        f" {again} came twice; the first {first:.1f} s after the return (one wait: {ONE_WAIT:.0f} s), all on"
        f" record after {last:.1f} s. While away, {tries} tries made {attempts} attempts; each try cost the"
        f" service {used / tries * 1e3:.1f} ms of CPU and {calls['GET'] / tries:.1f} reads,"
        f" {calls['PATCH'] / tries:.1f} writes of teams"
    )
    return not (lost or again) and first <= ONE_WAIT


async def _outlive(number: int, processes: Processes, ledgers: Ledgers) -> None:
    """Kill one process each time that all teams were postponed once more, and start another."""
    began = monotonic()
    for tries, dies in enumerate(("service 0", "watcher", "service 0"), 1):

        def postponed(tries: int = tries) -> bool:
            return ledgers.number(lambda one: one.get("retries", 0) >= tries) == number

        await until(postponed, 600)
        say(f"{monotonic() - began:.0f} s: all teams were postponed {tries} times; {dies} is killed")
        await processes.kill(dies)
        await processes.start(dies)


@dataclass
class Chat:
    """A Slack webhook: takes so many a second, and one that comes early."""

    refused: int = 0
    taken: Counter[str] = field(default_factory=Counter)  # by the team that a message names
    _free: float = 0.0

    async def respond(self, request: web.Request) -> web.StreamResponse:
        now = monotonic()
        if now < self._free - TAKES:
            self.refused += 1
            return web.Response(status=429, headers={"Retry-After": "1"})
        self._free = max(now, self._free) + TAKES
        self.taken.update(TEAM.findall(await request.text())[:1])
        return await ok(request)


async def burst(number: int, replicas: int) -> bool:
    """Return whether all came once; with one replica also, whether Slack refused none."""
    alone = await _burst(number, replicas, None)
    chat = Chat()
    beside = await _burst(number, replicas, chat)
    say(
        f"the last webhook was on record {beside.seconds / alone.seconds:.2f} times as late with Slack"
        f", for {beside.cpu / alone.cpu:.2f} times the CPU; Slack refused {chat.refused} requests"
    )
    return not (alone.wrong or beside.wrong) and (replicas > 1 or not chat.refused)


@dataclass(frozen=True)
class Burst:
    """The figures of one burst: when the last webhook was on record, its cost, and how many came twice."""

    seconds: float
    cpu: float
    wrong: int


async def _burst(number: int, replicas: int, chat: Chat | None) -> Burst:
    async with api() as cluster, Receiver() as hooks, Receiver(respond=(chat or Chat()).respond) as slack:
        kube, ledgers = cluster.kube, Ledgers(cluster.kube)
        namespace = await kube.fresh_namespace()
        await kube.secret(namespace, "slack", {"slack-webhook-url": f"{slack.url}/services/x"})
        for one in range(number):
            targets = [{"type": "webhook", "name": "hook", "url": f"{hooks.url}/{one}"}]
            if chat:
                targets.append({"type": "slack", "name": "chat", "credentialsSecret": "slack"})
            await kube.team(namespace, f"team-{one}", lifecycle(*targets))
        settings = {"retry_for": 86_400, "slack_interval": 1.1 * TAKES}
        async with Processes(cluster, replicas, **settings) as processes, ledgers.following():
            for one in range(number):
                await kube.finish(namespace, f"team-{one}")
            ended = monotonic()
            await until(lambda: len(ledgers.on_record("hook")) == number, 600)
            seconds, cpu = max(ledgers.on_record("hook")) - ended, processes.cpu("service")
            handed = [line["answer"] for line in processes.running["watcher"].logged("team_submitted")]
            say(
                f"{number} teams {'with' if chat else 'without'} Slack: webhooks on record {seconds:.2f} s"
                f" after the last ended, {cpu / number * 1e3:.1f} ms of CPU per team;"
                f" {handed.count(HTTPStatus.SERVICE_UNAVAILABLE)} events were refused with 503"
            )
            if chat:
                await until(lambda: len(ledgers.on_record("chat")) == number, 60 + 4 * TAKES * number)
                say(f"Slack had all {max(ledgers.on_record('chat')) - ended:.0f} s after the last ended")
    came = Counter(request.path for request in hooks.requests)
    counts = [came, chat.taken] if chat else [came]
    wrong = sum(number - len(one) + sum(times > 1 for times in one.values()) for one in counts)
    twice = [name for one in counts for name, times in one.items() if times > 1]
    attempts = sum(entry["attempts"] for entry in ledgers.entries.values())
    requests = len(hooks.requests) + len(slack.requests)
    say(f"{wrong} did not come, or twice {twice[:5]}; {requests} requests for {attempts} attempts on record")
    return Burst(seconds, cpu, wrong)


def main() -> None:
    """Run the chosen measurements and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("show", nargs="?", choices=("away", "burst"))
    parser.add_argument("--teams", type=int)
    parser.add_argument("--replicas", type=int, default=1)
    options = parser.parse_args()
    held = []
    if options.show in {None, "away"}:
        held.append(asyncio.run(away(options.teams or 500, options.replicas)))
    if options.show in {None, "burst"}:
        held.append(asyncio.run(burst(options.teams or 300, options.replicas)))
    raise SystemExit(not all(held))


if __name__ == "__main__":
    main()
