"""What an event costs in requests and connections: counted, since seconds differ from machine to machine."""

import asyncio
from collections import Counter

import pytest
from aiohttp import web

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver, ok
from tests.harness.service import Service, finished
from tests.harness.waiting import until

REQUESTS = {
    ("GET", "agentteams"): 1,  # read
    ("PATCH", "status"): 2,  # claim, record
    ("GET", "secrets"): 1,  # for all targets that name it
    ("POST", "events"): 1,  # told
}


@pytest.mark.parametrize("targets", [1, 8])
async def test_an_event_costs_five_requests_whatever_its_targets(
    fake_cluster: Cluster[FakeCluster], targets: int
) -> None:
    everybody = asyncio.Barrier(targets)

    async def all_at_once(request: web.Request) -> web.StreamResponse:
        await everybody.wait()
        return await ok(request)

    async with Receiver(respond=all_at_once) as hook, Service(fake_cluster.kubeconfig) as service:
        slack = [{"type": "slack", "name": f"s{at}", "credentialsSecret": "keys"} for at in range(targets)]
        namespace = await finished(
            fake_cluster.kube, *slack, keys={"slack-webhook-url": f"{hook.url}/services"}
        )
        fake_cluster.server.requests.clear()
        assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"

        def told() -> bool:
            return any(path.endswith("/events") for _, path in fake_cluster.server.requests)

        await until(told)
        asked = Counter((method, _resource(path)) for method, path in fake_cluster.server.requests)
    assert {what: number for what, number in asked.items() if what[1] != "version"} == REQUESTS
    assert len(hook.requests) == targets


async def test_connections_are_used_again(fake_cluster: Cluster[FakeCluster]) -> None:
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        targets = [{"type": "webhook", "name": f"w{at}", "url": hook.url} for at in range(8)]
        for _ in range(5):
            namespace = await finished(fake_cluster.kube, *targets)
            assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
        assert len(hook.requests) == 40
        assert len(hook.connections) <= 8


def _resource(path: str) -> str:
    """Return what a request is about: the subresource, else the resource."""
    parts = path.strip("/").split("/")
    if parts[-1] == "status":
        return "status"
    known = [part for part in parts if part in {"agentteams", "secrets", "events", "version"}]
    return known[-1] if known else path
