"""Namespaces as tenants: which are served, whose Secrets are read, and that none uses up the capacity."""

import asyncio
from time import monotonic
from typing import Any

import pytest

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Gate, Receiver
from tests.harness.service import Service, finished, lifecycle
from tests.harness.waiting import until

Fake = Cluster[FakeCluster]

SLACK: dict[str, Any] = {"type": "slack", "name": "slack", "credentialsSecret": "keys"}


async def test_a_namespace_that_is_not_served_looks_like_one_without_the_team(fake_cluster: Fake) -> None:
    served, other = await finished(fake_cluster.kube), await finished(fake_cluster.kube)
    async with Service(fake_cluster.kubeconfig, namespaces=served) as service:
        fake_cluster.server.requests.clear()
        for answer in (await service.deliver(other, "report"), await service.read(other, "report")):
            assert (answer.status, answer.problem) == (404, "team-not-found")
        assert not [path for _, path in fake_cluster.server.requests if other in path]
        assert (await service.deliver(served, "report")).status == 200


async def test_a_secret_is_read_only_from_the_team_s_namespace_and_once_per_dispatch(
    fake_cluster: Fake,
) -> None:
    async with Receiver() as slack, Service(fake_cluster.kubeconfig) as service:
        targets = [{**SLACK, "name": f"slack-{number}"} for number in range(3)]
        namespace = await finished(fake_cluster.kube, *targets, keys={"slack-webhook-url": slack.url})
        fake_cluster.server.requests.clear()
        for events in (1, 2):
            answer = await service.deliver(namespace, "report", redeliver="all" if events > 1 else "none")
            assert answer.body["phase"] == "Delivered"
            reads = [one for one in fake_cluster.server.requests if "/secrets" in one[1]]
            assert reads == [("GET", f"/api/v1/namespaces/{namespace}/secrets/keys")] * events
        assert len(slack.requests) == 6


@pytest.mark.parametrize(
    "name",
    ["../other/secrets/keys", "other/keys", "keys/../../x", "%2e%2e%2fkeys", "keys?x=1", "keys#x", ".."],
)
async def test_no_name_of_a_secret_reaches_another_namespace(fake_cluster: Fake, name: str) -> None:
    async with Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(fake_cluster.kube, {**SLACK, "credentialsSecret": name})
        fake_cluster.server.requests.clear()
        [target] = (await service.deliver(namespace, "report")).body["targets"]
        assert target["reason"] == "InvalidTarget"
        assert not [one for one in fake_cluster.server.requests if "secrets" in one[1]]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"kagents.dev/delivery": "allowed"}, "Delivered"),
        ({"kagents.dev/delivery": "allowed", "app": "x"}, "Delivered"),
        ({"kagents.dev/delivery": "Allowed"}, "SecretForbidden"),
        ({"kagents.dev/delivery": ""}, "SecretForbidden"),
        ({"kagents.dev/delivery-not": "allowed"}, "SecretForbidden"),
        ({}, "SecretForbidden"),
    ],
)
async def test_a_label_can_be_required_of_every_secret(
    fake_cluster: Fake, labels: dict[str, str], reason: str
) -> None:
    label = "kagents.dev/delivery=allowed"
    async with Receiver() as slack, Service(fake_cluster.kubeconfig, secret_label=label) as service:
        namespace = await fake_cluster.kube.fresh_namespace()
        await fake_cluster.kube.secret(namespace, "keys", {"slack-webhook-url": slack.url}, labels=labels)
        await fake_cluster.kube.team(namespace, "report", lifecycle(SLACK))
        await fake_cluster.kube.finish(namespace, "report")
        [target] = (await service.deliver(namespace, "report")).body["targets"]
        assert target["reason"] == reason
        assert len(slack.requests) == (reason == "Delivered")
        if reason == "SecretForbidden":
            assert f'Secret "keys" in namespace "{namespace}" has no label {label}' in target["message"]
            assert target["attempts"] == 0


