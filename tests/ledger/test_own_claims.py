"""A process tells the claims that it is sending under from those that it does not know it has."""

import asyncio
from collections import Counter
from typing import Any

from aiohttp import web

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver
from tests.harness.service import Service, lifecycle
from tests.harness.waiting import until


async def test_a_redelivery_stays_claimed_when_the_dispatch_before_it_ends(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    namespace = await kube.fresh_namespace()
    gates = {"/slow": asyncio.Event(), "/quick": asyncio.Event()}
    gates["/quick"].set()

    async def respond(request: web.Request) -> web.StreamResponse:
        await gates[request.path].wait()
        return web.Response()

    async with Receiver(respond=respond) as hook, Service(fake_cluster.kubeconfig) as service:

        async def phases() -> dict[str, Any]:
            return {entry["name"]: entry["phase"] for entry in await kube.delivery(namespace, "report")}

        async def dispatches() -> int:
            metrics = (await service.request("GET", "/metrics")).content.decode()
            return int(metrics.split("\nagentteam_delivery_in_flight ")[1].split(".")[0])

        targets = [
            {"type": "webhook", "name": name, "url": f"{hook.url}/{name}"} for name in ("slow", "quick")
        ]
        await kube.team(namespace, "report", lifecycle(*targets))
        await kube.finish(namespace, "report")
        await service.deliver(namespace, "report", "respond-async")
        await until(lambda: _is(phases, {"slow": "Pending", "quick": "Delivered"}))
        gates["/quick"].clear()
        await service.deliver(namespace, "report", "respond-async", redeliver="all", targets=["quick"])
        gates["/slow"].set()
        await until(lambda: _is(dispatches, 1))
        assert await phases() == {"slow": "Delivered", "quick": "Pending"}

        again = await service.deliver(namespace, "report", "respond-async")
        gates["/quick"].set()
        await until(lambda: _is(dispatches, 0))

        assert again.status == 202
        assert await phases() == {"slow": "Delivered", "quick": "Delivered"}
        assert Counter(request.path for request in hook.requests) == {"/slow": 1, "/quick": 2}
        assert len({request.headers["webhook-id"] for request in hook.requests}) == 3


async def _is(ask: Any, expected: Any) -> bool:
    return bool(await ask() == expected)
