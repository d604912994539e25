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
    """Change a team, so that it gets a new resourceVersion."""
    await kube.patch(TEAMS, "research", name, {"metadata": {"annotations": {"poked": str(time.time())}}})


class TestWhatIsSubmitted:
    """Each test ends with a submitted team, before which all others would have been submitted."""

    async def test_a_finished_team_is_submitted_once(self, kube: Kube, service: Service) -> None:
        async with watching(kube.kubeconfig, service.url) as watcher:
            uid = await finish(kube, "report")
            await until(lambda: service.requests)
            await finish(kube, "other")
            await until(lambda: "other" in service.teams)
            await until(lambda: len(watcher.logged("team_submitted")) == 2)
            first = service.requests[0]
            assert service.teams == ["report", "other"]
            assert (first.method, first.path) == ("POST", "/deliveries")
            assert service.event(first) == {"namespace": "research", "team": "report", "uid": uid}
            assert first.headers["prefer"] == "respond-async"
            assert first.headers["content-type"] == "application/json"
            assert "authorization" not in first.headers
            assert watcher.logged("team_submitted")[0] == {
                "event": "team_submitted",
                "log_level": "info",
                "namespace": "research",
                "team": "report",
                "answer": 202,
            }

    async def test_teams_that_finished_before_the_start_are_submitted(
        self, kube: Kube, service: Service
    ) -> None:
        await finish(kube, "report")
        async with watching(kube.kubeconfig, service.url):
            await until(lambda: service.teams == ["report"])

    async def test_settled_and_old_teams_and_other_phases_are_not_submitted(
        self, kube: Kube, service: Service
    ) -> None:
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

    async def test_the_configured_phases_are_submitted(self, kube: Kube, service: Service) -> None:
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

    async def test_a_claimed_team_is_submitted_when_the_claim_expires(
        self, kube: Kube, service: Service
    ) -> None:
        ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        await finish(kube, "report", delivery=[claimed(ends)])
        async with watching(kube.kubeconfig, service.url):
            await until(lambda: service.teams == ["report"])
            assert datetime.now(UTC) >= ends

    async def test_at_most_sixteen_teams_are_submitted_concurrently(
        self, kube: Kube, service: Service
    ) -> None:
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

    async def test_a_team_that_changes_during_its_submission_is_not_submitted_concurrently(
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

    async def test_a_resync_submits_again(self, kube: Kube, service: Service) -> None:
        await finish(kube, "report")
        async with watching(kube.kubeconfig, service.url, resync=0.1) as watcher:
            await until(lambda: len(service.teams) >= 4)
            assert await watcher.metric("agentteam_delivery_watch_relists_total") >= 3
            assert await watcher.metric(LAG_COUNT) == 1

    async def test_a_deleted_team_is_forgotten(self, kube: Kube, service: Service) -> None:
        service.answers = [500]
        await finish(kube, "report")
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN) as watcher:
            await until(lambda: service.teams)
            assert await watcher.metric("agentteam_delivery_watch_teams") == 1
            await kube.delete(TEAMS, "research", "report")
            await watcher.comes_to("agentteam_delivery_watch_teams", 0)


async def submitted_again_after_a_change(kube: Kube, service: Service) -> None:
    """Finish a team, and expect that it is submitted, and again only after it has changed."""
    await finish(kube, "report")
    await until(lambda: service.teams == ["report"])
    await finish(kube, "other")
    await until(lambda: service.teams == ["report", "other"])
    await poke(kube, "report")
    await until(lambda: service.teams == ["report", "other", "report"])


