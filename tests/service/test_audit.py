"""The audit log: a line per call that can change something or was refused, an Event per redelivery."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.processes import free_ports
from tests.harness.receiver import Receiver
from tests.harness.reviews import Permission
from tests.harness.service import Program, Service, Watcher, finished
from tests.harness.waiting import until

ME = "system:serviceaccount:ops:me"


async def test_the_audit_log_says_who_requested_what_and_the_answer(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    kube, reviews = fake_cluster.kube, fake_cluster.server.reviews
    async with (
        Receiver() as hook,
        Service(fake_cluster.kubeconfig, auth="kubernetes") as service,
    ):
        namespace = await finished(kube, {"type": "webhook", "name": "hook", "url": hook.url})
        bearer = {"Authorization": f"Bearer {reviews.token(ME, Permission('create'), Permission('get'))}"}
        nobody = {"Authorization": f"Bearer {reviews.token('stranger')}"}

        async def ask(method: str, path: str, headers: dict[str, str], **fields: Any) -> int:
            number = f"request-{len(expected)}"
            event = {"json": {"namespace": namespace, "team": "report", **fields}} if method == "POST" else {}
            answer = await service.request(method, path, headers={**headers, "X-Request-Id": number}, **event)
            return answer.status

        of_team = {"namespace": namespace, "team": "report"}
        expected: list[dict[str, Any]] = []

        def line(answer: int, **more: Any) -> None:
            expected.append({"request_id": f"request-{len(expected)}", "answer": answer, **more})

        record = f"/deliveries/{namespace}/report"
        assert await ask("POST", "/deliveries", bearer) == 200
        line(200, caller=ME, action="deliver", **of_team)
        assert await ask("POST", "/deliveries", bearer, redeliver="all", targets=["hook"]) == 200
        line(200, caller=ME, action="redeliver-all", targets="hook", **of_team)
        assert await ask("POST", "/deliveries", bearer, test=True) == 200
        line(200, caller=ME, action="test", **of_team)
        assert await ask("POST", "/deliveries", nobody, redeliver="failed") == 403
        line(403, caller="stranger", action="redeliver-failed", problem="forbidden", **of_team)
        assert await ask("GET", record, nobody) == 403
        line(403, caller="stranger", action="read", problem="forbidden", **of_team)
        assert await ask("POST", "/previews", nobody) == 403
        line(403, caller="stranger", action="preview", problem="forbidden", **of_team)
        assert await ask("POST", "/deliveries", {}) == 401
        line(401, caller=None, address="127.0.0.1", action="post", problem="unauthenticated")
        assert await ask("POST", "/deliveries", bearer, targets=["absent"]) == 422
        line(422, caller=ME, action="deliver", targets="absent", problem="unknown-target", **of_team)
        assert await ask("POST", "/deliveries", bearer, nonsense=1) == 422
        line(422, caller=ME, action="post", problem="malformed")
        # A permitted read leaves no line.
        assert await ask("GET", record, bearer) == 200
        assert await ask("POST", "/previews", bearer) == 200

        def trail() -> list[dict[str, Any]]:
            return [
                {
                    name: value
                    for name, value in one.items()
                    if name not in {"event", "level", "logger", "timestamp"}
                }
                for one in service.logged("audit")
            ]

        await until(lambda: len(trail()) >= len(expected))
        assert trail() == expected

        asked: list[Any] = []

        async def told() -> bool:
            events = (await kube.list("events", namespace)).body["items"]
            asked[:] = [one for one in events if one["reason"] == "RedeliveryRequested"]
            return bool(asked)

        await until(told)
        [event] = asked
        assert event["message"] == f"{ME} requested redelivery of hook (request request-1)"
        assert (event["type"], event["involvedObject"]["name"]) == ("Normal", "report")

        await _counted(service)


async def _counted(service: Service) -> None:
    """Check how the requests above, and some more, were counted."""
    for path in ("/healthz", "/readyz", "/metrics"):
        head = await Program.request(service, "HEAD", path)
        assert (head.status, head.content) == (200, b"")
    await service.request("GET", "/nothing-here")
    text = (
        await Program.request(service, "GET", "/metrics", headers={"Accept": "text/plain"})
    ).content.decode()
    counted = 'agentteam_delivery_http_requests_total{{route="{}",status="{}"}}'
    for route, status, number in (
        ("/deliveries", 200, 3),
        ("/deliveries", 401, 1),
        ("/deliveries", 403, 1),
        ("/deliveries", 422, 2),
        ("/deliveries/{namespace}/{team}", 200, 1),
        ("/deliveries/{namespace}/{team}", 403, 1),
        ("/previews", 200, 1),
        ("/healthz", 200, 1),
        ("/metrics", 200, 1),
        ("other", 404, 1),
    ):
        assert f"{counted.format(route, status)} {number}.0" in text, (route, status)
    assert 'agentteam_delivery_http_request_seconds_count{route="/deliveries"} 7.0' in text


async def test_the_watcher_answers_a_probe_by_head(fake_cluster: Cluster[FakeCluster]) -> None:

    async with Watcher(fake_cluster.kubeconfig, "http://127.0.0.1:1") as watcher:
        for path in ("/healthz", "/metrics"):
            head = await watcher.request("HEAD", path)
            assert (head.status, head.content) == (200, b"")
        old = {"Accept": "application/openmetrics-text; version=0.0.1"}
        answer = await watcher.request("GET", "/metrics", headers=old)
        assert answer.headers["content-type"] == "application/openmetrics-text; version=0.0.1; charset=utf-8"
        assert answer.content.endswith(b"# EOF\n")


@pytest.mark.parametrize("path", ["/deliveries", "/previews"])
async def test_a_caller_that_leaves_in_the_middle_of_its_body_does_not_count_as_an_error_of_the_service(
    fake_cluster: Cluster[FakeCluster], path: str
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n"
    async with Service(fake_cluster.kubeconfig) as service:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(head.encode() + b'{"namespac')
        writer.close()
        await until(lambda: bool(service.logged("audit")))
        [line] = service.logged("audit")
        assert (line["action"], line["answer"], line["problem"]) == ("post", 422, "malformed")
        counted = (await service.request("GET", "/metrics")).content.decode()
        assert f'http_requests_total{{route="{path}",status="422"}} 1.0' in counted
        assert f'http_requests_total{{route="{path}",status="500"}} 0.0' in counted
    assert not [one for one in service.raw if "xception" in one]


class Quiet(Service):
    """A service whose log does not say where it listens."""

    def __init__(self, kubeconfig: Path, **settings: object) -> None:
        [port] = free_ports(1)
        super().__init__(kubeconfig, log_level="CRITICAL", port=port, **settings)
        self.port = port

    async def start(self) -> None:
        """Start it, and return when it listens."""

        async def listens() -> bool:
            try:
                return (await self.request("GET", "/healthz")).status == 200
            except aiohttp.ClientConnectionError:
                return False

        await Program.start(self)
        await until(listens)


async def test_the_audit_log_is_written_at_every_log_level(fake_cluster: Cluster[FakeCluster]) -> None:
    async with Quiet(fake_cluster.kubeconfig, auth="kubernetes") as service:
        assert (await service.request("POST", "/deliveries")).status == 401
        await until(lambda: bool(service.logged("audit")))
        [line] = service.logged("audit")
        said = [line[name] for name in ("level", "caller", "address", "answer")]
        assert said == ["info", None, "127.0.0.1", 401]
