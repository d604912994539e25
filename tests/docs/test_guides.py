"""The guides work: their commands and programs do what they say, and their failures are real."""

import asyncio
import base64
import io
import json
import os
import re
import runpy
import socket
import ssl
import struct
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import trustme
import yaml
from aiohttp import web
from standardwebhooks import Webhook

from app.domain.events import CompletionEvent
from app.settings import ServiceSettings
from samples.display import Display
from tests.chart.conftest import helm
from tests.docs.guides import RECEIVERS, ROOT, Guide, Ran, Sample, installed, run
from tests.harness.cluster import CRD, Cluster
from tests.harness.documents import read_yaml
from tests.harness.fake_cluster import FakeCluster
from tests.harness.helm import Helm, apply
from tests.harness.kube import TEAMS
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Gate, Receiver
from tests.harness.reviews import Permission
from tests.harness.service import Service, Watcher, finished, lifecycle
from tests.harness.tls import Mounted
from tests.harness.waiting import until
from tests.service.conftest import Bench, bench

__all__ = ["bench", "helm"]

Fake = Cluster[FakeCluster]
Real = Cluster[RealCluster]
Secrets = dict[str, dict[str, str | bytes]]

KEY, OTHER = (f"whsec_{base64.b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))
BODY = b'{"event": "team.completed",  "team": "report"}'
NOTHING_LISTENS = "http://127.0.0.1:1/"


async def outcomes(
    cluster: Fake, targets: list[dict[str, Any]], secrets: Secrets, **settings: Any
) -> set[tuple[str, str]]:
    """Deliver a team of namespace research to these targets, and return their failures."""
    kube = cluster.kube
    await kube.namespace("research")
    for name, data in secrets.items():
        await kube.secret("research", name, data)
    await kube.team("research", "report", lifecycle(*targets))
    await kube.finish("research", "report")
    async with Service(cluster.kubeconfig, **settings) as service:
        report = (await service.deliver("research", "report")).body
    return {(target["reason"], target["message"]) for target in report["targets"]}


async def misbehave(request: web.Request) -> web.Response:
    """Answer with the status in the path."""
    word = request.path.strip("/")
    if word == "slow":
        await asyncio.sleep(60)  # the sender's timeout ends this
    if word == "moved":
        return web.Response(status=301, headers={"Location": "/elsewhere"})
    if word == "busy":
        return web.Response(status=429, headers={"Retry-After": "172800"})
    if word in {"no-service", "channel-is-archived"}:
        return web.Response(status=404 if word == "no-service" else 410, text=word.replace("-", "_"))
    return web.Response(status=int(word))


# Slack


async def test_slack_can_be_set_up_with_the_guide(
    real_cluster: Real, kubectl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = await real_cluster.kube.fresh_namespace()
    async with Receiver() as slack, Service(real_cluster.kubeconfig) as service:
        names = {"https://hooks.slack.com/services/…": f"{slack.url}/services/x", "research": namespace}
        guide = Guide.read("slack").told(names)
        [manifest] = guide.manifests()
        (tmp_path / "team.yaml").write_text(yaml.safe_dump(manifest))
        env: dict[str, str | Path] = {"KUBECONFIG": real_cluster.kubeconfig, "DELIVERY_URL": service.url}
        for script in guide.blocks("console"):
            ran = await run(script, tmp_path, kubectl, **env)
            assert (ran.code, ran.err) == (0, ""), script
        assert ran.out.endswith(guide.blocks("text")[0])
        [tried] = slack.requests
        assert "This is a test" in tried.body.decode()

        facts: dict[str, Any] = {
            "estimatedCost": "4.50",
            "totalTokensUsed": 1482000,
            "tasks": {"total": 7, "completed": 7, "inProgress": 0, "pending": 0},
        }
        made = {"producedBy": "writer", "producedAt": "2026-11-05T14:03:00Z"}
        artifacts = [{"name": "report.md", "path": "/workspace/output/report.md", **made}]
        started = (datetime.now(UTC) - timedelta(minutes=42, seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        await real_cluster.kube.finish(
            namespace, "report", **facts, artifacts=artifacts, startedAt=started, completedAt=_after(started)
        )
        answer = await service.deliver(namespace, "report")
        assert answer.body["phase"] == "Delivered"
    capsys.readouterr()
    Display().slack([{"body": slack.requests[-1].body.decode()}])
    _, _, shown = capsys.readouterr().out.partition("─\n")
    told = guide.blocks("text")[1].replace(
        "msg_51741cb3965c58f3b0964f7977df8786", answer.body["targets"][0]["id"]
    )
    assert _words(shown) == _words(told)


def _after(started: str) -> str:
    ended = datetime.fromisoformat(started) + timedelta(minutes=42, seconds=1)
    return ended.strftime("%Y-%m-%dT%H:%M:%SZ")


def _words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


async def test_slack_fails_as_the_guide_says(fake_cluster: Fake) -> None:
    guide = Guide.read("slack")
    words = ("no-service", "channel-is-archived")
    slack = {"type": "slack", "credentialsSecret": "slack-credentials"}
    targets = [slack, {"type": "slack"}, *({"type": "slack", "credentialsSecret": word} for word in words)]
    async with Receiver(respond=misbehave) as far:
        others: Secrets = {word: {"slack-webhook-url": f"{far.url}/{word}"} for word in words}
        told = await outcomes(fake_cluster, targets, others)
        good: Secrets = {"slack-credentials": {"slack-webhook-url": f"{far.url}/200"}}
        busy: Secrets = {"slack-credentials": {"slack-webhook-url": f"{far.url}/busy"}}
        cases: list[tuple[Secrets, dict[str, str]]] = [
            ({"slack-credentials": {"url": far.url}}, {}),
            (busy, {"retry_for": "86400"}),
            (good, {"slack_hosts": "hooks.slack.com"}),
            (good, {"secret_label": "kagents.dev/delivery=allowed"}),
        ]
        for secrets, settings in cases:
            await _forget(fake_cluster)
            told |= await outcomes(fake_cluster, [slack], secrets, **settings)
    assert told == guide.failures()


async def _forget(cluster: Fake) -> None:
    """Delete the namespace, with everything in it."""
    for plural in (TEAMS, "secrets"):
        for one in (await cluster.kube.list(plural, "research")).body["items"]:
            await cluster.kube.delete(plural, "research", one["metadata"]["name"])
    await cluster.kube.delete("namespaces", None, "research")


# Webhooks


@pytest.fixture(scope="session")
def receivers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str | Path, ...]]:
    """Return the command that starts each receiver; the one in Go is built once."""
    found: dict[str, tuple[str | Path, ...]] = {"python": (sys.executable, RECEIVERS / "receiver.py")}
    if installed("node"):
        found["javascript"] = ("node", RECEIVERS / "receiver.mjs")
    if installed("go"):
        binary = tmp_path_factory.mktemp("go") / "receiver"
        build: list[str | Path] = ["go", "build", "-o", binary, RECEIVERS / "receiver.go"]
        offline = {"GOFLAGS": "", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
        subprocess.run(build, check=True, env=os.environ | offline)
        found["go"] = (binary,)
    return found


LANGUAGES = {"python": "py", "go": "go", "javascript": "mjs"}
PACKAGES = {"go": "golang-go", "javascript": "nodejs"}


@pytest.fixture(params=LANGUAGES)
def receiver(
    request: pytest.FixtureRequest, receivers: dict[str, tuple[str | Path, ...]]
) -> tuple[str | Path, ...]:
    """Each receiver in turn; CI has what they require."""
    if request.param not in receivers:
        package = PACKAGES[request.param]
        assert os.environ.get("CI") != "true", f"CI requires Debian's package {package}"
        pytest.skip(f"no {request.param}: install Debian's package {package}, or its like")
    return receivers[request.param]


def signed(
    *keys: str, identifier: str = "msg_1", body: bytes = BODY, at: datetime | None = None
) -> dict[str, str]:
    """Sign a notification as a sender with these keys would."""
    at = at or datetime.now(UTC)
    signatures = [Webhook(key).sign(identifier, at, body.decode()) for key in keys]
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


async def post(sample: Sample, headers: dict[str, str], body: bytes = BODY) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(sample.url, data=body, headers=headers) as response,
    ):
        return response.status


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_guide_describes_the_receiver_s_behaviour(language: str) -> None:
    shown = Guide.read("webhook").block(language)
    assert shown in (RECEIVERS / f"receiver.{LANGUAGES[language]}").read_text()
    assert "no signature matches" in shown


async def test_a_receiver_stores_signed_notifications_and_no_duplicates(
    receiver: tuple[str | Path, ...], bench: Bench
) -> None:
    async with Sample(receiver, KEY, "Bearer x") as sample:
        hook = {"type": "webhook", "url": sample.url, "credentialsSecret": "hook", "message": "Grüße ✓"}
        secret = {"signing-secret": KEY, "authorization": "Bearer x"}
        namespace = await bench.finished(hook, hook=secret)
        [target] = (await bench.service.deliver(namespace, "report")).body["targets"]
        assert (target["reason"], target["message"]) == ("Delivered", "answered 204")
        assert await sample.last(1) == f"took {target['id']}"
        [(identifier, body)] = sample.kept.items()
        assert identifier == target["id"]
        assert json.loads(body)["message"] == "Grüße ✓"

        again = signed(KEY, identifier=identifier, body=body) | {"authorization": "Bearer x"}
        assert await post(sample, again, body) == 204
        assert await sample.last(2) == f"had already {identifier}"
        together = await asyncio.gather(*(post(sample, again | signed(KEY), BODY) for _ in range(10)))
        assert set(together) == {204}
        await sample.last(12)
        assert sorted(sample.said[3:]) == ["had already msg_1"] * 9 + ["took msg_1"]
        assert sample.kept == {identifier: body, "msg_1": BODY}


@pytest.mark.parametrize("wrong", ["key", "authorization"])
async def test_a_receiver_s_refusal_is_recorded(
    receiver: tuple[str | Path, ...], bench: Bench, wrong: str
) -> None:
    key, word = (OTHER, "Bearer x") if wrong == "key" else (KEY, "Bearer y")
    async with Sample(receiver, KEY, "Bearer x") as sample:
        hook = {"type": "webhook", "url": sample.url, "credentialsSecret": "hook"}
        secret = {"signing-secret": key, "authorization": word}
        namespace = await bench.finished(hook, hook=secret)
        [target] = (await bench.service.deliver(namespace, "report")).body["targets"]
        assert (target["phase"], target["reason"]) == ("Failed", "HTTPStatus")
        assert (target["message"], target["attempts"]) == ("answered 401 Unauthorized", 1)
        why = "no signature matches" if wrong == "key" else "the authorization is wrong"
        assert await sample.last(1) == f"refused: {why}"
        assert not sample.kept


async def test_a_receiver_refuses_invalid_and_old_signatures(
    receiver: tuple[str | Path, ...],
) -> None:
    good, now = signed(KEY), time.time()
    forged = base64.b64encode(bytes(32)).decode()
    cases: list[tuple[str, dict[str, str], bytes]] = [
        *(
            ("a header is missing or repeated", {k: v for k, v in good.items() if k != name}, BODY)
            for name in good
        ),
        ("no signature matches", good, BODY.replace(b"  ", b" ")),  # the same JSON with other spaces
        ("no signature matches", good, BODY + b"\n"),
        ("no signature matches", good, b""),
        ("no signature matches", good | {"webhook-id": "msg_2"}, BODY),
        ("no signature matches", good | {"webhook-timestamp": str(int(now) - 1)}, BODY),
        ("no signature matches", good | {"webhook-signature": f"v1,{forged}"}, BODY),
        ("no signature matches", good | {"webhook-signature": "v1,"}, BODY),
        ("no signature matches", good | {"webhook-signature": "v2" + good["webhook-signature"][2:]}, BODY),
        ("no signature matches", good | {"webhook-signature": good["webhook-signature"][3:]}, BODY),
        ("no signature matches", signed(OTHER), BODY),
        ("the id is invalid", signed(KEY, identifier="../../report"), BODY),
        *(
            ("the timestamp is not current", signed(KEY, at=datetime.fromtimestamp(now + off, UTC)), BODY)
            for off in (-310, 310, -1e9)
        ),
        *(
            ("the timestamp is not current", good | {"webhook-timestamp": text}, BODY)
            for text in ("now", "1.5", "-1", "9" * 40, "0x7fffffff", f"+{int(now)}", "")
        ),
    ]
    async with Sample(receiver, KEY) as sample:
        for number, (why, headers, body) in enumerate(cases, 1):
            assert await post(sample, headers, body) == 401, (why, headers)
            assert await sample.last(number) == f"refused: {why}"
        assert not sample.kept
        assert await post(sample, signed(KEY, at=datetime.fromtimestamp(now - 280, UTC))) == 204


async def test_a_receiver_accepts_several_keys_and_several_signatures(
    receiver: tuple[str | Path, ...],
) -> None:
    third = f"whsec_{base64.b64encode(bytes(32)).decode()}"
    async with Sample(receiver, f"{OTHER} {KEY}") as sample:
        for number, keys in enumerate([(KEY,), (OTHER,), (third, KEY), (KEY, third), (OTHER, KEY)]):
            assert await post(sample, signed(*keys, identifier=f"msg_{number}")) == 204, keys
        assert await post(sample, signed(third, identifier="msg_9")) == 401
        assert sorted(sample.kept) == [f"msg_{number}" for number in range(5)]


async def test_a_notification_that_a_receiver_cannot_store_is_retried(
    receiver: tuple[str | Path, ...], bench: Bench
) -> None:
    async with Sample(receiver, KEY) as sample:
        sample.folder.rename(sample.folder.with_name("away"))
        hook = {"type": "webhook", "url": sample.url, "credentialsSecret": "hook"}
        namespace = await bench.finished(hook, hook={"signing-secret": KEY})
        [target] = (await bench.service.deliver(namespace, "report")).body["targets"]
        assert (target["reason"], target["attempts"], target["httpStatus"]) == ("HTTPStatus", 4, 503)
        assert (await sample.last(4)).startswith("not kept: ")
        sample.folder.with_name("away").rename(sample.folder)
        again = (await bench.service.deliver(namespace, "report", redeliver="failed")).body
        assert again["phase"] == "Delivered"


def written(
    method: str = "POST",
    *extra: str | bytes,
    length: str | None = str(len(BODY)),
    body: bytes = BODY,
    **instead: str,
) -> bytes:
    """Write a request whose notification is valid, except for the given changes."""
    headers = signed(KEY, identifier=f"msg_{uuid4().hex}") | {"authorization": "Bearer x"}
    headers |= {name.replace("_", "-"): text for name, text in instead.items()}
    lines: list[str | bytes] = [f"{method} /reports HTTP/1.1", "host: x"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    lines += [f"content-length: {length}"] if length is not None else []
    coded = [line.encode() if isinstance(line, str) else line for line in (*lines, *extra)]
    return b"\r\n".join([*coded, b"", body])


CHUNKED = "transfer-encoding: chunked"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
WHOLE: list[tuple[str, int | tuple[int, ...], Callable[[], bytes]]] = [
    ("as it should be", 204, written),
    *((method, 405, partial(written, method)) for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")),
    ("in chunks", 411, lambda: written("POST", CHUNKED, length=None, body=CHUNKS)),
    ("no length", 411, lambda: written(length=None, body=b"")),
    ("both", (400, 411), lambda: written("POST", CHUNKED, body=CHUNKS)),  # Node itself refuses it
    *(
        (f"length {text}", 400, partial(written, length=text))
        for text in ("+46", "4_6", "-1", "x", "0x2e", "4.6", "9" * 40)
    ),
    ("two lengths", 400, lambda: written("POST", "content-length: 7")),
    ("a byte too large", 413, lambda: written(length=str(2**21 + 1), body=b"")),
    ("far too large", 413, lambda: written(length="9000000000", body=b"")),
    ("other authorization", 401, lambda: written(authorization="Bearer y")),
    ("no ASCII in it", 401, lambda: written(authorization="Bearer ü")),
    ("no ASCII in the id", 401, lambda: written(webhook_id="msg_ü")),
    ("other digits", 401, lambda: written(webhook_timestamp="١٢٣")),
    ("a long id", 401, lambda: written(webhook_id="a" * 129)),
    *(
        (f"{name} twice", 401, partial(written, "POST", f"{name}: {text}"))
        for name, text in signed(KEY).items()
    ),
]


async def test_all_receivers_answer_alike(receiver: tuple[str | Path, ...]) -> None:
    async with Sample(receiver, KEY, "Bearer x") as sample:
        told = {name: await sample.ask(write()) for name, _, write in WHOLE}
        told["broken off"] = await sample.ask(written(length="1000"), whole=False)
        wanted: dict[str, Any] = {name: status for name, status, _ in WHOLE} | {"broken off": 400}
        wanted["both"] = told["both"] if told["both"] in wanted["both"] else wanted["both"]
        assert told == wanted
        await until(lambda: "refused: the body did not come whole" in sample.said)
        assert len(sample.kept) == 1


async def test_a_receiver_waits_10_s_for_a_body_however_slow(
    receivers: dict[str, tuple[str | Path, ...]],
) -> None:
    async def dribble(command: tuple[str | Path, ...]) -> tuple[int, float]:
        async with Sample(command, KEY) as sample:
            reader, writer = await asyncio.open_connection(sample.host, sample.port)
            began, answer = time.monotonic(), asyncio.create_task(reader.readline())
            writer.write(written(length="1000", body=b""))
            while not (await asyncio.wait([answer], timeout=0.5))[0]:
                assert time.monotonic() < began + 30
                writer.write(b"x")
            took = time.monotonic() - began
            writer.close()
            assert await sample.last(1) == "refused: the body did not come whole"
            return int((await answer).split()[1]), took

    for status, took in await asyncio.gather(*(dribble(command) for command in receivers.values())):
        assert status == 408
        assert 9 < took < 20


async def test_a_receiver_survives_disconnects_and_many_concurrent_requests(
    receiver: tuple[str | Path, ...],
) -> None:
    async with Sample(receiver, KEY, "Bearer x") as sample:
        for count in range(1, 4):
            with socket.create_connection((sample.host, sample.port)) as caller:
                caller.sendall(written(length="1000"))
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            assert await sample.last(count) == "refused: the body did not come whole"
        for part in (b"", b"POST /reports HT"):
            with socket.create_connection((sample.host, sample.port)) as caller:
                caller.sendall(part)
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        answers = await asyncio.gather(*(sample.ask(written()) for _ in range(100)))
        assert answers == [204] * 100
        assert len(sample.kept) == 100


async def test_only_the_receiver_can_read_its_files_and_it_removes_unfinished_ones(
    receiver: tuple[str | Path, ...],
) -> None:
    async with Sample(receiver, KEY) as sample:
        assert await post(sample, signed(KEY)) == 204
        modes = {path.name: path.stat().st_mode & 0o777 for path in sample.folder.parent.rglob("*")}
        assert modes == {"notifications": 0o700, "msg_1.json": 0o600}
        assert sample.folder.parent.stat().st_mode & 0o777 == 0o700
    async with Sample(receiver, KEY, drafts=(".draft-1", ".other", "msg_1.json")) as sample:
        assert set(sample.kept) == {".other", "msg_1"}


async def test_a_receiver_can_listen_on_an_ipv6_address(receiver: tuple[str | Path, ...]) -> None:
    async with Sample(receiver, KEY, host="::1") as sample:
        assert await post(sample, signed(KEY)) == 204


@pytest.mark.parametrize("name", ["HOST", "PORT", "NOTIFICATIONS"])
async def test_an_empty_variable_means_the_default(
    receiver: tuple[str | Path, ...], tmp_path: Path, name: str
) -> None:
    given = {"SIGNING_SECRETS": KEY, "HOST": "127.0.0.1", "PORT": "0", "NOTIFICATIONS": "elsewhere", name: ""}
    process = await asyncio.create_subprocess_exec(
        *receiver, cwd=tmp_path, env={"PATH": os.environ["PATH"], **given}, stdout=PIPE, stderr=PIPE
    )
    try:
        assert process.stdout
        assert process.stderr
        said = (await process.stdout.readline()).decode().strip()
        if not said and name == "PORT":
            assert b"cannot start: " in await process.stderr.read(), "another program has port 9000"
            return
        port = int(said.removeprefix("listening on port "))
        assert name != "PORT" or port == 9000
        assert (tmp_path / ("notifications" if name == "NOTIFICATIONS" else "elsewhere")).is_dir()
        assert _loopback(port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _loopback(port: int) -> bool:
    """Whether a program listens there on 127.0.0.1, and not on every address."""
    return f" 0100007F:{port:04X} 00000000:0000 0A " in Path("/proc/net/tcp").read_text()


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("SIGNING_SECRETS", "", "name at least one key"),
        *(
            ("SIGNING_SECRETS", text, "each must be whsec_ followed by base64")
            for text in ("secret", "whsec_", "whsec_%%%", "whsec_QR==", "whsec_QQ", "whsec_ab-_", "QUJDRA==")
        ),
        ("AUTHORIZATION", "Bearer ü", "must be ASCII"),
        *(("PORT", text, "must be a number up to 65535") for text in ("x", "-1", "65536", "+1", "1_0", " 1")),
    ],
)
async def test_a_receiver_with_a_wrong_setting_does_not_start(
    receiver: tuple[str | Path, ...], tmp_path: Path, name: str, text: str, why: str
) -> None:
    env = {"PATH": os.environ["PATH"], "SIGNING_SECRETS": KEY, "PORT": "0", name: text}
    done = await asyncio.to_thread(
        subprocess.run,
        receiver,
        check=False,
        capture_output=True,
        text=True,
        env=env,
        timeout=30,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{name}: {why}\n")
    assert not (tmp_path / "notifications").is_dir()


@pytest.mark.parametrize("wrong", ["folder", "port"])
async def test_a_receiver_that_cannot_start_reports_why(
    receiver: tuple[str | Path, ...], tmp_path: Path, wrong: str
) -> None:
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {
            "PATH": os.environ["PATH"],
            "SIGNING_SECRETS": KEY,
            "NOTIFICATIONS": str(tmp_path / "notifications"),
        }
        env |= {"NOTIFICATIONS": str(tmp_path / "file")} if wrong == "folder" else {}
        env["PORT"] = str(taken.getsockname()[1]) if wrong == "port" else "0"
        done = await asyncio.to_thread(
            subprocess.run, receiver, check=False, capture_output=True, text=True, env=env, timeout=30
        )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("cannot start: ")


async def test_a_webhook_can_be_set_up_and_its_key_rotated_with_the_guide(
    real_cluster: Real, kubectl: Path, tmp_path: Path
) -> None:
    namespace = await real_cluster.kube.fresh_namespace()
    guide = Guide.read("webhook").told({"research": namespace})
    env = {"KUBECONFIG": real_cluster.kubeconfig}
    make, start, trial, second, replace = guide.blocks("console")
    assert (await run(make, tmp_path, kubectl, **env)).code == 0
    command = (sys.executable, RECEIVERS / "receiver.py")
    async with AsyncExitStack() as stack:
        sample = await stack.enter_async_context(Sample(command, _said(start, tmp_path)))
        service = await stack.enter_async_context(Service(real_cluster.kubeconfig))
        [manifest] = guide.told({"https://hooks.example.com/reports": sample.url}).manifests()
        (tmp_path / "team.yaml").write_text(yaml.safe_dump(manifest))
        ran = await run(trial, tmp_path, kubectl, DELIVERY_URL=service.url, **env)
        assert (ran.code, ran.err) == (0, "")
        assert "answered 204" in ran.out
        assert json.loads(next(iter(sample.kept.values())))["event"] == "team.test"

        made, restart = second.splitlines()
        assert (await run(made, tmp_path)).code == 0
        both = await stack.enter_async_context(Sample(command, _said(restart, tmp_path)))
        for script in ("true", replace):
            team = {**manifest, "spec": manifest["spec"] | lifecycle({**_target(manifest), "url": both.url})}
            (tmp_path / "team.yaml").write_text(yaml.safe_dump(team))
            assert (await run(script, tmp_path, kubectl, **env)).code == 0
            ran = await run(trial, tmp_path, kubectl, DELIVERY_URL=service.url, **env)
            assert "answered 204" in ran.out, script
        assert len(both.kept) == 2
        (tmp_path / "team.yaml").write_text(yaml.safe_dump(manifest))
        ran = await run(trial, tmp_path, kubectl, DELIVERY_URL=service.url, **env)
        assert "answered 401 Unauthorized" in ran.out, "the first receiver does not have the new key"


def _target(manifest: dict[str, Any]) -> dict[str, Any]:
    [target] = manifest["spec"]["lifecycle"]["delivery"]
    return dict(target)


def _said(command: str, folder: Path) -> str:
    """Return the keys that a command would pass to the receiver."""
    assignment, _, program = command.partition(" python3 ")
    assert (ROOT / program.strip()).samefile(RECEIVERS / "receiver.py")
    script = f'{assignment}; printf %s "$SIGNING_SECRETS"'
    done = subprocess.run(["bash", "-c", script], check=True, cwd=folder, capture_output=True, text=True)
    return done.stdout


def test_the_numbers_in_the_webhook_guide_are_the_defaults() -> None:
    text, given = " ".join(Guide.read("webhook").text.split()), ServiceSettings.load()
    assert f"An attempt times out after {given.attempt_timeout:g} s" in text
    assert f"{given.attempts} times within {given.target_timeout:g} s" in text


async def test_a_webhook_fails_as_the_guide_says(fake_cluster: Fake) -> None:
    guide = Guide.read("webhook").told({"within 10 s": "within 0.3 s"})
    async with Receiver(respond=misbehave) as far:
        urls = [f"{far.url}/{word}" for word in ("401", "503", "slow", "moved")]
        targets: list[dict[str, Any]] = [
            *({"type": "webhook", "url": url} for url in (*urls, NOTHING_LISTENS, "http://10.1.2.3/")),
            *({"type": "webhook", "url": far.url, "credentialsSecret": name} for name in ("absent", "plain")),
            {"type": "webhook"},
        ]
        told = await outcomes(
            fake_cluster, targets, {"plain": {"signing-secret": "plain"}}, attempt_timeout=0.3
        )
    assert told == guide.failures()


# Receivers in the cluster


def settings_of(helm: Helm, values: dict[str, Any]) -> dict[str, str]:
    """Return the settings that the chart passes to the service, as the test harness writes them."""
    given = helm.render(values).settings.items()
    return {name.removeprefix("DELIVERY_").lower(): value for name, value in given}


def test_the_values_open_only_what_the_guide_says(helm: Helm) -> None:
    narrow, wide, plain = Guide.read("in-cluster-receivers").values()
    bare = helm.render()

    def opened(values: dict[str, Any]) -> list[dict[str, Any]]:
        before = bare.one("NetworkPolicy")["spec"]["egress"]
        return [
            rule for rule in helm.render(values).one("NetworkPolicy")["spec"]["egress"] if rule not in before
        ]

    address = {"to": [{"ipBlock": {"cidr": "10.96.44.7/32"}}]}
    assert opened(narrow) == [address, *narrow["networkPolicy"]["extraEgress"]]
    ports = [{"protocol": "TCP", "port": port} for port in (443, 8443)]
    assert opened(wide) == [{"to": [{"ipBlock": {"cidr": "10.96.0.0/12"}}], "ports": ports}]
    public, private = opened(plain)
    assert ({"protocol": "TCP", "port": 80} in public["ports"], private) == (True, address)

    [service, _] = helm.render(narrow).one("Deployment")["spec"]["template"]["spec"]["containers"]
    [mounted] = [one for one in service["volumeMounts"] if one["name"] == "receivers-ca"]
    assert narrow["settings"]["egressCaFile"] == f"{mounted['mountPath']}/ca.crt"
    assert settings_of(helm, narrow)["egress_ca_file"] == narrow["settings"]["egressCaFile"]


def test_the_receiver_s_policy_selects_the_service_s_pods(helm: Helm) -> None:
    [policy] = Guide.read("in-cluster-receivers").manifests()
    [rule] = policy["spec"]["ingress"]
    [peer] = rule["from"]
    labels = helm.render().one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()


async def test_the_guide_s_commands_give_what_it_says(
    real_cluster: Real, kubectl: Path, tmp_path: Path
) -> None:
    hooks, home = await real_cluster.kube.fresh_namespace(), await real_cluster.kube.fresh_namespace()
    guide = Guide.read("in-cluster-receivers").told({"-n hooks": f"-n {hooks}"})
    spec = {"selector": {"app": "archive"}, "ports": [{"port": 443, "targetPort": 8443}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "archive", "namespace": hooks}}
    apply(kubectl, real_cluster.kubeconfig, [{**service, "spec": spec}])
    find, authorities, trial = guide.blocks("console")
    assert trial in Guide.read("from-notify").blocks("console"), "whose test runs it"
    ran = await run(find, tmp_path, kubectl, KUBECONFIG=real_cluster.kubeconfig)
    found = (await real_cluster.kube.get("services", hooks, "archive")).body["spec"]["clusterIP"]
    assert ran.out == found
    (tmp_path / "ca.crt").write_text("x")
    create = authorities.splitlines()[0].replace("-n agentteam-delivery", f"-n {home}")
    assert (await run(create, tmp_path, kubectl, KUBECONFIG=real_cluster.kubeconfig)).code == 0
    made = (await real_cluster.kube.get("configmaps", home, "receivers-ca")).body
    assert made["data"] == {"ca.crt": "x"}


@asynccontextmanager
async def secure(authority: trustme.CA, *names: str, **options: Any) -> AsyncIterator[Receiver]:
    """Receive with a certificate of a private certificate authority."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(tls)
    async with Receiver(tls=tls, **options) as receiver:
        yield receiver


async def test_a_receiver_in_the_cluster_works_with_the_values_and_fails_as_the_guide_says(
    fake_cluster: Fake, helm: Helm, tmp_path: Path
) -> None:
    guide = Guide.read("in-cluster-receivers").told(
        {"within 10 s": "within 0.3 s", "for another host name": "for another address"}
    )
    ours = trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.crt")
    opened = guide.told({"10.96.44.7/32": "127.0.0.1/32", "/etc/receivers/": f"{tmp_path}/"})
    narrow, _, plain = opened.values()
    strict = settings_of(helm, narrow)

    def picked(settings: dict[str, str]) -> dict[str, Any]:
        chosen = {name: value for name, value in settings.items() if name.startswith("egress_")}
        return {"egress_ca_file": "", "egress_deny": "", **chosen, "attempt_timeout": 0.3}

    async with (
        secure(ours, "127.0.0.1") as good,
        secure(ours, "127.0.0.1", respond=misbehave) as slow,
        secure(ours, "archive.hooks.svc") as named,
        secure(trustme.CA(), "127.0.0.1") as strange,
        Receiver() as bare,
    ):
        urls = [
            *(good.url, f"{slow.url}/slow", strange.url, bare.url, "https://127.0.0.1:1/"),
            *(named.url, "https://127.0.0.2/"),
        ]
        targets = [{"type": "webhook", "url": url} for url in urls]
        told = await outcomes(fake_cluster, targets, {}, **picked(strict))
        assert told - {("Delivered", "answered 200")} == guide.failures()
        assert len(good.requests) == 1
        await _forget(fake_cluster)
        loose = picked(settings_of(helm, plain))
        assert await outcomes(fake_cluster, [{"type": "webhook", "url": bare.url}], {}, **loose) == {
            ("Delivered", "answered 200")
        }


# Several tenants


async def test_tenants_have_exactly_the_access_that_the_guide_says(
    real_cluster: Real, kubectl: Path, helm: Helm, tmp_path: Path
) -> None:
    kube = real_cluster.kube
    research, sales, ops = [await kube.fresh_namespace() for _ in range(3)]
    names = {"research": research, "sales": sales, '"ops"': f'"{ops}"'}
    guide = Guide.read("multi-tenant").told(names)
    together, own = guide.values()
    [caller] = [one for one in helm.render(together).of("ClusterRole") if "caller" in one["metadata"]["name"]]
    assert not [one for one in helm.render(own).of("ClusterRole") if "caller" in one["metadata"]["name"]]
    apply(kubectl, real_cluster.kubeconfig, [caller, *guide.manifests()])
    accounts = [(research, "controller"), (sales, "dashboard")]
    made = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": home}}
        for home, name in accounts
    ]
    apply(kubectl, real_cluster.kubeconfig, made)

    settings = settings_of(helm, together)
    async with Receiver() as slack:
        for namespace in (research, sales, ops):
            await kube.secret(namespace, "slack-credentials", {"slack-webhook-url": slack.url})
            target = {"type": "slack", "credentialsSecret": "slack-credentials"}
            await kube.team(namespace, "report", lifecycle(target))
            await kube.finish(namespace, "report")
        env = {"KUBECONFIG": real_cluster.kubeconfig}
        [_, authors, label, callers, readers, checks] = guide.blocks("console")
        for script in (authors, callers, readers):
            ran = await run(script, tmp_path, kubectl, **env)
            assert (ran.code, ran.err) == (0, ""), script
        said = [(await run(line, tmp_path, kubectl, **env)).out for line in checks.splitlines()]
        assert "".join(said) == guide.block("text")

        controller, dashboard = [await kube.account_token(*one, "agentteam-delivery") for one in accounts]
        kept = {name: settings[name] for name in ("auth", "namespaces", "secret_label", "rate_limit")}
        async with Service(real_cluster.kubeconfig, **kept) as service:

            async def ask(token: str, namespace: str, **fields: Any) -> Any:
                body = {"namespace": namespace, "team": "report", **fields}
                headers = {"Authorization": f"Bearer {token}"}
                return await service.request("POST", "/deliveries", json=body, headers=headers)

            async def read(token: str, namespace: str) -> int:
                headers = {"Authorization": f"Bearer {token}"}
                path = f"/deliveries/{namespace}/report"
                return (await service.request("GET", path, headers=headers)).status

            refusals = {(row[0], row[1].strip("`").rstrip("…")) for row in guide.rows("What refusals say")}

            def told(kind: str, detail: str) -> bool:
                return any(kind == one and detail.startswith(says) for one, says in refusals)

            [target] = (await ask(controller, research)).body["targets"]
            assert told(f"`{target['reason']}`", target["message"])
            ran = await run(label, tmp_path, kubectl, **env)
            assert (ran.code, ran.err) == (0, "")
            again = await ask(controller, research, redeliver="failed")
            assert (again.status, again.body["phase"]) == (200, "Delivered")

            refused = await ask(controller, sales)
            assert told(f"`{refused.status}` `{refused.problem}`", refused.body["detail"])
            assert (await ask(dashboard, research)).status == 403
            assert (await read(dashboard, research), await read(dashboard, sales)) == (200, 403)

            bind = callers.replace(f"-n {research}", f"-n {ops}")
            assert (await run(bind, tmp_path, kubectl, **env)).code == 0
            unserved = await ask(controller, ops)
            assert told(f"`{unserved.status}` `{unserved.problem}`", unserved.body["detail"])
        assert len(slack.requests) == 1


def test_the_numbers_in_the_tenants_guide_are_the_defaults(helm: Helm) -> None:
    [row] = [row for row in Guide.read("multi-tenant").rows("Settings") if "maxInFlight" in row[0]]
    given = settings_of(helm, {})
    events, targets = int(given["max_in_flight"]), int(given["max_targets_in_flight"])
    assert row[1].startswith(f"{events} events and {targets:,} targets at once")


# From a controller


@dataclass(frozen=True)
class Controller:
    """The guide's program, its token and the certificate authority that it trusts."""

    folder: Path
    url: str

    def __post_init__(self) -> None:
        (self.folder / "submit.py").write_text(Guide.read("from-a-controller").block("python"))

    async def start(self, token: str, *event: str) -> Ran:
        """Run the program as a process."""
        (self.folder / "token").write_text(f"{token}\n")
        command = f"{sys.executable} submit.py {' '.join(event)}"
        return await run(command, self.folder, DELIVERY_URL=self.url, MOUNTED=self.folder)

    async def submit(self, token: str, *event: str) -> Ran:
        """Run the program in a thread, which has imported what a process would import each time."""
        (self.folder / "token").write_text(f"{token}\n")
        out, code, err = io.StringIO(), 0, ""
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
            patch.setenv("DELIVERY_URL", self.url)
            patch.setenv("MOUNTED", str(self.folder))
            patch.setattr(sys, "argv", ["submit.py", *event])
            try:
                await asyncio.to_thread(runpy.run_path, str(self.folder / "submit.py"), run_name="__main__")
            except SystemExit as ended:
                code, err = 1, f"{ended}\n"
        return Ran(code, out.getvalue(), err)


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    folder = tmp_path / "tls"
    folder.mkdir()
    mounted = Mounted(folder)
    mounted.authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    return mounted


@asynccontextmanager
async def serving(
    kubeconfig: Path, mounted: Mounted, **settings: Any
) -> AsyncIterator[tuple[Service, Controller]]:
    """Serve callers with TLS, as in the guide."""
    service = Service(kubeconfig, auth="kubernetes", **mounted.settings, **settings)
    service.tls = mounted.trusting
    async with service:
        yield service, Controller(mounted.folder.parent, service.url)


async def test_a_controller_reacts_to_each_answer_as_the_guide_says(
    fake_cluster: Fake, mounted: Mounted
) -> None:
    kube, reviews, gate = fake_cluster.kube, fake_cluster.server.reviews, Gate()
    token, stranger = reviews.token("controller", Permission("create")), reviews.token("stranger")
    async with (
        Receiver(respond=gate) as hook,
        serving(fake_cluster.kubeconfig, mounted, max_in_flight=4) as (_, controller),
    ):
        namespace = await finished(kube, {"type": "webhook", "url": hook.url})
        for name in ("second", "third", "working"):
            await kube.team(namespace, name, lifecycle({"type": "webhook", "url": hook.url}))
        for name in ("second", "third"):
            await kube.finish(namespace, name)

        async def said(team: str, *more: str, bearing: str = token) -> str:
            ran = await controller.submit(bearing, namespace, team, *more)
            assert ran.code == (1 if ran.err else 0)
            return (ran.out or ran.err).strip()

        assert await said("report", bearing="nobody-knows") == "again in 30 s"
        refused = await said("report", bearing=stranger)
        assert refused.startswith("forbidden: stranger may not create agentteams/delivery")
        assert "kubectl create rolebinding" in refused
        assert await said("working") == "done", "it has not finished"
        assert await said("absent") == "done"
        assert await said("report", "another-uid") == "done"
        assert (await said("Report")).startswith("malformed: ")
        assert not hook.requests

        assert await said("report") == "done"
        await until(lambda: hook.requests)
        assert await said("report") == "done", "in flight, and not sent twice"
        assert await said("second") == "done"
        assert await said("third") == "again in 1 s", "half of the capacity is used"
        gate.open()

        async def taken() -> bool:
            return await said("third") == "done"

        await until(taken, 30)
        uid = (await kube.get(TEAMS, namespace, "working")).body["metadata"]["uid"]
        assert await said("working", uid, "Completed") == "done"
        await until(lambda: len(hook.requests) == 4)

        async def settled() -> bool:
            return all([(await kube.delivery(namespace, team))[0]["phase"] == "Delivered" for team in teams])

        teams = ("report", "second", "third", "working")
        await until(settled)
        for team in teams:
            assert await said(team) == "done", "settled, and not sent again"
        assert len(hook.requests) == 4
    assert await said("report") == "again in 5 s", "the service does not answer"


async def test_a_controller_rejects_answers_of_other_servers(mounted: Mounted) -> None:
    page, problem = "<h1>No entry</h1>", "application/problem+json"
    strays = {
        "signed-out": (200, page, "text/html"),
        "hello": (200, '{"hello": 1}', "application/json"),
        "moved": (302, "", "text/html"),
        "kept-out": (403, page, "text/html"),
        "lost": (404, page, "text/html"),
        "listed": (404, '["no route"]', "application/json"),
        "null": (404, "null", problem),
        "untold": (404, '{"type": 1}', problem),
        "half": (500, '{"type": "urn:agentteam-delivery:internal"}', problem),
    }

    async def stray(request: web.Request) -> web.Response:
        status, text, kind = strays[(await request.json())["team"]]
        return web.Response(status=status, text=text, content_type=kind)

    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=429, text=page, headers={"Retry-After": "7"})

    async with Receiver(respond=stray) as gateway:
        controller = Controller(mounted.folder.parent, gateway.url)
        for team, (status, _, _) in strays.items():
            ran = await controller.submit("any", "research", team)
            said = f"{status}, and not from agentteam-delivery: check the address\n"
            assert ran == Ran(1, "", said), team
        gateway.respond = busy
        assert await controller.submit("any", "research", "report") == Ran(0, "again in 7 s\n", "")


def test_the_controller_guide_covers_each_answer() -> None:
    document = read_yaml(ROOT / "openapi/openapi.yaml")
    answers = {
        status: set(answer["content"].get("application/problem+json", {}).get("examples", {}))
        for status, answer in document["paths"]["/deliveries"]["post"]["responses"].items()
    }
    told: dict[str, set[str]] = {}
    every: set[str] = set()
    for row in Guide.read("from-a-controller").rows("What to do on each answer"):
        kinds = set(re.findall(r"`([a-z-]+)`", row[0]))
        for status in re.findall(r"`(\d{3})`", row[0]):
            told.setdefault(status, set()).update(kinds)
            every |= set() if kinds else {status}
    assert set(told) - {"405"} == set(answers) - {"405"}
    for status, kinds in answers.items():
        named = told[status]
        assert named <= kinds, f"{status} is answered with other problems"
        assert status in every or named == kinds, f"{status} has a problem without a row"


def test_the_fields_in_the_controller_guide_are_the_event_s() -> None:
    rows = Guide.read("from-a-controller").rows("What to send")
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert named == set(CompletionEvent.model_fields) - {"event", "test"}


async def test_a_controller_gets_access_with_the_guide_s_objects(
    real_cluster: Real, kubectl: Path, helm: Helm, mounted: Mounted
) -> None:
    kube, folder = real_cluster.kube, mounted.folder.parent
    ops = await kube.fresh_namespace()
    async with (
        Receiver() as hook,
        serving(real_cluster.kubeconfig, mounted) as (service, controller),
    ):
        research = await finished(kube, {"type": "webhook", "url": hook.url})
        mount, own = "/var/run/delivery", "https://agentteam-delivery.agentteam-delivery.svc:8080"
        home = await kube.fresh_namespace()
        names = {"research": research, "-n agentteam-delivery": f"-n {home}", "ops": ops}
        guide = Guide.read("from-a-controller").told(names)
        authority = mounted.authority.cert_pem.bytes()
        [values], [deployment] = guide.values(), guide.manifests()
        await kube.secret(home, values["tls"]["secretName"], {"ca.crt": authority})
        rendering = helm.render(values)
        ingress = rendering.one("NetworkPolicy")["spec"]["ingress"]
        assert values["networkPolicy"]["callers"] in [rule["from"] for rule in ingress]
        assert rendering.settings["DELIVERY_ALLOW_PLAIN_HTTP"] == "false"
        [caller] = [one for one in rendering.of("ClusterRole") if "caller" in one["metadata"]["name"]]
        apply(kubectl, real_cluster.kubeconfig, [caller, deployment])

        make, call = guide.blocks("console")
        ran = await run(make, folder, kubectl, KUBECONFIG=real_cluster.kubeconfig)
        assert (ran.code, ran.err) == (0, "")
        pod = deployment["spec"]["template"]["spec"]
        named = pod["volumes"][0]["projected"]["sources"][1]["configMap"]["name"]
        made = (await kube.get("configmaps", ops, named)).body
        assert made["data"] == {"ca.crt": authority.decode()}
        asked = pod["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]
        token = await kube.account_token(ops, pod["serviceAccountName"], asked["audience"])
        assert f"{pod['containers'][0]['volumeMounts'][0]['mountPath']}/{asked['path']}" == f"{mount}/token"

        ran = await controller.start(token, research, "report")
        assert (ran.code, ran.out) == (0, "done\n")
        await until(lambda: hook.requests)
        assert own in call
        ran = await run(call.replace(own, service.url).replace(mount, str(folder)), folder)
        assert (ran.code, ran.err) == (0, "")
        report = json.loads(ran.out)
        assert (report["team"], report["targets"][0]["type"]) == ("report", "webhook")
        assert len(hook.requests) == 1
        elsewhere = await finished(kube, {"type": "webhook", "url": hook.url})
        assert "forbidden" in (await controller.start(token, elsewhere, "report")).err


# From notify


async def test_a_team_can_be_moved_from_notify_and_back_with_the_guide(
    real_cluster: Real, kubectl: Path, tmp_path: Path
) -> None:
    kube = real_cluster.kube
    namespace = await kube.fresh_namespace()
    before = await kube.team(namespace, "report", {"lifecycle": {}})
    assert before["spec"]["lifecycle"]["onComplete"] == "notify", "it is the default"
    async with (
        Receiver() as hook,
        Service(real_cluster.kubeconfig, namespaces=namespace) as service,
        Watcher(real_cluster.kubeconfig, service.url, namespaces=namespace),
    ):
        guide = Guide.read("from-notify").told({"research": namespace, "https://hooks.example.com": hook.url})
        look, switch, trial, see, back = guide.blocks("console")
        (tmp_path / "targets.yaml").write_text(guide.block("yaml"))
        env: dict[str, str | Path] = {"KUBECONFIG": real_cluster.kubeconfig, "DELIVERY_URL": service.url}

        async def typed(script: str) -> str:
            ran = await run(script, tmp_path, kubectl, **env)
            assert (ran.code, ran.err) == (0, ""), script
            return ran.out

        assert f"{namespace}/report  notify" in await typed(look)
        [skipped] = [row for row in guide.rows("When nothing is sent") if row[0].startswith("`Skipped`")]
        assert f"`{(await service.deliver(namespace, 'report')).body['reason']}`" in skipped[0]
        await typed(switch)
        assert "answered 200" in await typed(trial)
        assert [json.loads(request.body)["event"] for request in hook.requests] == ["team.test"]

        await kube.finish(namespace, "report")

        async def on_record() -> bool:
            entries = await kube.delivery(namespace, "report")
            return [entry["phase"] for entry in entries] == ["Delivered"]

        await until(on_record, 30)
        assert (await typed(see)).endswith(guide.block("text").strip())
        assert len(hook.requests) == 2

        await typed(back)
        team = (await kube.get(TEAMS, namespace, "report")).body
        assert team["spec"]["lifecycle"]["onComplete"] == "notify"
        assert [entry["phase"] for entry in team["status"]["delivery"]] == ["Delivered"]
        assert (await service.deliver(namespace, "report", redeliver="all")).body["phase"] == "Skipped"
        assert len(hook.requests) == 2


async def test_a_finished_team_is_delivered_once_it_is_switched_and_older_teams_are_not(
    fake_cluster: Fake,
) -> None:
    kube = fake_cluster.kube
    namespace = await kube.fresh_namespace()
    patch = yaml.safe_load(Guide.read("from-notify").block("yaml"))
    async with (
        Receiver() as hook,
        Service(fake_cluster.kubeconfig) as service,
        Watcher(fake_cluster.kubeconfig, service.url) as watcher,
    ):
        patch["spec"]["lifecycle"]["delivery"][0]["url"] = hook.url
        old = (datetime.now(UTC) - timedelta(days=1, minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, times in {"left": {}, "history": {"completedAt": old}, "fresh": {}}.items():
            await kube.team(namespace, name, {})
            await kube.finish(namespace, name, **times)
        for name in ("history", "fresh"):
            assert (await kube.patch(TEAMS, namespace, name, patch)).status == 200

        async def delivered() -> bool:
            return [one["phase"] for one in await kube.delivery(namespace, "fresh")] == ["Delivered"]

        await until(delivered, 30)
        assert [json.loads(request.body)["team"] for request in hook.requests] == ["fresh"]
        assert await kube.delivery(namespace, "history") == await kube.delivery(namespace, "left") == []
        assert not watcher.ended
        answer = await service.deliver(namespace, "history")
        assert answer.body["phase"] == "Delivered", "a submission by hand is delivered"


async def test_an_operator_s_crd_refuses_the_switch_as_the_guide_says(fake_cluster: Fake) -> None:
    kube = fake_cluster.kube
    crd = read_yaml(CRD)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    schema["spec"]["properties"]["lifecycle"]["properties"]["onComplete"]["enum"].remove("deliver")
    await kube.install_crd(crd)
    namespace = await kube.fresh_namespace()
    await kube.team(namespace, "report", {})
    patch = yaml.safe_load(Guide.read("from-notify").block("yaml"))
    refused = await kube.patch(TEAMS, namespace, "report", patch)
    assert refused.status == 422
    [row] = [row for row in Guide.read("from-notify").rows("When nothing is sent") if "nsupported" in row[0]]
    assert row[0].strip("`") in refused.body["message"]
