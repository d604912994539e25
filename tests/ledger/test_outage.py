"""A long outage of a receiver: a target is postponed on record, retried as promised, then settled.

Minutes are seconds here: `retry_waits` and `retry_for` are settings; everything else is as in production.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from aiohttp import web

from app.domain.times import parse_time
from tests.harness.cluster import Cluster, prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver, Respond, ok
from tests.harness.service import Service, Watcher, finished, lifecycle
from tests.harness.waiting import until
from tests.ledger.support import Front, by_word, ledger, metric, serve, settled, watch

SOON = {"retry_for": 600, "retry_waits": "1,1,2", "backoff_initial": 0.01}
"""Seconds instead of minutes; the four attempts of one retry wait 70 ms at most."""


def answering(status: int, **headers: str) -> Respond:
    """Answer everything with this status."""

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


async def test_a_target_with_a_temporary_error_is_postponed_and_announced(
    api: Cluster[FakeCluster], service: Service
) -> None:
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
        assert (again.status, again.body) == (202, answer.body), "no event retries it before its time"
        assert len(receiver.requests) == 4
        read = await service.read(namespace, "report")
        assert read.body == answer.body

        postponed = 'agentteam_delivery_postponed_total{reason="HTTPStatus",type="webhook"}'
        assert await metric(service, postponed) == 1
        receiver.respond = ok
        sooner = await service.deliver(namespace, "report", redeliver="failed")
        assert (sooner.status, sooner.body["phase"]) == (200, "Delivered")
        told = await events(api, namespace, "DeliveryPostponed", "Delivered")
        said = (
            f"1 of 1 targets postponed: hook (HTTPStatus); next try at {target['retryAt']};"
            " see status.delivery"
        )
        assert told["DeliveryPostponed"] == ("Warning", said)
        assert {request.headers["webhook-id"] for request in receiver.requests} == {target["id"]}


async def test_retry_after_is_respected_by_every_process(
    api: Cluster[FakeCluster],
) -> None:
    async with (
        Receiver(respond=answering(429, **{"Retry-After": "3600"})) as receiver,
        Service(api.kubeconfig, retry_waits="1", retry_for=86_400) as patient,
        Watcher(api.kubeconfig, patient.url),
    ):
        namespace = await finished(api.kube, hook(receiver))
        before = datetime.now(UTC)

        async def postponed() -> Any:
            answer = await patient.deliver(namespace, "report")
            assert answer.status == 202
            (target,) = answer.body["targets"]
            return target if target["reason"] else None  # none while the watcher's event is in progress

        target = await until(postponed)
        assert (target["reason"], target["attempts"]) == ("RateLimited", 1)
        retry_at = parse_time(target["retryAt"])
        assert retry_at
        assert timedelta(seconds=3600) <= retry_at - before <= timedelta(seconds=3600 + 60)
        for _ in range(3):
            assert (await patient.deliver(namespace, "report")).status == 202
        assert len(receiver.requests) == 1, "no request before the time"


async def test_without_postponement_a_temporary_error_fails_the_target(api: Cluster[FakeCluster]) -> None:
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
            "a retry is possible in 1 h, but only 60 s are left"
        )


async def test_the_watcher_resubmits_until_the_retries_end(api: Cluster[FakeCluster]) -> None:
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
        assert f"; given up after {entry['retries'] + 1} tries in " in entry["message"]
        assert entry["attempts"] == len(receiver.requests) == 4 * (entry["retries"] + 1)
        told = await events(api, namespace, "DeliveryPostponed", "DeliveryFailed")
        assert told["DeliveryFailed"] == (
            "Warning",
            "1 of 1 targets failed: hook (HTTPStatus); see status.delivery",
        )
        assert {what: await metric(service, f"agentteam_delivery_{what}") for what in METRICS} == {
            METRICS[0]: entry["retries"],
            METRICS[1]: 1,
            METRICS[2]: entry["retries"] + 1,
        }


METRICS = (
    'postponed_total{reason="HTTPStatus",type="webhook"}',
    'given_up_total{reason="HTTPStatus",type="webhook"}',
    'tries_sum{type="webhook"}',
)


async def events(api: Cluster[Any], namespace: str, *reasons: str) -> dict[str, tuple[str, str]]:
    """Return type and message of a namespace's Events by reason, once each of these exists exactly once."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found[:] = (await api.kube.list("events", namespace)).body["items"]
        found[:] = [one for one in found if one["reason"] != "RedeliveryRequested"]
        return {one["reason"] for one in found} >= {*reasons}

    await until(there)
    assert sorted(one["reason"] for one in found) == sorted(reasons)
    return {one["reason"]: (one["type"], one["message"]) for one in found}


async def _settled(api: Cluster[Any], namespace: str) -> bool:
    return settled(await ledger(api.kube, namespace, "report"), 1)


TEAMS = int(os.environ.get("OUTAGE_TEAMS", "10"))
BURST = int(os.environ.get("BURST_TEAMS", "30"))
SHORT = {
    # A claim of ten seconds, so that another process soon takes over from a killed one.
    "attempt_timeout": 1,
    "target_timeout": 2,
    "place_timeout": 1,
    "record_timeout": 1,
    "api_timeout": 1,
    "backoff_initial": 0.01,
    "retry_for": 600,
    "retry_waits": os.environ.get("OUTAGE_WAITS", "1,2"),
}
BUDGET = 0.01 + 0.02 + 0.04  # seconds that four attempts take at most without a receiver


