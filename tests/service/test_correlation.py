"""Request ids and traces: taken from callers, logged, and returned."""

import re
from typing import Any

import pytest

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.service import Answer, Service, finished
from tests.harness.waiting import until
from tests.service.conftest import Bench

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
MADE = re.compile(r"[0-9a-f]{32}")


async def posted(service: Service, namespace: str, **headers: str) -> Answer:
    """Submit a team with additional headers."""
    event = {"namespace": namespace, "team": "report"}
    return await service.request("POST", "/deliveries", json=event, headers=headers)


def settled(service: Service, namespace: str) -> list[dict[str, Any]]:
    return [line for line in service.logged("target_settled") if line["namespace"] == namespace]


async def test_a_caller_s_id_and_trace_are_on_every_log_line_and_the_id_is_returned(
    bench: Bench,
) -> None:
    hook = {"type": "webhook", "url": bench.hook.url}
    namespace = await bench.finished(hook, {**hook, "name": "second"})
    headers = {"X-Request-Id": "run-42:a", "traceparent": PARENT}
    answer = await posted(bench.service, namespace, **headers, Prefer="respond-async")
    assert answer.headers["x-request-id"] == "run-42:a"
    await until(lambda: len(settled(bench.service, namespace)) == 2)
    for line in settled(bench.service, namespace):
        assert (line["request_id"], line["trace_id"]) == ("run-42:a", TRACE)
        assert set(line) >= {"team", "namespace", "target", "reason", "attempts", "id"}


@pytest.mark.parametrize("given", [None, "", "x" * 129, 'a"b', "a b", "ä", "https://x.example/secret"])
async def test_an_id_is_created_if_the_caller_sends_no_valid_one(bench: Bench, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    namespace = await bench.finished({"type": "webhook", "url": bench.hook.url})
    answer = await posted(bench.service, namespace, **headers)
    assert MADE.fullmatch(answer.headers["x-request-id"])
    [line] = settled(bench.service, namespace)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "trace_id" not in line


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "junk",
        PARENT.upper(),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT[:-1],
        f"{PARENT}-more",
        f"ff{PARENT[2:]}",
    ],
)
async def test_an_invalid_traceparent_is_ignored(bench: Bench, parent: str) -> None:
    namespace = await bench.finished({"type": "webhook", "url": bench.hook.url})
    assert (await posted(bench.service, namespace, traceparent=parent)).status == 200
    assert "trace_id" not in settled(bench.service, namespace)[0]


async def test_a_target_settled_without_an_attempt_has_a_log_line_too(bench: Bench) -> None:
    namespace = await bench.finished({"type": "slack", "name": "chat"})
    await posted(bench.service, namespace, **{"X-Request-Id": "mine"})
    [line] = settled(bench.service, namespace)
    assert (line["reason"], line["target"], line["request_id"]) == ("InvalidTarget", "chat", "mine")


async def test_problems_and_probes_have_an_id_too(bench: Bench) -> None:
    for method, path in (("POST", "/deliveries"), ("GET", "/nowhere"), ("GET", "/healthz")):
        answer = await bench.service.request(method, path, headers={"X-Request-Id": "mine"})
        assert answer.headers["x-request-id"] == "mine", path


async def test_each_failed_attempt_is_logged_at_debug_level(
    fake_cluster: Cluster[FakeCluster], silent_port: int
) -> None:
    async with Service(fake_cluster.kubeconfig, log_level="DEBUG", attempts=2) as service:
        target = {"type": "webhook", "name": "hook", "url": f"http://127.0.0.1:{silent_port}/"}
        namespace = await finished(fake_cluster.kube, target)
        answer = await posted(service, namespace, **{"X-Request-Id": "mine"})
        assert answer.body["targets"][0]["reason"] == "ConnectionFailed"
        told = [(line["attempt"], line["reason"]) for line in service.logged("attempt_failed")]
        assert told == [(1, "ConnectionFailed"), (2, "ConnectionFailed")]
        assert {line["request_id"] for line in service.logged("attempt_failed")} == {"mine"}
