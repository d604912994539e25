"""No output of running processes, service and watcher, contains a secret."""

import asyncio
import io
import json
import re
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from aiohttp import web

from tests import canaries
from tests.canaries import assert_absent, secret_url, telling
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.receiver import Receiver
from tests.harness.reviews import Permission
from tests.harness.service import FORBIDDEN, SCRIPT, Answer, Program, Service, Watcher, finished
from tests.harness.waiting import until
from tests.sockets import answering, closing, listening, resetting, saying, silent

BEARER = {"Authorization": f"Bearer {canaries.CALLER}"}
PORT = re.compile(r"(?=.*\b(?:serving|watching)\b).*\bport\W+(\d+)")
"""The port in the line that says where a process listens, in either log format."""
SIGNED = {"authorization": canaries.AUTHORIZATION, "signing-secret": canaries.SIGNING_KEY}


class Heard(Program):
    """A process whose whole output is kept, in each log format."""

    async def start(self) -> None:
        """Start the process, and return when it listens."""
        process = await asyncio.create_subprocess_exec(
            SCRIPT, self.command, env=self.environment(), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        self.process = process
        self._reading = asyncio.create_task(self._hear(process))
        await until(lambda: self.port or self.ended, 20)
        assert self.port, "".join(self.raw)

    async def _hear(self, process: Process) -> None:
        assert process.stdout
        assert process.stderr
        await asyncio.gather(self._keep(process.stdout), self._keep(process.stderr))

    async def _keep(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.raw.append(line.decode(errors="backslashreplace"))
            if found := PORT.search(self.raw[-1]):
                self.port = int(found[1])


class HeardService(Service, Heard):
    """A service whose whole output is kept."""


class HeardWatcher(Watcher, Heard):
    """A watcher whose whole output is kept."""


async def echoing(request: web.Request) -> web.StreamResponse:
    """Answer with the request's content."""
    head = f"{request.path_qs} {dict(request.headers)}"
    headers = {"X-Path": request.path_qs, "X-Authorization": request.headers.get("authorization", "")}
    return web.Response(status=400, text=head, headers=headers, reason=request.path_qs)


@asynccontextmanager
async def far_sides() -> AsyncIterator[dict[str, str]]:
    """Start receivers that fail in many ways; yield their addresses."""
    speaking = {
        "bad-request": answering(telling(400)),
        "gone": answering(telling(410)),
        "unavailable": answering(telling(503)),
        "limited": answering(telling(429, b"Retry-After: " + canaries.EVERYTHING.encode())),
        "limited-long": answering(telling(429, b"Retry-After: 86400")),
        "moved": answering(telling(302, b"Location: " + secret_url().encode())),
        "no-http": saying(canaries.EVERYTHING.encode() + b"\r\n\r\n"),
        "reset": resetting(b"HTTP/1.1 200 " + canaries.EVERYTHING.encode()),
        "closed": closing,
        "silent": silent,
    }
    async with AsyncExitStack() as stack:
        held = stack.enter_context(socket.socket())
        held.bind(("127.0.0.1", 0))
        sides = {
            "refused": f"127.0.0.1:{held.getsockname()[1]}",
            "denied": FORBIDDEN,
            "denied-by-spelling": "[::ffff:127.0.0.66]",
        }
        for name, speak in speaking.items():
            sides[name] = (await stack.enter_async_context(listening(speak))).authority
        echo = await stack.enter_async_context(Receiver(respond=echoing))
        yield {**sides, "echo": f"127.0.0.1:{echo.port}"}


def secrets_of(sides: dict[str, str], healthy: Receiver) -> dict[str, dict[str, str | bytes]]:
    """Create a Secret for each outcome of a target."""
    delivered = secret_url(f"127.0.0.1:{healthy.port}", scheme="http")
    urls = {name: secret_url(authority, scheme="http") for name, authority in sides.items()}
    wrong = {
        "user-info": secret_url(user_info=f"{canaries.USER_INFO}@"),
        "port": secret_url(f"{canaries.HOST}:{canaries.STEM}"),
        "scheme": secret_url(scheme="ftp"),
        "lines": f"{secret_url()}\n{secret_url()}",
        "literal": secret_url(f"[{canaries.HOST}]"),
    }
    hooks: dict[str, dict[str, str | bytes]] = {
        name: {"url": url, "slack-webhook-url": url, **SIGNED}
        for name, url in {"delivered": delivered, **urls, **wrong}.items()
    }
    return {
        **hooks,
        "no-text": {name: b"\xff" + canaries.PATH.encode() for name in ("url", "slack-webhook-url")},
        "no-key": {"uri": delivered, **SIGNED},
        "no-signing-key": {
            "url": delivered,
            "signing-secret": canaries.SIGNING_KEY[6:],
            "slack-webhook-url": "x",
        },
    }


def targets_of(
    secrets: dict[str, dict[str, str | bytes]], sides: dict[str, str], healthy: Receiver
) -> list[dict[str, Any]]:
    """Return a webhook and a Slack target for each Secret, and webhooks whose URL is in the spec."""
    hidden = f"?{canaries.QUERY}#{canaries.FRAGMENT}"
    return [
        {"type": kind, "name": f"{kind}-{name}", "credentialsSecret": name}
        for name in (*secrets, "absent")
        for kind in ("webhook", "slack")
    ] + [
        {"type": "webhook", "name": "plain", "url": f"{healthy.url}/public{hidden}"},
        {"type": "webhook", "name": "plain-echo", "url": f"http://{sides['echo']}/public{hidden}"},
        {"type": "webhook", "name": "plain-denied", "url": f"http://{FORBIDDEN}/public{hidden}"},
        {
            "type": "webhook",
            "name": "plain-user",
            "url": f"http://{canaries.USER_INFO}@127.0.0.1/public{hidden}",
        },
        {
            "type": "webhook",
            "name": "plain-scheme",
            "url": f"ftp://{canaries.USER_INFO}@h.example/public{hidden}",
        },
    ]


REASONS = {
    "Delivered", "HTTPStatus", "RateLimited", "Redirected", "InvalidResponse", "ConnectionFailed", "Timeout",
    "EgressDenied", "InvalidTarget", "SecretNotFound", "SecretKeyMissing", "SecretInvalid",
}  # fmt: skip
"""What is to be seen among the outcomes, so that all of it was there and could have leaked."""


async def asked_wrongly(service: Service, namespace: str) -> list[Answer]:
    """Send invalid requests, each with canaries in places whose content must not be repeated."""
    asked, event = canaries.ASKED, {"namespace": namespace, "team": "report"}
    bodies: list[bytes] = [
        asked.encode(),
        f'{{"namespace": "{asked}'.encode(),
        f'"{asked}"'.encode(),
        b'{"team": "\xff' + asked.encode() + b'"}',
        *(
            json.dumps({**event, field: value}).encode()
            for field, value in {
                "namespace": f"{asked}/",
                "team": [asked],
                "uid": {"of": asked},
                "event": asked,
                "phase": asked,
                "redeliver": asked,
                "targets": asked,
                "test": asked,
                "url": secret_url(),
            }.items()
        ),
        json.dumps({**event, "uid": asked}).encode(),
        json.dumps({**event, "uid": asked * 100_000}).encode(),
    ]
    headers = {**BEARER, "Content-Type": "application/json"}
    answers = [
        await service.request("POST", "/deliveries", data=io.BytesIO(body), headers=headers)
        for body in bodies
    ]
    for method, path in (
        ("POST", f"/deliveries?token={asked}"),
        ("POST", f"/deliveries?dryRun={asked}"),
        ("POST", f"/previews?token={asked}"),
        ("GET", f"/deliveries/{namespace}/{asked}?token={asked}"),
        ("GET", f"/deliveries/{asked}/report"),
        ("GET", f"/{asked}?token={asked}"),
        ("DELETE", f"/deliveries?token={asked}"),
    ):
        answers.append(await service.request(method, path, json=event, headers=BEARER))
    for name, value in (
        ("Prefer", asked),
        ("Authorization", canaries.CALLER),
        ("Authorization", f"Basic {canaries.CALLER}"),
        ("Cookie", f"token={canaries.CALLER}"),
        ("X-Forwarded-For", asked),
        ("Content-Type", asked),
    ):
        head = {**headers, name: value}
        body = json.dumps({**event, "uid": asked})
        answers.append(await service.request("POST", "/deliveries", data=body, headers=head))
    upgrade = {**BEARER, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
    answers.append(await service.request("GET", f"/deliveries?token={asked}", headers=upgrade))
    assert {answer.status for answer in answers} <= {400, 401, 403, 404, 405, 409, 413, 422}
    return answers


async def spoken_wrongly(service: Service) -> bytes:
    """Send something that is not HTTP, and return the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(f"GET /?{canaries.ASKED} {canaries.CALLER}\r\n{canaries.ASKED}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def assert_settled(kube: Kube, namespace: str) -> list[dict[str, Any]]:
    """Wait until all targets of a team are settled, and return its record."""

    async def settled() -> bool:
        entries = await kube.delivery(namespace, "report")
        return bool(entries) and all(entry["phase"] != "Pending" for entry in entries)

    await until(settled, 40)
    return await kube.delivery(namespace, "report")


async def assert_nothing_said(kube: Kube, namespace: str, *programs: Heard) -> None:
    """Check that the processes, the cluster's objects and the metrics contain no secret."""
    team = (await kube.get("agentteams", namespace, "report")).body
    assert_absent("the status", json.dumps(team["status"]))
    assert_absent("the events", json.dumps((await kube.list("events")).body))
    for program in programs:
        command = psutil.Process(program.pid).cmdline()
        assert program.command in command
        assert_absent(f"{program.command}'s command line", command)
        for path in ("/metrics", "/readyz", "/healthz"):
            async with aiohttp.ClientSession() as session, session.get(program.url + path) as response:
                assert_absent(f"{program.command}{path}", await response.read())
        await program.stop()
        assert len(program.raw) > 2
        assert_absent(f"what {program.command} printed", "".join(program.raw))


@pytest.mark.parametrize("form", ["json", "console"])
async def test_no_output_of_service_and_watcher_contains_a_secret(
    form: str, fake_cluster: Cluster[FakeCluster], tmp_path: Path
) -> None:
    kube = fake_cluster.kube
    token = tmp_path / "token"
    token.write_text(canaries.CALLER)
    fake_cluster.server.reviews.token(
        "caller", Permission("create"), Permission("get"), token=canaries.CALLER
    )
    logs: dict[str, Any] = {"log_level": "DEBUG", "log_format": form}
    quick: dict[str, Any] = {"attempts": 2, "attempt_timeout": 3, "target_timeout": 12}
    async with (
        Receiver() as healthy,
        far_sides() as sides,
        HeardService(fake_cluster.kubeconfig, auth="kubernetes", **logs, **quick) as service,
        HeardWatcher(
            fake_cluster.kubeconfig,
            f"http://{canaries.USER_INFO}@127.0.0.1:{service.port}/?{canaries.QUERY}",
            token_file=token,
            **logs,
        ) as watcher,
    ):
        secrets = secrets_of(sides, healthy)
        namespace = await finished(kube, *targets_of(secrets, sides, healthy), **secrets)
        entries = await assert_settled(kube, namespace)
        assert {entry["reason"] for entry in entries} >= REASONS
        assert {entry["target"] for entry in entries if entry["name"] == "plain"} == {f"{healthy.url}/public"}
        sent = " ".join(f"{request.path} {request.headers}" for request in healthy.requests)
        for there in (canaries.PATH, canaries.QUERY[:10], "/public", canaries.AUTHORIZATION[:16]):
            assert there in sent

        answers = [
            await service.request(
                "POST",
                "/deliveries",
                json={"namespace": namespace, "team": "report", **fields},
                headers={**BEARER, "Prefer": "wait=20"},
            )
            for fields in ({}, {"redeliver": "failed"}, {"targets": ["unknown"]})
        ]
        answers.append(await service.request("GET", f"/deliveries/{namespace}/report", headers=BEARER))
        assert [answer.status for answer in answers] == [200, 200, 422, 200]
        answers += await asked_wrongly(service, namespace)
        for answer in answers:
            assert_absent("an answer", f"{answer.headers} {answer.content!r}")
        assert_absent("an answer to what is no HTTP", await spoken_wrongly(service))
        assert_absent("what the Kubernetes API was asked", fake_cluster.server.requests)
        await assert_nothing_said(kube, namespace, service, watcher)


async def test_no_output_contains_a_proxy_s_password(fake_cluster: Cluster[FakeCluster]) -> None:
    kube = fake_cluster.kube
    async with listening(answering(telling(407, b"Proxy-Authenticate: Basic"))) as proxy:
        credentials = f"{canaries.PROXY_USER}:{canaries.PROXY_PASSWORD}"
        settings: dict[str, Any] = {
            "egress_proxy": f"http://{credentials}@{proxy.authority}",
            "log_level": "DEBUG",
        }
        async with HeardService(fake_cluster.kubeconfig, **settings) as service:
            urls = {scheme: secret_url(scheme=scheme) for scheme in ("http", "https")}
            namespace = await finished(
                kube,
                *({"type": "webhook", "credentialsSecret": scheme} for scheme in urls),
                **{scheme: {"url": url, **SIGNED} for scheme, url in urls.items()},
            )
            answer = await service.request(
                "POST", "/deliveries", json={"namespace": namespace, "team": "report"}, headers=BEARER
            )
            assert [entry["phase"] for entry in answer.body["targets"]] == ["Failed", "Failed"]
            assert_absent("the answer", f"{answer.headers} {answer.content!r}")
            assert all(b"proxy-authorization: basic" in head.lower() for head in proxy.heads)
            assert len(proxy.heads) == 2
            await assert_nothing_said(kube, namespace, service)


@pytest.mark.parametrize("proxy", ["https://{}@127.0.0.1:1", "http://{}@127.0.0.1", "{}@127.0.0.1:1"])
async def test_invalid_settings_are_not_shown(fake_cluster: Cluster[FakeCluster], proxy: str) -> None:
    credentials = f"{canaries.PROXY_USER}:{canaries.PROXY_PASSWORD}"
    service = HeardService(fake_cluster.kubeconfig, egress_proxy=proxy.format(credentials), log_level="DEBUG")
    with pytest.raises(AssertionError, match="DELIVERY_EGRESS_PROXY"):
        await service.start()
    await service.stop()
    assert_absent("what it printed", "".join(service.raw))
