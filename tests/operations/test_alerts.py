"""Each alert: a fault on real processes, their scraped metrics, and the rule over an hour of them."""

import asyncio
import base64
import json
import math
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from app.domain.reasons import Reason
from app.domain.receipts import Receipt
from tests.harness.cluster import CRD, Cluster
from tests.harness.documents import read_yaml
from tests.harness.fake_cluster import FakeCluster
from tests.harness.helm import NAMESPACE, Helm
from tests.harness.prometheus import Series, firing, promtool, samples
from tests.harness.receiver import Receiver
from tests.harness.service import Service, Watcher, finished, lifecycle
from tests.harness.tls import Mounted
from tests.harness.waiting import until

FAULT = 20  # minute from which the processes show the fault
JUDGED = FAULT + 11  # minute up to which the rules are evaluated: the slowest takes ten


@dataclass(frozen=True)
class Rules:
    """The file with the chart's rules, and its alerts."""

    file: Path
    alerts: set[str]


@pytest.fixture(scope="module")
def rules(prometheus: None, kubectl: Path, tmp_path_factory: pytest.TempPathFactory) -> Rules:
    """Render all rules."""
    values = {"prometheusRule": {"enabled": True}, "tls": {"secretName": "tls"}}
    rendering = Helm(kubectl.with_name("helm")).render(values)
    spec: dict[str, Any] = rendering.one("PrometheusRule")["spec"]
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(yaml.safe_dump(spec))
    assert "SUCCESS" in promtool("check", "rules", file)
    return Rules(file, {rule["alert"] for group in spec["groups"] for rule in group["rules"]})


@dataclass
class Stage:
    """A running service and watcher, and their metrics before and after the fault."""

    fake: Cluster[FakeCluster]
    folder: Path
    mounted: Mounted
    service: Service
    watcher: Watcher
    hook: Receiver
    before: Series = field(default_factory=dict)
    after: Series = field(default_factory=dict)
    later: Series = field(default_factory=dict)  # the metrics `apart` seconds after `after`
    apart: float = 1.0

    async def scrape(self) -> Series:
        """Scrape the running processes, labelled as Prometheus would; times are relative to this moment."""
        shown: Series = {}
        for program in (self.service, self.watcher):
            if not program.ended:
                answer = await program.request("GET", "/metrics")
                shown |= samples(answer.content.decode(), namespace=NAMESPACE, container=program.command)
        now = time.time()
        return {
            name: value - now * ("_expiry_timestamp_" in name)
            for name, value in shown.items()
            if not math.isnan(value)
        }

    async def injected(self) -> None:
        """Record the metrics after the fault, and how fast the growing ones grow."""
        self.after, started = await self.scrape(), time.monotonic()
        await asyncio.sleep(0.5)  # to measure the increase per second
        self.later, self.apart = await self.scrape(), time.monotonic() - started

    def hour(self) -> dict[str, str]:
        """Return an hour of metrics in promtool's notation: minutes before the fault, and after it."""
        series = {}
        for name in {**self.before, **self.after}:
            old, new = self.before.get(name), self.after.get(name)
            shift = 60 * FAULT if "_expiry_timestamp_" in name else 0.0
            start = f"{(old if old is not None else new or 0) + shift}+0x{FAULT}"
            if new is None:
                series[name] = f"{start} stale"
                continue
            grows = "_silence_" in name or "_oldest_" in name
            slope = 60 * (self.later[name] - new) / self.apart if grows else 0.0
            series[name] = f"{start} {new + shift}{max(0.0, slope):+f}x40"
        return series


