"""Only callers with a valid token and permission get access; also with RBAC of a real API."""

import asyncio
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.harness.callers import Callers
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.reviews import ACCESS_REVIEWS, TOKEN_REVIEWS, Permission
from tests.harness.service import Answer, Service, Watcher, finished, lifecycle
from tests.harness.waiting import until

Fake = Cluster[FakeCluster]

QUICK = {"auth": "kubernetes", "auth_cache": 0.5}


async def call(service: Service, namespace: str, token: str | None, *, team: str = "report") -> Answer:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = {"namespace": namespace, "team": team}
    return await service.request("POST", "/deliveries", json=body, headers=headers)


async def read(service: Service, namespace: str, token: str, *, team: str = "report") -> Answer:
    headers = {"Authorization": f"Bearer {token}"}
    return await service.request("GET", f"/deliveries/{namespace}/{team}", headers=headers)


async def test_only_a_caller_with_permission_gets_access(cluster: Cluster[Any]) -> None:
    callers = Callers(cluster)
    async with Receiver() as hook, Service(cluster.kubeconfig, **QUICK) as service:
        namespace = await finished(cluster.kube, {"type": "webhook", "url": hook.url})
        other = await cluster.kube.fresh_namespace()
        account = await callers.account(other)
        token = await callers.token(account)

        for bad in (None, "garbage", "a.b.c", "", await callers.token(account, "https://other.example")):
            answer = await call(service, namespace, bad)
            assert (answer.status, answer.problem) == (401, "unauthenticated"), bad
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "kubectl create token NAME --audience=agentteam-delivery" in answer.body["detail"]
        expired = await call(service, namespace, callers.expired_token(account))
        assert (expired.status, expired.problem) == (401, "unauthenticated")

        unbound = await call(service, namespace, token)
        assert (unbound.status, unbound.problem) == (403, "forbidden")
        await callers.grant(account, "create", other)
        elsewhere = await call(service, namespace, token)
        assert (elsewhere.status, elsewhere.problem) == (403, "forbidden")
        assert not hook.requests

        await callers.grant(account, "create", namespace)

        async def let_in() -> bool:
            return (await call(service, namespace, token)).status == 200

        await until(let_in)
        assert len(hook.requests) == 1
        reading = await read(service, namespace, token)
        assert (reading.status, reading.problem) == (403, "forbidden")

        await callers.revoke(account, "create", namespace)

        async def shut_out() -> bool:
            return (await call(service, namespace, token)).status == 403

        await until(shut_out, 10)


async def test_a_permission_for_one_team_does_not_cover_another(cluster: Cluster[Any]) -> None:
    callers = Callers(cluster)
    async with Service(cluster.kubeconfig, **QUICK) as service:
        namespace = await finished(cluster.kube)
        account = await callers.account(namespace)
        token = await callers.token(account)
        await callers.grant(account, "create", namespace, "report")
        await callers.grant(account, "get", namespace, "report")
        await until(lambda: _allowed(service, namespace, token))
        assert (await read(service, namespace, token)).status == 200
        assert (await call(service, namespace, token, team="other")).status == 403
        assert (await read(service, namespace, token, team="other")).status == 403


async def _allowed(service: Service, namespace: str, token: str) -> bool:
    return (await call(service, namespace, token)).status == 200


async def test_without_permission_an_absent_team_and_a_foreign_team_look_the_same(
    cluster: Cluster[Any],
) -> None:
    callers = Callers(cluster)
    namespace = await finished(cluster.kube)
    account = await callers.account(namespace)
    token = await callers.token(account)
    async with Service(cluster.kubeconfig, namespaces=namespace, **QUICK) as service:
        for ask in (call, read):
            there = await ask(service, namespace, token, team="report")
            for home, team in ((namespace, "absent"), ("nowhere", "report")):
                answer = await ask(service, home, token, team=team)
                assert (answer.status, answer.problem) == (403, "forbidden")
                assert answer.content.decode().replace("nowhere", namespace) == there.content.decode()


