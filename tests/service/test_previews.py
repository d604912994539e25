"""A preview shows what would be sent, and sends and writes nothing; a test notification is marked."""

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from tests.canaries import assert_absent
from tests.examples import CANARY
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import TEAMS
from tests.harness.receiver import Received, Receiver
from tests.harness.service import FORBIDDEN, Service, finished, lifecycle
from tests.service.conftest import Bench

PREVIEW = "/previews"
SIGNING = f"whsec_{base64.b64encode(CANARY.encode()).decode()}"
KEYS: dict[str, str | bytes] = {"signing-secret": SIGNING, "authorization": f"Bearer {CANARY}"}


async def previewed(service: Service, namespace: str, **fields: Any) -> dict[str, Any]:
    """Request a preview, and return it by target."""
    answer = await service.deliver(namespace, "report", path=PREVIEW, **fields)
    assert answer.status == 200, answer
    return {target["name"]: target for target in answer.body["targets"]}


async def test_a_preview_equals_the_later_request_except_for_secrets(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(
            fake_cluster.kube,
            {
                "type": "webhook",
                "name": "hook",
                "url": f"{hook.url}/hook?token={CANARY}",
                "credentialsSecret": "keys",
                "message": "{team} is ready",
            },
            {"type": "webhook", "name": "hidden", "credentialsSecret": "url"},
            {"type": "slack", "name": "chat", "credentialsSecret": "slack"},
            keys=KEYS,
            url={"url": f"{hook.url}/{CANARY}"},
            slack={"slack-webhook-url": f"{hook.url}/services/{CANARY}"},
        )
        before = await fake_cluster.kube.get(TEAMS, namespace, "report")
        fake_cluster.server.requests.clear()
        answer = await service.deliver(namespace, "report", path=PREVIEW)
        shown = {target["name"]: target for target in answer.body["targets"]}
        assert_absent("the preview", answer.content.decode())
        assert {method for method, _ in fake_cluster.server.requests} == {"GET"}
        assert not hook.requests
        assert (await fake_cluster.kube.get(TEAMS, namespace, "report")).body == before.body

        assert (answer.body["phase"], answer.body["dryRun"]) == ("Completed", "All")
        assert {name: target["would"] for name, target in shown.items()} == dict.fromkeys(shown, "Send")
        assert {name: target["target"] for name, target in shown.items()} == {
            "hook": f"{hook.url}/hook",
            "hidden": "secret/url",
            "chat": "secret/slack",
        }
        assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
        sent = {_purpose(request): request for request in hook.requests}
        for name, target in shown.items():
            request, got = target["request"], sent[name]
            assert (request["method"], request["body"].encode()) == (got.method, got.body)
            for header, value in request["headers"].items():
                if value == "…":
                    assert got.headers[header]
                elif header != "webhook-timestamp":
                    assert got.headers[header] == value, header
        hidden = [name for name, value in shown["hook"]["request"]["headers"].items() if value == "…"]
        assert sorted(hidden) == ["authorization", "webhook-signature"]


def _purpose(request: Received) -> str:
    return {"/hook": "hook", "/services": "chat"}.get(
        request.path.partition("?")[0].removesuffix(f"/{CANARY}"), "hidden"
    )


async def test_a_preview_of_a_failing_target_gives_the_delivery_s_reason(bench: Bench) -> None:
    namespace = await bench.finished(
        {"type": "slack", "name": "no-secret", "credentialsSecret": "absent"},
        {"type": "slack", "name": "no-key", "credentialsSecret": "keys"},
        {"type": "webhook", "name": "inside", "url": f"http://{FORBIDDEN}/"},
        {"type": "webhook", "name": "no-url", "url": "ftp://x"},
        {"type": "email", "name": "mail", "to": ["editors@example.com"]},
        {"type": "slack", "name": "no-name"},
        keys={"other": "x"},
    )
    shown = await previewed(bench.service, namespace)
    assert {target["would"] for target in shown.values()} == {"Fail"}
    assert not bench.service.logged("attempt_failed")
    report = (await bench.service.deliver(namespace, "report")).body
    assert {name: (target["reason"], target["message"]) for name, target in shown.items()} == {
        target["name"]: (target["reason"], target["message"]) for target in report["targets"]
    }


async def test_a_settled_target_is_previewed_as_left_alone_unless_redelivery_is_requested(
    bench: Bench,
) -> None:
    hook = {"type": "webhook", "url": bench.hook.url}
    slack = {"type": "slack", "name": "chat", "credentialsSecret": "absent"}
    namespace = await bench.finished({**hook, "name": "hook"}, slack)
    first = {
        target["name"]: target
        for target in (await bench.service.deliver(namespace, "report")).body["targets"]
    }
    sent = len(bench.hook.requests)
    assert {
        name: target["would"] for name, target in (await previewed(bench.service, namespace)).items()
    } == {
        "hook": "Leave",
        "chat": "Leave",
    }
    failed = await previewed(bench.service, namespace, redeliver="failed")
    assert {name: target["would"] for name, target in failed.items()} == {"hook": "Leave", "chat": "Fail"}
    again = await previewed(bench.service, namespace, redeliver="all", targets=["hook"])
    assert list(again) == ["hook"]
    assert again["hook"]["request"]["headers"]["webhook-id"] != first["hook"]["id"]
    assert len(bench.hook.requests) == sent


async def test_a_running_team_is_previewed_as_if_completed(bench: Bench) -> None:
    namespace = await bench.kube.fresh_namespace()
    target = {"type": "webhook", "name": "hook", "url": bench.hook.url, "message": "{phase}"}
    await bench.kube.team(namespace, "report", lifecycle(target))
    shown = await previewed(bench.service, namespace)
    assert json.loads(shown["hook"]["request"]["body"])["message"] == "Completed"
    notify = await bench.kube.fresh_namespace()
    await bench.kube.team(notify, "report", lifecycle(target, on_complete="notify"))
    answer = await bench.service.deliver(notify, "report", path=PREVIEW)
    assert (answer.status, answer.body["targets"]) == (200, [])
    assert "requests no delivery" in answer.body["reason"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"targets": ["nobody"]}, "unknown-target"),
        ({"uid": "other"}, "uid-changed"),
        ({"phase": "x"}, "phase-not-terminal"),
    ],
)
@pytest.mark.parametrize("way", [{"path": PREVIEW}, {"test": True}], ids=["preview", "test"])
async def test_previews_and_tests_are_refused_like_a_delivery(
    bench: Bench, fields: dict[str, Any], problem: str, way: dict[str, Any]
) -> None:
    namespace = await bench.finished({"type": "webhook", "url": bench.hook.url})
    sent = len(bench.hook.requests)
    answer = await bench.service.deliver(namespace, "report", **fields, **way)
    assert answer.problem == problem
    assert len(bench.hook.requests) == sent


