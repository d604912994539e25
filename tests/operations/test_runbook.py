"""The runbook's symptoms, each produced and then found with the runbook's own commands."""

import asyncio
import json
import os
import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from app.domain.reasons import Reason
from app.domain.receipts import Phase, Receipt
from tests.docs.blocks import blocks as every_block
from tests.harness.cluster import CRD, Cluster
from tests.harness.documents import read_yaml
from tests.harness.helm import run
from tests.harness.hostile import Fault, Hostile
from tests.harness.kube import Kube
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Gate, Receiver, ok
from tests.harness.reviews import AUDIENCE
from tests.harness.service import SCRIPT, Program, Service, Watcher, lifecycle
from tests.harness.waiting import until

RUNBOOK = (Path(__file__).parents[2] / "docs/how-to/operate.md").read_text()

KUBECTL = """#!/bin/sh
# Replaces kubectl for pod logs, because the test has no pods; it accepts only the runbook's commands.
pods="-n agentteam-delivery -l app.kubernetes.io/name=agentteam-delivery"
case "$*" in
  "logs $pods -c "*" --tail=-1 --prefix --ignore-errors")
    exec sed "s,^,[pod/agentteam-delivery-1/$7] ," "{logs}/$7" ;;
  "logs $pods -c "*" --previous --ignore-errors") exec cat "{logs}/$7" ;;
  logs*) echo "no such logs: $*" >&2; exit 1 ;;
esac
exec {kubectl} --kubeconfig {kubeconfig} "$@"
"""


def section(heading: str) -> str:
    """Return the text under a heading."""
    [found] = re.findall(
        rf"^### {re.escape(heading)}\n(.*?)(?=^##)", RUNBOOK + "\n##", re.MULTILINE | re.DOTALL
    )
    return str(found)