async def test_the_refusal_names_the_command_that_grants_the_permission(
    real_cluster: Cluster[RealCluster], kubectl: Path
) -> None:
    callers = Callers(real_cluster)
    namespace = await finished(real_cluster.kube)
    account = await callers.account(namespace)
    token = await callers.token(account)
    async with Service(real_cluster.kubeconfig, **QUICK) as service:
        for ask in (call, read):
            refused = await ask(service, namespace, token)
            assert refused.status == 403
            _, _, commands = refused.body["detail"].partition("run: ")
            for command in commands.split("; "):
                program, *arguments = shlex.split(command)
                assert program == "kubectl"
                process = await asyncio.create_subprocess_exec(
                    kubectl, "--kubeconfig", real_cluster.kubeconfig, *arguments
                )
                assert await process.wait() == 0, command

            async def let_in(ask: Any = ask) -> bool:
                return bool((await ask(service, namespace, token)).status == 200)

            await until(let_in)


async def test_a_user_s_name_is_quoted_in_that_command(fake_cluster: Fake) -> None:
    token = fake_cluster.server.reviews.token("o'neill; rm -rf $HOME")
    async with Service(fake_cluster.kubeconfig, **QUICK) as service:
        detail = (await call(service, "research", token)).body["detail"]
    [flag] = [word for word in shlex.split(detail.partition("run: ")[2]) if word.startswith("--user=")]
    assert flag == "--user=o'neill; rm -rf $HOME"


async def test_while_the_api_server_is_away_no_caller_gets_access(fake_cluster: Fake) -> None:
    async def away(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=503) if request.path in {TOKEN_REVIEWS, ACCESS_REVIEWS} else None

    async def no_access_review(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=500) if request.path == ACCESS_REVIEWS else None

    async def forbidden(request: web.Request) -> web.StreamResponse | None:
        return web.json_response({"kind": "Status"}, status=403) if "reviews" in request.path else None

    namespace = await finished(fake_cluster.kube)
    token = fake_cluster.server.reviews.token("someone", Permission("create"))
    async with Service(fake_cluster.kubeconfig, **QUICK) as service:
        for intercept in (away, no_access_review, forbidden):
            fake_cluster.server.intercept = intercept
            answer = await call(service, namespace, token)
            assert (answer.status, answer.problem) == (503, "cluster-unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        assert "grant its account create on tokenreviews" in answer.body["detail"]
        fake_cluster.server.intercept = None
        assert (await call(service, namespace, token)).status == 200
        assert (await service.request("GET", "/healthz")).status == 200


@pytest.mark.parametrize("code", [400, 403, 409, 422, 429, 500, 503])
async def test_a_rejected_review_that_quotes_the_token_is_not_shown(fake_cluster: Fake, code: int) -> None:
    async def quoting(request: web.Request) -> web.StreamResponse | None:
        if request.path != TOKEN_REVIEWS:
            return None
        token = (await request.json())["spec"]["token"]
        return web.json_response({"kind": "Status", "message": f'Invalid value: "{token}"'}, status=code)

    async with Service(fake_cluster.kubeconfig, log_level="DEBUG", **QUICK) as service:
        fake_cluster.server.intercept = quoting
        answer = await call(service, "research", "canary-of-a-caller")
        assert answer.status == 503
        assert b"canary-of-a-caller" not in answer.content
        assert "canary-of-a-caller" not in "".join(service.raw)


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": "true", "audiences": ["agentteam-delivery"], "user": {"username": "x"}},
        {"authenticated": True, "user": {"username": "x"}},
        {"authenticated": True, "audiences": None, "user": {"username": "x"}},
        {"authenticated": True, "audiences": ["other"], "user": {"username": "x"}},
        {"authenticated": True, "audiences": ["agentteam-delivery"], "user": {}},
        {"authenticated": False, "audiences": ["agentteam-delivery"], "user": {"username": "x"}},
    ],
)
async def test_a_review_without_audience_and_user_gives_no_access(
    fake_cluster: Fake, status: dict[str, Any]
) -> None:
    async def reviewed(request: web.Request) -> web.StreamResponse | None:
        return web.json_response({"status": status}, status=201) if request.path == TOKEN_REVIEWS else None

    async with Service(fake_cluster.kubeconfig, **QUICK) as service:
        fake_cluster.server.intercept = reviewed
        assert (await call(service, "research", "token")).status == 401


