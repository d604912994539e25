"""The metrics of both processes: named by Prometheus' conventions, limited, correct, documented."""

import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from app.domain.reasons import Reason
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.hostile import Fault, Hostile
from tests.harness.kube import TEAMS
from tests.harness.prometheus import promtool
from tests.harness.receiver import Receiver
from tests.harness.service import Service, Watcher, finished
from tests.harness.tls import Mounted
from tests.harness.waiting import until

ROOT = Path(__file__).parents[2]

LABELS = {"type", "reason", "cause", "verb", "code", "answer", "version", "le", "generation"}
LABELS |= {"route", "status", "place"}
"""All labels: none for a team, a namespace, a URL or a host."""


async def shown(*programs: Service | Watcher) -> list[str]:
    texts = []
    for program in programs:
        answer = await program.request("GET", "/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        texts.append(answer.content.decode())
    return texts


def value(text: str, name: str, **labels: str) -> float:
    [found] = samples(text)[name, *sorted(labels.items())]
    return found


@lru_cache(maxsize=4)
def samples(text: str) -> Mapping[tuple[Any, ...], list[float]]:
    """Read a process's samples by name and labels."""
    found: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, *sorted(sample.labels.items())].append(sample.value)
    return found


async def test_promtool_finds_no_problem_after_all_kinds_of_deliveries(
    prometheus: None, fake_cluster: Cluster[FakeCluster]
) -> None:
    kube = fake_cluster.kube
    async with (
        Receiver() as hook,
        Service(fake_cluster.kubeconfig) as service,
        Watcher(fake_cluster.kubeconfig, service.url) as watcher,
    ):
        namespace = await finished(
            kube,
            {"type": "webhook", "name": "canary-target", "url": f"{hook.url}/canary-path"},
            {"type": "webhook", "name": "denied", "url": "http://127.0.0.66/"},
            {"type": "slack", "name": "no-secret", "credentialsSecret": "absent"},
            {"type": "email", "name": "email", "recipients": ["canary@example.com"]},
        )

        async def settled() -> bool:
            return len(await kube.delivery(namespace, "report")) == 4 and all(
                entry["phase"] != "Pending" for entry in await kube.delivery(namespace, "report")
            )

        await until(settled)

        async def told() -> bool:
            [_, text] = await shown(service, watcher)
            return value(text, "agentteam_delivery_watch_undelivered") == 0

        await until(told)
        texts = await shown(service, watcher)
    for text in texts:
        assert promtool("check", "metrics", stdin=text) == ""
        for canary in ("canary", namespace, "127.0.0.1", "report"):
            assert canary not in text
        families = list(text_string_to_metric_families(text))
        assert {label for family in families for one in family.samples for label in one.labels} <= LABELS
    [ours, theirs] = texts
    total = "agentteam_delivery_deliveries_total"
    assert value(ours, total, type="webhook", reason="Delivered") == 1
    assert value(ours, total, type="email", reason="NotImplemented") == 1
    failed = "agentteam_delivery_attempt_failures_total"
    assert value(ours, failed, type="webhook", reason="EgressDenied") == 1
    assert value(ours, failed, type="slack", reason="SecretNotFound") == 1
    assert value(ours, "agentteam_delivery_event_seconds_count") == 1
    assert value(ours, "agentteam_delivery_api_requests_total", verb="PATCH", code="200") >= 2
    assert value(ours, "agentteam_delivery_api_requests_total", verb="GET", code="404") == 1
    assert value(theirs, "agentteam_delivery_api_requests_total", verb="WATCH", code="200") >= 1
    assert value(theirs, "agentteam_delivery_watch_posts_total", answer="202") == 1
    for text in texts:
        assert 1e6 < value(text, "process_resident_memory_bytes") < 1e9
        assert value(text, "agentteam_delivery_build_info", version=version("agentteam-delivery")) == 1


async def test_every_series_exists_before_its_first_event(fake_cluster: Cluster[FakeCluster]) -> None:
    async with (
        Service(fake_cluster.kubeconfig) as service,
        Watcher(fake_cluster.kubeconfig, service.url) as watcher,
    ):
        [ours, theirs] = await shown(service, watcher)
    for kind in ("webhook", "slack", "email", "google-drive", "unknown"):
        for reason in Reason:
            assert value(ours, "agentteam_delivery_deliveries_total", type=kind, reason=reason) == 0
    for cause in ("timeout", "claim-lost", "rejected", "not-kept", "team-gone", "drain"):
        assert value(ours, "agentteam_delivery_unrecorded_total", cause=cause) == 0
    for name in ("claim_retries", "takeovers", "record_retries", "ledger_not_kept"):
        assert value(ours, f"agentteam_delivery_{name}_total") == 0
    for answer in ("202", "error", "no_token"):
        assert value(theirs, "agentteam_delivery_watch_posts_total", answer=answer) == 0


