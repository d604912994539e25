"""With the operator's unpatched CRD, next to a writing operator, every target is delivered."""

import asyncio
import json
import os
import random
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from app.domain.receipts import OPERATORS_FIELDS, Phase, Receipt
from app.domain.teams import AgentTeam
from tests.conftest import at_hand as at_hand_here
from tests.harness.cluster import OPERATORS_GROUP, Cluster
from tests.harness.kube import TEAMS
from tests.harness.operator import operate
from tests.harness.receiver import Receiver
from tests.harness.service import SCRIPT, Service
from tests.harness.waiting import until
from tests.ledger.support import Front, Outcomes, ids, serve, watch

pytestmark = pytest.mark.timeout(300)

# With these settings, a claim lasts 19 s: 6 s, 3 s, and a margin of 4 * 2 s + 2 s; no answer takes 5 s.
SHORT: dict[str, object] = {"attempt_timeout": 5, "target_timeout": 6, "record_timeout": 3, "api_timeout": 2}
PATIENT = SHORT | {"attempt_timeout": 15, "target_timeout": 15}
"""No receiver times out, and fails, because this machine is busy; a claim lasts 28 s."""

RUNBOOK = Path(__file__).parents[2] / "docs/how-to/operate.md"
SOON = 90.0  # seconds from the last death to the last outcome


@pytest.fixture(scope="module")
async def services(theirs: Cluster[Any], own: Cluster[Any]) -> AsyncIterator[dict[str, Service]]:
    """Start a service per API group, for tests that leave it unchanged."""
    async with serve(theirs) as one, serve(own) as other:
        yield {theirs.kube.group: one, own.kube.group: other}


@pytest.fixture
def at_hand(theirs: Cluster[Any], services: dict[str, Service]) -> Service:
    """Return the service for the operator's CRD."""
    return services[theirs.kube.group]


@pytest.fixture(params=["theirs", "own"], ids=["operator's", "own"])
def either(request: pytest.FixtureRequest, own: Cluster[Any], theirs: Cluster[Any]) -> Cluster[Any]:
    """Use the operator's CRD, and the project's own."""
    return theirs if request.param == "theirs" else own


async def finish(
    on: Cluster[Any], namespace: str, team: str, *targets: dict[str, Any], **status: Any
) -> None:
    """Finish a new team as the operator's users write it."""
    lifecycle = {"onComplete": "deliver", "delivery": list(targets)}
    await on.kube.team(namespace, team, {"lifecycle": lifecycle})
    await on.kube.finish(namespace, team, **status)


async def entries(on: Cluster[Any], namespace: str, team: str) -> list[dict[str, Any]]:
    """Read a team's list, each entry of which must be valid for the operator."""
    found: list[dict[str, Any]] = await on.kube.delivery(namespace, team)
    for entry in found:
        assert {"type", "success", "deliveredAt"} <= set(entry), entry
    return found


async def record(on: Cluster[Any], namespace: str, team: str) -> list[Receipt]:
    """Read a team's list as the service does."""
    return AgentTeam.from_resource((await on.kube.get(TEAMS, namespace, team)).body).record.receipts


async def settled(on: Cluster[Any], namespace: str, team: str, number: int) -> list[Receipt] | None:
    found = await record(on, namespace, team)
    return found if len(found) == number and all(one.settled for one in found) else None


def hook(receiver: Receiver, path: str) -> dict[str, Any]:
    return {"type": "webhook", "url": f"{receiver.url}/{path}"}