async def test_the_review_names_the_service_s_own_audience_and_group(fake_cluster: Fake) -> None:
    asked: list[Any] = []

    async def note(request: web.Request) -> web.StreamResponse | None:
        if "reviews" in request.path:
            asked.append((await request.json())["spec"])
        return None

    namespace = await finished(fake_cluster.kube)
    token = fake_cluster.server.reviews.token("someone", Permission("create"), audiences=("mine",))
    async with Service(fake_cluster.kubeconfig, audience="mine", **QUICK) as service:
        fake_cluster.server.intercept = note
        assert (await call(service, namespace, token)).status == 200
    assert asked[0] == {"token": token, "audiences": ["mine"]}
    assert (asked[1]["user"], asked[1]["groups"]) == ("someone", ["system:authenticated"])
    assert asked[1]["resourceAttributes"] == {
        "group": "kagents.dev",
        "version": "v1alpha1",
        "resource": "agentteams",
        "subresource": "delivery",
        "namespace": namespace,
        "name": "report",
        "verb": "create",
    }


async def test_concurrent_requests_of_a_caller_share_one_review(fake_cluster: Fake) -> None:
    namespace = await finished(fake_cluster.kube)
    token = fake_cluster.server.reviews.token("someone", Permission("create"))
    async with Service(fake_cluster.kubeconfig, auth="kubernetes") as service:
        fake_cluster.server.requests.clear()
        answers = await asyncio.gather(*(call(service, namespace, token) for _ in range(30)))
        assert {answer.status for answer in answers} == {200}
        paths = [path for _, path in fake_cluster.server.requests]
        assert (paths.count(TOKEN_REVIEWS), paths.count(ACCESS_REVIEWS)) == (1, 1)


async def test_the_body_of_an_unknown_caller_is_not_waited_for(fake_cluster: Fake) -> None:
    async with Service(fake_cluster.kubeconfig, **QUICK) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"POST /deliveries HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()


@pytest.mark.parametrize(
    "header", ["Basic eDp5", "Bearer", "Bearer ", "token", "bearer\t", "Negotiate x", "Bearer, Bearer"]
)
async def test_another_scheme_is_not_a_bearer_token(fake_cluster: Fake, header: str) -> None:
    async with Service(fake_cluster.kubeconfig, **QUICK) as service:
        answer = await service.request(
            "GET", "/deliveries/research/report", headers={"Authorization": header}
        )
        assert (answer.status, answer.problem) == (401, "unauthenticated")


async def test_two_tokens_are_refused(fake_cluster: Fake) -> None:
    token = fake_cluster.server.reviews.token("someone", Permission("get"))
    async with Service(fake_cluster.kubeconfig, **QUICK) as service:
        headers = [("Authorization", f"Bearer {token}"), ("Authorization", "Bearer other")]
        answer = await service.request("GET", "/deliveries/research/report", headers=headers)
        assert answer.status == 401


async def test_each_caller_has_its_own_rate_limit(fake_cluster: Fake) -> None:
    namespace = await finished(fake_cluster.kube)
    greedy = fake_cluster.server.reviews.token("greedy", Permission("get"))
    modest = fake_cluster.server.reviews.token("modest", Permission("get"))
    async with Service(fake_cluster.kubeconfig, auth="kubernetes", rate_limit=5) as service:
        answers = await asyncio.gather(*(read(service, namespace, greedy) for _ in range(40)))
        refused = [answer for answer in answers if answer.status == 503]
        assert len(refused) >= 20
        assert {answer.problem for answer in refused} == {"rate-limited"}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert (await read(service, namespace, modest)).status == 200
        assert (await service.request("GET", "/readyz")).status == 200

        async def again() -> bool:
            return (await read(service, namespace, greedy)).status == 200

        await until(again)


