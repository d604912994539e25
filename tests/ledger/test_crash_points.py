"""A process dies at each step of a delivery, or at any moment: nothing is lost or needlessly repeated."""

import asyncio
import random
import signal
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import aiohttp
import pytest

from app.delivery.faults import STEPS
from tests.harness.cluster import Cluster
from tests.harness.receiver import Received
from tests.harness.service import Service, lifecycle
from tests.harness.waiting import until
from tests.ledger.support import Entries, Front, Outcomes, ids, ledger, ledgers, metric, serve, settled, watch

# With these settings, a claim lasts 9 s: 2 s, 1 s, and a margin of 4 * 1 s + 2 s.
SETTINGS: dict[str, object] = {
    "attempt_timeout": 1,
    "target_timeout": 2,
    "record_timeout": 1,
    "api_timeout": 1,
}
PATIENT = SETTINGS | {"attempt_timeout": 15, "target_timeout": 15}
"""No receiver times out only because this machine is busy; a claim lasts 22 s."""

SOON = 30.0  # seconds from the last death to the last outcome: the claim's end, and a reserve
SENT = {"a": 1, "b": 1, "flaky": 2, "slack": 1}
"""The targets that get a request, and how many if no process dies."""


@dataclass(frozen=True)
class Death:
    """The state after a death at a step: how many targets were claimed, sent to, recorded."""

    claimed: bool
    sent: str = "none"
    recorded: str = "none"
    email: bool = True  # False if its outcome, which needs no answer, would reach the step too early


DEATHS = {
    "read": Death(claimed=False),
    "claim-written": Death(claimed=True),
    "claimed": Death(claimed=True),
    "sending": Death(claimed=True),
    "answered": Death(claimed=True, sent="some"),
    "waiting": Death(claimed=True, sent="some", recorded="not all"),
    "recording": Death(claimed=True, sent="some", email=False),
    "record-written": Death(claimed=True, sent="some", recorded="some", email=False),
    "settled": Death(claimed=True, sent="all", recorded="all"),
}


def amounts(names: list[str]) -> set[str]:
    """The words that are true of so many of the targets."""
    return {"some" if names else "none", "all" if len(names) == len(SENT) else "not all"}


@dataclass(frozen=True)
class Aftermath:
    """The result of a death: the exit code, the entries just after it and at the end, and the requests."""

    code: int
    left: Entries
    entries: Entries
    before: dict[str, list[Received]]
    after: dict[str, list[Received]]
    seconds: float


async def die(
    cluster: Cluster[Any], step: str, namespace: str, receiver: Outcomes, turn: asyncio.Semaphore
) -> tuple[int, float, Entries]:
    """Submit a team to a process that dies at a step; return its code, the moment, and the entries."""
    names = [*SENT, "email"] if DEATHS[step].email else [*SENT]
    async with turn, serve(cluster, crash_at=step, **SETTINGS) as dying:
        await receiver.slack_secret(cluster.kube, namespace, step)
        targets = [receiver.target(step, name) for name in names]
        await cluster.kube.team(namespace, step, lifecycle(*targets))
        await cluster.kube.finish(namespace, step)
        with suppress(aiohttp.ClientError):  # it may die before it answers
            await dying.deliver(namespace, step, "respond-async")
        await until(lambda: dying.ended)
        died = monotonic()
        return await dying.stop(), died, await ledger(cluster.kube, namespace, step)


async def all_deaths(cluster: Cluster[Any], survivors: list[Service]) -> dict[str, Aftermath]:
    """Let a process die at each step; then survivors, called by a watcher, settle everything."""
    kube = cluster.kube
    namespace = await kube.fresh_namespace()  # of one team per step, with its name

    async def all_settled() -> dict[str, Entries] | None:
        found = await ledgers(kube, namespace)
        done = [settled(found[step], len(SENT) + DEATHS[step].email) for step in STEPS]
        return found if all(done) else None

    async def all_done() -> bool:
        return not any([await metric(one, "agentteam_delivery_in_flight") for one in survivors])

    async with Outcomes() as receiver, Front(*survivors) as front:
        turn = asyncio.Semaphore(2)  # starting processes takes most of the time
        deaths = await asyncio.gather(*(die(cluster, step, namespace, receiver, turn) for step in STEPS))
        async with watch(cluster, front.url, namespaces=namespace):
            entries = await until(all_settled, SOON)
        seconds = monotonic() - max(died for _, died, _ in deaths)
        await until(all_done)
    found = {}
    for step, (code, died, left) in zip(STEPS, deaths, strict=True):
        sends = {name: receiver.sends[f"{step}/{name}"] for name in SENT}
        before = {name: [one for one in sends[name] if one.at < died] for name in SENT}
        after = {name: [one for one in sends[name] if one.at >= died] for name in SENT}
        found[step] = Aftermath(code, left, entries[step], before, after, seconds)
    return found


