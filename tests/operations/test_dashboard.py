"""The dashboard: each query finds data in the processes' metrics, and it shows all of them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.helm import CHART, NAMESPACE, Helm
from tests.harness.prometheus import scraping
from tests.harness.receiver import Receiver
from tests.harness.service import Service, Watcher, finished
from tests.harness.waiting import until

DASHBOARD: dict[str, Any] = json.loads((CHART / "dashboards/agentteam-delivery.json").read_text())
OF_OTHERS = re.compile("certificate_expiry_timestamp_seconds|postponed_total|given_up_total")
"""Metrics that a service without TLS and with healthy receivers does not export."""


def queries() -> Iterator[tuple[str, str]]:
    """Return each panel's title and expressions."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def asked(expression: str) -> str:
    """Return an expression with its variables replaced, as Grafana does."""
    filled = expression.replace("$__rate_interval", "30s").replace("$__range", "1m")
    return filled.replace("$namespace", ".*")


async def test_every_query_finds_data(
    prometheus: None, fake_cluster: Cluster[FakeCluster], tmp_path: Path
) -> None:
    kube = fake_cluster.kube
    (tmp_path / "token").write_text("header.eyJleHAiOiA5OTk5OTk5OTk5fQ.signature")
    async with (
        Receiver() as hook,
        Service(fake_cluster.kubeconfig) as service,
        Watcher(fake_cluster.kubeconfig, service.url, token_file=tmp_path / "token") as watcher,
    ):
        addresses = [f"127.0.0.1:{service.port}", f"127.0.0.1:{watcher.port}"]
        async with scraping(tmp_path, addresses, namespace=NAMESPACE, pod="one") as prometheus_at_work:
            scraped = "count(agentteam_delivery_build_info) == 2"
            await until(lambda: prometheus_at_work.query(scraped), 30)
            await finished(
                kube, {"type": "webhook", "url": hook.url}, {"type": "slack", "credentialsSecret": "absent"}
            )
            silent = {
                (title, expression) for title, expression in queries() if not OF_OTHERS.search(expression)
            }
            assert len(silent) > 20

            async def all_found() -> bool:
                for query in sorted(silent):
                    if await prometheus_at_work.query(asked(query[1])):
                        silent.discard(query)
                return not silent

            try:
                await until(all_found, 30)
            except AssertionError:
                pytest.fail(f"these queries find nothing: {silent}")


async def test_the_dashboard_shows_every_metric(fake_cluster: Cluster[FakeCluster]) -> None:
    async with (
        Service(fake_cluster.kubeconfig) as service,
        Watcher(fake_cluster.kubeconfig, service.url) as watcher,
    ):
        texts = [(await one.request("GET", "/metrics")).content.decode() for one in (service, watcher)]
    names = {family.name for text in texts for family in text_string_to_metric_families(text)}
    drawn = " ".join(expression for _, expression in queries())
    unused = {name for name in names if name.startswith("agentteam_delivery_") and name not in drawn}
    assert not unused


def test_the_dashboard_has_no_overlaps_and_is_in_the_chart(kubectl: Path) -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in panels
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places)), "panels overlap"
    assert max(x for x, _ in places) < 24
    assert all(panel["title"] and panel["datasource"]["uid"] == "${datasource}" for panel in panels)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$(?:\{)?([a-z]+)", json.dumps(DASHBOARD)))
    assert used == variables
    rendering = Helm(kubectl.with_name("helm")).render({"dashboard": {"enabled": True}})
    [made] = [one for one in rendering.of("ConfigMap") if one["metadata"]["name"].endswith("-dashboard")]
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(made["data"]["agentteam-delivery.json"]) == DASHBOARD