async def test_a_flood_of_unknown_tokens_causes_few_reviews(
    fake_cluster: Fake,
) -> None:
    async with Service(fake_cluster.kubeconfig, auth="kubernetes", rate_limit=10) as service:
        fake_cluster.server.requests.clear()
        answers = await asyncio.gather(*(read(service, "research", f"token-{n}") for n in range(200)))
        assert {answer.status for answer in answers} == {401, 503}
        reviews = [path for _, path in fake_cluster.server.requests].count(TOKEN_REVIEWS)
        assert reviews == len([answer for answer in answers if answer.status == 401]) < 100


async def test_a_flood_from_the_same_address_does_not_block_a_valid_caller(fake_cluster: Fake) -> None:
    namespace = await finished(fake_cluster.kube)
    good = fake_cluster.server.reviews.token("good", Permission("get"))
    async with Service(fake_cluster.kubeconfig, rate_limit=20, **QUICK) as service:
        assert (await read(service, namespace, good)).status == 200
        sent: Counter[str] = Counter()
        strangers: dict[str, Callable[[], dict[str, str]]] = {
            "no token": dict,
            "one bad token": lambda: {"Authorization": "Bearer bad"},
            "many bad tokens": lambda: {"Authorization": f"Bearer bad-{sent['many bad tokens']}"},
        }

        async def flood(stranger: str) -> None:
            while True:
                sent[stranger] += 1
                headers = strangers[stranger]()
                await service.request("GET", f"/deliveries/{namespace}/report", headers=headers)
                await asyncio.sleep(0.01)

        floods = [asyncio.create_task(flood(stranger)) for stranger in strangers for _ in range(3)]
        reviewed = fake_cluster.server.requests.count(("POST", TOKEN_REVIEWS))
        fresh: list[int] = []

        async def looked_up_anew() -> bool:
            fresh.append((await read(service, namespace, good)).status)
            await asyncio.sleep(0.1)  # within its own rate
            # Two seconds, in which the cached answer of half a second expires several times, and in which
            # each kind of stranger sends more than the limit.
            return len(fresh) >= 20 and min(sent[stranger] for stranger in strangers) > 3 * 2 * 20

        await until(looked_up_anew, 30)
        for one in floods:
            one.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
        assert set(fresh) == {200}
        assert fake_cluster.server.requests.count(("POST", TOKEN_REVIEWS)) > reviewed


async def test_an_expired_token_is_treated_like_an_unknown_one(fake_cluster: Fake) -> None:
    namespace = await finished(fake_cluster.kube)
    token = fake_cluster.server.reviews.token("leaving", Permission("get"))
    async with Service(fake_cluster.kubeconfig, **QUICK) as service:
        assert (await read(service, namespace, token)).status == 200
        del fake_cluster.server.reviews.tokens[token]

        async def unknown() -> bool:
            return (await read(service, namespace, token)).status == 401

        await until(unknown)


async def test_missing_permissions_for_reviews_are_reported_to_the_operator(fake_cluster: Fake) -> None:
    async def forbidden(request: web.Request) -> web.StreamResponse | None:
        return web.json_response({"kind": "Status"}, status=403) if "reviews" in request.path else None

    async with Service(fake_cluster.kubeconfig, **QUICK) as service:
        fake_cluster.server.intercept = forbidden
        assert (await call(service, "research", "token")).status == 503
        await until(lambda: service.logged("reviews_forbidden"))


async def test_the_watcher_s_account_gets_access_once_its_token_is_for_the_service(
    cluster: Cluster[Any], tmp_path: Path
) -> None:
    callers = Callers(cluster)
    namespace = await cluster.kube.fresh_namespace()
    account = await callers.account(namespace)
    token = tmp_path / "token"
    token.write_text(await callers.token(account, "https://other.example"))
    settings = {"namespaces": namespace, "token_file": token}
    async with (
        Receiver() as hook,
        Service(cluster.kubeconfig, **QUICK) as service,
        Watcher(cluster.kubeconfig, service.url, **settings) as watcher,
    ):
        await cluster.kube.team(namespace, "report", lifecycle({"type": "webhook", "url": hook.url}))
        await cluster.kube.finish(namespace, "report")
        await until(lambda: [line for line in watcher.logged("team_submitted") if line["answer"] == 401], 30)
        await callers.grant(account, "create", namespace)
        token.write_text(await callers.token(account))
        await until(lambda: hook.requests, 40)
