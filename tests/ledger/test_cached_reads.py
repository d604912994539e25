"""A claim may rest on an earlier state of the team, which its write proves or refutes; nothing else may."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import TEAMS
from tests.harness.receiver import Gate, Receiver
from tests.harness.service import Service, finished, lifecycle


@pytest.fixture
async def service(fake_cluster: Cluster[FakeCluster]) -> AsyncIterator[Service]:
    async with Service(fake_cluster.kubeconfig) as started:
        yield started
    fake_cluster.server.behind = 0


def hooks(receiver: Receiver, number: int) -> list[dict[str, Any]]:
    """Return so many webhooks."""
    return [{"type": "webhook", "name": f"hook-{at}", "url": f"{receiver.url}/{at}"} for at in range(number)]


def reads(cluster: FakeCluster) -> int:
    """Count the reads of a team since the requests were cleared."""
    return sum(method == "GET" and TEAMS in path for method, path in cluster.requests)


@pytest.mark.parametrize("behind", [1, 2])  # not finished yet; not created yet
async def test_a_team_that_the_cache_does_not_know_or_not_as_finished_is_delivered(
    fake_cluster: Cluster[FakeCluster], service: Service, behind: int
) -> None:
    async with Receiver() as hook:
        namespace = await finished(fake_cluster.kube, *hooks(hook, 2))
        await service.read(namespace, "report")
        fake_cluster.server.behind = behind
        answer = await service.deliver(namespace, "report")
    assert (answer.status, answer.body["phase"]) == (200, "Delivered")
    assert sorted(request.path for request in hook.requests) == ["/0", "/1"]


async def test_a_team_that_the_cache_shows_without_its_record_is_not_sent_again(
    fake_cluster: Cluster[FakeCluster], service: Service
) -> None:
    async with Receiver() as hook:
        namespace = await finished(fake_cluster.kube, *hooks(hook, 1))
        first = await service.deliver(namespace, "report")
        for behind in (1, 2):  # without its outcome, without its claim
            fake_cluster.server.behind = behind
            again = await service.deliver(namespace, "report")
            assert (again.status, again.body["targets"]) == (200, first.body["targets"])
    assert len(hook.requests) == 1


async def test_a_target_that_the_cache_does_not_show_is_sent_to(
    fake_cluster: Cluster[FakeCluster], service: Service
) -> None:
    async with Receiver() as hook:
        namespace = await finished(fake_cluster.kube, *hooks(hook, 1))
        await service.deliver(namespace, "report")
        spec = lifecycle(*hooks(hook, 2))
        await fake_cluster.kube.patch(TEAMS, namespace, "report", {"spec": spec})
        fake_cluster.server.behind = 1
        answer = await service.deliver(namespace, "report", targets=["hook-1"])
    assert [target["phase"] for target in answer.body["targets"]] == ["Delivered", "Delivered"]
    assert sorted(request.path for request in hook.requests) == ["/0", "/1"]


async def test_a_team_that_was_recreated_since_gets_its_own_delivery(
    fake_cluster: Cluster[FakeCluster], service: Service
) -> None:
    kube = fake_cluster.kube
    async with Receiver() as old, Receiver() as new:
        namespace = await finished(kube, *hooks(old, 1))
        before = await kube.get(TEAMS, namespace, "report")
        await kube.delete(TEAMS, namespace, "report")
        await kube.team(namespace, "report", lifecycle(*hooks(new, 1)))
        await kube.finish(namespace, "report")
        now = await kube.get(TEAMS, namespace, "report")
        await service.read(namespace, "report")
        fake_cluster.server.behind = 3  # neither deleted, nor created, nor finished again
        refused = await service.deliver(namespace, "report", uid=before.body["metadata"]["uid"])
        answer = await service.deliver(namespace, "report", uid=now.body["metadata"]["uid"])
    assert refused.problem == "uid-changed"
    assert answer.body["phase"] == "Delivered"
    assert (len(old.requests), len(new.requests)) == (0, 1)


async def test_a_claim_takes_one_read_and_an_answer_without_one_takes_two(
    fake_cluster: Cluster[FakeCluster], service: Service
) -> None:
    async with Receiver() as hook:
        namespace = await finished(fake_cluster.kube, *hooks(hook, 1))
        await service.read(namespace, "report")
        fake_cluster.server.requests.clear()
        await service.deliver(namespace, "report")
        assert reads(fake_cluster.server) == 1
        await service.deliver(namespace, "report")
        assert reads(fake_cluster.server) == 3


async def test_a_large_team_is_read_once(fake_cluster: Cluster[FakeCluster], service: Service) -> None:
    async with Receiver() as hook:
        namespace = await finished(fake_cluster.kube, *hooks(hook, 1))
        notes = {"metadata": {"annotations": {"notes": "x" * 200_000}}}
        await fake_cluster.kube.patch(TEAMS, namespace, "report", notes)
        await service.deliver(namespace, "report")
        fake_cluster.server.requests.clear()
        assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
    assert reads(fake_cluster.server) == 1


async def test_what_follows_from_an_old_state_is_not_answered(fake_cluster: Cluster[FakeCluster]) -> None:
    """The only place of the namespace is taken, so a claim on an old state would be refused as too busy."""
    kube, gate = fake_cluster.kube, Gate()
    limits = {"max_targets": 1, "max_targets_in_flight": 2}
    async with (
        Receiver() as quick,
        Receiver(respond=gate) as slow,
        Service(fake_cluster.kubeconfig, **limits) as service,
    ):
        namespace = await finished(kube, *hooks(quick, 1))
        await service.deliver(namespace, "report")
        await kube.team(namespace, "other", lifecycle(*hooks(slow, 1)))
        await kube.finish(namespace, "other")
        await service.deliver(namespace, "other", prefer="respond-async")
        for behind in range(8):
            fake_cluster.server.behind = behind
            for team, phase in (("report", "Delivered"), ("other", "Pending")):
                answer = await service.deliver(namespace, team, prefer="respond-async")
                assert answer.body.get("phase") == phase, (behind, answer)
        fake_cluster.server.behind = 0
        metrics = (await service.request("GET", "/metrics")).content.decode()
        gate.open()
    assert "agentteam_delivery_claim_retries_total 0.0" in metrics, "nothing was written again"


@pytest.mark.quiet
async def test_three_slow_requests_are_not_too_slow(fake_cluster: Cluster[FakeCluster]) -> None:
    async with Receiver() as hook, Service(fake_cluster.kubeconfig, api_timeout=1.5) as service:
        namespace = await finished(fake_cluster.kube, *hooks(hook, 1))
        await service.read(namespace, "report")
        fake_cluster.server.behind, fake_cluster.server.latency = 1, 1.1
        answer = await service.deliver(namespace, "report")
        fake_cluster.server.behind, fake_cluster.server.latency = 0, 0.0
    assert answer.body["phase"] == "Delivered"


async def test_what_does_not_exist_is_asked_for_twice(
    fake_cluster: Cluster[FakeCluster], service: Service
) -> None:
    namespace = await finished(fake_cluster.kube)
    await service.read(namespace, "report")
    fake_cluster.server.requests.clear()
    assert (await service.deliver(namespace, "other")).problem == "team-not-found"
    assert reads(fake_cluster.server) == 2