async def test_a_test_notification_is_marked_and_not_recorded(bench: Bench) -> None:
    namespace = await bench.kube.fresh_namespace()
    await bench.kube.secret(namespace, "slack", {"slack-webhook-url": f"{bench.hook.url}/services"})
    await bench.kube.team(
        namespace,
        "report",
        lifecycle(
            {"type": "webhook", "name": "hook", "url": f"{bench.hook.url}/hook", "message": "Ready."},
            {"type": "slack", "name": "chat", "credentialsSecret": "slack"},
            {"type": "slack", "name": "lost", "credentialsSecret": "absent"},
        ),
    )
    before = await bench.kube.get(TEAMS, namespace, "report")
    bench.hook.requests.clear()
    answers = [await bench.service.deliver(namespace, "report", test=True) for _ in range(2)]
    assert (await bench.kube.get(TEAMS, namespace, "report")).body == before.body
    for answer in answers:
        assert (answer.status, answer.body["phase"], answer.body["recorded"]) == (
            200,
            "PartiallyDelivered",
            False,
        )
        reasons = {target["name"]: target["reason"] for target in answer.body["targets"]}
        assert reasons == {"hook": "Delivered", "chat": "Delivered", "lost": "SecretNotFound"}
    hooks = [request for request in bench.hook.requests if request.path == "/hook"]
    bodies = [json.loads(request.body) for request in hooks]
    assert {(body["event"], body["message"]) for body in bodies} == {
        ("team.test", "This is a test; no team has finished. Ready.")
    }
    assert len({request.headers["webhook-id"] for request in hooks}) == 2
    [slack, _] = [json.loads(request.body) for request in bench.hook.requests if request.path == "/services"]
    assert slack["blocks"][0]["text"]["text"] == ":test_tube: Test: a notification of team report"
    assert slack["text"].startswith("This is a test;")
    lines = [line for line in bench.service.logged("target_settled") if line["namespace"] == namespace]
    assert len(lines) == 6
    assert all(line["test"] is True for line in lines)


