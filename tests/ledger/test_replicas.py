"""Several replicas with one ledger race, drain and sleep, and each message is still sent once."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from time import monotonic
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from app.domain.receipts import Receipt
from tests.harness.cluster import Cluster
from tests.harness.kube import TEAMS, Kube
from tests.harness.receiver import Receiver, Respond, ok
from tests.harness.service import Service, lifecycle
from tests.harness.waiting import until
from tests.ledger.support import (
    Entries,
    Outcomes,
    have_one_id,
    history,
    ids,
    ledger,
    ledgers,
    metric,
    serve,
    settled,
    watch,
)

CLAIM_LOST = 'agentteam_delivery_unrecorded_total{cause="claim-lost"}'
TEAM_GONE = 'agentteam_delivery_unrecorded_total{cause="team-gone"}'


def hook(receiver: Receiver, name: str) -> dict[str, Any]:
    """Return a webhook with that name."""
    return {"type": "webhook", "name": name, "url": f"{receiver.url}/{name}"}


def sends(receiver: Receiver, name: str) -> list[Any]:
    """Return the requests that a receiver got for a target."""
    return [request for request in receiver.requests if request.path == f"/{name}"]


def later(seconds: int) -> Respond:
    """Answer 503 with this `Retry-After`, in seconds."""

    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": str(seconds)})

    return respond


def by_path(**responds: Respond) -> Respond:
    """Answer as specified for the target in the path."""

    async def respond(request: web.Request) -> web.StreamResponse:
        return await responds[request.path.strip("/")](request)

    return respond


async def no_content(_: web.Request) -> web.StreamResponse:
    """Answer 204."""
    return web.Response(status=204)


class Gate:
    """Delays every answer until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def respond(self, _: web.Request) -> web.StreamResponse:
        await self.opened.wait()
        return web.Response()


