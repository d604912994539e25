"""The service's problems match the examples in the API's description."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from app.api.examples import PROBLEMS
from app.domain.errors import Internal, LedgerNotKept, LedgerRefused, MethodNotAllowed, NoSuchPath, Problem
from tests.harness import described
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Gate, Receiver
from tests.harness.reviews import Permission
from tests.harness.service import Answer, Service, finished, lifecycle
from tests.harness.waiting import until

ELSEWHERE = {Internal, LedgerNotKept, LedgerRefused}
"""These require another cluster or a fault; where other tests cause them, `described.check` compares them."""
LIMITS = {
    "auth": "kubernetes",
    "max_in_flight": 4,  # half of it per namespace
    "max_targets": 2,
    "max_targets_in_flight": 40,
    "max_body": 2_000,
    "read_timeout": 3,
    "rate_limit": 20,
    "api_timeout": 3,
}
EXAMPLES = {example["value"]["type"]: example["value"] for example in PROBLEMS.values()}


async def raw(service: Service, request: bytes) -> Answer:
    """Send bytes that no HTTP client would send, and return the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(request)
        head, _, content = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return Answer(int(head.split()[1]), {"content-type": "application/problem+json"}, content)


async def refused(
    cluster: Cluster[FakeCluster], service: Service, hook: Receiver, gate: Gate
) -> AsyncIterator[Answer]:
    """Yield one answer of each kind; the service is about to end afterwards."""
    kube, reviews = cluster.kube, cluster.server.reviews
    usual, greedy = (reviews.token(name, Permission("create")) for name in ("usual", "greedy"))
    target = {"type": "webhook", "name": "archive", "url": hook.url}
    namespace = await finished(kube, target)
    await kube.team(namespace, "at-work", lifecycle(target))
    await kube.team(namespace, "long", lifecycle(*({**target, "name": f"n{number}"} for number in range(3))))
    await kube.finish(namespace, "long")

    def ask(
        caller: str = usual,
        method: str = "POST",
        path: str = "/deliveries",
        team: str = "report",
        **event: Any,
    ) -> Any:
        headers = {"Authorization": f"Bearer {caller}", "Prefer": "respond-async"}
        body = {"namespace": namespace, "team": team, **event}
        return service.request(method, path, json=body if method == "POST" else None, headers=headers)

    yield await raw(service, b"GET / HTTP/9\r\n\r\n")
    yield await raw(service, b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
    yield await raw(service, b"GET / HTTP/1.1\r\n")
    yield await ask("nobody-s")
    yield await ask(reviews.token("stranger"))
    yield await ask(path="/absent")
    yield await ask(method="PUT")
    yield await ask(team="absent")
    yield await ask(team="at-work")
    yield await ask(uid="another")
    yield await ask(team="Report")
    yield await ask(phase="Running")
    yield await ask(targets=["absent"])
    yield await ask(team="long")
    yield await ask(team="x" * 3_000)

    async def away(request: web.Request) -> web.StreamResponse | None:
        return web.json_response({"kind": "Status"}, status=503) if "/agentteams/" in request.path else None

    cluster.server.intercept = away
    yield await ask()
    cluster.server.intercept = None
    limited: list[Answer] = []
    while not limited:  # a slow machine may need several rounds
        asked = await asyncio.gather(*(ask(greedy, team="absent") for _ in range(40)))
        limited = [answer for answer in asked if answer.status == 503 and answer.problem == "rate-limited"]
    yield limited[0]

    assert (await ask()).status == 202
    await until(lambda: hook.requests)
    yield await ask(redeliver="all")
    for team in ("second", "third"):
        await kube.team(namespace, team, lifecycle(target))
        await kube.finish(namespace, team)
    assert (await ask(team="second")).status == 202
    yield await ask(team="third")
    ending = asyncio.create_task(service.stop(signal.SIGTERM))
    await until(lambda: service.logged("draining"))
    yield await ask()
    gate.open()
    assert await ending == 0


async def test_each_problem_matches_its_example_in_the_description(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    gate = Gate()
    seen = set()
    async with Receiver(respond=gate) as hook, Service(fake_cluster.kubeconfig, **LIMITS) as service:
        async for answer in refused(fake_cluster, service, hook, gate):
            said = answer.body
            shown = EXAMPLES.get(said["type"])
            seen.add(said["type"])
            if shown:
                assert [said[name] for name in ("type", "title", "status")] == [
                    shown[name] for name in ("type", "title", "status")
                ]
                assert answer.status == shown["status"]
    kinds = {kind.slug for kind in Problem.__subclasses__() if kind not in ELSEWHERE}
    assert {type_.rpartition(":")[2] for type_ in seen} == kinds
    assert {type_.rpartition(":")[2] for type_ in seen - {*EXAMPLES}} == {
        NoSuchPath.slug,
        MethodNotAllowed.slug,
    }


@pytest.mark.parametrize(
    "change", [{"title": "Another"}, {"status": 500}, {"type": "urn:agentteam-delivery:draining"}]
)
def test_an_answer_that_differs_from_the_description_fails_every_test(change: dict[str, Any]) -> None:
    headers = {"content-type": "application/problem+json", "x-request-id": "any"}
    shown = EXAMPLES["urn:agentteam-delivery:team-not-found"]
    described.check("POST", "/deliveries", 404, headers, json.dumps(shown).encode())
    with pytest.raises(AssertionError):
        described.check("POST", "/deliveries", 404, headers, json.dumps({**shown, **change}).encode())
