"""The limits of a running watcher: memory, the time of a list, the connections of its port."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import TEAMS, Kube
from tests.harness.processes import Memory
from tests.harness.service import Watcher
from tests.harness.waiting import until
from tests.watcher.stand import Service, finish

MB = 1_000_000
LARGE = 5  # teams, each takes 35 MB when parsed


@pytest.fixture
async def hostile(kube: Kube, server: FakeCluster) -> AsyncIterator[FakeCluster]:
    """A list with teams of 1.3 MB of empty lists, each sent as slowly as a whole request may take."""
    await finish(kube, "report")
    good = json.dumps((await kube.get(TEAMS, "research", "report")).body).encode()
    empty = b",".join([b"[]"] * 430_000)

    async def respond(request: web.Request) -> web.StreamResponse | None:
        if request.method != "GET" or not request.path.endswith("/agentteams") or "watch" in request.query:
            return None
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"apiVersion":"kagents.dev/v1alpha1","items":[')
        for number in range(LARGE):
            about = json.dumps({"namespace": "greedy", "name": f"team-{number}", "uid": str(number)})
            await response.write(f'{{"metadata":{about},"spec":{{"x":['.encode() + empty + b"]}},")
            await asyncio.sleep(0.5)
        await response.write(good + b'],"kind":"AgentTeamList","metadata":{"resourceVersion":"7"}}')
        return response

    server.intercept = respond
    yield server
    server.intercept = None


async def test_large_teams_take_little_memory_and_a_slow_list_is_read_to_its_end(
    kube: Kube, hostile: FakeCluster, service: Service
) -> None:
    assert hostile.intercept
    watcher = Watcher(kube.kubeconfig, service.url, api_timeout=3)
    watcher.covered = False
    async with watcher:
        await until(lambda: service.teams == ["report"], 60)
        assert (
            Memory(watcher.pid).peak < 200 * MB
        )  # the chart's limit is 512 MiB; the number of teams does not count
        answer = await watcher.request("GET", "/metrics")
        assert f"agentteam_delivery_watch_teams {LARGE + 1}.0" in answer.content.decode()


async def test_idle_connections_are_closed_for_a_probe(kube: Kube, service: Service) -> None:
    watcher = Watcher(kube.kubeconfig, service.url)
    watcher.covered = False
    async with watcher, contextlib.AsyncExitStack() as stack:
        for _ in range(1100):
            _, writer = await asyncio.open_connection("127.0.0.1", watcher.port)
            stack.callback(writer.close)
        async with aiohttp.ClientSession() as session:
            for path in ("/healthz", "/metrics"):
                async with session.get(watcher.url + path) as answer:
                    assert answer.status == 200
        assert Memory(watcher.pid).files < 100