def head(length: int) -> bytes:
    """Write the head of an event's request."""
    lines = (
        "POST /deliveries HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


async def finished(cluster: Cluster[Any], *targets: dict[str, Any]) -> str:
    """Finish a team with the name `report` in a new namespace, and return the namespace."""
    namespace = await cluster.kube.fresh_namespace()
    await cluster.kube.team(namespace, "report", lifecycle(*targets))
    await cluster.kube.finish(namespace, "report")
    return namespace


def settling(kube: Kube, namespace: str, targets: int) -> Callable[[], Awaitable[Entries | None]]:
    """Return a function that returns the team's entries once all of them are settled."""

    async def all_settled() -> Entries | None:
        entries = await ledger(kube, namespace, "report")
        return entries if settled(entries, targets) else None

    return all_settled


@asynccontextmanager
async def watched(cluster: Cluster[Any], service: Service, namespace: str) -> AsyncIterator[None]:
    """Run a watcher that submits to a service, and wait until it is up to date."""
    async with watch(cluster, service.url, namespaces=namespace) as watcher:
        async with aiohttp.ClientSession() as session:

            async def ready() -> bool:
                async with session.get(f"{watcher.url}/readyz") as response:
                    return response.status == HTTPStatus.OK

            await until(ready)
        yield


async def test_thirty_events_posted_to_three_replicas_at_once_are_sent_once(
    cluster: Cluster[Any], replicas: list[Service]
) -> None:
    kube = cluster.kube
    namespace = await kube.fresh_namespace()
    teams = [f"team-{number}" for number in range(30)]
    async with Outcomes() as receiver:

        async def finish(team: str) -> None:
            await kube.team(namespace, team, lifecycle(*(receiver.target(team, name) for name in "ab")))
            await kube.finish(namespace, team)

        await asyncio.gather(*(finish(team) for team in teams))
        posts = [service.deliver(namespace, team) for team in teams for service in replicas]
        answers = await asyncio.gather(*posts)
        assert {answer.status for answer in answers} <= {200, 202}

        async def all_settled() -> bool:
            found = await ledgers(kube, namespace)
            return all(settled(found[team], 2) for team in teams)

        await until(all_settled, 30)
        for team, entries in (await ledgers(kube, namespace)).items():
            for name in "ab":
                [sent] = receiver.sends[f"{team}/{name}"]
                entry = entries[name]
                assert entry["phase"] == "Delivered"
                if cluster.whole:
                    assert (entry["attempts"], entry["id"]) == (1, *ids([sent]))
                assert "takeovers" not in entry


async def test_a_redelivery_posted_to_three_replicas_at_once_is_sent_once_with_a_new_id(
    cluster: Cluster[Any], replicas: list[Service]
) -> None:
    gate = Gate()
    async with Receiver() as receiver:
        namespace = await finished(cluster, hook(receiver, "a"), hook(receiver, "b"))
        assert (await replicas[0].deliver(namespace, "report")).body["phase"] == "Delivered"
        receiver.respond = gate.respond
        answers = await asyncio.gather(
            *(service.deliver(namespace, "report", "respond-async", redeliver="all") for service in replicas)
        )
        assert sorted(answer.status for answer in answers) == [202, 409, 409]
        assert {answer.problem for answer in answers if answer.status == 409} == {"claim-in-flight"}
        gate.opened.set()
        entries = await until(settling(cluster.kube, namespace, 2))
        for name in "ab":
            old, new = sends(receiver, name)
            assert ids([old]) != ids([new])
            assert have_one_id([new], entries[name])
            assert entries[name].get("redeliveries") == (1 if cluster.whole else None)


@pytest.mark.parametrize("reached", [False, True], ids=["at-once", "while-sending"])
async def test_a_caller_that_disconnects_does_not_stop_the_delivery(
    cluster: Cluster[Any], replicas: list[Service], reached: bool
) -> None:
    gate = Gate()
    async with Receiver(respond=gate.respond) as receiver:
        namespace = await finished(cluster, hook(receiver, "a"))
        body = json.dumps({"namespace": namespace, "team": "report"}).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", replicas[0].port)
        writer.write(head(len(body)) + body)
        await writer.drain()
        if reached:
            await until(lambda: receiver.requests)
        writer.close()
        await writer.wait_closed()
        await until(lambda: receiver.requests)
        gate.opened.set()
        entries = await until(settling(cluster.kube, namespace, 1))
        assert entries["a"]["phase"] == "Delivered"
        assert len(receiver.requests) == 1


async def test_a_draining_replica_releases_waiting_targets_and_finishes_sends_in_flight(
    own: Cluster[Any], theirs: Cluster[Any]
) -> None:
    await asyncio.gather(drained_beside_another(own), drained_beside_another(theirs))


async def drained_beside_another(cluster: Cluster[Any]) -> None:
    """Stop a replica while one of its targets waits and another hangs."""
    kube = cluster.kube
    gate = Gate()
    settings = {"attempt_timeout": 10, "target_timeout": 60, "drain_timeout": 15}
    async with (
        Receiver(respond=by_path(waits=later(50), hangs=gate.respond)) as receiver,
        serve(cluster, **settings) as drained,
        serve(cluster) as other,
    ):
        namespace = await finished(cluster, hook(receiver, "waits"), hook(receiver, "hangs"))
        assert (await drained.deliver(namespace, "report", "respond-async")).status == 202
        await until(lambda: len(receiver.requests) == 2)
        receiver.respond = by_path(waits=ok, hangs=gate.respond)
        async with watched(cluster, other, namespace):
            since = (await kube.get(TEAMS, namespace, "report")).body["metadata"]["resourceVersion"]
            started = monotonic()
            ending = asyncio.create_task(drained.stop(signal.SIGTERM))

            async def delivered_by_the_other() -> bool:
                waits = (await ledger(kube, namespace, "report"))["waits"]
                return bool(waits["phase"] == "Delivered")

            await until(delivered_by_the_other)
            assert monotonic() - started < 30, "the other replica takes over at once, not at the claim's end"
            assert not ending.done()
            gate.opened.set()
            assert await ending == 0
            entries = await until(settling(kube, namespace, 2))

        released = [
            entries["waits"]
            for entries in await history(kube, namespace, since)
            if entries["waits"]["phase"] == "Pending" and "claimedBy" not in entries["waits"]
        ]
        assert released
        assert released[0]["attempts"] == 1
        assert "claimedUntil" not in released[0]
        assert {entry["phase"] for entry in entries.values()} == {"Delivered"}
        if cluster.whole:
            assert {name: entry["attempts"] for name, entry in entries.items()} == {"waits": 2, "hangs": 1}
        assert "takeovers" not in entries["waits"], "a released claim does not count as a takeover"
        for name, times in (("waits", 2), ("hangs", 1)):
            assert len(sends(receiver, name)) == times
            assert have_one_id(sends(receiver, name), entries[name])
        assert drained.logged("stopped")
        assert not drained.logged("drain_cut_short")


async def test_a_caller_that_never_ends_its_request_does_not_delay_a_drain(own: Cluster[Any]) -> None:
    async with serve(own, attempt_timeout=1, target_timeout=2, drain_timeout=10) as drained:
        _, writer = await asyncio.open_connection("127.0.0.1", drained.port)
        writer.write(head(length=9) + b"{")
        await writer.drain()
        assert (await drained.request("GET", "/healthz")).status == 200
        started = monotonic()
        async with asyncio.timeout(20):
            assert await drained.stop(signal.SIGTERM) == 0
        assert monotonic() - started < 10
        writer.close()
        await writer.wait_closed()


async def test_a_process_suspended_past_its_claim_sends_and_records_nothing_more(
    own: Cluster[Any], theirs: Cluster[Any]
) -> None:
    await asyncio.gather(suspended_past_its_claim(own), suspended_past_its_claim(theirs))


async def suspended_past_its_claim(cluster: Cluster[Any]) -> None:
    """Suspend a replica with two claims, and resume it after another has settled them."""
    kube = cluster.kube
    gate = Gate()
    # With these settings, a claim lasts 9 s.
    settings = {"attempt_timeout": 4, "target_timeout": 4.5, "record_timeout": 1, "api_timeout": 0.5}
    async with (
        Receiver(respond=by_path(waits=later(2), hangs=gate.respond)) as receiver,
        serve(cluster, **settings) as sleeper,
        serve(cluster) as other,
    ):
        namespace = await finished(cluster, hook(receiver, "waits"), hook(receiver, "hangs"))
        assert (await sleeper.deliver(namespace, "report", "respond-async")).status == 202
        await until(lambda: len(receiver.requests) == 2)
        os.kill(sleeper.pid, signal.SIGSTOP)
        try:
            receiver.respond = ok
            gate.opened.set()  # so that an answer waits for the suspended process when it resumes
            async with watched(cluster, other, namespace):
                entries = await until(settling(kube, namespace, 2), 20)
        finally:
            os.kill(sleeper.pid, signal.SIGCONT)

        async def noticed() -> bool:
            return (await metric(sleeper, CLAIM_LOST)) == 2

        await until(noticed)
        assert await sleeper.stop() == 0
        assert await ledger(kube, namespace, "report") == entries
        for name in ("waits", "hangs"):
            entry = entries[name]
            assert entry["phase"] == "Delivered"
            if cluster.whole:
                assert (entry["attempts"], entry["takeovers"]) == (1, 1)
            assert len(sends(receiver, name)) == 2, "once by each process"
            assert have_one_id(sends(receiver, name), entry)


async def test_a_target_that_lost_too_many_holders_is_given_up(
    cluster: Cluster[Any], replicas: list[Service]
) -> None:
    kube = cluster.kube
    async with Receiver() as receiver:
        namespace = await finished(cluster, hook(receiver, "last"), hook(receiver, "over"))
        ended = datetime.now(UTC) - timedelta(minutes=1)
        abandoned = [
            Receipt(
                name=name,
                type="webhook",
                target=f"{receiver.url}/{name}",
                id=f"msg_{takeovers}",
                attempts=2,
                claimed_by="gone",
                claimed_until=ended,
                delivered_at=ended,
                takeovers=takeovers,
            ).to_wire()
            for name, takeovers in (("last", 9), ("over", 10))
        ]
        await kube.finish(namespace, "report", delivery=abandoned)
        answer = await replicas[0].deliver(namespace, "report")
        assert (answer.status, answer.body["phase"]) == (200, "PartiallyDelivered")
        entries = await ledger(kube, namespace, "report")
        assert {name: entry["reason"] for name, entry in entries.items()} == {
            "last": "Delivered",
            "over": "Interrupted",
        }
        assert entries["last"].get("takeovers") == (10 if cluster.whole else None)
        assert (entries["over"]["phase"], entries["over"]["takeovers"]) == ("Failed", 11)
        assert [request.path for request in receiver.requests] == ["/last"]


async def test_a_team_recreated_during_a_delivery_gets_no_further_send_or_write(
    cluster: Cluster[Any], replicas: list[Service]
) -> None:
    kube, service = cluster.kube, replicas[2]
    gate = Gate()
    async with Receiver(respond=by_path(hangs=gate.respond, waits=later(3))) as receiver:
        targets = hook(receiver, "hangs"), hook(receiver, "waits")
        namespace = await finished(cluster, *targets)
        gone = await metric(service, TEAM_GONE)
        waiting = asyncio.create_task(service.deliver(namespace, "report"))
        await until(lambda: len(receiver.requests) == 2)
        assert (await kube.delete(TEAMS, namespace, "report")).status == 200
        await kube.team(namespace, "report", lifecycle(*targets))
        gate.opened.set()
        answer = await waiting
        assert (answer.status, answer.problem) == (409, "uid-changed")
        assert await metric(service, TEAM_GONE) == gone + 2
        assert await kube.delivery(namespace, "report") == []
        assert len(receiver.requests) == 2, "no further attempt"

        # The recreated team is independent.
        old = ids(receiver.requests)
        receiver.respond = ok
        await kube.finish(namespace, "report")
        assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
        assert len(receiver.requests) == 4
        assert not old & ids(receiver.requests[2:])


@pytest.mark.parametrize("same", [True, False], ids=["by-its-holder", "by-another"])
async def test_claims_deleted_by_an_operator_are_detected_and_their_targets_settle(
    cluster: Cluster[Any], replicas: list[Service], same: bool
) -> None:
    kube, holder, other = cluster.kube, replicas[0], replicas[1]
    gate = Gate()
    async with Receiver(respond=gate.respond) as receiver:
        namespace = await finished(cluster, hook(receiver, "a"))
        assert (await holder.deliver(namespace, "report", "respond-async")).status == 202
        await until(lambda: receiver.requests)
        async with watched(cluster, holder if same else other, namespace):
            lost = await metric(holder, CLAIM_LOST)
            receiver.respond = no_content  # for later requests; the first still waits
            await wipe(kube, namespace)
            entries = await until(settling(kube, namespace, 1))
            gate.opened.set()

            async def done() -> bool:
                return await metric(holder, "agentteam_delivery_in_flight") == 0

            await until(done)
            assert await ledger(kube, namespace, "report") == entries
            assert entries["a"]["phase"] == "Delivered"
            assert entries["a"].get("httpStatus") == (204 if cluster.whole else None)
            assert len(receiver.requests) == 2, "without a claim on record, no process can know"
            assert have_one_id(receiver.requests, entries["a"])
            told = [line for line in holder.logged("outcome_unrecorded") if line["namespace"] == namespace]
            name = "a" if cluster.whole else "webhook-0"
            assert await metric(holder, CLAIM_LOST) == lost + len(told)
            # With five fields, deliveries in the same second look alike, even of different processes.
            assert told or not cluster.whole
            assert {(line["target"], line["cause"]) for line in told} <= {(name, "claim-lost")}


async def wipe(kube: Kube, namespace: str) -> None:
    """Write the whole status, like an operator without our fields."""
    team = (await kube.get(TEAMS, namespace, "report")).body
    del team["status"]["delivery"]
    assert (await kube.put(TEAMS, namespace, "report", team, subresource="status")).status == 200
