"""Changes by the team's author, the operator and the API server during a delivery, and its outcome."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import aiohttp
import psutil
import pytest
from aiohttp import web

from app.domain.urls import redacted
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Gate, Receiver
from tests.harness.service import Service, finished, lifecycle
from tests.harness.waiting import until

Fake = Cluster[FakeCluster]

SHORT = {"attempt_timeout": 1, "target_timeout": 1, "record_timeout": 1, "api_timeout": 0.5}
"""With these settings, a claim lasts 6 s."""


async def away(_: web.Request) -> web.StreamResponse:
    return web.Response(status=503)


def on_writes(
    answer: Callable[[Any], Awaitable[web.StreamResponse | None]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse | None]]:
    """Intercept writes of `status.delivery`; `answer` gets the list, and returns None to pass it on."""

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PATCH":
            return None
        entries = json.loads(await request.read())["status"].get("delivery")
        return None if entries is None else await answer(entries)

    return intercept


def status(code: int, message: str, **headers: str) -> web.Response:
    """An API server's `Status`."""
    body = {"kind": "Status", "status": "Failure", "code": code, "message": message}
    return web.json_response(body, status=code, headers=headers)


async def test_an_event_accepted_with_the_caller_s_phase_settles_after_a_crash(fake_cluster: Fake) -> None:
    kube, gate = fake_cluster.kube, Gate()
    namespace = await kube.fresh_namespace()
    async with Receiver(respond=gate) as hook:
        await kube.team(namespace, "report", lifecycle({"type": "webhook", "url": hook.url}))
        async with Service(fake_cluster.kubeconfig, **SHORT) as dying:
            accepted = await dying.deliver(namespace, "report", "respond-async", phase="Completed")
            assert accepted.status == 202
            await until(lambda: hook.requests)
            await dying.stop(signal.SIGKILL)
        gate.open()
        async with Service(fake_cluster.kubeconfig, **SHORT) as service:

            async def taken_over() -> Any:
                report = (await service.deliver(namespace, "report")).body
                return report if report["phase"] != "Pending" else None

            [target] = (await until(taken_over, 15))["targets"]

    assert (target["phase"], target["takeovers"]) == ("Delivered", 1)
    assert {json.loads(request.body)["phase"] for request in hook.requests} == {"Completed"}
    assert len({request.headers["webhook-id"] for request in hook.requests}) == 1


async def test_an_accepted_target_settles_although_the_team_now_has_too_many(fake_cluster: Fake) -> None:
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        target = {"type": "webhook", "url": hook.url}
        namespace = await finished(fake_cluster.kube, *[target] * 1001)
        claim = {
            "name": "webhook-0",
            "type": "webhook",
            "success": False,
            "deliveredAt": "2020-01-01T00:00:00Z",
            "target": redacted(hook.url),
            "phase": "Pending",
            "id": "msg_1",
            "attempts": 0,
            "claimedBy": "somebody",
            "claimedUntil": "2020-01-01T00:00:00Z",
        }
        body = {"status": {"delivery": [claim]}}
        await fake_cluster.kube.patch("agentteams", namespace, "report", body, subresource="status")
        answer = await service.deliver(namespace, "report")
        assert [entry["phase"] for entry in answer.body["targets"]] == ["Delivered"]
        assert len(hook.requests) == 1


async def test_a_hanging_claim_is_answered_in_time(fake_cluster: Fake) -> None:
    forever = asyncio.Event()

    async def hang(_: Any) -> None:
        await forever.wait()

    async with Receiver() as hook, Service(fake_cluster.kubeconfig, **SHORT) as service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
        fake_cluster.server.intercept = on_writes(hang)
        started = monotonic()
        answer = await service.deliver(namespace, "report", "respond-async")
        assert (answer.status, answer.problem) == (503, "cluster-unavailable")
        assert monotonic() - started < 3
        forever.set()
        assert not hook.requests


