"""Redelivery on request: what, to whom, under which id, and when it is refused."""

import asyncio
from typing import Any

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Gate, Receiver
from tests.harness.service import FORBIDDEN, Service, finished, lifecycle
from tests.harness.waiting import until
from tests.service.conftest import Bench


async def test_failed_targets_are_sent_again_once_their_secret_exists_and_delivered_ones_are_not(
    bench: Bench,
) -> None:
    slack = {"type": "slack", "name": "chat", "credentialsSecret": "late"}
    namespace = await bench.finished({"type": "webhook", "name": "hook", "url": bench.hook.url}, slack)
    first = (await bench.service.deliver(namespace, "report")).body
    assert [target["reason"] for target in first["targets"]] == ["Delivered", "SecretNotFound"]

    await bench.kube.secret(namespace, "late", {"slack-webhook-url": f"{bench.hook.url}/late"})
    before = len(bench.hook.requests)
    again = (await bench.service.deliver(namespace, "report", redeliver="failed")).body

    assert again["phase"] == "Delivered"
    assert [request.path for request in bench.hook.requests[before:]] == ["/late"]
    chat = again["targets"][1]
    assert (chat["redeliveries"], chat["id"] != first["targets"][1]["id"]) == (1, True)
    assert again["targets"][0] == first["targets"][0]


async def test_a_report_says_if_nothing_was_sent(bench: Bench) -> None:
    namespace = await bench.finished({"type": "webhook", "name": "hook", "url": bench.hook.url})
    first = (await bench.service.deliver(namespace, "report")).body
    assert first["reason"] is None
    before = len(bench.hook.requests)
    again = (await bench.service.deliver(namespace, "report")).body
    assert again == {**first, "reason": "nothing was sent: every target is settled; redeliver sends again"}
    failed = (await bench.service.deliver(namespace, "report", redeliver="failed")).body
    said = "nothing was sent again: no requested target has failed"
    assert failed == {**first, "reason": said}
    assert len(bench.hook.requests) == before
    theirs = {"type": "webhook", "success": False, "deliveredAt": "2026-03-01T10:00:00Z", "error": "x"}
    theirs["target"] = first["targets"][0]["target"]
    await bench.kube.finish(namespace, "report", delivery=[theirs])
    for which in ("failed", "all"):
        left = (await bench.service.deliver(namespace, "report", redeliver=which)).body
        assert left["reason"].endswith("another program recorded it, so it is left alone")


async def test_a_redelivery_of_one_name_sends_only_to_that_target(bench: Bench) -> None:
    targets = [{"type": "webhook", "name": name, "url": f"{bench.hook.url}/{name}"} for name in ("a", "b")]
    namespace = await bench.finished(*targets)
    first = (await bench.service.deliver(namespace, "report")).body
    before = len(bench.hook.requests)
    again = (await bench.service.deliver(namespace, "report", redeliver="all", targets=["b"])).body

    [request] = bench.hook.requests[before:]
    assert request.path == "/b"
    assert request.headers["webhook-id"] == again["targets"][1]["id"] != first["targets"][1]["id"]
    assert again["targets"][0] == first["targets"][0]
    assert again["targets"][1]["attempts"] == 2


async def test_a_redelivery_uses_the_corrected_spec(bench: Bench) -> None:
    namespace = await bench.finished({"type": "webhook", "name": "hook", "url": f"http://{FORBIDDEN}/"})
    assert (await bench.service.deliver(namespace, "report")).body["targets"][0]["reason"] == "EgressDenied"
    corrected = lifecycle({"type": "webhook", "name": "hook", "url": f"{bench.hook.url}/right"})
    await bench.kube.patch("agentteams", namespace, "report", {"spec": corrected})
    again = (await bench.service.deliver(namespace, "report", redeliver="failed")).body
    assert again["targets"][0]["target"] == f"{bench.hook.url}/right"
    assert bench.hook.requests[-1].path == "/right"


async def test_a_new_target_is_sent_to_and_settled_ones_are_not(bench: Bench) -> None:
    old = {"type": "webhook", "name": "old", "url": f"{bench.hook.url}/old"}
    namespace = await bench.finished(old)
    await bench.service.deliver(namespace, "report")
    before = len(bench.hook.requests)
    new = {"type": "webhook", "name": "new", "url": f"{bench.hook.url}/new"}
    await bench.kube.patch("agentteams", namespace, "report", {"spec": lifecycle(new, old)})
    answer = await bench.service.deliver(namespace, "report")
    assert {target["name"] for target in answer.body["targets"]} == {"old", "new"}
    assert [request.path for request in bench.hook.requests[before:]] == ["/new"]


async def test_a_target_in_flight_is_not_redelivered_concurrently(fake_cluster: Cluster[FakeCluster]) -> None:
    kube = fake_cluster.kube
    gate = Gate()

    async with Receiver(respond=gate) as hook, Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(kube, {"type": "webhook", "url": hook.url})
        await service.deliver(namespace, "report", "respond-async")
        refused = await service.deliver(namespace, "report", redeliver="all")
        assert (refused.status, refused.problem) == (409, "claim-in-flight")
        plain = await service.deliver(namespace, "report")
        assert (plain.status, plain.body["phase"]) == (202, "Pending")
        gate.open()

        async def settled() -> bool:
            return bool((await service.read(namespace, "report")).body["phase"] == "Delivered")

        await until(settled)
        assert len(hook.requests) == 1


async def test_a_hanging_host_does_not_use_up_the_connections_of_others(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    gate = Gate()

    bounds = {
        "max_connections_per_host": 4,
        "attempt_timeout": 4,
        "target_timeout": 5,
        "attempts": 1,
        "place_timeout": 5,
    }
    async with (
        Receiver(respond=gate) as stuck,
        Receiver() as hook,
        Service(fake_cluster.kubeconfig, **bounds) as service,
    ):
        targets: list[dict[str, Any]] = [{"type": "webhook", "url": stuck.url} for _ in range(20)]
        targets += [{"type": "webhook", "name": f"well-{number}", "url": hook.url} for number in range(20)]
        namespace = await finished(kube, *targets)
        answered = asyncio.create_task(service.deliver(namespace, "report"))

        async def others_on_record() -> bool:
            entries = await kube.delivery(namespace, "report")
            return len([entry for entry in entries if entry["phase"] == "Delivered"]) == 20

        await until(others_on_record, 3.9)  # before the stuck ones give up
        report = (await answered).body
        gate.open()

        stuck_targets = report["targets"][:20]
        assert {target["reason"] for target in stuck_targets} == {"Timeout", None}
        waiting = [target for target in stuck_targets if target["phase"] == "Pending"]
        assert all("for a connection to its receiver's host" in target["message"] for target in waiting)
        assert {target["attempts"] for target in waiting} == {0}
        assert len(stuck.requests) == 20 - len(waiting), (
            "waiting for a connection does not count as an attempt"
        )
