"""Which teams are submitted, and the effect of each answer of the service, observed from outside."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from app.domain.backoff import Backoff
from app.domain.times import format_time
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import TEAMS, Kube
from tests.harness.waiting import until
from tests.watcher.stand import QUICK, Service, finish, watching
from tests.watcher.teams import claimed, delivered

NEVER_AGAIN = replace(QUICK, failure=Backoff(60.0, 60.0))
LAG_COUNT = "agentteam_delivery_watch_lag_seconds_count"


async def poke(kube: Kube, name: str) -> None:
    """Change a team, so that it gets another resourceVersion."""
    await kube.patch(TEAMS, "research", name, {"metadata": {"annotations": {"poked": str(time.time())}}})


class TestWhatIsHandedIn:
    """Each test ends with a team that is handed in, after which the others would have been too."""

    async def test_a_finished_team_once(self, kube: Kube, service: Service) -> None:
        async with watching(kube.kubeconfig, service.url) as watcher:
            uid = await finish(kube, "report")
            await until(lambda: service.requests)
            await finish(kube, "other")
            await until(lambda: "other" in service.teams)
            await until(lambda: len(watcher.logged("handed_in")) == 2)
            first = service.requests[0]
            assert service.teams == ["report", "other"]
            assert (first.method, first.path) == ("POST", "/deliveries")
            assert service.event(first) == {"namespace": "research", "team": "report", "uid": uid}
            assert first.headers["prefer"] == "respond-async"
            assert first.headers["content-type"] == "application/json"
            assert "authorization" not in first.headers
            assert watcher.logged("handed_in")[0] == {
                "event": "handed_in",
                "log_level": "info",
                "namespace": "research",
                "team": "report",
                "answer": 202,
            }

    async def test_teams_that_finished_before_it_started(self, kube: Kube, service: Service) -> None:
        await finish(kube, "report")
        async with watching(kube.kubeconfig, service.url):
            await until(lambda: service.teams == ["report"])

    async def test_not_what_is_settled_old_or_of_another_phase(self, kube: Kube, service: Service) -> None:
        old = format_time(datetime.now(UTC) - timedelta(hours=2))
        await finish(kube, "settled", delivery=[delivered()])
        await finish(kube, "old", completedAt=old)
        await finish(kube, "failed", phase="Failed")
        await finish(kube, "running", phase="Running")
        await kube.team("research", "quiet", {"lifecycle": {"onComplete": "notify"}})
        await kube.finish("research", "quiet")
        async with watching(kube.kubeconfig, service.url, max_age=3600):
            await finish(kube, "news")
            await until(lambda: "news" in service.teams)
            assert service.teams == ["news"]

    async def test_the_phases_asked_for(self, kube: Kube, service: Service) -> None:
        await finish(kube, "failed", phase="Failed")
        async with watching(kube.kubeconfig, service.url, phases="Completed,Failed"):
            await until(lambda: service.teams == ["failed"])

    async def test_a_finished_team_waits_for_completed_at(self, kube: Kube, service: Service) -> None:
        async with watching(kube.kubeconfig, service.url):
            await finish(kube, "report", completedAt=None)
            await finish(kube, "other")
            await until(lambda: "other" in service.teams)
            assert service.teams == ["other"]
            await kube.finish("research", "report")
            await until(lambda: service.teams == ["other", "report"])

    async def test_a_claim_when_it_ends(self, kube: Kube, service: Service) -> None:
        ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        await finish(kube, "report", delivery=[claimed(ends)])
        async with watching(kube.kubeconfig, service.url):
            await until(lambda: service.teams == ["report"])
            assert datetime.now(UTC) >= ends

    async def test_at_most_sixteen_at_once(self, kube: Kube, service: Service) -> None:
        under_way = most = 0

        async def answer(_: web.Request) -> web.Response:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await until(lambda: most == 16)
            await asyncio.sleep(0.01)
            under_way -= 1
            return web.Response(status=202)

        service.respond = answer
        for number in range(48):
            await finish(kube, f"team-{number}")
        async with watching(kube.kubeconfig, service.url):
            await until(lambda: len(service.requests) == 48)
        assert most == 16
        assert len(set(service.teams)) == 48

    async def test_a_team_that_changes_while_posted_is_not_posted_twice_at_once(
        self, kube: Kube, service: Service
    ) -> None:
        gate = asyncio.Event()

        async def answer(_: web.Request) -> web.Response:
            await gate.wait()
            return web.Response(status=202)

        service.respond = answer
        async with watching(kube.kubeconfig, service.url):
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            await poke(kube, "report")
            await finish(kube, "other")
            await until(lambda: service.teams == ["report", "other"])
            gate.set()
            await until(lambda: service.teams == ["report", "other", "report"])

    async def test_a_resync_hands_in_again(self, kube: Kube, service: Service) -> None:
        await finish(kube, "report")
        async with watching(kube.kubeconfig, service.url, resync=0.1) as watcher:
            await until(lambda: len(service.teams) >= 4)
            assert await watcher.metric("agentteam_delivery_watch_relists_total") >= 3
            assert await watcher.metric(LAG_COUNT) == 1

    async def test_what_is_deleted_is_forgotten(self, kube: Kube, service: Service) -> None:
        service.answers = [500]
        await finish(kube, "report")
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN) as watcher:
            await until(lambda: service.teams)
            assert await watcher.metric("agentteam_delivery_watch_teams") == 1
            await kube.delete(TEAMS, "research", "report")
            await watcher.comes_to("agentteam_delivery_watch_teams", 0)


class TestAnswers:
    """What the service says decides when the team comes up again."""

    @pytest.mark.parametrize("status", [401, 403, 413, 422, 500, 503])
    async def test_a_refusal_waits_until_the_team_changes(
        self, status: int, kube: Kube, service: Service
    ) -> None:
        service.answers = [status, 202]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN):
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            await finish(kube, "other")
            await until(lambda: service.teams == ["report", "other"])
            await poke(kube, "report")
            await until(lambda: service.teams == ["report", "other", "report"])

    async def test_a_refusal_is_tried_again_later_and_later(self, kube: Kube, service: Service) -> None:
        service.answers = [500, 500, 500, 202]
        async with watching(kube.kubeconfig, service.url):
            await finish(kube, "report")
            await until(lambda: len(service.requests) == 4)
        times = [request.at for request in service.requests]
        waits = [later - earlier for earlier, later in pairwise(times)]
        assert [wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True)] == [True] * 3

    async def test_the_problem_is_named_in_the_log(self, kube: Kube, service: Service) -> None:
        problem = {"type": "https://example.com/problems/ledger-not-kept", "detail": "not to be logged"}
        service.answers = [web.json_response(problem, status=500)]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN) as watcher:
            await finish(kube, "report")
            line = (await until(lambda: watcher.logged("handed_in")))[0]
            assert (line["answer"], line["problem"]) == (500, "ledger-not-kept")
            assert "not to be logged" not in str(watcher.logs)

    @pytest.mark.parametrize(
        ("status", "slug", "says"),
        [
            (401, "unauthenticated", "DELIVERY_TOKEN_FILE must name a file with a token"),
            (403, "forbidden", "grant this watcher's account create on agentteams/delivery"),
            (404, "no-such-path", "check DELIVERY_URL"),
            (422, "too-many-targets", "DELIVERY_MAX_TARGETS"),
            (500, "ledger-not-kept", "apply the patch"),
            (500, "internal", "the service's log says"),
            (302, "", "check that DELIVERY_URL is a service"),
            (404, "team-not-found", ""),
            (409, "claim-in-flight", ""),
            (503, "too-busy", ""),
        ],
        ids=str,
    )
    async def test_a_refusal_is_a_warning_that_says_what_to_do(
        self, status: int, slug: str, says: str, kube: Kube, service: Service
    ) -> None:
        problem = {"type": f"urn:agentteam-delivery:{slug}"}
        service.answers = [web.json_response(problem, status=status)]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN) as watcher:
            await finish(kube, "report")
            line = (await until(lambda: watcher.logged("handed_in")))[0]
        assert line["log_level"] == ("warning" if says else "info")
        assert says in line.get("advice", "")

    async def test_the_wait_for_a_team_without_completed_at_is_told_once(
        self, kube: Kube, service: Service
    ) -> None:
        async with watching(kube.kubeconfig, service.url) as watcher:
            await finish(kube, "late", completedAt=None)
            line = (await until(lambda: watcher.logged("completion_awaited")))[0]
            assert (line["namespace"], line["team"], line["seconds"]) == ("research", "late", 30.0)
            await kube.patch("agentteams", "research", "late", {"metadata": {"labels": {"a": "b"}}})
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            assert len(watcher.logged("completion_awaited")) == 1

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"type": 1}', b'{"type": "Not A Slug!"}', b"\xff"])
    async def test_an_odd_problem_is_none(self, body: bytes, kube: Kube, service: Service) -> None:
        service.answers = [web.Response(status=500, body=body)]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN) as watcher:
            await finish(kube, "report")
            assert "problem" not in (await until(lambda: watcher.logged("handed_in")))[0]

    async def test_retry_after_seconds(self, kube: Kube, service: Service) -> None:
        service.answers = [web.Response(status=503, headers={"Retry-After": "1"}), 202]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN):
            await finish(kube, "report")
            await until(lambda: len(service.requests) == 2)
        assert service.requests[1].at - service.requests[0].at >= 1.0

    async def test_retry_after_date(self, kube: Kube, service: Service) -> None:
        dates = {"Date": "Sun, 01 Mar 2026 12:00:00 GMT", "Retry-After": "Sun, 01 Mar 2026 12:00:01 GMT"}
        service.answers = [web.Response(status=503, headers=dates), 202]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN):
            await finish(kube, "report")
            await until(lambda: len(service.requests) == 2)
        assert service.requests[1].at - service.requests[0].at >= 1.0

    async def test_a_conflict_reads_the_team_again(
        self, kube: Kube, service: Service, fake_cluster: Cluster[FakeCluster]
    ) -> None:
        service.answers = [409, 409, 202]
        async with watching(kube.kubeconfig, service.url):
            await finish(kube, "report")
            await until(lambda: len(service.requests) == 3)
        path = "/apis/kagents.dev/v1alpha1/namespaces/research/agentteams/report"
        assert fake_cluster.server.requests.count(("GET", path)) == 2

    async def test_a_conflict_over_a_team_that_has_settled_is_the_end(
        self, kube: Kube, service: Service, fake_cluster: Cluster[FakeCluster]
    ) -> None:
        async def settle(_: web.Request) -> web.Response:
            await fake_cluster.server.drop_watches()
            await kube.finish("research", "report", delivery=[delivered()])
            service.respond = service.answer
            return web.Response(status=409)

        service.respond = settle
        async with watching(kube.kubeconfig, service.url):
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            await finish(kube, "other")
            await until(lambda: service.teams == ["report", "other"])

    @pytest.mark.parametrize("gone", [True, False])
    async def test_a_conflict_over_a_team_that_cannot_be_read(
        self, gone: bool, kube: Kube, service: Service, fake_cluster: Cluster[FakeCluster]
    ) -> None:
        server = fake_cluster.server

        async def refuse(request: web.Request) -> web.Response | None:
            reads_one = request.method == "GET" and request.path.endswith("/report")
            return web.Response(status=404 if gone else 500) if reads_one else None

        server.intercept = refuse
        service.answers = [409, 202]
        async with watching(kube.kubeconfig, service.url) as watcher:
            await finish(kube, "report")
            await until(lambda: service.teams)
            if gone:
                await finish(kube, "other")
                await until(lambda: service.teams == ["report", "other"])
                await watcher.comes_to("agentteam_delivery_watch_teams", 1)
            else:
                await until(lambda: service.teams == ["report", "report"])
                assert watcher.logged("team_unread")

    async def test_not_found_waits_until_the_team_is_seen_again(self, kube: Kube, service: Service) -> None:
        service.answers = [404, 202]
        async with watching(kube.kubeconfig, service.url):
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            await finish(kube, "other")
            await until(lambda: service.teams == ["report", "other"])
            await poke(kube, "report")
            await until(lambda: service.teams == ["report", "other", "report"])

    async def test_a_redirect_is_not_followed(self, kube: Kube, service: Service) -> None:
        service.answers = [web.Response(status=307, headers={"Location": f"{service.url}/elsewhere"})]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN) as watcher:
            await finish(kube, "report")
            line = (await until(lambda: watcher.logged("handed_in")))[0]
            assert line["answer"] == 307
            assert [request.path for request in service.requests] == ["/deliveries"]
            assert await watcher.metric('agentteam_delivery_watch_posts_total{answer="307"}') == 1


class TestOutage:
    """A service that is away delays all, and is asked gently until it is back."""

    async def test_away_then_back(self, kube: Kube) -> None:
        async with Service() as service:
            url, port = service.url, service.port
        names = [f"team-{number}" for number in range(20)]
        for name in names:
            await finish(kube, name)
        async with watching(kube.kubeconfig, url) as watcher:
            await watcher.reaches('agentteam_delivery_watch_posts_total{answer="error"}', 18)
            await watcher.comes_to("agentteam_delivery_watch_due", 20)
            service = Service()
            service.port = port
            async with service:
                await until(lambda: sorted(service.teams) == sorted(names))
                await until(lambda: watcher.logged("service_back"))
            assert len(watcher.logged("service_lost")) == 1
            assert len(watcher.logged("service_back")) == 1
            assert watcher.logged("service_lost")[0]["log_level"] == "warning"

    async def test_no_answer_in_time_counts_as_away(self, kube: Kube, service: Service) -> None:
        async def hang(_: web.Request) -> web.Response:
            service.respond = service.answer
            await asyncio.sleep(2)
            return web.Response(status=202)

        service.respond = hang
        pace = replace(QUICK, post_timeout=0.2)
        async with watching(kube.kubeconfig, service.url, pace=pace) as watcher:
            await finish(kube, "report")
            await until(lambda: service.teams == ["report", "report"])
            assert watcher.logged("service_lost")[0]["error"] == "no answer in time"

    async def test_a_connection_that_breaks_counts_as_away(self, kube: Kube, service: Service) -> None:
        async def hang_up(request: web.Request) -> web.Response:
            service.respond = service.answer
            assert request.transport
            request.transport.abort()
            return web.Response()

        service.respond = hang_up
        async with watching(kube.kubeconfig, service.url) as watcher:
            await finish(kube, "report")
            await until(lambda: service.teams == ["report", "report"])
            await until(lambda: watcher.logged("service_back"))


class TestToken:
    """The watcher's own token is read for each post, and never shown."""

    async def test_it_is_sent_and_follows_its_rotation(
        self, kube: Kube, service: Service, tmp_path: Path
    ) -> None:
        token = tmp_path / "token"
        token.write_text("first-canary\n")
        async with watching(kube.kubeconfig, service.url, token_file=str(token)) as watcher:
            await finish(kube, "report")
            await until(lambda: service.teams == ["report"])
            token.write_text("second-canary")
            await finish(kube, "other")
            await until(lambda: service.teams == ["report", "other"])
            assert "canary" not in str(watcher.logs)
        sent = [request.headers["authorization"] for request in service.requests]
        assert sent == ["Bearer first-canary", "Bearer second-canary"]

    @pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"two words", b"two\nlines"], ids=repr)
    async def test_without_one_nothing_is_sent_until_there_is(
        self, content: bytes | None, kube: Kube, service: Service, tmp_path: Path
    ) -> None:
        token = tmp_path / "token"
        if content is not None:
            token.write_bytes(content)
        async with watching(kube.kubeconfig, service.url, token_file=str(token)) as watcher:
            await finish(kube, "report")
            await watcher.reaches('agentteam_delivery_watch_posts_total{answer="no_token"}', 2)
            assert not service.requests
            assert str(token) in watcher.logged("service_lost")[0]["error"]
            assert len(watcher.logged("service_lost")) == 1
            token.write_text("canary")
            await until(lambda: service.teams == ["report"])


