"""The behaviour of the review APIs on which the service relies, on a real server and on the fake."""

from typing import Any

import pytest

from tests.harness.callers import Account, Callers
from tests.harness.cluster import Cluster
from tests.harness.kube import GROUP
from tests.harness.reviews import ACCESS_REVIEWS, AUDIENCE, TOKEN_REVIEWS
from tests.harness.waiting import until


@pytest.fixture
def callers(cluster: Cluster[Any]) -> Callers:
    return Callers(cluster)


@pytest.fixture
async def account(cluster: Cluster[Any], callers: Callers) -> Account:
    return await callers.account(await cluster.kube.fresh_namespace())


async def reviewed(cluster: Cluster[Any], token: str, audience: str = AUDIENCE) -> dict[str, Any]:
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    answer = await cluster.kube.request("POST", TOKEN_REVIEWS, body)
    assert answer.status == 201
    status: dict[str, Any] = answer.body["status"]
    return status


async def allowed(cluster: Cluster[Any], user: str, **attributes: str) -> bool:
    attributes = {"group": GROUP, "resource": "agentteams", "subresource": "delivery", **attributes}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": ["system:authenticated"], "resourceAttributes": attributes},
    }
    answer = await cluster.kube.request("POST", ACCESS_REVIEWS, body)
    assert answer.status == 201
    found: bool = answer.body["status"]["allowed"]
    return found


async def test_a_review_of_a_token_for_the_audience_returns_user_groups_and_audience(
    cluster: Cluster[Any], callers: Callers, account: Account
) -> None:
    status = await reviewed(cluster, await callers.token(account))
    assert status["authenticated"] is True
    assert status["audiences"] == [AUDIENCE]
    assert status["user"]["username"] == account.user
    assert {f"system:serviceaccounts:{account.namespace}", "system:authenticated"} <= set(
        status["user"]["groups"]
    )


async def test_a_review_of_any_other_token_returns_no_user(
    cluster: Cluster[Any], callers: Callers, account: Account
) -> None:
    foreign = await callers.token(account, "https://other.example")
    for token in (foreign, callers.expired_token(account), "garbage", "a.b.c", "ü"):
        status = await reviewed(cluster, token)
        assert not status.get("authenticated"), token
        assert not status.get("user", {}).get("username")
        assert not status.get("audiences")
    assert (await reviewed(cluster, foreign, "https://other.example"))["authenticated"] is True


async def test_a_review_of_a_permission_does_not_depend_on_whether_the_team_exists(
    cluster: Cluster[Any], callers: Callers, account: Account
) -> None:
    where = {"namespace": account.namespace, "name": "absent"}
    assert not await allowed(cluster, account.user, verb="create", **where)
    await callers.grant(account, "create", account.namespace)
    await until(lambda: allowed(cluster, account.user, verb="create", **where))
    assert not await allowed(cluster, account.user, verb="get", **where)
    assert not await allowed(cluster, account.user, verb="create", namespace="default", name="absent")
    assert not await allowed(cluster, account.user, verb="create", **where, subresource="")
    assert not await allowed(cluster, "somebody", verb="create", **where)
    await callers.revoke(account, "create", account.namespace)

    async def gone() -> bool:
        return not await allowed(cluster, account.user, verb="create", **where)

    await until(gone)