def tell(figures: str) -> None:
    """Print the measurements, for `pytest -s`."""
    sys.stdout.write(f"{figures}\n")


@pytest.mark.timeout(240)
async def test_an_outage_and_three_killed_processes_lose_nothing(
    theirs: Cluster[Any], silent_port: int
) -> None:
    kube, number = theirs.kube, TEAMS if isinstance(theirs.server, FakeCluster) else 3
    began = monotonic()
    where = {"type": "webhook", "name": "hook", "url": f"http://127.0.0.1:{silent_port}/hook"}
    namespaces = [await finished(kube, where) for _ in range(number)]
    served = ",".join(namespaces)
    service = serve(theirs, namespaces=served, **SHORT)
    await service.start()
    async with Front(service) as front:
        watcher = watch(theirs, front.url, namespaces=served)
        await watcher.start()
        try:
            least = 0

            async def postponed_again() -> bool:
                entries = [await ledger(kube, namespace, "report") for namespace in namespaces]
                return all(entry and entry["hook"].get("retries", 0) >= least for entry in entries)

            for death in range(3):
                least = death + 1
                await until(postponed_again, 240)
                if death == 1:
                    await watcher.stop(signal.SIGKILL)
                    watcher = watch(theirs, front.url, namespaces=served)
                    await watcher.start()
                    continue
                await service.stop(signal.SIGKILL)
                service = serve(theirs, namespaces=served, **SHORT)
                await service.start()
                front.replicas = [service]
            away = monotonic() - began
            assert away > 100 * BUDGET
            waiting = [(await ledger(kube, one, "report"))["hook"] for one in namespaces]
            next_tries = [parse_time(entry["retryAt"]) for entry in waiting if entry.get("retryAt")]
            async with Receiver(port=silent_port) as receiver:
                back = datetime.now(UTC)
                await until(lambda: receiver.requests, 60)
                first = datetime.now(UTC)

                async def all_settled() -> bool:
                    entries = [await kube.delivery(one, "report") for one in namespaces]
                    return all(entry[0]["success"] for entry in entries)

                await until(all_settled, 120)
                ids = Counter(request.headers["webhook-id"] for request in receiver.requests)
                assert (len(ids), set(ids.values())) == (number, {1}), "each arrives, and once"
                if next_tries:
                    latest = max(back, *(one for one in next_tries if one))
                    assert first <= latest + timedelta(seconds=10)
            tell(
                f"{number} teams: away {away:.1f} s, {away / BUDGET:.0f} x the budget; "
                f"the first {(first - back).total_seconds():.1f} s after the return"
            )
        finally:
            await watcher.stop(signal.SIGKILL)
            await service.stop(signal.SIGKILL)


@pytest.mark.quiet
async def test_a_burst_to_one_slack_webhook_is_not_refused_and_delays_no_other_target(
    api: Cluster[FakeCluster],
) -> None:
    kube, refused, takes = api.kube, [], 0.1  # seconds per message, instead of one
    free = [0.0]

    async def as_slack(request: web.Request) -> web.StreamResponse:
        """Accept a limited number per second, with a tolerance for one that comes early."""
        now = monotonic()
        if now < free[0] - takes:
            refused.append(now)
            return web.Response(status=429, headers={"Retry-After": "1"})
        free[0] = max(now, free[0]) + takes
        return await ok(request)

    namespace = await kube.fresh_namespace()
    async with (
        Receiver(respond=as_slack) as slack,
        Receiver() as hooks,
        Service(api.kubeconfig, namespaces=namespace, slack_interval=1.1 * takes, retry_for=600) as service,
        Watcher(api.kubeconfig, service.url, namespaces=namespace),
    ):
        await kube.secret(namespace, "chat", {"slack-webhook-url": f"{slack.url}/services/x"})
        targets = ({"type": "slack", "name": "chat", "credentialsSecret": "chat"}, hook(hooks))
        for number in range(BURST):
            await kube.team(namespace, f"team-{number}", lifecycle(*targets))
        began = monotonic()
        for number in range(BURST):
            await kube.finish(namespace, f"team-{number}")
        ended = monotonic()
        await until(lambda: len(hooks.requests) == BURST, 60)

        async def on_record() -> list[dict[str, Any]]:
            teams = (await kube.list("agentteams", namespace)).body["items"]
            return [by_word(team) for team in teams]

        async def hooks_on_record() -> bool:
            return all(one.get("hook", {}).get("success") for one in await on_record())

        await until(hooks_on_record, 60)
        beside = monotonic() - ended

        async def all_on_record() -> bool:
            return all(one["chat"]["success"] for one in await on_record())

        await until(all_on_record, 30 + 2 * BURST)
        whole = monotonic() - began
        assert refused == []
        entries = [one["chat"] for one in await on_record()]
        assert [entry for entry in entries if entry["attempts"] != 1] == [], (
            "waiting for a turn does not count as an attempt"
        )
        assert len(slack.requests) == len(hooks.requests) == BURST
        tell(
            f"{BURST} teams: webhooks on record {beside:.1f} s after the last ended, all after {whole:.1f} s"
        )
