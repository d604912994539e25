"""Deliveries end to end: what arrives where, and what the status says."""

import asyncio
import json
from collections import defaultdict
from time import monotonic
from typing import Any

import pytest
from aiohttp import web

from tests.harness.cluster import CRD, Cluster
from tests.harness.documents import read_yaml
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Gate, Receiver
from tests.harness.service import Service, Watcher, finished, lifecycle
from tests.harness.waiting import until
from tests.service.conftest import Bench

REPORT = {
    "name": "report.md",
    "path": "/out/report.md",
    "producedBy": "writer",
    "producedAt": "2026-03-01T10:00:00Z",
}


def present(target: dict[str, Any]) -> dict[str, Any]:
    """Return a target of a report without absent fields, as the status has it."""
    return {field: value for field, value in target.items() if value or field in {"attempts", "success"}}


async def not_found(_: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


async def test_every_type_of_target_is_recorded_and_a_second_event_sends_nothing(
    cluster: Cluster[Any],
) -> None:
    kube = cluster.kube
    namespace = await kube.fresh_namespace()
    async with (
        Receiver() as hook,
        Receiver() as slack,
        Receiver(respond=not_found) as gone,
        Service(cluster.kubeconfig) as service,
    ):
        await kube.secret(
            namespace, "slack-credentials", {"slack-webhook-url": f"{slack.url}/services/T/B/x\n"}
        )
        await kube.team(
            namespace,
            "report",
            lifecycle(
                {"type": "webhook", "url": f"{hook.url}/hook"},
                {"type": "slack", "credentialsSecret": "slack-credentials"},
                {"type": "email", "to": ["a@example.com"]},
                {"type": "google-drive", "folder": "f"},
                {"type": "webhook", "name": "gone", "url": f"{gone.url}/hook"},
                {"type": "slack", "name": "unset", "credentialsSecret": "absent"},
            ),
        )
        await kube.finish(namespace, "report", artifacts=[REPORT])
        answer = await service.deliver(namespace, "report")
        entries = {entry["name"]: entry for entry in await kube.delivery(namespace, "report")}

        assert answer.status == 200, answer
        assert answer.body["phase"] == "PartiallyDelivered"
        assert answer.body["recorded"] is True
        assert {name: entry["reason"] for name, entry in entries.items()} == {
            "webhook-0": "Delivered",
            "slack-1": "Delivered",
            "email-2": "NotImplemented",
            "google-drive-3": "NotImplemented",
            "gone": "HTTPStatus",
            "unset": "SecretNotFound",
        }
        assert [present(target) for target in answer.body["targets"]] == list(entries.values())
        assert entries["gone"]["httpStatus"] == 404
        assert entries["slack-1"]["target"] == "secret/slack-credentials"
        assert entries["webhook-0"]["target"] == f"{hook.url}/hook"
        assert "claimedBy" not in entries["webhook-0"]
        assert json.loads(hook.requests[0].body) == {
            "event": "team.completed",
            "team": "report",
            "namespace": namespace,
            "phase": "Completed",
            "message": f"Team report in {namespace} finished: Completed.",
            "artifacts": [REPORT],
        }
        assert hook.requests[0].headers["webhook-id"] == entries["webhook-0"]["id"]

        again = await service.deliver(namespace, "report")
        assert again.status == 200
        assert again.body["targets"] == answer.body["targets"]
        assert [len(receiver.requests) for receiver in (hook, slack, gone)] == [1, 1, 1]
        assert (await service.read(namespace, "report")).body["targets"] == answer.body["targets"]


async def test_the_watcher_alone_causes_the_delivery_of_a_finished_team(cluster: Cluster[Any]) -> None:
    kube = cluster.kube
    namespace = await kube.fresh_namespace()
    async with (
        Receiver() as hook,
        Service(cluster.kubeconfig) as service,
        Watcher(cluster.kubeconfig, service.url, namespaces=namespace),
    ):
        await kube.team(namespace, "report", lifecycle({"type": "webhook", "url": hook.url}))
        await kube.finish(namespace, "report")

        async def delivered() -> bool:
            return [entry["phase"] for entry in await kube.delivery(namespace, "report")] == ["Delivered"]

        await until(delivered)
        assert len(hook.requests) == 1


@pytest.mark.quiet
async def test_a_hanging_target_delays_no_other_and_fails_at_its_own_timeout(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    gate = Gate()

    settings = {"attempt_timeout": 1, "target_timeout": 3, "attempts": 10}
    async with (
        Receiver(respond=gate) as stuck,
        Receiver() as hook,
        Service(fake_cluster.kubeconfig, **settings) as service,
    ):
        targets = [{"type": "webhook", "name": "stuck", "url": stuck.url}]
        targets += [{"type": "webhook", "url": f"{hook.url}/{number}"} for number in range(7)]
        namespace = await finished(kube, *targets)
        started = monotonic()
        answer = asyncio.create_task(service.deliver(namespace, "report"))

        async def others_on_record() -> bool:
            entries = await kube.delivery(namespace, "report")
            return [entry["phase"] for entry in entries] == ["Pending"] + ["Delivered"] * 7

        await until(others_on_record, 2)
        recorded = monotonic()
        report = (await answer).body
        took = monotonic() - started
        gate.open()

        assert recorded - max(request.at for request in hook.requests) < 1
        assert (report["targets"][0]["phase"], report["targets"][0]["reason"]) == ("Failed", "Timeout")
        assert 2 < took < 4


@pytest.mark.quiet
async def test_a_hundred_targets_of_200_ms_settle_in_under_2_s(fake_cluster: Cluster[FakeCluster]) -> None:
    kube = fake_cluster.kube

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return web.Response()

    async with Receiver(respond=slow) as hook, Service(fake_cluster.kubeconfig) as service:
        targets = [{"type": "webhook", "url": f"{hook.url}/{number}"} for number in range(100)]
        namespace = await finished(kube, *targets)
        started = monotonic()
        report = (await service.deliver(namespace, "report")).body
        took = monotonic() - started

        assert report["phase"] == "Delivered"
        assert len(await kube.delivery(namespace, "report")) == 100
        assert took < 2


async def test_a_thousand_targets_are_recorded_completely(real_cluster: Cluster[RealCluster]) -> None:
    kube = real_cluster.kube
    async with Receiver() as hook, Service(real_cluster.kubeconfig) as service:
        targets = [{"type": "webhook", "url": f"{hook.url}/{number}"} for number in range(1000)]
        namespace = await finished(kube, *targets)
        report = (await service.deliver(namespace, "report")).body
        assert (report["phase"], report["recorded"]) == ("Delivered", True)
        entries = await kube.delivery(namespace, "report")
        assert [entry["phase"] for entry in entries] == ["Delivered"] * 1000
        sent = defaultdict(list)
        for request in hook.requests:
            sent[request.path].append(request.headers["webhook-id"])
        # On a busy machine an attempt may exceed its time and be repeated.
        for number, entry in enumerate(entries):
            ids = sent.pop(f"/{number}")
            assert 1 <= len(ids) <= entry["attempts"], entry
            assert set(ids) == {entry["id"]}, entry
        assert not sent


async def test_a_team_whose_record_would_be_too_large_is_refused_before_any_send(
    real_cluster: Cluster[RealCluster],
) -> None:
    kube = real_cluster.kube
    async with Receiver() as hook, Service(real_cluster.kubeconfig) as service:
        # The claims alone would be accepted.
        targets = [{"type": "webhook", "url": f"{hook.url}/{number}/{'x' * 680}"} for number in range(1000)]
        namespace = await finished(kube, *targets)
        answer = await service.deliver(namespace, "report")
        assert (answer.status, answer.problem) == (500, "ledger-refused")
        assert "give it fewer targets" in answer.body["detail"]
        assert not hook.requests
        assert not await kube.delivery(namespace, "report")


async def test_a_receiver_that_is_briefly_down_is_retried(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    answers = iter([503, 429, 200])

    async def recovering(_: web.Request) -> web.StreamResponse:
        return web.Response(status=next(answers), headers={"Retry-After": "0"})

    async with Receiver(respond=recovering) as hook, Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(kube, {"type": "webhook", "url": hook.url})
        [target] = (await service.deliver(namespace, "report")).body["targets"]

        assert (target["phase"], target["attempts"], target["httpStatus"]) == ("Delivered", 3, 200)
        assert len({request.headers["webhook-id"] for request in hook.requests}) == 1


async def test_a_team_without_delivery_is_skipped_and_nothing_is_written(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    namespace = await kube.fresh_namespace()
    target = {"type": "webhook", "url": "https://hooks.example.com"}
    async with Service(fake_cluster.kubeconfig) as service:
        specs: dict[str, dict[str, Any]] = {
            "bare": {},
            "empty": lifecycle(),
            "other": lifecycle(target, on_complete="notify"),
        }
        for name, spec in specs.items():
            await kube.team(namespace, name, spec)
            await kube.finish(namespace, name)
            before = (await kube.get("agentteams", namespace, name)).body
            answer = await service.deliver(namespace, name)
            assert (answer.status, answer.body["phase"], answer.body["targets"]) == (200, "Skipped", [])
            assert (await kube.get("agentteams", namespace, name)).body == before

        await kube.team(namespace, "failed", lifecycle(target))
        await kube.finish(namespace, "failed", phase="Failed")
        assert (await service.deliver(namespace, "failed")).body["phase"] == "Skipped"

        for name, phase in (("running", "Running"), ("new", "Completed")):
            await kube.team(namespace, name, lifecycle(target))
            await kube.finish(namespace, name, phase=phase)
        unasked = (
            "Skipped",
            "the team requests no delivery: onComplete is not deliver, or it names no targets",
        )
        for name, told in {
            **dict.fromkeys(specs, unasked),
            "failed": ("Skipped", "this installation does not deliver teams with the phase Failed"),
            "running": ("Pending", 'the team is in phase "Running"; it is delivered when it has finished'),
            "new": ("Pending", "the team has finished, and has not been submitted yet"),
        }.items():
            report = (await service.read(namespace, name)).body
            assert (report["phase"], report["reason"], report["targets"]) == (*told, [])


async def test_the_rest_of_the_status_is_unchanged(cluster: Cluster[Any]) -> None:
    kube = cluster.kube
    namespace = await kube.fresh_namespace()
    async with Receiver() as hook, Service(cluster.kubeconfig) as service:
        await kube.team(namespace, "report", lifecycle({"type": "webhook", "url": hook.url}))
        await kube.finish(
            namespace,
            "report",
            estimatedCost="4.50",
            conditions=[
                {"type": "Ready", "status": "True", "reason": "Over", "message": "all have ended"}
                | {"lastTransitionTime": "2026-03-01T10:00:00Z"}
            ],
            tasks={"total": 3, "completed": 3, "inProgress": 0, "pending": 0},
        )
        before = (await kube.get("agentteams", namespace, "report")).body
        await service.deliver(namespace, "report")
        after = (await kube.get("agentteams", namespace, "report")).body

        assert after["status"].pop("delivery")
        assert after["status"].pop("deliverySummary") == "Delivered 1/1"
        assert after["status"] == before["status"]
        assert after["spec"] == before["spec"]


async def test_a_caller_with_permission_may_submit_the_phase_before_the_resource_has_it(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    namespace = await kube.fresh_namespace()
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        await kube.team(namespace, "report", lifecycle({"type": "webhook", "url": hook.url}))
        unfinished = await service.deliver(namespace, "report")
        assert (unfinished.status, unfinished.problem) == (409, "team-not-finished")
        running = await service.deliver(namespace, "report", phase="Running")
        assert (running.status, running.problem) == (422, "phase-not-terminal")
        failed = await service.deliver(namespace, "report", phase="Failed")
        assert (failed.status, failed.body["phase"]) == (200, "Skipped")
        assert not hook.requests
        completed = await service.deliver(namespace, "report", phase="Completed")
        assert (completed.status, completed.body["phase"]) == (200, "Delivered")
        assert json.loads(hook.requests[0].body)["phase"] == "Completed"


async def test_a_crd_that_drops_the_ledger_is_detected_and_nothing_is_sent(cluster: Cluster[Any]) -> None:
    kube = cluster.kube
    namespace = await kube.fresh_namespace()
    crd = read_yaml(CRD)
    kept = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    async with Receiver() as hook, Service(cluster.kubeconfig, api_group="other.example.com") as service:
        crd["metadata"]["name"] = "agentteams.other.example.com"
        crd["spec"]["group"] = "other.example.com"
        del kept["delivery"]
        await kube.install_crd(crd)
        async with Kube(cluster.kubeconfig, group="other.example.com") as other:
            await other.team(namespace, "report", lifecycle({"type": "webhook", "url": hook.url}))
            await other.finish(namespace, "report")
            answer = await service.deliver(namespace, "report")

            assert (answer.status, answer.problem, answer.body["recorded"]) == (500, "ledger-not-kept", False)
            assert not hook.requests
            assert not await other.delivery(namespace, "report"), "an incomplete claim would count as settled"
            assert service.logged("ledger_not_kept")
            metrics = (await service.request("GET", "/metrics")).content.decode()
            assert "agentteam_delivery_ledger_not_kept_total 1.0" in metrics


async def test_problems_of_the_cluster_are_logged_at_the_start(fake_cluster: Cluster[FakeCluster]) -> None:
    wrong = {"api_group": "absent.example.com", "attempt_timeot": 5, "namespace": "research"}
    async with Service(fake_cluster.kubeconfig, **wrong) as service:
        answer = await service.deliver("research", "report")
        assert (answer.status, answer.problem) == (404, "team-not-found")
        assert "this cluster has no CRD agentteams.absent.example.com" in answer.body["detail"]
        await until(lambda: service.logged("no_crd"))
    [line] = service.logged("no_crd")
    assert (line["level"], "set DELIVERY_API_GROUP" in line["advice"]) == ("warning", True)
    unknown = {
        line["variable"]: (line["level"], line["advice"]) for line in service.logged("setting_unknown")
    }
    assert unknown == {
        "DELIVERY_ATTEMPT_TIMEOT": (
            "warning",
            "it has no effect; did you mean DELIVERY_ATTEMPT_TIMEOUT?",
        ),
        "DELIVERY_NAMESPACE": (
            "warning",
            "only the commands for people read it; did you mean DELIVERY_NAMESPACES?",
        ),
    }
    async with Service(fake_cluster.kubeconfig) as service:
        assert not [line for line in service.lines if line["level"] == "warning"][1:]  # except for AUTH=none


async def test_a_pattern_without_a_match_is_reported_in_the_outcome(bench: Bench) -> None:
    hook = {"type": "webhook", "url": bench.hook.url}
    namespace = await bench.kube.fresh_namespace()
    await bench.kube.team(
        namespace, "report", lifecycle({**hook, "artifactPath": "*.pdf"}, {**hook, "artifactPath": "*.md"})
    )
    made = {"producedBy": "writer", "producedAt": "2026-03-01T10:00:00Z"}
    await bench.kube.finish(
        namespace, "report", artifacts=[{"name": "report.md", "path": "/out/report.md", **made}]
    )
    answer = await bench.service.deliver(namespace, "report")
    assert [target["message"] for target in answer.body["targets"]] == [
        "answered 200; artifactPath selects none of the team's artifacts, so none is listed",
        "answered 200",
    ]
