"""The watcher sees every team despite failures of the API server, without flooding it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from app.domain.backoff import Backoff
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import TEAMS, Kube
from tests.harness.waiting import until
from tests.watcher.stand import QUICK, Service, Watching, finish, watching

LIST_PATH = "/apis/kagents.dev/v1alpha1/agentteams"
RESTARTS = 'agentteam_delivery_watch_restarts_total{{reason="{}"}}'


def watches(server: FakeCluster) -> int:
    return [method for method, path in server.requests if path == LIST_PATH].count("WATCH")


def lists(server: FakeCluster) -> int:
    return server.requests.count(("GET", LIST_PATH))


def answer_watches(
    server: FakeCluster, answer: Callable[[web.Request], web.StreamResponse], times: list[float] | None = None
) -> None:
    """Make the server answer watches with something else; record the times of these requests."""

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if "watch" not in request.query:
            return None
        if times is not None:
            times.append(time.monotonic())
        return answer(request)

    server.intercept = intercept


class TestList:
    """Existing teams are listed, one page at a time."""

    async def test_all_pages_are_read(self, kube: Kube, server: FakeCluster, service: Service) -> None:
        names = [f"team-{number}" for number in range(7)]
        for name in names:
            await finish(kube, name)
        async with watching(kube.kubeconfig, service.url, pace=replace(QUICK, page=3)) as watcher:
            await until(lambda: sorted(service.teams) == names)
            assert await watcher.metric("agentteam_delivery_watch_teams") == 7
        assert lists(server) == 3

    async def test_a_cluster_without_the_crd_is_reported_in_words(self, kube: Kube, service: Service) -> None:
        async with watching(kube.kubeconfig, service.url, api_group="absent.example.com") as watcher:
            line = (await until(lambda: watcher.logged("api_lost")))[0]
        assert line["log_level"] == "warning"
        assert "this cluster has no CRD agentteams.absent.example.com: install the operator" in line["error"]
        assert "DELIVERY_API_GROUP" in line["error"]

    async def test_an_expired_page_restarts_the_list(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        for number in range(3):
            await finish(kube, f"team-{number}")

        async def expire(request: web.Request) -> None:
            if "continue" in request.query:
                server.intercept = None
                server.compact()

        server.intercept = expire
        async with watching(kube.kubeconfig, service.url, pace=replace(QUICK, page=2)):
            await until(lambda: len(set(service.teams)) == 3)
        assert lists(server) == 4

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (503, "<html>away</html>"),
            (200, "<html>hello</html>"),
            (200, "[]"),
            (200, '{"items": []}'),
            (403, ""),
        ],
    )
    async def test_an_answer_that_is_not_a_list_is_retried(
        self, status: int, body: str, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        await finish(kube, "report")
        times: list[float] = []

        async def odd(_: web.Request) -> web.Response | None:
            times.append(time.monotonic())
            return web.Response(status=status, text=body) if len(times) <= 3 else None

        server.intercept = odd
        async with watching(kube.kubeconfig, service.url) as watcher:
            await until(lambda: service.teams == ["report"])
            assert len(watcher.logged("api_lost")) == 1
            assert len(watcher.logged("api_back")) == 1
        assert times[3] - times[0] >= 0.05 + 0.1 + 0.2

    async def test_a_server_that_does_not_have_the_resource_yet_is_retried(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        async with watching(kube.kubeconfig, service.url, api_group="claude.amcheste.io") as watcher:
            line = (await until(lambda: watcher.logged("api_lost")))[0]
            assert "no CRD agentteams.claude.amcheste.io" in line["error"]
            await until(lambda: len(server.requests) > 3)

    async def test_each_namespace_has_its_own_list_and_watch(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        for namespace in ("a", "b", "c"):
            await kube.namespace(namespace)
            await finish(kube, "before", namespace=namespace)
        async with watching(kube.kubeconfig, service.url, namespaces="a,b,a", resync=0.2) as watcher:
            await until(lambda: len(service.teams) >= 2)
            for namespace in ("c", "b", "a"):
                await finish(kube, "after", namespace=namespace)
            await watcher.reaches("agentteam_delivery_watch_teams", 4)
            await watcher.reaches("agentteam_delivery_watch_relists_total", 2)
            assert await watcher.metric("agentteam_delivery_watch_teams") == 4
        assert {service.event(request)["namespace"] for request in service.requests} == {"a", "b"}
        assert lists(server) == 0  # no permission for the whole cluster is required


class TestWatch:
    """A watch continues from where the last one ended."""

    async def test_closed_watches_are_reopened(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        async with watching(kube.kubeconfig, service.url) as watcher:
            for number in range(3):
                await _drop_until_closed(server, watcher, number + 1)
                await finish(kube, f"team-{number}")
                await until(lambda: service.teams[-1:] == [f"team-{number}"])  # noqa: B023  # evaluated immediately
            assert not watcher.logged("api_lost")
        assert lists(server) == 1
        assert service.teams == ["team-0", "team-1", "team-2"]

    async def test_a_watch_that_lasted_is_reopened_without_delay(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        pace = replace(QUICK, watch_healthy=0.0, reconnect=Backoff(60.0, 60.0))
        async with watching(kube.kubeconfig, service.url, pace=pace) as watcher:
            for number in range(1, 4):
                await _drop_until_closed(server, watcher, number)
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])

    async def test_a_watch_that_closes_immediately_causes_no_hot_loop(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        times: list[float] = []
        answer_watches(server, lambda _: web.Response(content_type="application/json"), times)
        pace = replace(QUICK, reconnect=Backoff(0.1, 0.4))
        async with watching(kube.kubeconfig, service.url, pace=pace):
            await until(lambda: len(times) >= 5)
            server.intercept = None
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
        waits = [later - earlier for earlier, later in pairwise(times)]
        assert all(wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4, 0.4), strict=False))

    async def test_a_watch_that_repeats_one_event_causes_no_hot_loop(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        times: list[float] = []
        await finish(kube, "report")
        event = {"type": "MODIFIED", "object": (await kube.get(TEAMS, "research", "report")).body}
        answer_watches(server, lambda _: web.json_response(event), times)
        pace = replace(QUICK, reconnect=Backoff(0.1, 0.4))
        async with watching(kube.kubeconfig, service.url, pace=pace):
            await until(lambda: len(times) >= 4)
        assert times[3] - times[0] >= 0.1 + 0.2 + 0.4

    @pytest.mark.parametrize(
        ("status", "text"),
        [
            (503, "<html>away</html>"),
            (200, "<html>\n<body>away</body>\n</html>\n"),
            (200, "{\n"),
            (200, "[]\n"),
            (200, "\n"),
            (200, '{"type": "NEWS", "object": {"metadata": {}}}\n'),
            (200, '{"type": "ADDED", "object": null}\n'),
            (200, '{"type": "ERROR", "object": {"code": 500}}\n'),
            (200, '{"type": "ERROR", "object": "odd"}\n'),
            (429, ""),
            (403, ""),
            (400, ""),
        ],
    )
    async def test_an_answer_that_is_not_a_watch_is_retried(
        self, status: int, text: str, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        times: list[float] = []
        answer_watches(server, lambda _: web.Response(status=status, text=text), times)
        async with watching(kube.kubeconfig, service.url) as watcher:
            await until(lambda: len(times) >= 4)
            server.intercept = None
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            assert await watcher.metric(RESTARTS.format("error")) >= 4
            assert watcher.logged("api_lost")
        assert times[3] - times[0] >= 0.05 + 0.1 + 0.2
        assert lists(server) == 1

    async def test_a_line_above_the_limit_is_an_error(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        endless = b"x" * 6_000_000
        answer_watches(server, lambda _: web.Response(body=endless))
        async with watching(kube.kubeconfig, service.url) as watcher:
            await watcher.reaches(RESTARTS.format("error"), 1)
            server.intercept = None
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])

    async def test_compaction_causes_a_new_list(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        async with watching(kube.kubeconfig, service.url) as watcher:
            await finish(kube, "before")
            await until(lambda: service.teams == ["before"])
            answer_watches(server, lambda _: web.Response(status=503))

            async def shut_out() -> bool:
                await server.drop_watches()
                return await watcher.metric(RESTARTS.format("error")) > 0

            await until(shut_out)
            await kube.delete(TEAMS, "research", "before")
            await finish(kube, "after")
            server.compact()
            server.intercept = None
            await until(lambda: "after" in service.teams)
            assert await watcher.metric(RESTARTS.format("gone")) == 1
            assert await watcher.metric("agentteam_delivery_watch_relists_total") == 1
            assert await watcher.metric("agentteam_delivery_watch_teams") == 1
        assert lists(server) == 2

    async def test_gone_as_a_status_causes_a_new_list_after_a_wait(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        times: list[float] = []
        answer_watches(server, lambda _: web.Response(status=410), times)
        async with watching(kube.kubeconfig, service.url) as watcher:
            await until(lambda: len(times) >= 4)
            server.intercept = None
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            assert await watcher.metric(RESTARTS.format("gone")) >= 4
        assert times[3] - times[0] >= 0.05 + 0.1 + 0.2
        assert lists(server) >= 4

    async def test_bookmarks_advance_the_watch(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        asked: list[str] = []

        def bookmark(request: web.Request) -> web.Response:
            asked.append(request.query["resourceVersion"])
            event = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "4711"}}}
            return web.json_response(event)

        answer_watches(server, bookmark)
        async with watching(kube.kubeconfig, service.url) as watcher:
            await until(lambda: len(asked) >= 2)
            assert await watcher.metric("agentteam_delivery_watch_teams") == 0
        assert asked[0] != "4711"
        assert asked[1] == "4711"

    async def test_requests_have_the_expected_parameters(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        asked: list[dict[str, str]] = []

        async def note(request: web.Request) -> None:
            asked.append(dict(request.query))

        server.intercept = note
        async with watching(kube.kubeconfig, service.url):
            await until(lambda: len(asked) == 2)
        assert asked[0] == {"limit": "50"}
        assert asked[1].pop("resourceVersion").isdigit()
        assert asked[1] == {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": "290"}

    async def test_a_silent_watch_is_given_up(self, kube: Kube, service: Service) -> None:
        pace = replace(QUICK, watch_silence=0.2)
        async with watching(kube.kubeconfig, service.url, pace=pace) as watcher:
            await watcher.reaches(RESTARTS.format("error"), 2)
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])


class TestOutage:
    """The watcher waits for an API server that is away."""

    async def test_a_restart_of_the_api_server_is_survived(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        async with watching(kube.kubeconfig, service.url) as watcher:
            await finish(kube, "before")
            await until(lambda: service.teams == ["before"])
            await server.stop()
            await until(lambda: watcher.logged("api_lost"))
            await server.start()
            await finish(kube, "after")
            await until(lambda: service.teams == ["before", "after"])
            await until(lambda: watcher.logged("api_back"))
            assert len(watcher.logged("api_lost")) == 1
            assert len(watcher.logged("api_back")) == 1

    async def test_an_api_server_that_is_away_at_the_start_is_waited_for(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        await finish(kube, "report")
        await server.stop()
        async with watching(kube.kubeconfig, service.url) as watcher:
            await until(lambda: watcher.logged("api_lost"))
            await server.start()
            await until(lambda: service.teams == ["report"])

    async def test_a_team_deleted_during_an_outage_is_forgotten(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        await finish(kube, "report")
        async with watching(kube.kubeconfig, service.url, resync=0.3) as watcher:
            await watcher.reaches("agentteam_delivery_watch_teams", 1)
            # Watches stay closed, so that only a list can show it.
            answer_watches(server, lambda _: web.Response(status=503))
            await server.drop_watches()
            await kube.delete(TEAMS, "research", "report")
            await watcher.comes_to("agentteam_delivery_watch_teams", 0)

    async def test_a_missing_answer_is_given_up(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        await finish(kube, "report")

        async def hang(_: web.Request) -> None:
            server.intercept = None
            await asyncio.sleep(0.5)

        server.intercept = hang
        async with watching(kube.kubeconfig, service.url, api_timeout=0.1) as watcher:
            await until(lambda: service.teams == ["report"])
            assert "in time" in watcher.logged("api_lost")[0]["error"]


async def test_no_log_line_contains_a_team_s_content(
    kube: Kube, server: FakeCluster, service: Service
) -> None:
    secretive: dict[str, Any] = {
        "lifecycle": {
            "onComplete": "deliver",
            "delivery": [{"type": "webhook", "url": "https://hooks.example.com/canary", "message": "canary"}],
        }
    }
    await kube.team("research", "report", secretive)
    await kube.finish("research", "report", estimatedCost="canary")
    answer_watches(server, lambda _: web.Response(text='{"type": "ADDED", "object": "canary"}\n'))
    service.answers = [500, 409, 202]
    async with watching(kube.kubeconfig, service.url) as watcher:
        await until(lambda: len(service.teams) == 3)
        await until(lambda: watcher.logged("api_lost"))
        assert "canary" not in str(watcher.logs)


async def _drop_until_closed(server: FakeCluster, watcher: Watching, times: int) -> None:
    """End watches until the watcher has reconnected that often; one that is just opening may be missed."""

    async def closed() -> bool:
        await server.drop_watches()
        return await watcher.metric(RESTARTS.format("closed")) >= times

    await until(closed)
