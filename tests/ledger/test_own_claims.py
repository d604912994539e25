"""A process distinguishes claims under which it is sending from those that it does not know."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from app.domain.errors import ClaimInFlight
from app.domain.events import CompletionEvent
from app.domain.ledger import Terms, decide
from tests.examples import NOW, team
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver
from tests.harness.service import Service, lifecycle
from tests.harness.waiting import until

PLAIN = CompletionEvent(namespace="research", team="report")


def test_a_process_does_not_take_over_its_own_expired_claim_while_it_sends() -> None:
    before = Terms("me", NOW, timedelta(seconds=60), max_takeovers=10)
    target = {"type": "webhook", "name": "hook", "url": "https://hooks.example.com"}
    claimed = decide(team([target]), PLAIN, before, start=True).entries
    after = replace(before, now=NOW + timedelta(seconds=60))
    its = replace(after, ours={claimed[0]["id"]})

    assert not decide(team([target], entries=claimed), PLAIN, its, start=True).changes
    again = PLAIN.model_copy(update={"redeliver": "all"})
    with pytest.raises(ClaimInFlight):
        decide(team([target], entries=claimed), again, its, start=True)
    assert decide(team([target], entries=claimed), PLAIN, after, start=True).claims
    assert decide(team([target], entries=claimed), PLAIN, replace(after, holder="other"), start=True).claims


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
