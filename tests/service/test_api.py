"""The HTTP contract besides deliveries: waiting, health, limits, start and end of the process."""

import asyncio
import json
import re
import signal
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest
from aiohttp import web

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Gate, Receiver
from tests.harness.service import Program, Service, finished, lifecycle
from tests.harness.waiting import until
from tests.service.conftest import Bench


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "respond-async, wait=0", 'wait="0"'])
async def test_a_caller_that_does_not_wait_gets_202_and_the_report_s_location(
    fake_cluster: Cluster[FakeCluster], prefer: str
) -> None:
    kube = fake_cluster.kube
    gate = Gate()

    async with Receiver(respond=gate) as hook, Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(kube, {"type": "webhook", "url": hook.url})
        answer = await service.deliver(namespace, "report", prefer)
        assert (answer.status, answer.body["phase"]) == (202, "Pending")
        assert answer.body["targets"][0]["claimedBy"]
        gate.open()

        async def settled() -> Any:
            report = (await service.request("GET", answer.headers["location"])).body
            return report if report["phase"] != "Pending" else None

        report = await until(settled)
        assert report["phase"] == "Delivered"
        assert len(hook.requests) == 1


async def test_a_caller_without_a_preference_waits_at_most_the_limit(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    gate = Gate()

    async with (
        Receiver(respond=gate) as hook,
        Service(fake_cluster.kubeconfig, wait_limit=0.3) as service,
    ):
        namespace = await finished(kube, {"type": "webhook", "url": hook.url})
        started = monotonic()
        answer = await service.deliver(namespace, "report", "wait=50")
        assert answer.status == 202
        assert 0.3 <= monotonic() - started < 3
        gate.open()


async def test_a_team_without_a_record_is_pending(bench: Bench) -> None:
    namespace = await bench.finished({"type": "webhook", "url": bench.hook.url})
    answer = await bench.service.read(namespace, "report")
    assert (answer.status, answer.body["phase"], answer.body["targets"]) == (200, "Pending", [])


async def test_health_metrics_and_description_need_no_token(bench: Bench) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert (await bench.service.request("GET", path)).status == 200, path
    await bench.delivered({"type": "webhook", "url": bench.hook.url})
    text = (await bench.service.request("GET", "/metrics")).content.decode()
    assert re.search(r'agentteam_delivery_deliveries_total\{reason="Delivered",type="webhook"\} [1-9]', text)


async def test_readiness_fails_while_the_kubernetes_api_is_away_and_503_has_retry_after(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    async def away(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": "7"}, text="<html>")

    async with Service(fake_cluster.kubeconfig, api_timeout=1) as service:
        fake_cluster.server.intercept = away
        answer = await service.deliver("default", "report")
        assert (answer.status, answer.problem) == (503, "cluster-unavailable")
        assert answer.headers["retry-after"] == "7"

        async def unready() -> Any:
            answer = await service.request("GET", "/readyz")
            return answer.status == 503 and answer.body["checks"]

        checks = await until(unready)
        assert "503" in checks["kubernetes"]
        assert (await service.request("GET", "/healthz")).status == 200


async def test_a_short_failure_of_the_kubernetes_api_keeps_replicas_ready(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    asked: list[str] = []

    async def away(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=503)

    async with Service(fake_cluster.kubeconfig, api_timeout=60) as service:
        fake_cluster.server.intercept = away

        async def asked_in_vain() -> bool:
            assert (await service.request("GET", "/readyz")).status == 200
            return "/version/" in asked

        await until(asked_in_vain)
        assert (await service.request("GET", "/readyz")).status == 200


async def test_probes_do_not_wait_for_a_hanging_kubernetes_api(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    async def hang(_: web.Request) -> web.StreamResponse | None:
        await asyncio.Event().wait()
        return None

    async with Service(fake_cluster.kubeconfig, api_timeout=3) as service:
        fake_cluster.server.intercept = hang
        answers: list[int] = []

        async def unready() -> bool:
            async with asyncio.timeout(2.9):  # less than a request to the API may take
                answers.append((await service.request("GET", "/readyz")).status)
            return answers[-1] == 503

        await until(unready, 30)
        assert answers[0] == 200


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({"port": "many"}, "DELIVERY_PORT", id="port"),
        pytest.param({"attempt_timeout": "61"}, "DELIVERY_ATTEMPT_TIMEOUT is longer than", id="budget"),
        pytest.param({"egress_allow": "10.0.0.0/40"}, "DELIVERY_EGRESS_ALLOW", id="cidr"),
        pytest.param({"log_level": "loud"}, "DELIVERY_LOG_LEVEL", id="level"),
        pytest.param({"auth": "none", "host": "::"}, "DELIVERY_AUTH=none on DELIVERY_HOST=::", id="anybody"),
        pytest.param({"host": "::"}, "bearer tokens would be sent unencrypted", id="plain"),
    ],
)
async def test_contradictory_settings_end_the_process_with_a_sentence(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    code, said = await refused(tmp_path / "unread", **settings)
    assert code == 2
    assert says in said
    assert "Traceback" not in said


async def test_without_a_cluster_the_process_ends_with_a_sentence(tmp_path: Path) -> None:
    code, said = await refused(tmp_path / "absent", auth="none")
    assert code == 2
    assert "KUBECONFIG" in said
    assert "Traceback" not in said


async def refused(kubeconfig: Path, **settings: str) -> tuple[int, str]:
    """Start a service that must not start; return its exit code and its output."""
    return await Program("serve", kubeconfig, {"port": 0, **settings}).refused()


async def test_sigterm_finishes_deliveries_in_flight_refuses_new_ones_and_exits_0(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    gate = Gate()

    async with Receiver(respond=gate) as hook, Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(kube, {"type": "webhook", "url": hook.url})
        waiting = asyncio.create_task(service.deliver(namespace, "report"))
        await until(lambda: hook.requests)
        ending = asyncio.create_task(service.stop(signal.SIGTERM))
        await until(lambda: service.logged("draining"))

        late = await service.deliver(namespace, "report")
        assert (late.status, late.problem, late.headers["retry-after"]) == (503, "draining", "1")
        ready = await service.request("GET", "/readyz")
        assert (ready.status, ready.body["checks"]["accepting"]) == (503, "draining")
        gate.open()
        assert (await waiting).body["phase"] == "Delivered"
        assert await ending == 0
        assert [entry["phase"] for entry in await kube.delivery(namespace, "report")] == ["Delivered"]


async def test_events_above_max_in_flight_are_refused_and_none_is_lost(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    namespace = await kube.fresh_namespace()
    gate = Gate()

    async with (
        Receiver(respond=gate) as hook,
        Service(fake_cluster.kubeconfig, max_in_flight=1) as service,
    ):
        for name in ("one", "two"):
            await kube.team(namespace, name, lifecycle({"type": "webhook", "url": hook.url}))
            await kube.finish(namespace, name)
        assert (await service.deliver(namespace, "one", "respond-async")).status == 202
        busy = await service.deliver(namespace, "two", "respond-async")
        assert (busy.status, busy.problem) == (503, "too-busy")
        assert int(busy.headers["retry-after"]) >= 1
        gate.open()

        async def accepted() -> bool:
            return (await service.deliver(namespace, "two")).status == 200

        await until(accepted)


@pytest.mark.quiet
async def test_the_start_takes_under_2_s_and_an_idle_process_under_100_mb(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    for _ in range(8):  # other work on the machine can only lengthen a start
        service = Service(fake_cluster.kubeconfig)
        service.covered = False
        started = monotonic()
        async with service:
            took = monotonic() - started
            resident = psutil.Process(service.pid).memory_info().rss
        assert resident < 100 * 1024 * 1024
        if took < 2:
            return
    pytest.fail(f"no start took less than 2 s; the last took {took:.1f} s")


async def test_the_committed_description_is_the_served_one(bench: Bench) -> None:
    served = (await bench.service.request("GET", "/openapi.json")).body
    for path, operations in served["paths"].items():
        for operation in operations.values():
            assert operation["operationId"], path
    assert json.dumps(served).count("application/problem+json") >= 13
