"""The requests and connections of an event: counted, because times differ between machines."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from tests.bench.participants import Ours, Script, far_side
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver, ok
from tests.harness.service import Service, finished

REQUESTS = {
    ("GET", "agentteams"): 1,  # read
    ("PATCH", "status"): 2,  # claim, record
    ("GET", "secrets"): 1,  # one for all targets that name it
}

FINISHING = 1  # the write to a status with which a test finishes its team

LARGEST_RATIO = 3.0
"""The service's CPU time relative to a script that makes the same calls; half as much again as today's."""


@pytest.mark.parametrize("targets", [1, 8])
async def test_an_event_costs_four_requests_for_any_number_of_targets(
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
    asked = Counter((method, _resource(path)) for method, path in fake_cluster.server.requests)
    assert {what: number for what, number in asked.items() if what[1] != "version"} == REQUESTS
    assert len(hook.requests) == targets


async def test_gradual_outcomes_share_writes_if_a_write_takes_long(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    async def one_after_the_other(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.05 * int(request.path.strip("/")))
        return await ok(request)

    async with (
        Receiver(respond=one_after_the_other) as hook,
        Service(fake_cluster.kubeconfig) as service,
    ):
        targets = [{"type": "webhook", "name": f"w{at}", "url": f"{hook.url}/{at}"} for at in range(20)]
        namespace = await finished(fake_cluster.kube, *targets)
        fake_cluster.server.latency = 0.2
        assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
        fake_cluster.server.latency = 0.0
        writes = [method for method, path in fake_cluster.server.requests if path.endswith("/status")]
    claim, first, at_least_a_linger_later, last = 1, 1, 1, 1
    assert len(writes) - FINISHING <= claim + first + at_least_a_linger_later + last


async def test_connections_are_reused(fake_cluster: Cluster[FakeCluster]) -> None:
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        targets = [{"type": "webhook", "name": f"w{at}", "url": hook.url} for at in range(8)]
        for _ in range(5):
            namespace = await finished(fake_cluster.kube, *targets)
            assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
        assert len(hook.requests) == 40
        assert len(hook.connections) <= 8


@pytest.mark.quiet
async def test_a_delivery_costs_a_small_multiple_of_its_bare_requests(tmp_path: Path) -> None:
    events, fanout, at_once = 60, 8, 8
    async with far_side(tmp_path), Service(tmp_path / "kubeconfig") as service:
        service_side, floor = Ours("service", service), Script("floor", "tests.bench.floor", tmp_path)
        ratios = []
        for number in range(5):  # two outliers may come from other work on the machine
            ours = await service_side.work(events, fanout, at_once, f"service-{number}")
            least = await floor.work(events, fanout, at_once, f"floor-{number}")
            ratios.append(ours.cpu / least.cpu)
    assert sorted(ratios)[2] < LARGEST_RATIO, ratios


def _resource(path: str) -> str:
    """Return the subject of a request: the subresource, otherwise the resource."""
    parts = path.strip("/").split("/")
    if parts[-1] == "status":
        return "status"
    known = [part for part in parts if part in {"agentteams", "secrets", "events", "version"}]
    return known[-1] if known else path