class TestAnswers:
    """The service's answer decides when the team is submitted again."""

    @pytest.mark.parametrize("status", [401, 403, 413, 422, 500, 503])
    async def test_a_refused_team_waits_until_it_changes(
        self, status: int, kube: Kube, service: Service
    ) -> None:
        service.answers = [status, 202]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN):
            await submitted_again_after_a_change(kube, service)

    async def test_a_refused_team_is_retried_with_growing_waits(self, kube: Kube, service: Service) -> None:
        service.answers = [500, 500, 500, 202]
        async with watching(kube.kubeconfig, service.url):
            await finish(kube, "report")
            await until(lambda: len(service.requests) == 4)
        times = [request.at for request in service.requests]
        waits = [later - earlier for earlier, later in pairwise(times)]
        assert [wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True)] == [True] * 3

    async def test_the_problem_is_in_the_log(self, kube: Kube, service: Service) -> None:
        problem = {"type": "https://example.com/problems/ledger-not-kept", "detail": "not to be logged"}
        service.answers = [web.json_response(problem, status=500)]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN) as watcher:
            await finish(kube, "report")
            line = (await until(lambda: watcher.logged("team_submitted")))[0]
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
    async def test_a_refusal_is_logged_as_a_warning_with_a_remedy(
        self, status: int, slug: str, says: str, kube: Kube, service: Service
    ) -> None:
        problem = {"type": f"urn:agentteam-delivery:{slug}"}
        service.answers = [web.json_response(problem, status=status)]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN) as watcher:
            await finish(kube, "report")
            line = (await until(lambda: watcher.logged("team_submitted")))[0]
        assert line["log_level"] == ("warning" if says else "info")
        assert says in line.get("advice", "")

    async def test_the_wait_for_a_team_without_completed_at_is_logged_once(
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
    async def test_an_odd_problem_is_ignored(self, body: bytes, kube: Kube, service: Service) -> None:
        service.answers = [web.Response(status=500, body=body)]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN) as watcher:
            await finish(kube, "report")
            assert "problem" not in (await until(lambda: watcher.logged("team_submitted")))[0]

    async def test_retry_after_in_seconds_is_respected(self, kube: Kube, service: Service) -> None:
        service.answers = [web.Response(status=503, headers={"Retry-After": "1"}), 202]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN):
            await finish(kube, "report")
            await until(lambda: len(service.requests) == 2)
        assert service.requests[1].at - service.requests[0].at >= 1.0

    async def test_retry_after_as_a_date_is_respected(self, kube: Kube, service: Service) -> None:
        dates = {"Date": "Sun, 01 Mar 2026 12:00:00 GMT", "Retry-After": "Sun, 01 Mar 2026 12:00:01 GMT"}
        service.answers = [web.Response(status=503, headers=dates), 202]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN):
            await finish(kube, "report")
            await until(lambda: len(service.requests) == 2)
        assert service.requests[1].at - service.requests[0].at >= 1.0

    async def test_a_conflict_causes_another_read_of_the_team(
        self, kube: Kube, service: Service, fake_cluster: Cluster[FakeCluster]
    ) -> None:
        service.answers = [409, 409, 202]
        async with watching(kube.kubeconfig, service.url):
            await finish(kube, "report")
            await until(lambda: len(service.requests) == 3)
        path = "/apis/kagents.dev/v1alpha1/namespaces/research/agentteams/report"
        assert fake_cluster.server.requests.count(("GET", path)) == 2

    async def test_a_conflict_over_a_settled_team_ends_its_submissions(
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
    async def test_a_conflict_over_an_unreadable_team_is_retried(
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

    async def test_after_not_found_a_team_waits_until_it_is_seen_again(
        self, kube: Kube, service: Service
    ) -> None:
        service.answers = [404, 202]
        async with watching(kube.kubeconfig, service.url):
            await submitted_again_after_a_change(kube, service)

    async def test_a_redirect_is_not_followed(self, kube: Kube, service: Service) -> None:
        service.answers = [web.Response(status=307, headers={"Location": f"{service.url}/elsewhere"})]
        async with watching(kube.kubeconfig, service.url, pace=NEVER_AGAIN) as watcher:
            await finish(kube, "report")
            line = (await until(lambda: watcher.logged("team_submitted")))[0]
            assert line["answer"] == 307
            assert [request.path for request in service.requests] == ["/deliveries"]
            assert await watcher.metric('agentteam_delivery_watch_posts_total{answer="307"}') == 1


class TestOutage:
    """A service that is away delays all teams, and gets few requests until it is back."""

    async def test_teams_are_submitted_after_the_service_is_back(self, kube: Kube) -> None:
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

    async def test_a_missing_answer_counts_as_away(self, kube: Kube, service: Service) -> None:
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

    @pytest.mark.parametrize(
        ("said", "shown"),
        [
            (b"", "closed before the end of the answer"),
            (b"220 mail.example ESMTP\r\n", "the answer cannot be read"),
            (
                b"HTTP/1.1 202 Accepted\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nsaid.",
                "the answer cannot be read",
            ),
            (b"HTTP/1.1 202 Accepted\r\nX-Said: said\r\n", "closed before the end of the answer"),
        ],
        ids=["nothing", "another protocol", "another encoding", "half a head"],
    )
    async def test_a_broken_connection_or_answer_counts_as_away(
        self, said: bytes, shown: str, kube: Kube, service: Service
    ) -> None:
        async def hang_up(request: web.Request) -> web.Response:
            service.respond = service.answer
            assert request.transport
            request.transport.write(said)
            request.transport.close()
            return web.Response()

        service.respond = hang_up
        async with watching(kube.kubeconfig, service.url) as watcher:
            await finish(kube, "report")
            await until(lambda: service.teams == ["report", "report"])
            await until(lambda: watcher.logged("service_back"))
            error = watcher.logged("service_lost")[0]["error"]
            assert shown in error
            assert "said" not in error
            assert "mail.example" not in error


class TestToken:
    """The watcher's own token is read for each post, and never shown."""

    async def test_the_token_is_sent_and_follows_its_rotation(
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
    async def test_without_a_token_nothing_is_sent_until_there_is_one(
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
    """Over https, the watcher trusts only the certificate authorities in DELIVERY_CA_FILE."""

    @staticmethod
    @asynccontextmanager
    async def secured(authority: trustme.CA, *names: str) -> AsyncIterator[Service]:
        """Run a service with a certificate for these names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*names).configure_cert(context)
        async with Service(tls=context) as service:
            yield service

    async def test_a_service_with_a_valid_certificate_gets_submissions_and_the_file_can_be_rotated(
        self, kube: Kube, tmp_path: Path
    ) -> None:
        old, new = trustme.CA(), trustme.CA()
        file = tmp_path / "ca.crt"
        file.write_text("# \N{COPYRIGHT SIGN} a comment\n")
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
    async def test_a_certificate_for_another_host_is_refused(
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

    async def test_without_a_file_the_public_certificate_authorities_count(self, kube: Kube) -> None:
        await finish(kube, "report")
        async with (
            self.secured(trustme.CA(), "127.0.0.1") as service,
            watching(kube.kubeconfig, service.url) as watcher,
        ):
            line = (await until(lambda: watcher.logged("service_lost")))[0]
            assert "DELIVERY_CA_FILE" in line["error"]
            assert not service.requests

    @pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), ("spoilt", "PEM")])
    async def test_with_a_file_that_became_invalid_nothing_is_submitted_until_it_is_valid(
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

    async def test_https_to_a_port_without_tls_is_reported(self, kube: Kube, service: Service) -> None:
        await finish(kube, "report")
        url = service.url.replace("http://", "https://")
        async with watching(kube.kubeconfig, url) as watcher:
            line = (await until(lambda: watcher.logged("service_lost")))[0]
            assert "DELIVERY_URL" in line["error"]
            assert "TLS" in line["error"]
