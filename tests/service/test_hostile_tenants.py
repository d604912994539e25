"""Teams that are written to be costly: other teams are not affected, and the record says why.

All that they hold is just beyond its bound, and harmless.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from app.domain import bounds
from app.domain.times import format_time
from tests.harness.cluster import prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import TEAMS, Kube
from tests.harness.processes import Processor
from tests.harness.receiver import Receiver
from tests.harness.service import Program, Service, Watcher, finished, lifecycle
from tests.harness.waiting import until

pytestmark = pytest.mark.quiet

MOST_LATER = 1.0  # seconds that others may wait, without the CPU time of other processes
LONG_HOST = "é" * (bounds.HOST.most + 10)


@dataclass(frozen=True)
class Stand:
    """A service whose other teams are watched."""

    service: Service
    kube: Kube
    hook: Receiver
    kubeconfig: Path

    async def good(self) -> str:
        """Finish a team with five webhooks in a new namespace."""
        return await finished(self.kube, *[{"type": "webhook", "url": self.hook.url}] * 5)

    async def timed(self, namespace: str) -> float:
        """Deliver it, and return the seconds until its record, without the CPU time of other processes."""
        processor = Processor(self.service.pid)
        started, lacked = monotonic(), processor.lacked
        answer = await self.service.deliver(namespace, "report")
        assert (answer.status, answer.body["phase"]) == (200, "Delivered")
        return monotonic() - started - (processor.lacked - lacked)


Run = TypeVar("Run", bound=Program)


def uncovered(program: Run) -> Run:
    """Run it without coverage, because its speed counts."""
    program.covered = False
    return program


@pytest.fixture(scope="module")
async def stand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    """Start one service for all tests, with every backend enabled."""
    backends = {"email": "smtp", "google_drive": "api", "google_api_url": "http://127.0.0.1:9"}
    folder = tmp_path_factory.mktemp("hostile")
    async with (
        FakeCluster() as server,
        prepared(server, folder) as cluster,
        Receiver() as hook,
        uncovered(Service(cluster.kubeconfig, **backends)) as service,
    ):
        stand = Stand(service, cluster.kube, hook, cluster.kubeconfig)
        await stand.timed(await stand.good())  # so that one-time work is done
        yield stand


@asynccontextmanager
async def healthy(service: Service) -> AsyncIterator[None]:
    """Check repeatedly that `/healthz` answers in time while the block runs."""
    done = threading.Event()

    def ask() -> list[float]:
        """Send the request in a thread, because the fake servers keep this process busy."""
        waits, processor, over = [], Processor(service.pid), False
        while not over:  # the first time at once, since a quick block lasts no longer than a wait
            started, lacked = monotonic(), processor.lacked
            connection = HTTPConnection("127.0.0.1", service.port, timeout=30)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()
            waits.append(monotonic() - started - (processor.lacked - lacked))
            over = done.wait(0.02)
        return waits

    asking = asyncio.get_running_loop().run_in_executor(None, ask)
    try:
        yield
    finally:
        done.set()
        waits = await asking
    assert max(waits) < MOST_LATER


def slow_key() -> str:
    """Create a key file with a valid key whose exponent is unusually long."""
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    order = (numbers.p - 1) * (numbers.q - 1)
    exponent = (1 << bounds.RSA_KEY.most // 100) + 1
    while True:
        exponent += 2
        try:
            inverse = pow(exponent, -1, order)
            break
        except ValueError:
            continue
    key = rsa.RSAPrivateNumbers(
        numbers.p,
        numbers.q,
        inverse,
        rsa.rsa_crt_dmp1(inverse, numbers.p),
        rsa.rsa_crt_dmq1(inverse, numbers.q),
        numbers.iqmp,
        rsa.RSAPublicNumbers(exponent, numbers.p * numbers.q),
    ).private_key(unsafe_skip_rsa_key_validation=True)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    written = {
        "type": "service_account",
        "client_email": "a@b.c",
        "private_key": key.private_bytes(*form).decode(),
    }
    return json.dumps(written)


RELAY = {"smtp-host": "127.0.0.1", "smtp-port": "9"}
ROWS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "a long host beyond ASCII": (
        {"type": "webhook", "url": f"https://{LONG_HOST}/"},
        {},
        f"url: names a host that {bounds.HOST.words}",
    ),
    "a long host beyond ASCII in a Secret": (
        {"type": "webhook", "credentialsSecret": "keys"},
        {"url": f"https://{LONG_HOST}/"},
        f'key "url" of Secret "keys" names a host that {bounds.HOST.words}',
    ),
    "a long host of a Slack URL": (
        {"type": "slack", "credentialsSecret": "keys"},
        {"slack-webhook-url": f"https://{LONG_HOST}/"},
        f'key "slack-webhook-url" of Secret "keys" names a host that {bounds.HOST.words}',
    ),
    "a long pattern": (
        {"type": "webhook", "url": "https://127.0.0.1/", "artifactPath": "[" * (bounds.PATTERN.most + 10)},
        {},
        f"artifactPath: {bounds.PATTERN.words}",
    ),
    "a long run of blanks in `from`": (
        {"type": "email", "to": ["a@b.c"], "credentialsSecret": "keys"},
        {**RELAY, "from": "A" + " " * 2_000 + "b"},
        f'key "from" of Secret "keys" {bounds.SECRET["from"].words}',
    ),
    "blanks in `from`, as many as there may be": (
        {"type": "email", "to": ["a@b.c"], "credentialsSecret": "keys"},
        {**RELAY, "from": "A" + " " * 990 + "b"},
        'key "from" of Secret "keys" is longer than 320 characters',
    ),
    "a slow key": (
        {"type": "google-drive", "folder": "Reports", "credentialsSecret": "keys"},
        {"service-account.json": slow_key()},
        'key "service-account.json" of Secret "keys" has no usable private_key (RSA, at most',
    ),
}


@pytest.mark.parametrize("row", ROWS)
async def test_a_hostile_team_does_not_affect_other_teams(stand: Stand, row: str) -> None:
    target, secret, said = ROWS[row]
    keys = {"keys": secret} if secret else {}
    bad, worse = [await finished(stand.kube, *[target] * 20, **keys) for _ in range(2)]
    first, second = await stand.good(), await stand.good()
    alone = await stand.timed(first)
    async with healthy(stand.service):
        asked = [
            stand.service.deliver(bad, "report", "respond-async"),
            stand.service.deliver(worse, "report", path="/previews"),
        ]
        hostile = asyncio.gather(*asked)
        assert await stand.timed(second) < max(1.2 * alone, alone + MOST_LATER)
        answer, preview = await hostile
        assert answer.status in {200, 202}
        assert all(one["message"].startswith(said) for one in preview.body["targets"]), preview.body[
            "targets"
        ][0]

        async def settled() -> Any:
            entries = await stand.kube.delivery(bad, "report")
            return len(entries) == 20 and all(entry["phase"] == "Failed" for entry in entries) and entries

        for entry in await until(settled):
            assert entry["message"].startswith(said)
            assert entry["reason"] in {"InvalidTarget", "SecretInvalid"}


async def test_many_patterns_on_many_artifacts_do_not_affect_other_teams(stand: Stand) -> None:
    listed = [{"name": f"{n}.md", "path": f"/workspace/output/{'d' * 100}/{n}.md"} for n in range(300)]
    hooks = [{"type": "webhook", "url": stand.hook.url, "artifactPath": f"*[!{n}]*d"} for n in range(80)]
    bad, good = await finished(stand.kube, *hooks), await stand.good()
    made = {"producedBy": "writer", "producedAt": "2026-03-01T10:00:00Z"}
    status = {"artifacts": [{**one, **made} for one in listed]}
    await stand.kube.patch(TEAMS, bad, "report", {"status": status}, subresource="status")
    alone = await stand.timed(await stand.good())
    async with healthy(stand.service):
        assert (await stand.service.deliver(bad, "report", "respond-async")).status == 202
        assert await stand.timed(good) < max(1.2 * alone, alone + MOST_LATER)

        async def settled() -> bool:
            return bool((await stand.service.read(bad, "report")).body["phase"] != "Pending")

        await until(settled, 60)
    entries = await stand.kube.delivery(bad, "report")
    assert {entry["message"] for entry in entries} <= {
        "answered 200",
        "answered 200; artifactPath selects none of the team's artifacts, so none is listed",
        f"artifactPath: {bounds.PICKING.what} {bounds.PICKING.words}",
    }


async def test_a_claim_dated_a_day_ahead_delays_no_other_team(stand: Stand) -> None:
    namespace = await stand.good()
    ahead = datetime.now(UTC) + timedelta(days=1)
    claim = {
        "name": "webhook-0", "type": "webhook", "success": False, "deliveredAt": format_time(ahead),
        "target": stand.hook.url, "phase": "Pending", "id": "msg_ahead", "claimedBy": "gone",
        "claimedUntil": format_time(ahead + timedelta(minutes=3)), "attempts": 0,
    }  # fmt: skip
    await stand.kube.patch(
        TEAMS, namespace, "report", {"status": {"delivery": [claim]}}, subresource="status"
    )
    await stand.timed(namespace)
    first, *_ = await stand.kube.delivery(namespace, "report")
    assert (first["id"], first["takeovers"]) == ("msg_ahead", 1)


TARGETS, CHANGES = 2_000, 15


async def test_a_team_with_many_long_names_that_changes_often_costs_the_watcher_little(stand: Stand) -> None:
    stem = "n" * 240
    named = [{"type": "webhook", "url": "https://h/", "name": f"{stem}{n // 2:013}"} for n in range(TARGETS)]
    namespace, good = await stand.kube.fresh_namespace(), await stand.kube.fresh_namespace()
    await stand.kube.team(namespace, "long", lifecycle(*named))
    await stand.kube.team(good, "report", lifecycle({"type": "webhook", "url": stand.hook.url}))
    watcher = uncovered(Watcher(stand.kubeconfig, stand.service.url, namespaces=f"{namespace},{good}"))
    async with watcher:
        await until(lambda: watcher.logged("listed") or watcher.port)
        processor = Processor(watcher.pid)
        used = processor.used
        for number in range(CHANGES):
            changed = {"metadata": {"annotations": {"number": str(number)}}}
            assert (await stand.kube.patch(TEAMS, namespace, "long", changed)).status == 200
        finished_at = monotonic()
        await stand.kube.finish(good, "report")

        async def delivered() -> bool:
            entries = await stand.kube.delivery(good, "report")
            return [entry["phase"] for entry in entries] == ["Delivered"]

        await until(delivered, 60)
        waited = monotonic() - finished_at
        spent = (processor.used - used) / CHANGES
    assert spent < 0.2, "a change took 0.6 s when names were tried one by one"
    assert waited < CHANGES * 0.2
