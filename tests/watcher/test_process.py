"""The watcher as a process: its probes and metrics, its signals, and its end."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from app.settings import WatcherSettings
from app.watcher import watch
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import TEAMS, Kube
from tests.harness.waiting import until
from tests.watcher.stand import Service, finish, watching
from tests.watcher.teams import delivered

POSTS = 'agentteam_delivery_watch_posts_total{{answer="{}"}}'


class TestProbes:
    """Alive while it runs; ready while it has all teams and gets changes."""

    async def test_ready_once_teams_are_listed(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        await server.stop()
        async with watching(kube.kubeconfig, service.url) as watcher:
            assert await watcher.get("/healthz") == (200, {"status": "ok", "checks": {"loop": "ok"}})
            checks = {"listed:all": "no list yet", "contact:all": "ok"}
            assert await watcher.get("/readyz") == (503, {"status": "failing", "checks": checks})
            await server.start()

            async def ready() -> bool:
                return (await watcher.get("/readyz"))[0] == 200

            await until(ready)
            checks = {"listed:all": "ok", "contact:all": "ok"}
            assert await watcher.get("/readyz") == (200, {"status": "ok", "checks": checks})

    async def test_not_ready_without_contact_to_the_api(
        self, kube: Kube, server: FakeCluster, service: Service
    ) -> None:
        async with watching(kube.kubeconfig, service.url, namespaces="research") as watcher:

            async def status() -> int:
                code: int = (await watcher.get("/readyz"))[0]
                return code

            async def ready() -> bool:
                return await status() == 200

            async def unready() -> bool:
                return await status() == 503

            await until(ready)
            await server.stop()
            await until(unready)
            _, report = await watcher.get("/readyz")
            assert report["checks"]["listed:research"] == "ok"
            assert report["checks"]["contact:research"].startswith("nothing heard for")
            assert (await watcher.get("/healthz"))[0] == 200
            await server.start()
            await until(ready)

    async def test_a_service_that_is_away_does_not_make_the_watcher_unready(self, kube: Kube) -> None:
        await finish(kube, "report")
        async with watching(kube.kubeconfig, "http://127.0.0.1:1") as watcher:
            await watcher.reaches(POSTS.format("error"), 2)
            assert (await watcher.get("/readyz"))[0] == 200

    async def test_other_paths_are_not_found(self, kube: Kube, service: Service) -> None:
        async with watching(kube.kubeconfig, service.url) as watcher:
            assert (await watcher.get("/"))[0] == 404


class TestMetrics:
    """The exported figures."""

    async def test_submissions_are_counted(self, kube: Kube, service: Service) -> None:
        service.answers = [500, 202, 200]
        async with watching(kube.kubeconfig, service.url) as watcher:
            await finish(kube, "settled", delivery=[delivered()])
            await finish(kube, "report")
            await watcher.reaches(POSTS.format("202"), 1)
            await finish(kube, "other")
            await watcher.reaches(POSTS.format("200"), 1)
            assert await watcher.metric(POSTS.format("500")) == 1
            assert await watcher.metric("agentteam_delivery_watch_teams") == 3
            assert await watcher.metric("agentteam_delivery_watch_due") == 0
            assert await watcher.metric("agentteam_delivery_watch_lag_seconds_count") == 2
            assert await watcher.metric("agentteam_delivery_watch_lag_seconds_sum") < 10

    async def test_all_series_exist_from_the_start(self, kube: Kube, service: Service) -> None:
        async with watching(kube.kubeconfig, service.url) as watcher:
            _, text = await watcher.get("/metrics")
            for line in (
                "# TYPE agentteam_delivery_watch_posts_total counter",
                "# TYPE agentteam_delivery_watch_lag_seconds histogram",
                'agentteam_delivery_watch_lag_seconds_bucket{le="0.1"} 0.0',
                'agentteam_delivery_watch_lag_seconds_bucket{le="3600.0"} 0.0',
                'agentteam_delivery_watch_restarts_total{reason="closed"} 0.0',
                "agentteam_delivery_watch_relists_total 0.0",
            ):
                assert line in text

    async def test_two_watchers_in_a_process_have_separate_counts(self, kube: Kube, service: Service) -> None:
        async with watching(kube.kubeconfig, service.url) as one:
            await finish(kube, "report")
            await one.reaches(POSTS.format("202"), 1)
            await kube.delete(TEAMS, "research", "report")
            async with watching(kube.kubeconfig, service.url) as other:
                assert await other.metric(POSTS.format("202")) == 0


class TestEnd:
    """On a signal, it finishes submissions in flight within a limit, and stops."""

    async def test_a_submission_in_flight_finishes(self, kube: Kube, service: Service) -> None:
        gate = asyncio.Event()

        async def answer(_: web.Request) -> web.Response:
            await gate.wait()
            return web.Response(status=202)

        service.respond = answer
        async with watching(kube.kubeconfig, service.url) as watcher:
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            watcher.stop.set()
            await until(lambda: watcher.logged("stopping"))
            await finish(kube, "late")
            gate.set()
        assert watcher.logged("team_submitted")[0]["answer"] == 202
        assert service.teams == ["report"]

    async def test_a_hanging_submission_is_given_up(self, kube: Kube, service: Service) -> None:
        async def hang(_: web.Request) -> web.Response:
            await asyncio.sleep(30)
            raise AssertionError

        service.respond = hang
        async with watching(kube.kubeconfig, service.url) as watcher:
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            watcher.stop.set()
            started = time.monotonic()
            await watcher.task
            assert time.monotonic() - started < 3
        assert not watcher.logged("team_submitted")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_a_signal_stops_the_watcher(
        self, number: signal.Signals, kube: Kube, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
        settings = WatcherSettings.load(url=service.url, watch_port=0)
        with capture_logs() as logs:
            task = asyncio.create_task(watch(settings))
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            os.kill(os.getpid(), number)
            async with asyncio.timeout(10):
                await task
        assert [line["event"] for line in logs] == ["watching", "team_submitted", "stopping"]

    async def test_a_port_in_use_is_reported(
        self, kube: Kube, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            settings = WatcherSettings.load(url=service.url, watch_port=taken.getsockname()[1])
            with pytest.raises(OSError, match="address already in use"):
                await watch(settings)

    async def test_nothing_is_left_running(self, kube: Kube, service: Service) -> None:
        before = asyncio.all_tasks()
        async with watching(kube.kubeconfig, service.url):
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])

        def ended() -> bool:
            names = [task.get_coro().__qualname__ for task in asyncio.all_tasks() - before]  # type: ignore[union-attr]
            return not [name for name in names if name.startswith(("Feed", "Courier", "watch"))]

        await until(ended)


async def test_an_address_may_have_a_path_and_user_info(kube: Kube, service: Service, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("canary")
    url = f"http://user:word@127.0.0.1:{service.port}/b|se%2F/?query"
    async with watching(kube.kubeconfig, url, token_file=str(token)):
        await finish(kube, "report")
        request = (await until(lambda: service.requests))[0]
    assert request.path == "/b%7Cse%2F/deliveries"
    assert request.headers["authorization"] == "Bearer canary"