@pytest.fixture
async def stage(fake_cluster: Cluster[FakeCluster], tmp_path: Path) -> AsyncIterator[Stage]:
    """Start both with TLS and a token, deliver a team, and scrape them."""
    mounted = Mounted(tmp_path)
    (tmp_path / "token").write_text(token(lasting=3600))
    authority = tmp_path / "ca.crt"
    mounted.authority.cert_pem.write_to_path(authority)
    service = Service(
        fake_cluster.kubeconfig, api_timeout=1, record_timeout=1, target_timeout=10, **mounted.settings
    )
    service.tls = mounted.trusting
    async with Receiver() as hook, service:
        settings = {"token_file": tmp_path / "token", "ca_file": authority, "api_timeout": 1}
        async with Watcher(fake_cluster.kubeconfig, service.url, **settings) as watcher:
            stage = Stage(fake_cluster, tmp_path, mounted, service, watcher, hook)
            await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
            await until(lambda: hook.requests)

            async def settled() -> bool:
                return shown(await stage.scrape(), "watch_undelivered") == 0

            await until(settled)
            stage.before = await stage.scrape()
            yield stage


def token(*, lasting: float) -> str:
    """Return a token like those that Kubernetes projects; only its expiry is real."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(time.time() + lasting)}).encode())
    return f"header.{claims.decode().rstrip('=')}.signature"


def shown(series: Series, name: str) -> float:
    """Return the sum of a metric's samples."""
    full = f"agentteam_delivery_{name}{{"
    return sum(value for sample, value in series.items() if sample.startswith(full))


async def reaches(stage: Stage, name: str, least: float) -> None:
    async def there() -> bool:
        return shown(await stage.scrape(), name) >= least

    await until(there, 30)


async def the_service_is_gone(stage: Stage) -> None:
    await stage.service.stop(signal.SIGKILL)


async def the_watcher_is_gone(stage: Stage) -> None:
    await stage.watcher.stop(signal.SIGKILL)


async def receivers_refuse(stage: Stage) -> None:
    stage.hook.respond = lambda _: _answered(404)
    hooks = [{"type": "webhook", "name": f"hook-{number}", "url": stage.hook.url} for number in range(6)]
    await finished(stage.fake.kube, *hooks)
    await reaches(stage, "attempt_failures_total", 6)


async def a_team_names_what_is_not_there(stage: Stage) -> None:
    slack = [{"type": "slack", "name": f"s{number}", "credentialsSecret": "absent"} for number in range(6)]
    await finished(stage.fake.kube, *slack)
    await reaches(stage, "attempt_failures_total", 6)


async def the_api_takes_no_record(stage: Stage) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse | None:
        late = request.method == "PATCH" and len(stage.hook.requests) > 1
        return web.Response(status=503) if late else None

    stage.fake.server.intercept = refuse
    await finished(stage.fake.kube, {"type": "webhook", "url": stage.hook.url})
    await reaches(stage, "unrecorded_total", 1)


async def the_crd_is_replaced(stage: Stage) -> None:
    crd = read_yaml(CRD)
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    del status["properties"]["delivery"]
    status.pop("x-kubernetes-preserve-unknown-fields", None)
    await stage.fake.kube.install_crd(crd)
    await finished(stage.fake.kube, {"type": "webhook", "url": stage.hook.url})
    await reaches(stage, "ledger_not_kept_total", 1)


async def the_kubernetes_api_is_away(stage: Stage) -> None:
    await stage.fake.server.stop()
    await reaches(stage, "watch_silence_seconds", 0.01)


async def the_service_was_away_meanwhile(stage: Stage) -> None:
    for _ in range(6):
        await finished_before(stage, minutes=3)
    await reaches(stage, "watch_lag_seconds_count", 1 + 6)


async def a_team_cannot_be_claimed(stage: Stage) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse | None:
        ours = "agentteam-delivery" in request.headers["user-agent"]
        return web.Response(status=403) if ours and request.method == "PATCH" else None

    stage.fake.server.intercept = refuse
    await finished_before(stage, minutes=20)
    await reaches(stage, "watch_undelivered", 1)