async def test_a_label_key_alone_can_be_required(fake_cluster: Fake) -> None:
    async with Receiver() as slack, Service(fake_cluster.kubeconfig, secret_label="delivery") as service:
        namespace = await fake_cluster.kube.fresh_namespace()
        for name, labels in (("keys", {"delivery": "whatever"}), ("bare", {})):
            await fake_cluster.kube.secret(namespace, name, {"slack-webhook-url": slack.url}, labels=labels)
        bare = {**SLACK, "name": "bare", "credentialsSecret": "bare"}
        await fake_cluster.kube.team(namespace, "report", lifecycle(SLACK, bare))
        await fake_cluster.kube.finish(namespace, "report")
        targets = (await service.deliver(namespace, "report")).body["targets"]
        assert [target["reason"] for target in targets] == ["Delivered", "SecretForbidden"]


@pytest.mark.quiet
async def test_hanging_targets_of_one_namespace_leave_capacity_for_others(fake_cluster: Fake) -> None:
    gate = Gate()
    bounds = {"max_targets": 10, "max_targets_in_flight": 20, "max_connections_per_host": 20}
    async with (
        Receiver(respond=gate) as stuck,
        Receiver() as hook,
        Service(fake_cluster.kubeconfig, **bounds) as service,
    ):
        hanging = [{"type": "webhook", "url": f"{stuck.url}/{number}"} for number in range(10)]
        greedy = await finished(fake_cluster.kube, *hanging)
        await fake_cluster.kube.team(greedy, "second", lifecycle({"type": "webhook", "url": hook.url}))
        await fake_cluster.kube.finish(greedy, "second")
        assert (await service.deliver(greedy, "report", "respond-async")).status == 202
        await until(lambda: len(stuck.requests) == 10)

        refused = await service.deliver(greedy, "second")
        assert (refused.status, refused.problem) == (503, "too-busy")
        assert refused.headers["retry-after"] == "1"
        said = f'10 targets are in progress (at most 20), 10 of them of namespace "{greedy}"'
        assert said in refused.body["detail"]
        assert await fake_cluster.kube.delivery(greedy, "second") == []

        other = await finished(fake_cluster.kube, *[{"type": "webhook", "url": hook.url} for _ in range(5)])
        asked = monotonic()
        answer = await service.deliver(other, "report")
        assert (answer.status, answer.body["phase"]) == (200, "Delivered")
        assert monotonic() - asked < 2

        gate.open()

        async def has_room() -> bool:
            return (await service.deliver(greedy, "second")).status == 200

        await until(has_room)


async def test_events_of_one_namespace_leave_capacity_for_others(fake_cluster: Fake) -> None:
    gate = Gate()
    async with (
        Receiver(respond=gate) as stuck,
        Service(fake_cluster.kubeconfig, max_in_flight=4) as service,
    ):
        greedy = await fake_cluster.kube.fresh_namespace()
        for name in ("one", "two", "three"):
            await fake_cluster.kube.team(greedy, name, lifecycle({"type": "webhook", "url": stuck.url}))
            await fake_cluster.kube.finish(greedy, name)
        answers = [await service.deliver(greedy, name, "respond-async") for name in ("one", "two", "three")]
        assert [answer.status for answer in answers] == [202, 202, 503]
        other = await finished(fake_cluster.kube, {"type": "webhook", "url": stuck.url})
        assert (await service.deliver(other, "report", "respond-async")).status == 202
        gate.open()


async def test_a_claim_lost_to_another_process_gives_its_places_back(fake_cluster: Fake) -> None:
    bounds = {"max_targets": 4, "max_targets_in_flight": 8}
    async with (
        Receiver() as hook,
        Service(fake_cluster.kubeconfig, **bounds) as one,
        Service(fake_cluster.kubeconfig, **bounds) as two,
    ):
        for _ in range(5):
            namespace = await finished(
                fake_cluster.kube, *[{"type": "webhook", "url": hook.url} for _ in range(4)]
            )
            answers = await asyncio.gather(*(each.deliver(namespace, "report") for each in (one, two)))
            assert {answer.status for answer in answers} <= {200, 202}
        assert len(hook.requests) == 20