class TestTrust:
    """Over https the service is who the authorities of DELIVERY_CA_FILE say, and nobody else."""

    @staticmethod
    @asynccontextmanager
    async def secured(authority: trustme.CA, *names: str) -> AsyncIterator[Service]:
        """Run a service whose certificate is for these names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*names).configure_cert(context)
        async with Service(tls=context) as service:
            yield service

    async def test_who_is_signed_for_is_handed_to_and_the_file_follows_its_rotation(
        self, kube: Kube, tmp_path: Path
    ) -> None:
        old, new = trustme.CA(), trustme.CA()
        file = tmp_path / "ca.crt"
        file.write_text("# \N{COPYRIGHT SIGN} whoever\n")
        old.cert_pem.write_to_path(file, append=True)
        async with self.secured(old, "127.0.0.1") as first, self.secured(new, "127.0.0.1") as second:
            async with watching(kube.kubeconfig, first.url, ca_file=str(file)) as watcher:
                await finish(kube, "report")
                await until(lambda: first.teams == ["report"])
                assert not watcher.logged("service_lost")
            async with watching(kube.kubeconfig, second.url, ca_file=str(file)) as watcher:
                line = (await until(lambda: watcher.logged("service_lost")))[0]
                assert "DELIVERY_CA_FILE" in line["error"]
                assert "exc_info" not in line
                await watcher.reaches('agentteam_delivery_watch_posts_total{answer="error"}', 2)
                assert not second.requests
                new.cert_pem.write_to_path(file)
                await until(lambda: second.teams == ["report"])
                old.cert_pem.write_to_path(file)
                await finish(kube, "other")
                await until(lambda: len(watcher.logged("service_lost")) == 2)
                assert second.teams == ["report"]

    @pytest.mark.parametrize("name", ["elsewhere.example.com", "127.0.0.2"])
    async def test_a_certificate_for_another_host_is_not_enough(
        self, name: str, kube: Kube, tmp_path: Path
    ) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.crt")
        await finish(kube, "report")
        async with (
            self.secured(authority, name) as service,
            watching(kube.kubeconfig, service.url, ca_file=str(tmp_path / "ca.crt")) as watcher,
        ):
            line = (await until(lambda: watcher.logged("service_lost")))[0]
            assert "DELIVERY_URL" in line["error"]
            assert "match" in line["error"]
            assert not service.requests

    async def test_without_a_file_the_public_authorities_count(self, kube: Kube) -> None:
        await finish(kube, "report")
        async with (
            self.secured(trustme.CA(), "127.0.0.1") as service,
            watching(kube.kubeconfig, service.url) as watcher,
        ):
            line = (await until(lambda: watcher.logged("service_lost")))[0]
            assert "DELIVERY_CA_FILE" in line["error"]
            assert not service.requests

    @pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), ("spoilt", "PEM")])
    async def test_a_file_that_is_spoilt_later_hands_nothing_in_until_it_is_whole(
        self, content: str | None, says: str, kube: Kube, tmp_path: Path
    ) -> None:
        authority = trustme.CA()
        file = tmp_path / "ca.crt"
        authority.cert_pem.write_to_path(file)
        async with (
            self.secured(authority, "127.0.0.1") as service,
            watching(kube.kubeconfig, service.url, ca_file=str(file)) as watcher,
        ):
            file.unlink() if content is None else file.write_text(content)
            await finish(kube, "report")
            line = (await until(lambda: watcher.logged("service_lost")))[0]
            assert "DELIVERY_CA_FILE" in line["error"]
            assert says in line["error"]
            authority.cert_pem.write_to_path(file)
            await until(lambda: service.teams == ["report"])

    async def test_https_to_a_port_without_tls_says_so(self, kube: Kube, service: Service) -> None:
        await finish(kube, "report")
        url = service.url.replace("http://", "https://")
        async with watching(kube.kubeconfig, url) as watcher:
            line = (await until(lambda: watcher.logged("service_lost")))[0]
            assert "DELIVERY_URL" in line["error"]
            assert "TLS" in line["error"]