async def finished_before(stage: Stage, *, minutes: float) -> None:
    """Finish a team in the past."""
    kube = stage.fake.kube
    namespace = await kube.fresh_namespace()
    at = (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await kube.team(namespace, "report", lifecycle({"type": "webhook", "url": stage.hook.url}))
    await kube.finish(namespace, "report", completedAt=at)


async def postponed_before(stage: Stage, *, hours: float, next_try: timedelta) -> None:
    """Create a team with a postponed target, as recorded by a process that no longer runs."""
    kube, now = stage.fake.kube, datetime.now(UTC)
    namespace = await kube.fresh_namespace()
    await kube.team(
        namespace, "report", lifecycle({"type": "webhook", "name": "hook", "url": stage.hook.url})
    )
    receipt = Receipt(
        name="hook",
        type="webhook",
        target=stage.hook.url,
        id="msg_1",
        reason=Reason.HTTP_STATUS,
        retries=9,
        delivered_at=now,
        timestamp=now - timedelta(hours=hours),
        retry_at=now + next_try,
    )
    await kube.finish(namespace, "report", delivery=[receipt.to_wire()])


async def a_receiver_is_away(stage: Stage) -> None:
    await postponed_before(stage, hours=2, next_try=timedelta(hours=1))
    await reaches(stage, "watch_postponed", 1)


async def a_receiver_never_came_back(stage: Stage) -> None:
    stage.hook.respond = lambda _: _answered(503)
    await postponed_before(stage, hours=25, next_try=timedelta(0))
    await reaches(stage, "given_up_total", 1)


async def the_token_is_not_renewed(stage: Stage) -> None:
    (stage.folder / "token").write_text(token(lasting=100))


async def the_token_is_gone(stage: Stage) -> None:
    (stage.folder / "token").unlink()
    await finished(stage.fake.kube, {"type": "webhook", "url": stage.hook.url})
    await reaches(stage, "watch_posts_total", shown(stage.before, "watch_posts_total") + 1)


async def the_certificate_is_not_renewed(stage: Stage) -> None:
    stage.mounted.rotate(lasting=timedelta(days=3))
    end = shown(stage.before, "certificate_expiry_timestamp_seconds")

    async def rotated() -> bool:
        return shown(await stage.scrape(), "certificate_expiry_timestamp_seconds") < end - 86_400

    await until(rotated)


async def nothing(stage: Stage) -> None:
    await finished(stage.fake.kube, {"type": "webhook", "url": stage.hook.url})
    await until(lambda: len(stage.hook.requests) == 2)


FAULTS: dict[Callable[[Stage], Any], set[str]] = {
    nothing: set(),
    a_team_names_what_is_not_there: set(),
    the_service_is_gone: {"Down"},
    the_watcher_is_gone: {"WatcherDown"},
    receivers_refuse: {"Failing"},
    a_receiver_is_away: {"ReceiverAway"},
    a_receiver_never_came_back: {"GivenUp"},
    the_api_takes_no_record: {"NotRecorded"},
    the_crd_is_replaced: {"LedgerNotKept"},
    the_kubernetes_api_is_away: {"WatcherBehind"},
    the_service_was_away_meanwhile: {"WatcherBehind"},
    a_team_cannot_be_claimed: {"Undelivered"},
    the_token_is_not_renewed: {"TokenExpiring"},
    the_token_is_gone: {"TokenExpiring"},
    the_certificate_is_not_renewed: {"CertificateExpiring"},
}


@pytest.mark.parametrize(("inject", "alerts"), FAULTS.items(), ids=[inject.__name__ for inject in FAULTS])
async def test_a_fault_fires_its_alert_and_no_other(
    rules: Rules, stage: Stage, inject: Callable[[Stage], Any], alerts: set[str]
) -> None:
    await inject(stage)
    await stage.injected()
    fired = firing(rules.file, rules.alerts, stage.hour(), JUDGED)
    assert fired == {f"AgentTeamDelivery{alert}" for alert in alerts}


async def _answered(status: int) -> web.StreamResponse:
    return web.Response(status=status)
