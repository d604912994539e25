"""While one namespace's teams wait, other namespaces get deliveries as if they were alone.

The tests run a process, and also check its probes and its memory meanwhile.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.bench.neighbours import run
from tests.harness.cluster import prepared
from tests.harness.drive import Drive
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import GROUP, TEAMS, Kube
from tests.harness.processes import Memory, Processor
from tests.harness.receiver import Receiver, ok
from tests.harness.relay import Relay
from tests.harness.service import Service, finished, lifecycle
from tests.harness.waiting import until

pytestmark = pytest.mark.quiet

MB = 1_000_000
LEAST = 60 * MB  # bytes that one team may take, above the process's memory at rest
READS = 100  # requests per second, whatever the answer: half of a caller's limit
SLACK = 1.0  # seconds by which another team may be later than alone, without the CPU time of other processes


@dataclass
class Town:
    """A service, and one host with all receivers."""

    service: Service
    kube: Kube
    hook: Receiver
    server: FakeCluster
    drive: Drive
    hanging: int = 0
    idle: int = 0  # bytes

    @property
    def memory(self) -> Memory:
        return Memory(self.service.pid)

    def now(self) -> float:
        """Return the time in seconds, less the time in which the service waited for a CPU."""
        return monotonic() - Processor(self.service.pid).lacked

    async def neighbour(self, number: int = 40) -> float:
        """Deliver to `number` healthy targets from a namespace of their own; return the seconds it took."""
        targets = [self.target(f"/well/{one}") for one in range(number)]
        namespace = await finished(self.kube, *targets)
        began = self.now()
        answer = await self.service.deliver(namespace, "report")
        took = self.now() - began
        assert (answer.status, answer.body["phase"]) == (200, "Delivered")
        return took

    def target(self, path: str) -> dict[str, Any]:
        return {"type": "webhook", "url": f"{self.hook.url}{path}"}

    async def large(self, *targets: dict[str, Any], path: int = 0, keys: dict[str, str] | None = None) -> str:
        """Finish a team with these targets and 300 artifacts with long paths."""
        namespace = await self.kube.fresh_namespace()
        await self.kube.secret(namespace, "keys", keys or {})
        await self.kube.team(namespace, "report", lifecycle(*targets))
        about = {"producedBy": "writer", "producedAt": "2026-03-01T12:00:00Z"}
        artifacts = [{"name": f"{one}.md", "path": f"/{one}/" + "p" * path, **about} for one in range(300)]
        await self.kube.finish(namespace, "report", artifacts=artifacts)
        return namespace

    @asynccontextmanager
    async def probed(self) -> AsyncIterator[None]:
        """Request `/healthz` all the time, and check that it answers within a second."""
        done = asyncio.Event()

        async def probe() -> float:
            slowest = 0.0
            while not done.is_set():
                began = self.now()
                assert (await self.service.request("GET", "/healthz")).status == 200
                slowest = max(slowest, self.now() - began)
                await asyncio.sleep(0.1)
            return slowest

        probing = asyncio.create_task(probe())
        try:
            yield
        finally:
            done.set()
            slowest = await probing
        assert slowest < 1.0


@pytest.fixture(scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """Start it once."""
    folder = tmp_path_factory.mktemp("town")
    async with (
        FakeCluster() as server,
        prepared(server, folder) as cluster,
        Receiver() as hook,
        Relay() as relay,
        Drive() as drive,
    ):
        mail = {"smtp_host": "127.0.0.1", "smtp_tls": "none", "smtp_from": "teams@example.com"}
        backend = {"google_drive": "api", "google_api_url": drive.url, "slack_interval": 0}
        service = Service(cluster.kubeconfig, email="smtp", smtp_port=relay.port, **mail, **backend)
        service.covered = False
        town = Town(service, cluster.kube, hook, server, drive)

        async def respond(request: web.Request) -> web.StreamResponse:
            hook.requests.clear()  # unused, and some are large
            if request.path.startswith("/hang"):
                town.hanging += 1
                await asyncio.Event().wait()
            return await ok(request)

        hook.respond = respond
        await service.start()
        await town.neighbour()
        town.idle = town.memory.held
        try:
            yield town
        finally:
            await service.stop(signal.SIGKILL)  # otherwise the hanging requests would delay the end


async def test_messages_of_a_large_team_are_built_only_with_free_memory(town: Town) -> None:
    namespace = await town.large(*[town.target(f"/well/{one}") for one in range(60)], path=3000)
    town.memory.forget_peak()
    async with town.probed():
        answer = await town.service.deliver(namespace, "report", "wait=120")
    assert answer.body["phase"] == "Delivered"  # 60 MB of JSON, each part in several copies
    assert town.memory.peak - town.idle < LEAST


@pytest.mark.parametrize("kind", ["slack", "email", "google-drive"])
async def test_notifications_with_long_lists_are_built_only_with_free_memory(town: Town, kind: str) -> None:
    to = [f"ann{one}@example.com" for one in range(100)]
    fields: dict[str, Any] = {"email": {"to": to}, "google-drive": {"folder": "1AbC-d_E"}}
    secret = {"slack-webhook-url": town.hook.url, "service-account.json": town.drive.key_file()}
    own = {} if kind == "email" else {"credentialsSecret": "keys"}
    # A character beyond the first 65,536 makes Python store each character of a text in four bytes.
    targets = [
        {"type": kind, "message": f"{one} 🎉" + "{artifacts}" * 100, **fields.get(kind, {}), **own}
        for one in range(20)
    ]
    namespace = await town.large(*targets, path=600, keys=secret)
    town.memory.forget_peak()
    async with town.probed():
        answer = await town.service.deliver(namespace, "report", "wait=120")
    assert answer.body["phase"] == "Delivered"
    assert town.memory.peak - town.idle < LEAST


async def test_a_list_of_large_teams_is_read_one_team_at_a_time(town: Town) -> None:
    namespace = await town.kube.fresh_namespace()
    entry = {"type": "webhook", "success": True, "deliveredAt": "2026-03-01T12:00:00Z", "target": "x"}
    for number in range(12):
        about = {"name": f"team-{number:02}", "namespace": namespace, "uid": f"uid-{number}"}
        # 1.2 MB of JSON, which takes 26 MB when parsed.
        team = {"metadata": about, "spec": {"more": [[]] * 400_000}, "status": {"delivery": [entry]}}
        town.server.api.store.put((GROUP, TEAMS), team)
    town.memory.forget_peak()
    found: list[str] = []
    after = ""
    async with town.probed():
        while True:
            page = await town.service.request("GET", f"/deliveries?namespace={namespace}{after}")
            found += [item["team"] for item in page.body["items"]]
            if not page.body.get("next"):
                break
            after = f"&after={page.body['next']}"
    assert found == [f"team-{number:02}" for number in range(12)]
    assert town.memory.peak - town.idle < LEAST


async def test_large_secrets_are_read_a_few_at_a_time(town: Town) -> None:
    names = [f"keys-{number}" for number in range(60)]
    value: dict[str, str | bytes] = {"url": f"{town.hook.url}/well", "other": b"x" * 700_000}
    secrets = dict.fromkeys(names, value)
    targets = [{"type": "webhook", "credentialsSecret": name} for name in names]
    namespace = await finished(town.kube, *targets, **secrets)
    town.memory.forget_peak()
    answer = await town.service.deliver(namespace, "report", "wait=120")
    assert answer.body["phase"] == "Delivered"
    assert town.memory.peak - town.idle < LEAST


async def test_frequent_reads_of_a_large_team_delay_no_delivery(town: Town) -> None:
    namespace = await town.large(*[town.target(f"/well/{one}") for one in range(300)], path=1500)
    await town.service.deliver(namespace, "report", "wait=120")
    alone = await town.neighbour()
    answers: Counter[int] = Counter()

    async def read(session: aiohttp.ClientSession) -> None:
        async with session.get(f"{town.service.url}/deliveries/{namespace}/report") as answer:
            await answer.read()
            answers[answer.status] += 1

    async def keep_reading(session: aiohttp.ClientSession) -> None:
        async with asyncio.TaskGroup() as reads:
            while True:
                reads.create_task(read(session))
                await asyncio.sleep(1 / READS)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        reading = asyncio.create_task(keep_reading(session))
        try:
            await until(lambda: answers[200] > 10)
            async with town.probed():
                took = min([await town.neighbour(), await town.neighbour()])
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    assert took < max(1.2 * alone, alone + SLACK)
    assert set(answers) <= {200, 503}


async def test_two_thousand_hanging_targets_of_a_host_leave_connections_for_others(town: Town) -> None:
    alone = await town.neighbour()
    greedy = await town.kube.fresh_namespace()
    town.memory.forget_peak()
    for name in ("one", "two"):
        await town.kube.team(greedy, name, lifecycle(*[town.target(f"/hang/{one}") for one in range(1000)]))
        await town.kube.finish(greedy, name)
        assert (await town.service.deliver(greedy, name, "respond-async")).status == 202
    await until(lambda: town.hanging == 50)
    took = min([await town.neighbour(), await town.neighbour()])
    assert took < max(1.2 * alone, alone + SLACK)
    assert town.memory.peak - town.idle < 2 * LEAST
    metrics = (await town.service.request("GET", "/metrics")).content.decode()
    assert 'agentteam_delivery_waiting{place="connections"} 1950.0' in metrics


async def test_replicas_next_to_a_hostile_namespace_lose_nothing_and_do_not_grow(tmp_path: Path) -> None:
    outcome = await run(80, tmp_path, cycles=1)
    assert (outcome.lost, outcome.twice) == (0, 0), outcome
    assert outcome.peak < 256 * MB, outcome
