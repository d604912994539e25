"""The Kubernetes Event about an ended delivery: its text, how often, and that its failure is harmless."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Document, Documents, Kube
from tests.harness.receiver import Gate, Receiver
from tests.harness.service import Service, finished, lifecycle
from tests.harness.waiting import until


async def events(kube: Kube, namespace: str, number: int = 1) -> Documents:
    """Return the Events about deliveries in a namespace, once there are `number` of them."""
    found: Documents = []

    async def there() -> bool:
        items = (await kube.list("events", namespace)).body["items"]
        found[:] = [one for one in items if one["reason"] != "RedeliveryRequested"]
        return len(found) >= number

    await until(there)
    assert len(found) == number
    return found


async def said(kube: Kube, namespace: str, reason: str) -> Document:
    """Return a namespace's only Event, once it has this reason."""
    found: Document = {}

    async def gives_it() -> bool:
        found.update((await events(kube, namespace))[0])
        return bool(found["reason"] == reason)

    await until(gives_it)
    return found


async def test_a_successful_delivery_has_one_event(cluster: Cluster[Any]) -> None:
    async with Receiver() as hook, Service(cluster.kubeconfig, events="all") as service:
        namespace = await finished(
            cluster.kube, *({"type": "webhook", "name": name, "url": hook.url} for name in ("a", "b"))
        )
        uid = (await service.deliver(namespace, "report")).body["uid"]
        event = await said(cluster.kube, namespace, "Delivered")
        await service.deliver(namespace, "report")  # nothing is left to do, so there is no Event

    assert (event["type"], event["message"], event["count"]) == ("Normal", "delivered to a, b", 1)
    team = {"apiVersion": "kagents.dev/v1alpha1", "kind": "AgentTeam", "namespace": namespace}
    assert event["involvedObject"] == {**team, "name": "report", "uid": uid}
    assert event["source"] == {"component": "agentteam-delivery"}
    assert event["firstTimestamp"] == event["lastTimestamp"]
    assert (await events(cluster.kube, namespace)) == [event]


async def test_a_delivery_without_a_problem_has_no_event_unless_asked_for(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
        assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
    assert (await fake_cluster.kube.list("events", namespace)).body["items"] == []


async def test_a_failure_event_names_the_targets_and_reasons_and_a_redelivery_updates_it(
    cluster: Cluster[Any],
) -> None:
    chat = {"type": "slack", "name": "chat", "credentialsSecret": "late"}
    async with Receiver() as hook, Service(cluster.kubeconfig) as service:
        namespace = await finished(cluster.kube, {"type": "webhook", "name": "hook", "url": hook.url}, chat)
        await service.deliver(namespace, "report")
        event = await said(cluster.kube, namespace, "DeliveryFailed")
        assert event["type"] == "Warning"
        assert event["message"] == "1 of 2 targets failed: chat (SecretNotFound); see status.delivery"

        await cluster.kube.secret(namespace, "late", {"slack-webhook-url": hook.url})
        await service.deliver(namespace, "report", redeliver="failed")
        mended = await said(cluster.kube, namespace, "Delivered")
    assert (mended["metadata"]["uid"], mended["type"], mended["count"]) == (
        event["metadata"]["uid"],
        "Normal",
        2,
    )


async def test_an_unsettled_delivery_has_no_event(fake_cluster: Cluster[FakeCluster]) -> None:
    gate = Gate()
    async with (
        Receiver(respond=gate) as slow,
        Receiver() as hook,
        Service(fake_cluster.kubeconfig, events="all") as service,
    ):
        namespace = await finished(
            fake_cluster.kube,
            {"type": "webhook", "name": "slow", "url": slow.url},
            {"type": "webhook", "name": "quick", "url": hook.url},
        )
        await service.deliver(namespace, "report", "respond-async")

        async def half() -> bool:
            phases = {entry["phase"] for entry in await fake_cluster.kube.delivery(namespace, "report")}
            return phases == {"Pending", "Delivered"}

        await until(half)
        assert (await fake_cluster.kube.list("events", namespace)).body["items"] == []
        gate.open()
        await said(fake_cluster.kube, namespace, "Delivered")


async def test_two_replicas_and_many_callers_create_one_event(fake_cluster: Cluster[FakeCluster]) -> None:
    async with (
        Receiver() as hook,
        Service(fake_cluster.kubeconfig, events="all") as one,
        Service(fake_cluster.kubeconfig, events="all") as other,
    ):
        namespace = await finished(
            fake_cluster.kube, *({"type": "webhook", "name": f"h{at}", "url": hook.url} for at in range(30))
        )
        await asyncio.gather(*(at.deliver(namespace, "report") for at in (one, other) for _ in range(5)))
        event = await said(fake_cluster.kube, namespace, "Delivered")
    assert event["count"] == 1
    assert event["message"].endswith("h9 and 20 more")


async def test_a_team_with_the_longest_name_has_an_event(cluster: Cluster[Any]) -> None:
    name = ".".join(["x" * 62] * 4) + "z"  # 252 of 253 characters
    async with Receiver() as hook, Service(cluster.kubeconfig, events="all") as service:
        namespace = await cluster.kube.fresh_namespace()
        await cluster.kube.team(namespace, name, lifecycle({"type": "webhook", "url": hook.url}))
        await cluster.kube.finish(namespace, name)
        await service.deliver(namespace, name)
        await said(cluster.kube, namespace, "Delivered")


@pytest.mark.parametrize("status", [403, 404, 422, 500])
async def test_an_event_that_cannot_be_written_affects_nothing_else(
    fake_cluster: Cluster[FakeCluster], status: int
) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse | None:
        return web.json_response({"kind": "Status"}, status=status) if "/events" in request.path else None

    fake_cluster.server.intercept = refuse
    async with Receiver() as hook, Service(fake_cluster.kubeconfig, events="all") as service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
        answer = await service.deliver(namespace, "report")
        assert (answer.status, answer.body["phase"], answer.body["recorded"]) == (200, "Delivered", True)
        await until(lambda: service.logged("event_not_published"))
    [line] = service.logged("event_not_published")
    assert (line["level"], line["team"]) == ("warning", "report")


async def test_an_api_that_hangs_on_events_delays_no_answer_and_no_other_team(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    asked = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse | None:
        if "/events" in request.path:
            asked.set()
            await asyncio.sleep(60)
        return None

    fake_cluster.server.intercept = hang
    async with (
        Receiver() as hook,
        Service(fake_cluster.kubeconfig, events="all", max_in_flight=2, api_timeout=5) as service,
    ):
        for _ in range(4):
            namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
            async with asyncio.timeout(4):
                assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
        assert asked.is_set()