async def test_the_sample_team_is_delivered_once(theirs: Cluster[Any], at_hand: Service) -> None:
    one = at_hand
    kube = theirs.kube
    namespace = await kube.fresh_namespace()
    artifact = {
        "name": "digest.md",
        "path": "/workspace/output/digest.md",
        "producedBy": "writer",
        "producedAt": "2026-11-28T02:59:00Z",
    }
    async with Outcomes() as receiver:
        targets = [
            {**hook(receiver, "digest/ok"), "message": "The digest is ready."},
            {"type": "slack", "channel": "#weekly-digest", "credentialsSecret": "slack-digest"},
            {"type": "email", "to": ["editors@example.com", "desk@example.com"], "subject": "Digest"},
            {"type": "google-drive", "folder": "1AbCdEfGhIjKlMnOpQrStUvWxYz", "credentialsSecret": "drive"},
        ]
        await receiver.slack_secret(kube, namespace, "digest")
        await finish(theirs, namespace, "digest", *targets, artifacts=[artifact])

        first = await one.deliver(namespace, "digest")
        assert (first.status, first.body["phase"]) == (200, "PartiallyDelivered")
        labels = [
            f"{receiver.url}/digest/ok",
            "#weekly-digest",
            "editors@example.com, desk@example.com",
            "1AbCdEfGhIjKlMnOpQrStUvWxYz",
        ]
        before = await entries(theirs, namespace, "digest")
        assert [entry["target"] for entry in before] == labels
        assert [entry["success"] for entry in before] == [True, True, False, False]
        assert all(set(entry) <= set(OPERATORS_FIELDS) for entry in before)
        assert ["error" in entry for entry in before] == [False, False, True, True]
        assert all(entry["error"].startswith("NotImplemented: ") for entry in before[2:])
        sent = receiver.sends["digest/ok"]
        assert json.loads(sent[0].body)["artifacts"] == [artifact]
        assert json.loads(receiver.sends["digest/slack"][0].body)["channel"] == "#weekly-digest"

        assert (await one.deliver(namespace, "digest")).body["phase"] == "PartiallyDelivered"
        assert await operate(kube, namespace, "digest") == 200
        assert (await one.deliver(namespace, "digest")).body["phase"] == "PartiallyDelivered"
        assert len(receiver.requests) == 2
        assert await entries(theirs, namespace, "digest") == before

        known = {receipt.id for receipt in await record(theirs, namespace, "digest")}
        again = await one.deliver(namespace, "digest", redeliver="failed")
        assert again.status == 200
        assert len(receiver.requests) == 2
        after = await record(theirs, namespace, "digest")
        assert not {receipt.id for receipt in after[2:]} & known
        assert [receipt.redeliveries for receipt in after] == [0, 0, 1, 1]

        assert (await one.deliver(namespace, "digest", redeliver="all", targets=["webhook-0"])).status == 200
        assert (await one.deliver(namespace, "digest", redeliver="all", targets=["webhook-0"])).status == 200
        assert len(receiver.sends["digest/ok"]) == 3
        assert len(ids(receiver.sends["digest/ok"])) == 3, "each redelivery has an id of its own"


@pytest.mark.skipif(not at_hand_here("newest"), reason="kubectl waits on a real API server")
async def test_the_runbook_s_commands_to_wait_work_with_both_crds(
    either: Cluster[Any], services: dict[str, Service], kubectl: Path, tmp_path: Path
) -> None:
    told = re.search(r"## Wait for a delivery\n(.*?)\n## ", RUNBOOK.read_text(), re.DOTALL)
    assert told
    command, each, summary = re.findall(r"```console\n(.*?)\n```", told[1])
    kube, serving = either.kube, services[either.kube.group]
    namespace = await kube.fresh_namespace()
    (tmp_path / "agentteam-delivery").symlink_to(SCRIPT)
    (tmp_path / "kubectl").symlink_to(kubectl)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "KUBECONFIG": str(either.kubeconfig),
        "DELIVERY_URL": serving.url,
    }

    async def ended(text: str) -> int:
        text = text.replace("research", namespace).replace("agentteam/", f"agentteams.{kube.group}/")
        process = await asyncio.create_subprocess_shell(text, env=environment)
        return await process.wait()

    async with Outcomes() as receiver:
        for team, second in (("report", "ok"), ("broken", "gone")):
            await finish(either, namespace, team, hook(receiver, "w/ok"), hook(receiver, f"w/{second}"))
        waiting = asyncio.create_task(ended(command))
        await serving.deliver(namespace, "report")
        await serving.deliver(namespace, "broken")
        assert await waiting == 0
        assert await ended(command.replace("report", "broken")) == 1
        assert await ended(each) == 0
        own = either.kube.group != OPERATORS_GROUP
        assert await ended(summary.replace("5m", "5m" if own else "0.1s")) == (0 if own else 1)


