"""A receiver that is away for long: put off on record, tried again for as long as was promised, then told.

Minutes are seconds here: `retry_waits` and `retry_for` are settings, and all else is as it runs.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from app.domain.times import parse_time
from tests.harness.cluster import Cluster, prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver, Respond, ok
from tests.harness.service import Service, Watcher, finished
from tests.harness.waiting import until
from tests.ledger.support import ledger, settled

SOON = {"retry_for": 600, "retry_waits": "1,1,2", "backoff_initial": 0.01}
"""Seconds instead of minutes; the four attempts of one try take 70 ms of waiting at most."""


def answering(status: int, **headers: str) -> Respond:
    """Answer all with this status."""

    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    return respond


def hook(receiver: Receiver, name: str = "hook") -> dict[str, Any]:
    return {"type": "webhook", "name": name, "url": f"{receiver.url}/{name}"}


@pytest.fixture(scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster[FakeCluster]]:
    """Start a fake API for this module."""
    async with FakeCluster() as server, prepared(server, tmp_path_factory.mktemp("outage")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def service(api: Cluster[FakeCluster]) -> AsyncIterator[Service]:
    async with Service(api.kubeconfig, **SOON) as service:
        yield service


async def test_what_may_pass_is_put_off_and_told_of(api: Cluster[FakeCluster], service: Service) -> None:
    async with Receiver(respond=answering(503)) as receiver:
        namespace = await finished(api.kube, hook(receiver))
        answer = await service.deliver(namespace, "report")
        assert (answer.status, answer.body["phase"]) == (202, "Pending")
        (target,) = answer.body["targets"]
        assert (target["phase"], target["reason"], target["httpStatus"]) == ("Pending", "HTTPStatus", 503)
        assert target["message"] == "answered 503 Service Unavailable, after 4 attempts"
        assert (target["attempts"], target["retries"], target["claimedBy"]) == (4, 1, None)
        (entry,) = await api.kube.delivery(namespace, "report")
        assert entry["error"].startswith(f"Pending: next try at {target['retryAt']}; last attempt: answered")
        assert entry["retryAt"] == target["retryAt"]
        assert not entry["success"]

        again = await service.deliver(namespace, "report")
        assert (again.status, again.body) == (202, answer.body), "nobody may before its time"
        assert len(receiver.requests) == 4
        read = await service.read(namespace, "report")
        assert read.body == answer.body

        receiver.respond = ok
        sooner = await service.deliver(namespace, "report", redeliver="failed")
        assert (sooner.status, sooner.body["phase"]) == (200, "Delivered")
        assert {request.headers["webhook-id"] for request in receiver.requests} == {target["id"]}


async def test_a_wait_that_the_receiver_asks_for_is_kept_to_by_all(
    api: Cluster[FakeCluster],
) -> None:
    async with (
        Receiver(respond=answering(429, **{"Retry-After": "3600"})) as receiver,
        Service(api.kubeconfig, retry_waits="1", retry_for=86_400) as patient,
        Watcher(api.kubeconfig, patient.url),
    ):
        namespace = await finished(api.kube, hook(receiver))
        before = datetime.now(UTC)
        answer = await patient.deliver(namespace, "report")
        assert answer.status == 202
        (target,) = answer.body["targets"]
        assert (target["reason"], target["attempts"]) == ("RateLimited", 1)
        retry_at = parse_time(target["retryAt"])
        assert retry_at
        assert timedelta(seconds=3600) <= retry_at - before <= timedelta(seconds=3600 + 60)
        for _ in range(3):
            assert (await patient.deliver(namespace, "report")).status == 202
        assert len(receiver.requests) == 1, "never before"


async def test_without_it_what_fails_has_failed(api: Cluster[FakeCluster]) -> None:
    async with (
        Receiver(respond=answering(503)) as receiver,
        Service(api.kubeconfig, retry_for=0, backoff_initial=0.01) as service,
    ):
        namespace = await finished(api.kube, hook(receiver))
        answer = await service.deliver(namespace, "report")
        assert (answer.status, answer.body["phase"]) == (200, "Failed")
        (target,) = answer.body["targets"]
        assert (target["attempts"], target["retries"], target["retryAt"]) == (4, 0, None)
        receiver.respond = answering(429, **{"Retry-After": "3600"})
        answer = await service.deliver(namespace, "report", redeliver="failed")
        assert answer.body["targets"][0]["message"].endswith(
            "could be tried again in 1:00:00, but only 60 s are left"
        )


async def test_the_watcher_brings_it_back_until_the_time_is_over(api: Cluster[FakeCluster]) -> None:
    async with (
        Receiver(respond=answering(503)) as receiver,
        Service(api.kubeconfig, **(SOON | {"retry_for": 8})) as service,
        Watcher(api.kubeconfig, service.url),
    ):
        namespace = await finished(api.kube, hook(receiver))
        await until(lambda: _settled(api, namespace), 60)
        (entry,) = await api.kube.delivery(namespace, "report")
        assert (entry["phase"], entry["reason"]) == ("Failed", "HTTPStatus")
        assert entry["retries"] >= 1
        assert f"; given up after {entry['retries'] + 1} tries in 0:00:" in entry["message"]
        assert entry["attempts"] == len(receiver.requests) == 4 * (entry["retries"] + 1)


async def _settled(api: Cluster[Any], namespace: str) -> bool:
    return settled(await ledger(api.kube, namespace, "report"), 1)