async def test_a_test_of_one_target_sends_one_request_to_it_alone(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with Receiver(respond=refuse) as hook, Service(fake_cluster.kubeconfig) as service:
        targets = [{"type": "webhook", "name": name, "url": f"{hook.url}/{name}"} for name in ("a", "b")]
        namespace = await finished(fake_cluster.kube, *targets)
        answer = await service.deliver(namespace, "report", test=True, targets=["b"])
        [target] = answer.body["targets"]
        assert (target["name"], target["phase"], target["attempts"]) == ("b", "Failed", 1)
        assert [request.path for request in hook.requests] == ["/b"]


async def test_a_test_is_refused_for_teams_without_delivery_or_with_too_many_targets(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    async with Receiver() as hook, Service(fake_cluster.kubeconfig, max_targets=2) as service:
        targets = [{"type": "webhook", "name": f"w{number}", "url": hook.url} for number in range(3)]
        namespace = await kube.fresh_namespace()
        await kube.team(namespace, "report", lifecycle(*targets[:1], on_complete="notify"))
        answer = await service.deliver(namespace, "report", test=True)
        assert (answer.status, answer.body["phase"], answer.body["targets"]) == (200, "Skipped", [])
        assert "requests no delivery" in answer.body["reason"]
        crowded = await kube.fresh_namespace()
        await kube.team(crowded, "report", lifecycle(*targets))
        for fields in ({"test": True}, {"path": PREVIEW}, {"path": PREVIEW, "test": True}):
            assert (await service.deliver(crowded, "report", **fields)).problem == "too-many-targets"
        assert not hook.requests


async def test_a_preview_of_a_test_equals_the_test_even_for_a_settled_team(bench: Bench) -> None:
    namespace = await bench.finished({"type": "webhook", "name": "hook", "url": bench.hook.url})
    await bench.service.deliver(namespace, "report")
    shown = await previewed(bench.service, namespace, test=True)
    sent = len(bench.hook.requests)
    assert (await bench.service.deliver(namespace, "report", test=True)).body["phase"] == "Delivered"
    assert shown["hook"]["would"] == "Send"
    assert [request.body.decode() for request in bench.hook.requests[sent:]] == [
        shown["hook"]["request"]["body"]
    ]


async def test_a_test_is_not_counted_as_a_delivery(fake_cluster: Cluster[FakeCluster]) -> None:
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        slack = {"type": "slack", "name": "chat", "credentialsSecret": "absent"}
        namespace = await finished(
            fake_cluster.kube, {"type": "webhook", "name": "h", "url": hook.url}, slack
        )
        await service.deliver(namespace, "report", test=True)
        text = (await service.request("GET", "/metrics")).content.decode()
    for line in text.splitlines():
        if line.startswith(("agentteam_delivery_deliveries", "agentteam_delivery_attempt")):
            assert line.endswith(" 0.0")


THEIRS = {
    "name": "hook",
    "phase": "Pending",
    "type": "webhook",
    "success": False,
    "deliveredAt": "2026-03-01T10:00:00Z",
}


async def test_an_entry_of_another_program_is_not_replaced(bench: Bench) -> None:
    namespace = await bench.kube.fresh_namespace()
    await bench.kube.team(
        namespace, "report", lifecycle({"type": "webhook", "name": "hook", "url": bench.hook.url})
    )
    await bench.kube.finish(namespace, "report", delivery=[THEIRS])
    shown = await previewed(bench.service, namespace, redeliver="all")
    assert (shown["hook"]["would"], "another program" in shown["hook"]["message"]) == ("Leave", True)


async def test_a_large_preview_is_truncated_unless_it_is_of_one_target(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    made = {"producedBy": "writer", "producedAt": "2026-03-01T10:00:00Z"}
    artifacts = [{"name": f"file-{n}", "path": "/workspace/" + "x" * 800, **made} for n in range(300)]
    async with Service(fake_cluster.kubeconfig) as service:
        namespace = await kube.fresh_namespace()
        targets = [
            {"type": "webhook", "name": f"w{number}", "url": "https://127.0.0.1/"} for number in range(300)
        ]
        await kube.team(namespace, "report", lifecycle(*targets))
        await kube.finish(namespace, "report", artifacts=artifacts)
        answer = await service.deliver(namespace, "report", path=PREVIEW)
        assert len(answer.content) < 4_000_000
        bodies = [target["request"]["body"] for target in answer.body["targets"]]
        assert "preview this target alone" in bodies[-1]
        alone = await previewed(service, namespace, targets=["w299"])
        assert len(json.loads(alone["w299"]["request"]["body"])["artifacts"]) == 300


async def test_the_deprecated_preview_still_works_and_announces_its_end(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "name": "hook", "url": hook.url})
        now = await service.deliver(namespace, "report", path=PREVIEW)
        former = await service.deliver(namespace, "report", path="/deliveries?dryRun=All")
        for answer in (now, former):
            del answer.body["targets"][0]["request"]["headers"]["webhook-timestamp"]  # the clock may tick
        assert (former.status, former.body) == (now.status, now.body)
        assert "deprecation" not in now.headers
        since = re.fullmatch(r"@(\d+)", former.headers["deprecation"])  # RFC 9745, section 2.1
        assert since
        assert datetime.fromtimestamp(int(since[1]), UTC) == datetime(2026, 11, 28, tzinfo=UTC)
        assert not hook.requests
        assert "deprecation" not in (await service.deliver(namespace, "report")).headers
