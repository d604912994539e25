"""With an API that loses, delays and rejects requests, each target is sent once and recorded."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.hostile import Fault, Hostile
from tests.harness.kube import TEAMS, Document, Kube
from tests.harness.receiver import Receiver, Respond
from tests.harness.service import Answer, Service, Watcher, lifecycle
from tests.harness.waiting import until
from tests.ledger.support import by_word, ledger, settled

SHORT = {"api_timeout": 1, "record_timeout": 20, "attempt_timeout": 2, "target_timeout": 4}
PATIENT = SHORT | {"record_timeout": 60, "attempt_timeout": 10, "target_timeout": 10}
"""No receiver times out and is called again, and no record is given up, only because this machine is busy."""

NUMBER = 24  # teams that meet all faults
OFTEN = dict.fromkeys(Fault, 0.05) | {Fault.CONFLICT: 0.12}
"""High enough that each fault happens: few of the requests are writes."""

NOBODY_ANSWERED = {
    "type": "pagerduty",
    "success": False,
    "deliveredAt": "2026-03-01T10:00:00Z",
    "error": "nobody answered [agentteam-delivery/0 id=msg_1]",
}
FOREIGN = {
    # An entry without any field of ours or an id.
    **NOBODY_ANSWERED,
    "name": "pager",
    "phase": "Escalated",
    "reason": "NobodyAnswered",
    "httpStatus": 799,
    "attempts": -1,
    "timestamp": "yesterday",
    "claimedBy": "pager",
    "claimedUntil": "tomorrow",
}


def webhook(url: str, name: str) -> dict[str, str]:
    return {"type": "webhook", "name": name, "url": f"{url}/{name}"}


def answering_after(event: asyncio.Event) -> Respond:
    async def respond(_: web.Request) -> web.StreamResponse:
        await event.wait()
        return web.Response()

    return respond


async def accepted(
    service: Service, namespace: str, team: str, prefer: str | None = "respond-async"
) -> Answer:
    """Post an event, as a watcher does, until it is accepted."""
    async with asyncio.timeout(60):
        while True:
            answer = await service.deliver(namespace, team, prefer)
            if answer.status in {200, 202}:
                return answer
            assert answer.status in {409, 503}, answer
            await asyncio.sleep(float(answer.headers.get("retry-after", 0.1)))


async def many_teams(kube: Kube, namespace: str, hook: Receiver) -> list[str]:
    """Finish teams with two webhooks each, half of them with a Slack channel; return their names."""

    async def finished(number: int) -> str:
        name = f"team-{number}"
        targets = [webhook(f"{hook.url}/{name}", one) for one in ("first", "second")]
        if number % 2:
            secret = f"slack-{name}"
            await kube.secret(namespace, secret, {"slack-webhook-url": f"{hook.url}/{name}/slack"})
            targets.append({"type": "slack", "name": "slack", "credentialsSecret": secret})
        await kube.team(namespace, name, lifecycle(*targets) | {"lead": {"model": "opus", "prompt": "Lead."}})
        said = {"message": "over", "lastTransitionTime": "2026-03-01T10:00:00Z"}
        conditions = [{"type": "Ready", "status": "False", "reason": "Over"} | said]
        await kube.finish(
            namespace,
            name,
            delivery=[FOREIGN],
            estimatedCost="4.50",
            conditions=conditions,
            verdict={"ok": 1},
        )
        return name

    return await asyncio.gather(*(finished(number) for number in range(NUMBER)))


async def read_teams(kube: Kube, namespace: str) -> dict[str, Document]:
    teams = (await kube.list(TEAMS, namespace)).body["items"]
    return {team["metadata"]["name"]: team for team in teams}


def theirs(team: Document) -> Document:
    """Return what the service must not change: all but its entries, their summary, and server fields."""
    kept = {"resourceVersion", "managedFields"}
    metadata = {key: value for key, value in team["metadata"].items() if key not in kept}
    foreign = [entry for entry in team["status"]["delivery"] if entry["type"] == FOREIGN["type"]]
    status = {key: value for key, value in team["status"].items() if key != "deliverySummary"}
    return {**team, "metadata": metadata, "status": {**status, "delivery": foreign}}


@asynccontextmanager
async def busy_operator(kube: Kube, namespace: str, names: list[str]) -> AsyncIterator[Counter[str]]:
    """Write to the status of teams all the time; yield what was written last."""
    tokens: Counter[str] = Counter()
    done = asyncio.Event()

    async def write() -> None:
        for number in itertools.count(1):
            name = names[number % len(names)]
            status = {"totalTokensUsed": number}
            await kube.patch(TEAMS, namespace, name, {"status": status}, subresource="status")
            tokens[name] = number
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await done.wait()
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        try:
            yield tokens
        finally:
            done.set()


@pytest.mark.parametrize(
    ("cluster", "submits"),
    [("own", "a caller"), ("theirs", "a watcher that meets the same")],
    indirect=["cluster"],
)
async def test_every_target_is_sent_once_and_recorded_despite_api_faults(
    cluster: Cluster[Any], tmp_path: Path, submits: str
) -> None:
    kube = cluster.kube
    namespace = await kube.fresh_namespace()
    async with (
        Hostile(cluster.kubeconfig, seed=6) as hostile,
        Receiver() as hook,
        Service(hostile.kubeconfig(tmp_path / "hostile"), api_group=kube.group, **PATIENT) as service,
        AsyncExitStack() as stack,
    ):
        names = await many_teams(kube, namespace, hook)
        before = await read_teams(kube, namespace)
        hostile.rates = OFTEN
        hostile.longest_watch = 2.0
        async with busy_operator(kube, namespace, names) as tokens:
            if submits == "a caller":
                await asyncio.gather(*(accepted(service, namespace, name) for name in names))
            else:
                settings = {"namespaces": namespace, "api_timeout": 1}
                watcher = Watcher(tmp_path / "hostile", service.url, api_group=kube.group, **settings)
                await stack.enter_async_context(watcher)

            async def all_on_record() -> bool:
                teams = (await read_teams(kube, namespace)).values()
                return all(
                    settled(by_word(team), len(team["spec"]["lifecycle"]["delivery"])) for team in teams
                )

            await until(all_on_record, 90)
        after = await read_teams(kube, namespace)
        sent = Counter(request.path for request in hook.requests)
        ids = {request.path: request.headers.get("webhook-id") for request in hook.requests}
        outcomes = {
            f"/{name}/{word}": entry for name in names for word, entry in by_word(after[name]).items()
        }

        assert len(outcomes) == NUMBER * 5 // 2
        for path, entry in outcomes.items():
            if (entry["type"], entry.get("reason")) == ("slack", "SecretUnavailable"):
                assert sent.pop(path, 0) == 0  # the API failed for all of the target's time
                continue
            assert (entry["phase"], sent.pop(path)) == ("Delivered", 1), entry
            assert entry["type"] == "slack" or not cluster.whole or ids[path] == entry["id"]
        assert not sent
        assert not service.logged("outcome_unrecorded")
        for name in names:
            before[name]["status"] |= {"totalTokensUsed": tokens[name]} if name in tokens else {}
            assert theirs(after[name]) == theirs(before[name])
        assert set(hostile.injected) == set(Fault), hostile.injected


async def test_outcomes_are_recorded_after_an_api_outage_that_follows_the_sends(
    own: Cluster[Any], tmp_path: Path
) -> None:
    kube = own.kube
    namespace = await kube.fresh_namespace()
    release = asyncio.Event()

    async with (
        Hostile(own.kubeconfig) as hostile,
        Receiver(respond=answering_after(release)) as hook,
        Service(
            hostile.kubeconfig(tmp_path / "hostile"), api_group=kube.group, **SHORT | {"record_timeout": 8}
        ) as service,
    ):
        names = [f"team-{number}" for number in range(10)]
        for name in names:
            targets = [webhook(f"{hook.url}/{name}", one) for one in ("first", "second")]
            await kube.team(namespace, name, lifecycle(*targets))
            await kube.finish(namespace, name)
        await asyncio.gather(*(accepted(service, namespace, name) for name in names))
        await until(lambda: len(hook.requests) == 20)
        await hostile.stop()
        release.set()
        await until(lambda: len(service.logged("target_settled")) == 20)
        await asyncio.sleep(5)  # the outage
        await hostile.start()

        async def all_on_record() -> bool:
            teams = (await read_teams(kube, namespace)).values()
            return all(entry["phase"] == "Delivered" for team in teams for entry in by_word(team).values())

        await until(all_on_record)
        assert set(Counter(request.path for request in hook.requests).values()) == {1}
        assert not service.logged("outcome_unrecorded")


async def test_an_api_outage_longer_than_the_record_timeout_costs_only_the_record(
    cluster: Cluster[Any], tmp_path: Path
) -> None:
    kube = cluster.kube
    namespace = await kube.fresh_namespace()
    release = asyncio.Event()

    settings = SHORT | {"record_timeout": 1.5, "max_in_flight": 1}
    async with (
        Hostile(cluster.kubeconfig) as hostile,
        Receiver(respond=answering_after(release)) as hook,
        Service(hostile.kubeconfig(tmp_path / "hostile"), api_group=kube.group, **settings) as service,
    ):
        for name in ("report", "next"):
            await kube.team(namespace, name, lifecycle(webhook(f"{hook.url}/{name}", "hook")))
            await kube.finish(namespace, name)
        caller = asyncio.create_task(service.deliver(namespace, "report"))
        await until(lambda: hook.requests)
        refused = await service.deliver(namespace, "next")
        await hostile.stop()
        release.set()
        answer = await caller
        await hostile.start()

        assert (refused.status, refused.problem) == (503, "too-busy")
        assert answer.status == 200
        assert (answer.body["phase"], answer.body["recorded"]) == ("Delivered", False)
        assert "Kubernetes API cannot be reached" in answer.body["reason"]
        [line] = service.logged("outcome_unrecorded")
        target = "hook" if cluster.whole else "webhook-0"
        assert (line["team"], line["target"], line["phase"]) == ("report", target, "Delivered")
        assert (line["cause"], line["why"]) == ("timeout", answer.body["reason"])
        metrics = (await service.request("GET", "/metrics")).content.decode()
        assert 'agentteam_delivery_unrecorded_total{cause="timeout"} 1.0' in metrics
        entry = (await ledger(kube, namespace, "report"))["hook"]
        assert entry["phase"] == "Pending"

        # The capacity is free again.
        answer = await accepted(service, namespace, "next", prefer=None)
        assert (answer.status, answer.body["recorded"]) == (200, True)

        # Unrecorded messages are sent again once their claims have expired; ids identify them.
        async def recorded() -> bool:
            return (await accepted(service, namespace, "report", prefer=None)).status == HTTPStatus.OK

        assert not await recorded()
        await until(recorded, 20)
        assert [request.path for request in hook.requests].count("/report/hook") == 2
        ids = {request.headers["webhook-id"] for request in hook.requests if request.path == "/report/hook"}
        assert ids == {entry["id"]}


async def test_outcomes_during_a_write_share_the_next_write(fake_cluster: Cluster[FakeCluster]) -> None:
    kube, server = fake_cluster.kube, fake_cluster.server
    namespace = await kube.fresh_namespace()
    chance = random.Random(6)  # noqa: S311  # not used for a secret
    writes: list[int] = []  # number of writes in flight, at the start of each
    under_way = 0

    async def within_a_second(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(chance.random())
        return web.Response()

    async def slow_write(request: web.Request) -> web.StreamResponse | None:
        nonlocal under_way
        if request.method != "PATCH":
            return None
        under_way += 1
        writes.append(under_way)
        await asyncio.sleep(0.3)
        answer = await server.answer(request)
        under_way -= 1
        return answer

    async with Receiver(respond=within_a_second) as hook, Service(fake_cluster.kubeconfig) as service:
        targets = [webhook(hook.url, f"hook-{number}") for number in range(50)]
        await kube.team(namespace, "report", lifecycle(*targets))
        await kube.finish(namespace, "report")
        server.intercept = slow_write
        report = (await service.deliver(namespace, "report")).body
        server.intercept = None

    assert report["phase"] == "Delivered"
    assert set(writes) == {1}
    # The claim, then a write after every 0.3 s of a second, and one for the outcomes during the last.
    assert 3 <= len(writes) <= 7, writes
