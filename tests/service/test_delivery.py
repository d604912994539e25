"""The main job, end to end: what lands where, and what the status says of it."""

import asyncio
import json
from time import monotonic
from typing import Any

from aiohttp import web

from tests.harness.cluster import Cluster
from tests.harness.receiver import Receiver
from tests.harness.service import Service, Watcher
from tests.harness.waiting import until


def lifecycle(*targets: dict[str, Any], on_complete: str = "deliver") -> dict[str, Any]:
    return {"lifecycle": {"onComplete": on_complete, "delivery": list(targets)}}


async def not_found(_: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


async def test_every_kind_of_target_ends_in_the_status_and_a_second_event_sends_nothing(
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
        await kube.secret(namespace, "slack-credentials", {"slack-webhook-url": f"{slack.url}/services/T/B/x\n"})
        await kube.team(
            namespace,
            "report",
            lifecycle(
                {"type": "webhook", "url": f"{hook.url}/hook"},
                {"type": "slack", "credentialsSecret": "slack-credentials"},
                {"type": "email", "to": ["a@example.com"]},
                {"type": "google-drive", "folderId": "f"},
                {"type": "webhook", "name": "gone", "url": f"{gone.url}/hook"},
                {"type": "slack", "name": "unset", "credentialsSecret": "absent"},
            ),
        )
        await kube.finish(namespace, "report", artifacts=[{"name": "report.md", "path": "/out/report.md"}])
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
        assert answer.body["targets"] == [
            # What the report says is what the status says; the report spells out what is absent.
            {field: entry.get(field, blank.get(field)) for field in target}
            for target, entry in zip(answer.body["targets"], entries.values(), strict=True)
            if (blank := {"takeovers": 0, "redeliveries": 0, "message": "", "target": ""})
        ]
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
            "artifacts": [{"path": "/out/report.md", "name": "report.md"}],
        }
        assert hook.requests[0].headers["webhook-id"] == entries["webhook-0"]["id"]

        again = await service.deliver(namespace, "report")
        assert again.status == 200
        assert again.body["targets"] == answer.body["targets"]
        assert [len(receiver.requests) for receiver in (hook, slack, gone)] == [1, 1, 1]
        assert (await service.read(namespace, "report")).body["targets"] == answer.body["targets"]