@pytest.mark.parametrize(
    "refusal",
    [status(422, "not like this"), status(500, "etcdserver: request is too large"), status(413, "too much")],
    ids=["by-a-policy", "by-etcd", "by-its-size"],
)
async def test_permanently_refused_claims_are_not_reported_as_unavailable(
    fake_cluster: Fake, refusal: web.Response
) -> None:
    async def refuse(_: Any) -> web.StreamResponse:
        return web.Response(status=refusal.status, body=refusal.body, content_type="application/json")

    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
        fake_cluster.server.intercept = on_writes(refuse)
        answer = await service.deliver(namespace, "report")
        assert (answer.status, answer.problem, answer.body["recorded"]) == (500, "ledger-refused", False)
        assert "retry-after" not in answer.headers
        assert not hook.requests


async def test_a_refused_outcome_does_not_lose_others(fake_cluster: Fake) -> None:
    async def not_found(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    async def refuse_failures(entries: Any) -> web.StreamResponse | None:
        failed = any(entry["phase"] == "Failed" for entry in entries)
        return status(422, "no failures here") if failed else None

    async with (
        Receiver() as hook,
        Receiver(respond=not_found) as gone,
        Service(fake_cluster.kubeconfig) as service,
    ):
        fake_cluster.server.intercept = on_writes(refuse_failures)
        namespace = await finished(
            fake_cluster.kube,
            {"type": "webhook", "name": "gone", "url": gone.url},
            {"type": "webhook", "name": "hook", "url": hook.url},
        )
        report = (await service.deliver(namespace, "report")).body
        entries = {
            entry["name"]: entry["phase"] for entry in await fake_cluster.kube.delivery(namespace, "report")
        }

        assert entries == {"gone": "Pending", "hook": "Delivered"}
        assert (report["recorded"], "no failures here" in report["reason"]) == (False, True)
        assert [line["target"] for line in service.logged("outcome_unrecorded")] == ["gone"]


async def test_an_unrecorded_send_is_not_repeated_under_its_valid_claim(
    fake_cluster: Fake,
) -> None:
    async def refuse_outcomes(entries: Any) -> web.StreamResponse | None:
        return status(422, "no outcomes") if any(entry["phase"] != "Pending" for entry in entries) else None

    async with Receiver() as hook, Service(fake_cluster.kubeconfig, **SHORT) as service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
        fake_cluster.server.intercept = on_writes(refuse_outcomes)
        assert (await service.deliver(namespace, "report")).body["recorded"] is False
        for _ in range(3):
            assert (await service.deliver(namespace, "report")).status == 202
        assert len(hook.requests) == 1

        async def sent_again() -> bool:
            await service.deliver(namespace, "report")
            return len(hook.requests) > 1

        await until(sent_again, 15)
        fake_cluster.server.intercept = None
        assert [entry["takeovers"] for entry in await fake_cluster.kube.delivery(namespace, "report")] == [1]
        assert len({request.headers["webhook-id"] for request in hook.requests}) == 1


async def test_events_of_one_team_do_not_pile_up_while_the_api_server_hangs(
    fake_cluster: Fake,
) -> None:
    forever = asyncio.Event()

    async def hang(_: Any) -> None:
        await forever.wait()

    async with Service(fake_cluster.kubeconfig, **SHORT) as service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": "https://hooks.example.com"})
        fake_cluster.server.intercept = on_writes(hang)
        started = monotonic()
        answers = await asyncio.gather(
            *(service.deliver(namespace, "report", "respond-async") for _ in range(8))
        )
        assert {answer.problem for answer in answers} == {"cluster-unavailable"}
        assert monotonic() - started < 3
        forever.set()


async def test_an_api_server_that_rejects_immediately_is_not_retried_immediately(fake_cluster: Fake) -> None:
    writes = 0

    async def busy(entries: Any) -> web.StreamResponse | None:
        nonlocal writes
        writes += any(entry["phase"] == "Delivered" for entry in entries)
        return status(429, "busy", **{"Retry-After": "0"}) if writes and writes < 8 else None

    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
        fake_cluster.server.intercept = on_writes(busy)
        started = monotonic()
        report = (await service.deliver(namespace, "report")).body
        assert (report["phase"], report["recorded"]) == ("Delivered", True)
        # Seven waits of 0.05 s to 3.2 s on average; without them it would take some ten milliseconds.
        assert monotonic() - started > 0.3


async def test_a_recreated_team_gets_no_further_sends(fake_cluster: Fake) -> None:
    kube = fake_cluster.kube
    settings = {"backoff_initial": 1, "attempts": 8}
    async with Receiver(respond=away) as hook, Service(fake_cluster.kubeconfig, **settings) as service:
        target = {"type": "webhook", "url": hook.url}
        namespace = await finished(fake_cluster.kube, target)
        waiting = asyncio.create_task(service.deliver(namespace, "report"))
        await until(lambda: hook.requests)
        await kube.delete("agentteams", namespace, "report")
        await kube.team(namespace, "report", lifecycle(target))
        sent = len(hook.requests)
        answer = await waiting
        assert (answer.status, answer.problem) == (409, "uid-changed")
        assert len(hook.requests) == sent
        assert not await kube.delivery(namespace, "report")


async def test_a_missing_secret_is_read_once_per_dispatch(fake_cluster: Fake) -> None:
    async with Service(fake_cluster.kubeconfig) as service:
        target = {"type": "slack", "credentialsSecret": "absent"}
        namespace = await finished(fake_cluster.kube, *[target] * 50)
        report = (await service.deliver(namespace, "report")).body
        assert {entry["reason"] for entry in report["targets"]} == {"SecretNotFound"}
        path = f"/api/v1/namespaces/{namespace}/secrets/absent"
        assert fake_cluster.server.requests.count(("GET", path)) == 1


async def test_an_interrupted_drain_logs_what_it_leaves_unfinished(fake_cluster: Fake) -> None:
    async def refuse_outcomes(entries: Any) -> web.StreamResponse | None:
        return status(503, "away") if any(entry["phase"] == "Delivered" for entry in entries) else None

    settings = {"attempt_timeout": 1, "drain_timeout": 1}
    async with Receiver() as hook, Service(fake_cluster.kubeconfig, **settings) as service:
        fake_cluster.server.intercept = on_writes(refuse_outcomes)
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "name": "hook", "url": hook.url})
        await service.deliver(namespace, "report", "respond-async")
        await until(lambda: hook.requests)
        assert await service.stop(signal.SIGTERM) == 0
        [line] = service.logged("outcome_unrecorded")
        assert (line["target"], line["cause"]) == ("hook", "drain")
        assert not [line for line in service.raw if "Traceback" in line]


async def test_refused_oversized_requests_cost_no_memory(fake_cluster: Fake) -> None:
    gate = Gate()
    async with Receiver(respond=gate) as hook, Service(fake_cluster.kubeconfig, max_in_flight=5) as service:
        for number in range(5):
            namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": f"{hook.url}/{number}"})
            assert (await service.deliver(namespace, "report", "respond-async")).status == 202

        event = {"namespace": "research", "team": "report"}
        process = psutil.Process(service.pid)
        async with aiohttp.ClientSession(service.url) as session:

            async def flood(events: int) -> set[int]:
                statuses = set()
                for _ in range(events):
                    async with session.post("/deliveries", json=event) as answer:
                        statuses.add(answer.status)
                        await answer.read()
                return statuses

            assert await flood(50) == {503}
            before = process.memory_info().rss
            assert set().union(*await asyncio.gather(*(flood(100) for _ in range(10)))) == {503}
        assert process.memory_info().rss - before < 10 * 1024 * 1024
        gate.open()