async def test_refused_and_lost_requests_to_the_kubernetes_api_are_counted(
    fake_cluster: Cluster[FakeCluster], tmp_path: Path
) -> None:
    async with (
        Receiver() as hook,
        Hostile(fake_cluster.kubeconfig) as hostile,
        Service(hostile.kubeconfig(tmp_path / "hostile"), api_timeout=1) as service,
    ):
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
        for fault in (Fault.CONFLICT, Fault.UNAVAILABLE, Fault.RESET):
            hostile.rates = {fault: 1.0}
            assert (await service.deliver(namespace, "report")).status == 503
        hostile.rates = {}
        assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
        [text] = await shown(service)
    calls = "agentteam_delivery_api_requests_total"
    assert value(text, calls, verb="PATCH", code="409") == value(
        text, "agentteam_delivery_claim_retries_total"
    )
    assert value(text, calls, verb="PATCH", code="409") >= 1
    assert value(text, calls, verb="GET", code="503") >= 1
    assert value(text, calls, verb="GET", code="none") >= 1


async def test_a_team_counts_as_waiting_until_its_targets_are_settled(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube = fake_cluster.kube
    async with Watcher(fake_cluster.kubeconfig, "http://127.0.0.1:1") as watcher:
        namespace = await finished(kube, {"type": "webhook", "url": "https://hooks.example.com"})

        async def waiting(number: int) -> bool:
            [text] = await shown(watcher)
            return value(text, "agentteam_delivery_watch_undelivered") == number

        await until(lambda: waiting(1))
        [text] = await shown(watcher)
        assert 0 <= value(text, "agentteam_delivery_watch_oldest_undelivered_seconds") < 60
        await kube.delete(TEAMS, namespace, "report")
        await until(lambda: waiting(0))
        [text] = await shown(watcher)
        assert value(text, "agentteam_delivery_watch_oldest_undelivered_seconds") == 0


async def test_an_api_that_never_answered_is_silent_since_the_watcher_started(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    async def away(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    fake_cluster.server.intercept = away
    async with Watcher(fake_cluster.kubeconfig, "http://127.0.0.1:1") as watcher:
        await until(lambda: watcher.logged("api_lost"))
        [text] = await shown(watcher)
        assert 0 < value(text, "agentteam_delivery_watch_silence_seconds") < 60


async def test_the_certificate_s_expiry_is_exported_and_follows_a_rotation(
    fake_cluster: Cluster[FakeCluster], tmp_path: Path
) -> None:
    mounted = Mounted(tmp_path)
    service = Service(fake_cluster.kubeconfig, **mounted.settings)
    service.tls = mounted.trusting
    async with service:

        async def ends() -> float:
            [text] = await shown(service)
            return value(text, "agentteam_delivery_certificate_expiry_timestamp_seconds")

        first = await ends()
        assert first > 1e9
        mounted.rotate(lasting=timedelta(days=1))

        async def rotated() -> bool:
            return await ends() < first

        await until(rotated)


async def test_the_runbook_s_table_names_every_metric(
    fake_cluster: Cluster[FakeCluster], tmp_path: Path
) -> None:
    mounted = Mounted(tmp_path)
    (tmp_path / "token").write_text("token")
    service = Service(fake_cluster.kubeconfig, **mounted.settings)
    service.tls = mounted.trusting
    async with (
        service,
        Watcher(fake_cluster.kubeconfig, service.url, token_file=tmp_path / "token") as watcher,
    ):
        texts = await shown(service, watcher)
    page = (ROOT / "docs/reference/metrics.md").read_text()
    told = re.findall(r"^\| `agentteam_delivery_(\w+)`", page, re.MULTILINE)
    names = {family.name for text in texts for family in text_string_to_metric_families(text)}
    ours = {name for name in names if name.startswith("agentteam_delivery_")}
    written = sorted(f"agentteam_delivery_{name}".removesuffix("_total") for name in told)
    assert written == sorted(ours)