def blocks(heading: str) -> list[str]:
    """Return the commands under a heading, block by block."""
    found = re.findall(r"^( *)```console\n(.*?)^ *```", section(heading), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


@dataclass
class Operator:
    """An operator who follows the runbook with the names of a test, and nothing else replaced."""

    kube: Kube
    kubectl: Path
    folder: Path
    namespace: str
    programs: dict[str, Program] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    async def runs(self, heading: str, number: int = 0) -> str:
        """Run one block of the runbook's commands, and return its output."""
        return await self.types(blocks(heading)[number])

    async def types(self, script: str) -> str:
        """Run commands that print no error, and return their output."""
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        for name, program in self.programs.items():
            (logs / name).write_text("".join(program.raw))
        shim = self.folder / "bin/kubectl"
        shim.parent.mkdir(exist_ok=True)
        real, config = shlex.quote(str(self.kubectl)), shlex.quote(str(self.kube.kubeconfig))
        shim.write_text(KUBECTL.format(logs=logs, kubectl=real, kubeconfig=config))
        shim.chmod(0o755)
        for name, meant in {"research": self.namespace, **self.names}.items():
            script = script.replace(name, meant)
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", script],
            env=os.environ | self.env | {"PATH": f"{shim.parent}:{SCRIPT.parent}:{os.environ['PATH']}"},
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not done.stderr, done.stderr
        return str(done.stdout)

    async def finishes(self, *targets: dict[str, Any], on_complete: str = "deliver") -> None:
        await self.kube.team(self.namespace, "report", lifecycle(*targets, on_complete=on_complete))
        await self.kube.finish(self.namespace, "report")

    async def sees(self, program: str, event: str, **fields: object) -> None:
        """Wait for a line in a process's log."""

        def there() -> bool:
            lines = self.programs[program].logged(event)
            return any(fields.items() <= line.items() for line in lines)

        await until(there, 30)


@pytest.fixture
async def operator(real_cluster: Cluster[RealCluster], kubectl: Path, tmp_path: Path) -> Operator:
    return Operator(real_cluster.kube, kubectl, tmp_path, await real_cluster.kube.fresh_namespace())


@asynccontextmanager
async def at_work(operator: Operator, **settings: object) -> AsyncIterator[Service]:
    """Run service and watcher for the operator's namespace."""
    config = operator.kube.kubeconfig
    common = {name: settings.pop(name) for name in ("api_group",) if name in settings}
    async with Service(config, namespaces=operator.namespace, **common, **settings) as service:
        handed = Watcher(config, service.url, namespaces=operator.namespace, **common)
        async with handed as watcher:
            operator.programs |= {"service": service, "watcher": watcher}
            yield service


EMPTY = "status.delivery stays empty"


async def test_a_team_without_on_complete_deliver_is_found(operator: Operator) -> None:
    async with at_work(operator):
        await operator.finishes({"type": "webhook", "url": "https://x.example"}, on_complete="notify")
        assert await operator.runs(EMPTY, 0) == "Completed notify webhook\n"
        assert await operator.runs(EMPTY, 1) == "array\n"
        assert await operator.runs(EMPTY, 2) == ""


async def test_a_crd_that_drops_the_record_is_found(operator: Operator) -> None:
    group = "runbook.example.com"
    crd = read_yaml(CRD)
    crd["metadata"]["name"], crd["spec"]["group"] = f"agentteams.{group}", group
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    del status["properties"]["delivery"]
    status.pop("x-kubernetes-preserve-unknown-fields", None)
    await operator.kube.install_crd(crd)
    operator.names["agentteams.kagents.dev"] = f"agentteams.{group}"
    operator.names["agentteam report"] = f"agentteams.{group} report"
    async with (
        Kube(operator.kube.kubeconfig, group=group) as operator.kube,
        at_work(operator, api_group=group),
    ):
        await operator.finishes({"type": "webhook", "url": "https://x.example"})
        await operator.sees("watcher", "team_submitted", answer=500)
        assert await operator.runs(EMPTY, 0) == "Completed deliver webhook\n"
        assert await operator.runs(EMPTY, 1) == "\n"
        said = await operator.runs(EMPTY, 2)
        assert '"answer":500' in said
        assert '"problem":"ledger-not-kept"' in said
        assert said in await operator.runs("AgentTeamDeliveryUndelivered")


async def test_a_watcher_without_permission_is_found(operator: Operator) -> None:
    config, token = operator.kube.kubeconfig, operator.folder / "token"
    await operator.kube.create("serviceaccounts", operator.namespace, {"metadata": {"name": "watcher"}})
    token.write_text(await operator.kube.account_token(operator.namespace, "watcher", AUDIENCE))
    namespaces = operator.namespace
    async with (
        Service(config, namespaces=namespaces, auth="kubernetes") as service,
        Watcher(config, service.url, namespaces=namespaces, token_file=token) as watcher,
    ):
        operator.programs |= {"service": service, "watcher": watcher}
        await operator.finishes({"type": "webhook", "url": "https://x.example"})
        await operator.sees("watcher", "team_submitted", answer=403)
        assert '"answer":403' in await operator.runs(EMPTY, 2)


async def test_a_service_that_does_not_answer_is_found(operator: Operator) -> None:
    async with Watcher(
        operator.kube.kubeconfig, "http://127.0.0.1:1", namespaces=operator.namespace
    ) as watcher:
        operator.programs["watcher"] = watcher
        await operator.finishes({"type": "webhook", "url": "https://x.example"})
        await operator.sees("watcher", "team_not_submitted")
        assert '"team_not_submitted"' in await operator.runs(EMPTY, 2)
        assert '"service_lost"' in await operator.runs("AgentTeamDeliveryWatcherBehind")
        assert '"service_lost"' in await operator.runs("AgentTeamDeliveryUndelivered")


async def test_the_holder_of_a_pending_target_is_found(operator: Operator) -> None:
    gate = Gate()
    async with Receiver(respond=gate) as hook, at_work(operator):
        await operator.finishes({"type": "webhook", "name": "hook", "url": hook.url})
        await until(lambda: hook.requests)
        said = await operator.runs("A target stays Pending")
        assert said.startswith(f"webhook {hook.url} Pending: "), said
        assert re.search(r" holder=agentteam-delivery-[0-9a-f]{16} until=\d{4}-\d\d-\d\dT[\d:]+Z", said), said
        gate.open()


async def test_receivers_that_are_down_and_targets_given_up_are_found(operator: Operator) -> None:
    now = datetime.now(UTC)
    away = Receipt(
        name="hook",
        type="webhook",
        target="https://hooks.example.com/away",
        id="msg_1",
        reason=Reason.HTTP_STATUS,
        message="answered 503 Service Unavailable, after 4 attempts",
        delivered_at=now,
        timestamp=now,
        attempts=4,
        retries=1,
        retry_at=now + timedelta(minutes=5),
    )
    over: dict[str, Any] = {
        "target": "https://hooks.example.com/gone",
        "phase": Phase.FAILED,
        "retry_at": None,
        "message": f"{away.message}; given up after 28 tries in 1 d",
    }
    for name, receipt in (("waits", away), ("waits-too", away), ("over", away.model_copy(update=over))):
        spec = lifecycle({"type": "webhook", "name": "hook", "url": receipt.target})
        await operator.kube.team(operator.namespace, name, spec)
        await operator.kube.finish(operator.namespace, name, delivery=[receipt.to_wire()])
    found = (await operator.runs("AgentTeamDeliveryReceiverAway")).splitlines()
    said = f"{away.target}: {away.message}"
    assert [line.split(maxsplit=2)[::2] for line in found if away.target in line] == [["2", said]]
    assert not any("hooks.example.com/gone" in line for line in found)
    found = (await operator.runs("AgentTeamDeliveryGivenUp")).splitlines()
    assert f"webhook https://hooks.example.com/gone HTTPStatus: {over['message']}" in found
    assert not any(away.target in line for line in found)


DENIED = "Every Slack target says EgressDenied"


@pytest.mark.parametrize(
    ("url", "settings", "message"),
    [
        ("https://mattermost.example.com/hooks/x", {}, "is not on a host of Slack"),
        (
            "https://127.0.0.66/x",
            {"slack_hosts": "127.0.0.66"},
            "the address is not public, and not among those allowed",
        ),
        ("http://127.0.0.1/x", {"egress_http": False}, "only https addresses may be called"),
    ],
    ids=["a server of their own", "an inner address", "plain http"],
)
async def test_the_reason_for_a_denied_slack_url_is_found(
    operator: Operator, url: str, settings: dict[str, object], message: str
) -> None:
    assert message in section(DENIED)
    await operator.kube.secret(operator.namespace, "keys", {"slack-webhook-url": url})
    async with at_work(operator, **settings):
        await operator.finishes({"type": "slack", "name": "chat", "credentialsSecret": "keys"})
        await operator.sees("service", "target_settled")

        async def told() -> str:
            said = await operator.runs(DENIED)
            return said if message in said else ""

        assert (await until(told)).startswith("slack secret/keys EgressDenied: ")
    counted = await operator.runs("AgentTeamDeliveryFailing")
    assert re.search(rf"\d slack secret/keys EgressDenied: .*{re.escape(message)}", counted)


TWICE = "A team was notified twice"


def counted(said: str) -> tuple[str, int, int]:
    """Read the lines that the command prints: their only id, the most attempts, and how many they are."""
    lines = [json.loads(line[line.index("{") :]) for line in said.splitlines()]
    [message_id] = {line["id"] for line in lines}
    return message_id, max(line["attempts"] for line in lines), len(lines)


async def test_an_unanswered_attempt_is_distinguished_from_a_second_delivery(operator: Operator) -> None:
    first = asyncio.Event()

    async def too_late_at_first(request: web.Request) -> web.StreamResponse:
        if not first.is_set():
            first.set()
            await asyncio.sleep(3)
        return await ok(request)

    async with (
        Receiver(respond=too_late_at_first) as hook,
        at_work(operator, attempt_timeout=0.5, target_timeout=20) as service,
    ):
        await operator.finishes({"type": "webhook", "name": "hook", "url": hook.url})
        await operator.sees("service", "target_settled", reason="Delivered")

        async def recorded() -> bool:
            return bool((await service.read(operator.namespace, "report")).body["phase"] == "Delivered")

        await until(recorded)
        message_id, attempts, lines = counted(await operator.runs(TWICE))
        assert (attempts, lines) == (2, 1)
        assert {request.headers["webhook-id"] for request in hook.requests} == {message_id}


async def test_a_delivery_whose_record_failed_is_found(operator: Operator) -> None:
    short = {"attempt_timeout": 1, "target_timeout": 1, "record_timeout": 1, "api_timeout": 1}
    config, namespaces = operator.kube.kubeconfig, operator.namespace

    async with Hostile(config) as hostile:

        async def then_the_api_goes_away(request: web.Request) -> web.StreamResponse:
            hostile.rates = {Fault.UNAVAILABLE: 1.0} if len(hook.requests) == 1 else {}
            return await ok(request)

        async with (
            Receiver(respond=then_the_api_goes_away) as hook,
            Service(hostile.kubeconfig(operator.folder / "hostile"), **short) as service,
            Watcher(config, service.url, namespaces=namespaces) as watcher,
        ):
            operator.programs |= {"service": service, "watcher": watcher}
            await operator.finishes({"type": "webhook", "name": "hook", "url": hook.url})
            await operator.sees("service", "outcome_unrecorded", cause="timeout")
            hostile.rates = {}

            async def recorded() -> bool:
                return bool((await service.read(namespaces, "report")).body["phase"] == "Delivered")

            await until(recorded, 60)
            message_id, _, lines = counted(await operator.runs(TWICE))
            assert lines == 2
            assert [request.headers["webhook-id"] for request in hook.requests] == [message_id] * 2
            assert '"cause":"timeout"' in await operator.runs("AgentTeamDeliveryNotRecorded")


async def test_a_caller_gets_the_missing_permission_and_redelivers(operator: Operator, kubectl: Path) -> None:
    kube, callers = operator.kube, await operator.kube.fresh_namespace()
    operator.names["ops"] = callers
    await kube.create("serviceaccounts", callers, {"metadata": {"name": "my-controller"}})
    async with (
        Receiver() as hook,
        Service(kube.kubeconfig, namespaces=operator.namespace, auth="kubernetes", auth_cache=1) as service,
    ):
        operator.names["8080"] = str(service.port)
        await operator.finishes({"type": "webhook", "name": "hook", "url": hook.url})
        assert await operator.runs("A caller is answered 401 or 403") == "no\n"
        refused = json.loads(await operator.runs("AgentTeamDeliveryFailing", 2))
        assert refused["status"] == 403
        for command in refused["detail"].partition("run: ")[2].split("; "):
            run(kubectl, "--kubeconfig", kube.kubeconfig, *shlex.split(command)[1:])

        async def granted() -> bool:
            return await operator.runs("A caller is answered 401 or 403") == "yes\n"

        await until(granted, 30)

        async def redelivered() -> Any:
            report = json.loads(await operator.runs("AgentTeamDeliveryFailing", 2))
            return bool(report.get("phase") == "Delivered")

        await until(redelivered, 30)
        assert len(hook.requests) == 1


async def test_the_commands_to_troubleshoot_find_a_failure_and_its_end(operator: Operator) -> None:
    page = [one.text for one in every_block() if one.document == "docs/how-to/troubleshoot.md"]
    status, record, phase, watcher, redeliver, open_ones, permission, previous = page
    wait_for_all, wait_for_one, wait_for_the_summary = (
        one.text for one in every_block() if one.title == "Wait for a delivery" and "operate" in one.document
    )
    events, audit = blocks("Who redelivered this?")[0].splitlines()
    word = {"answer": 401}

    async def respond(request: web.Request) -> web.StreamResponse:
        return web.Response(status=word["answer"])

    async with Receiver(respond=respond) as wrong, Receiver() as right, at_work(operator) as service:
        operator.env["DELIVERY_URL"] = service.url
        await operator.finishes(
            {"type": "webhook", "name": "chat", "url": wrong.url},
            {"type": "webhook", "name": "archive", "url": right.url},
        )

        async def settled() -> bool:
            return "PartiallyDelivered" in await operator.types(status)

        await until(settled, 30)
        failed, delivered = (await operator.types(record)).splitlines()
        assert failed.startswith(f"webhook {wrong.url} false HTTPStatus: answered 401 Unauthorized")
        assert delivered.strip() == f"webhook {right.url} true"
        assert (await operator.types(open_ones)).startswith(f"webhook {wrong.url} HTTPStatus: ")
        assert await operator.types(phase) == "Completed deliver webhook webhook\n"
        assert '"team_submitted"' in await operator.types(watcher)
        assert '"target_settled"' in await operator.types(previous)
        assert await operator.types(permission) == "no\n"

        word["answer"] = 200
        assert "Delivered" in await operator.types(redeliver)
        assert await operator.types(open_ones) == ""
        assert f"{operator.namespace}/report  Delivered" in await operator.types(wait_for_all)
        assert "condition met" in await operator.types(wait_for_one)
        assert "condition met" in await operator.types(wait_for_the_summary)
        await operator.sees("service", "audit", action="redeliver-failed")
        assert "redeliver-failed" in await operator.types(audit)
        path = f"/api/v1/namespaces/{operator.namespace}/events"

        async def published() -> bool:
            return bool((await operator.kube.request("GET", path)).body["items"])

        await until(published, 30)
        assert "RedeliveryRequested" in await operator.types(events)


def test_a_certificate_authority_s_key_identifiers_are_shown(tmp_path: Path) -> None:
    [command] = blocks("A certificate of your own certificate authority is refused")
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    said = subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "X509v3 Subject Key Identifier" in said.stdout