async def test_the_watcher_alone_delivers(theirs: Cluster[Any], at_hand: Service) -> None:
    namespace = await theirs.kube.fresh_namespace()
    async with Outcomes() as receiver, watch(theirs, at_hand.url, namespaces=namespace):
        await finish(theirs, namespace, "team", hook(receiver, "team/ok"), hook(receiver, "team/flaky"))
        found = await until(lambda: settled(theirs, namespace, "team", 2), SOON)
        assert [receipt.phase for receipt in found] == [Phase.DELIVERED] * 2
        assert [len(receiver.sends[f"team/{word}"]) for word in ("ok", "flaky")] == [1, 2]


async def test_a_team_of_a_run_is_delivered_although_the_run_rewrites_its_spec(
    theirs: Cluster[Any], at_hand: Service
) -> None:
    """The Run owns the team. At each pass it writes the whole spec back and copies the status, typed."""
    kube, namespace = theirs.kube, await theirs.kube.fresh_namespace()
    written: list[int] = []

    async def respond(_: web.Request) -> web.StreamResponse:
        while True:
            read = (await kube.get(TEAMS, namespace, "nightly")).body
            answer = await kube.put(TEAMS, namespace, "nightly", {**read, "spec": made["spec"]})
            if answer.status != HTTPStatus.CONFLICT:
                written.extend((answer.status, await operate(kube, namespace, "nightly")))
                return web.Response()

    async with Receiver(respond=respond) as receiver:
        targets = [hook(receiver, str(number)) for number in range(3)]
        spec = {"lifecycle": {"onComplete": "deliver", "delivery": targets}}
        made = kube.team_document("nightly", spec)
        made["metadata"]["ownerReferences"] = [
            {
                "apiVersion": made["apiVersion"],
                "kind": "AgentTeamRun",
                "name": "nightly",
                "uid": "7c2f6f0e-3f0b-4a53-9f4e-0f6f4b8f2d11",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        assert (await kube.create(TEAMS, namespace, made)).status == HTTPStatus.CREATED
        await kube.finish(namespace, "nightly")
        answer = await at_hand.deliver(namespace, "nightly")
        assert (answer.status, answer.body["phase"]) == (200, "Delivered")
        assert written == [200] * 6
        mirrored = await entries(theirs, namespace, "nightly")
        assert [one["target"] for one in mirrored] == [target["url"] for target in targets]
        assert all(one["success"] and set(one) <= set(OPERATORS_FIELDS) for one in mirrored)
        assert (await at_hand.deliver(namespace, "nightly")).body["phase"] == "Delivered"
        assert len(receiver.requests) == 3


async def test_two_replicas_and_forty_targets_are_forty_posts(theirs: Cluster[Any], at_hand: Service) -> None:
    one, namespace = at_hand, await theirs.kube.fresh_namespace()
    async with Outcomes(delay=0.1) as receiver, serve(theirs) as other:
        await finish(theirs, namespace, "team", *(hook(receiver, f"{number}/ok") for number in range(40)))
        answers = await asyncio.gather(*(each.deliver(namespace, "team") for each in (one, other) * 3))
        assert {answer.status for answer in answers} <= {200, 202}
        await until(lambda: settled(theirs, namespace, "team", 40), SOON)
        assert len(receiver.requests) == 40
        assert len({request.path for request in receiver.requests}) == 40


async def test_writes_of_the_operator_at_ten_moments_of_a_dispatch_undo_nothing(
    either: Cluster[Any], services: dict[str, Service]
) -> None:
    one, namespace = services[either.kube.group], await either.kube.fresh_namespace()
    written: list[int] = []

    async def respond(_: web.Request) -> web.StreamResponse:
        written.append(await operate(either.kube, namespace, "team"))
        return web.Response()

    async with Receiver(respond=respond) as receiver:
        await finish(either, namespace, "team", *(hook(receiver, str(number)) for number in range(10)))
        answer = await one.deliver(namespace, "team")
        assert (answer.status, answer.body["phase"], answer.body["recorded"]) == (200, "Delivered", True)
        assert written == [200] * 10
        assert await operate(either.kube, namespace, "team") == 200
        assert (await one.deliver(namespace, "team")).body["phase"] == "Delivered"
        assert len(receiver.requests) == len(ids(receiver.requests)) == 10


async def test_a_write_of_the_operator_just_before_a_kill_loses_nothing(theirs: Cluster[Any]) -> None:
    namespace = await theirs.kube.fresh_namespace()
    dying = serve(theirs, **SHORT)

    async def respond(_: web.Request) -> web.StreamResponse:
        if not dying.ended and len(receiver.requests) == 4:
            assert await operate(theirs.kube, namespace, "team") == 200
            await dying.stop(signal.SIGKILL)
        return web.Response()

    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver(respond=respond))
        await stack.enter_async_context(dying)
        await finish(theirs, namespace, "team", *(hook(receiver, str(number)) for number in range(4)))
        front = await stack.enter_async_context(Front(dying))
        await stack.enter_async_context(watch(theirs, front.url, namespaces=namespace))
        await until(lambda: dying.ended, SOON)
        front.replicas = [await stack.enter_async_context(serve(theirs, **SHORT))]
        found = await until(lambda: settled(theirs, namespace, "team", 4), SOON)
        assert [receipt.phase for receipt in found] == [Phase.DELIVERED] * 4
        for number in range(4):
            sends = [one for one in receiver.requests if one.path == f"/{number}"]
            assert 1 <= len(sends) <= 2
            assert len(ids(sends)) == 1, "a repetition has the first id"


WORDS = ("a", "b", "c", "flaky", "slack", "email")


async def test_six_kills_lose_none_of_72_targets(theirs: Cluster[Any]) -> None:
    """The crash points have the same test for the project's own CRD."""
    kube = theirs.kube
    namespace = await kube.fresh_namespace()
    chance = random.Random(12)  # noqa: S311  # the same moments in every run
    teams = [f"team-{number}" for number in range(12)]

    def target(receiver: Outcomes, team: str, word: str) -> dict[str, Any]:
        return {key: value for key, value in receiver.target(team, word).items() if key != "name"}

    async def all_settled() -> dict[str, list[Receipt]] | None:
        listed = (await kube.list(TEAMS, namespace)).body["items"]
        found = {team["metadata"]["name"]: AgentTeam.from_resource(team).record.receipts for team in listed}
        done = [len(one) == len(WORDS) and all(receipt.settled for receipt in one) for one in found.values()]
        return found if len(found) == len(teams) and all(done) else None

    async with (
        Outcomes(delay=0.05) as receiver,
        Front() as front,
        watch(theirs, front.url, namespaces=namespace),
    ):
        for life in range(6):
            async with serve(theirs, **PATIENT) as dying:
                front.replicas = [dying]
                for team in teams[2 * life : 2 * life + 2]:
                    await receiver.slack_secret(kube, namespace, team)
                    await finish(theirs, namespace, team, *(target(receiver, team, word) for word in WORDS))
                if life % 3 == 0:
                    assert await operate(kube, namespace, teams[2 * life]) == 200
                await asyncio.sleep(chance.uniform(0.0, 0.3))  # a random moment, not a wait
                assert await dying.stop(signal.SIGKILL) == -signal.SIGKILL
                front.replicas = []
        async with serve(theirs, **PATIENT) as one:
            front.replicas = [one]
            ledgers = await until(all_settled, SOON)

    doubled = 0
    for team, receipts in ledgers.items():
        *landed, email = receipts
        failed = [one for one in landed if one.phase is not Phase.DELIVERED]
        assert not failed, [f"{one.target}: {one.error}" for one in failed]
        assert email.reason == "NotImplemented"
        for word in WORDS[:-1]:
            sent = receiver.sends[f"{team}/{word}"]
            assert sent, f"{team}/{word} is on record and was never sent"
            doubled += len(sent) > (2 if word == "flaky" else 1)
            if word != "slack":
                assert len(ids(sent)) == 1, "a repetition has the first id"
    print(f"{len(teams) * len(WORDS)} targets, none lost, {doubled} sent twice")  # noqa: T201  # for `pytest -rP`


FAILED_BY_OPERATOR = "Post failed: connection refused"


@pytest.mark.parametrize("adopt", ["none", "failed"])
async def test_targets_that_the_operator_failed_are_adopted_once_if_configured(
    either: Cluster[Any], adopt: str
) -> None:
    kube = either.kube
    namespace = await kube.fresh_namespace()
    async with (
        Outcomes() as receiver,
        serve(either, adopt=adopt) as one,
    ):
        targets = [hook(receiver, f"team/{word}") for word in ("ok", "other", "gone")]
        lifecycle = {"onComplete": "deliver", "delivery": targets}
        await kube.team(namespace, "team", {"lifecycle": lifecycle})
        await kube.finish(namespace, "team", "Running")
        theirs = [
            {
                "type": "webhook",
                "target": target["url"],
                "deliveredAt": "2026-11-28T03:00:00Z",
                "success": done,
            }
            | ({} if done else {"error": FAILED_BY_OPERATOR})
            for target, done in zip(targets, (True, False, False), strict=True)
        ]
        await kube.patch(TEAMS, namespace, "team", {"status": {"delivery": theirs}}, subresource="status")
        assert await operate(kube, namespace, "team", phase="Completed") == 200
        async with watch(either, one.url, namespaces=namespace, adopt=adopt) as watching:
            if adopt == "none":
                answer = await one.deliver(namespace, "team")
                assert answer.body["phase"] == "PartiallyDelivered"
                assert [target["message"] for target in answer.body["targets"]][1:] == [
                    "another program tried and failed, so it is left alone"
                ] * 2
                assert FAILED_BY_OPERATOR not in answer.content.decode()
                await until(lambda: watching.port)
                await one.deliver(namespace, "team", redeliver="failed")
                assert await entries(either, namespace, "team") == theirs
                assert not receiver.requests
                return

            async def carried_on() -> bool:
                found = await settled(either, namespace, "team", 3)
                return found is not None and not any(receipt.theirs for receipt in found)

            await until(carried_on, SOON)
            found = await record(either, namespace, "team")
            assert [receipt.phase for receipt in found] == [Phase.DELIVERED, Phase.DELIVERED, Phase.FAILED]
            assert (await entries(either, namespace, "team"))[0] == theirs[0], (
                "the delivered entry is unchanged"
            )
            await operate(kube, namespace, "team")
            await one.deliver(namespace, "team")
            sends = {word: len(receiver.sends[f"team/{word}"]) for word in ("ok", "other", "gone")}
            assert sends == {"ok": 0, "other": 1, "gone": 1}


BY_HAND: list[list[dict[str, Any]]] = [
    [{"success": False, "error": "Pending: soon [agentteam-delivery/1 id=]"}],
    [{"success": False, "error": "Pending: soon [agentteam-delivery/2 id=msg_1]"}],
    [{"success": True, "error": "Timeout: x [agentteam-delivery/1 id=msg_1]"}],
    [{"success": True}] * 5,
    [{"success": False}] * 2,
    [{"success": True, "target": "elsewhere"}],
    [
        {
            "success": False,
            "deliveredAt": "9999-12-31T23:59:59Z",
            "error": "Timeout: x [agentteam-delivery/1 id=msg_1]",
        }
    ],
    [{"success": False, "deliveredAt": "0001-01-01T00:00:00Z"}],
]


@pytest.mark.parametrize("entries_by_hand", BY_HAND, ids=range(len(BY_HAND)))
async def test_entries_written_by_hand_cause_no_error_and_no_duplicate(
    theirs: Cluster[Any], entries_by_hand: list[dict[str, Any]], at_hand: Service
) -> None:
    namespace = await theirs.kube.fresh_namespace()
    async with Outcomes() as receiver:
        await finish(theirs, namespace, "team", hook(receiver, "a/ok"), hook(receiver, "b/ok"))
        usual = {"type": "webhook", "target": f"{receiver.url}/a/ok", "deliveredAt": "2026-11-28T03:00:00Z"}
        listed = [{**usual, **one} for one in entries_by_hand]
        patch = {"status": {"delivery": listed}}
        assert (await theirs.kube.patch(TEAMS, namespace, "team", patch, subresource="status")).status == 200
        for asked in ({}, {}, {"redeliver": "failed"}, {"redeliver": "all"}):
            answer = await at_hand.deliver(namespace, "team", **asked)
            assert answer.status == 200, answer
            await entries(theirs, namespace, "team")
        for sends in receiver.sends.values():
            assert len(ids(sends)) == len(sends), "a notification arrived twice with one id"
        kept = await entries(theirs, namespace, "team")
        for one in listed:
            if Receipt.from_wire(one).theirs:
                assert one in kept
