"""Prometheus' own tools, applied to the metrics of our processes."""

import asyncio
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.processes import free_ports
from tests.harness.waiting import until_ready

Series = dict[str, float]
"""Samples by name and labels, as Prometheus writes them."""


def samples(text: str, **labels: str) -> Series:
    """Parse a process's metrics; each sample gets the labels that a scrape adds."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            pairs = ",".join(
                f"{key}={json.dumps(value)}" for key, value in {**sample.labels, **labels}.items()
            )
            found[f"{sample.name}{{{pairs}}}"] = sample.value
    return found


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """Run promtool; return its output, or fail with it."""
    done = subprocess.run(["promtool", *arguments], check=False, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def firing(rules: Path, alerts: Iterable[str], series: Mapping[str, str], minute: int) -> set[str]:
    """Return the alerts of a rule file that fire up to some minute over series in promtool's notation."""
    # promtool compares with expected alerts, so expect each of them to fire. It reports those that do not.
    asked = {
        alert: f'group(last_over_time(ALERTS{{alertname="{alert}",alertstate="firing"}}[1h])) or vector(0)'
        for alert in alerts
    }
    test = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                    for expression in asked.values()
                ],
            }
        ],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(test, file)  # which is YAML, and much faster to write
        file.flush()
        done = subprocess.run(
            ["promtool", "test", "rules", file.name], check=False, capture_output=True, text=True
        )
    said = (done.stdout + done.stderr).replace('\\"', '"')
    silent = {alert for alert, expression in asked.items() if expression in said}
    assert done.returncode == 0 or silent, said
    return {*alerts} - silent


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    async def query(self, expression: str) -> list[Any]:
        """Return the current value of an expression."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/api/v1/query", params={"query": expression}) as response,
        ):
            answer = await response.json()
        assert answer["status"] == "success", (expression, answer)
        return list(answer["data"]["result"])


@asynccontextmanager
async def scraping(folder: Path, targets: Iterable[str], **labels: str) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that scrapes these addresses every half second."""
    [port] = free_ports(1)
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
        "scrape_configs": [
            {"job_name": "ours", "static_configs": [{"targets": list(targets), "labels": labels}]}
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        await until_ready(f"{prometheus.url}/-/ready")
        yield prometheus
    finally:
        process.kill()
        await process.wait()