@pytest.fixture(scope="module")
async def deaths(cluster: Cluster[Any], replicas: list[Service]) -> dict[str, Aftermath]:
    """Suffer all deaths together, because each mostly waits for a claim to expire."""
    return await all_deaths(cluster, replicas)


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at(cluster: Cluster[Any], deaths: dict[str, Aftermath], step: str) -> None:
    death, found = DEATHS[step], deaths[step]
    assert found.code == 70
    assert found.seconds < SOON

    # Immediately after the death.
    sent = [name for name in SENT if found.before[name]]
    recorded = [name for name in SENT if name in found.left and found.left[name]["phase"] != "Pending"]
    assert bool(found.left) == death.claimed
    assert death.sent in amounts(sent)
    assert death.recorded in amounts(recorded)
    assert set(recorded) <= set(sent)

    # At the end.
    reasons = {name: entry["reason"] for name, entry in found.entries.items()}
    assert reasons == dict.fromkeys(SENT, "Delivered") | ({"email": "NotImplemented"} if death.email else {})
    for name, times in SENT.items():
        before, after, entry = found.before[name], found.after[name], found.entries[name]
        if name in recorded:
            assert (len(before), len(after)) == (times, 0), (
                f"{name} was on record, and must not be sent again"
            )
        elif name == "flaky":
            assert len(after) == (1 if before else 2), "what had answered 503 once is tried once more"
        else:
            assert len(after) == 1, (
                f"{name} was not on record, and must be sent by the process that takes over"
            )
        assert "claimedBy" not in entry
        if cluster.whole:
            assert entry["attempts"] == len(before if name in recorded else after)
            assert entry.get("takeovers", 0) == (death.claimed and name not in recorded)
            assert name == "slack" or ids(before + after) == {entry["id"]}
        if name == "slack":
            assert len({request.body for request in before + after}) == 1
        else:
            assert len(ids(before + after)) == 1


@pytest.mark.timeout(240)
async def test_a_process_killed_at_six_random_moments_loses_nothing(own: Cluster[Any]) -> None:
    """On the project's own CRD, whose record shows takeovers; on the operator's there are as many."""
    kube = own.kube
    namespace = await kube.fresh_namespace()
    chance = random.Random(9)  # noqa: S311  # the same moments in every run
    teams: list[str] = []
    names = [*SENT, "email"]

    async def all_settled() -> dict[str, Entries] | None:
        found = await ledgers(kube, namespace)
        return found if all(settled(found[team], len(names)) for team in teams) else None

    async with (
        Outcomes(delay=0.05) as receiver,
        Front() as front,
        watch(own, front.url, namespaces=namespace),
    ):
        for life in range(6):
            async with serve(own, **PATIENT) as service:
                front.replicas = [service]
                for number in range(2):
                    team = f"team-{life}-{number}"
                    teams.append(team)
                    await receiver.slack_secret(kube, namespace, team)
                    await kube.team(
                        namespace, team, lifecycle(*(receiver.target(team, name) for name in names))
                    )
                    await kube.finish(namespace, team)
                await asyncio.sleep(chance.uniform(0.0, 0.3))  # a random moment, not a wait
                assert await service.stop(signal.SIGKILL) == -signal.SIGKILL
                front.replicas = []
        async with serve(own, **PATIENT) as service:
            front.replicas = [service]
            on_record = await until(all_settled, 90)

    sends = receiver.sends
    doubled = taken_over = 0
    for team, entries in on_record.items():
        assert entries["email"]["reason"] == "NotImplemented"
        for name, times in SENT.items():
            entry, sent = entries[name], sends[f"{team}/{name}"]
            takeovers = entry.get("takeovers", 0)
            assert entry["phase"] == "Delivered", f"{team}/{name}: {entry}"
            assert times <= len(sent) <= times + takeovers, f"{team}/{name}: {entry}"
            if name != "slack":
                assert ids(sent) == {entry["id"]}
            doubled += len(sent) > times
            taken_over += bool(takeovers)
    figures = f"{len(teams) * len(names)} targets, {taken_over} taken over, {doubled} sent twice"
    print(figures)  # noqa: T201  # for `pytest -rP`
    assert taken_over, "no kill interrupted a dispatch, so the test showed nothing"
