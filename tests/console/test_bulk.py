"""Many teams at once: listed by outcome, limited to what the caller may read, and redelivered."""

import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.reasons import Reason
from app.domain.receipts import Phase, Receipt
from tests.console.running import run
from tests.harness.callers import Callers
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.service import Service, lifecycle
from tests.harness.waiting import until

NUMBER = int(os.environ.get("BULK_TEAMS", "25"))


def failed(
    receiver: Receiver, number: int, *, hours: float = 1.0, reason: Reason = Reason.TIMEOUT
) -> Receipt:
    """An entry of a target that failed some time ago, as the record has it."""
    at = datetime.now(UTC) - timedelta(hours=hours)
    return Receipt(
        name="hook",
        type="webhook",
        target=f"{receiver.url}/{number}",
        id=f"msg_{number}",
        phase=Phase.FAILED,
        reason=reason,
        message="no answer within 10 s, after 4 attempts",
        delivered_at=at,
        timestamp=at,
        attempts=4,
    )


async def finished(
    cluster: Cluster[Any], namespace: str, name: str, receiver: Receiver, entry: Receipt
) -> None:
    """Create a finished team whose one target has this entry."""
    target = {"type": "webhook", "name": "hook", "url": entry.target}
    await cluster.kube.team(namespace, name, lifecycle(target))
    await cluster.kube.finish(namespace, name, delivery=[entry.to_wire()])


async def test_failed_teams_are_listed_in_pages_if_the_caller_has_permission(cluster: Cluster[Any]) -> None:
    kube, callers = cluster.kube, Callers(cluster)
    mine, theirs = await kube.fresh_namespace(), await kube.fresh_namespace()
    account = await callers.account(mine)
    token = await callers.token(account)
    async with Receiver() as hook, Service(cluster.kubeconfig, auth="kubernetes", auth_cache=1) as service:
        await finished(cluster, theirs, "secret-team", hook, failed(hook, 0))
        for number in range(23):
            await finished(cluster, mine, f"report-{number:02}", hook, failed(hook, number))
        await finished(cluster, mine, "old", hook, failed(hook, 90, hours=9))
        await finished(cluster, mine, "other", hook, failed(hook, 91, reason=Reason.TLS_FAILED))
        await kube.team(mine, "none", lifecycle({"type": "webhook", "url": hook.url}))
        headers = {"authorization": f"Bearer {token}"}

        async def pages(**asked: str) -> tuple[list[str], int, str]:
            found, number, after, text = [], 0, "", ""
            while True:
                query = {**asked, **({"after": after} if after else {})}
                answer = await service.request("GET", "/deliveries", params=query, headers=headers)
                assert answer.status == 200, answer.body
                text += answer.content.decode()
                found += [
                    team["team"] for team in answer.body["items"] if team["namespace"] in {mine, theirs}
                ]
                number += 1
                after = answer.body["next"]
                if after is None:
                    return sorted(found), number, text

        assert (await pages())[0] == [], "without permission nothing is listed"
        refused = await service.request("GET", "/deliveries", params={"namespace": mine}, headers=headers)
        assert (refused.status, refused.problem) == (403, "forbidden")
        await callers.grant(account, "get", mine)

        async def granted() -> bool:
            answer = await service.request("GET", "/deliveries", params={"namespace": mine}, headers=headers)
            return answer.status == 200

        await until(granted, 30)
        recent = [f"report-{number:02}" for number in range(23)]
        found, number, _ = await pages(namespace=mine)
        assert (found, number) == (sorted(["old", "other", *recent]), 2)
        assert "secret-team" not in (await pages())[2]
        since = (datetime.now(UTC) - timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert (await pages(namespace=mine, since=since, reason="Timeout", phase="Failed"))[0] == recent
        assert (await pages(namespace=mine, reason="TLSFailed"))[0] == ["other"]
        assert (await pages(namespace=mine, phase="Delivered"))[0] == []
        assert (await pages(namespace=mine, type="slack"))[0] == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"since": "yesterday"}, "since: must be a time"),
        ({"after": "nonsense"}, "after: is not a value of `next`"),
        ({"after": "WzAsIDFd"}, "after: is not a value of `next`"),
        ({"after": "WzksICIiXQ=="}, "after: this page does not exist"),
        ({"phase": "Lost"}, "phase: "),
        ({"namespace": "No_Name"}, "namespace: must be a lower-case DNS name"),
        ({"colour": "red"}, 'unknown query parameter "colour"'),
    ],
)
async def test_an_invalid_query_is_refused(bench: Any, query: dict[str, str], words: str) -> None:
    answer = await bench.service.request("GET", "/deliveries", params=query)
    assert (answer.status, answer.problem) == (422, "malformed")
    assert words in answer.body["detail"]


async def test_one_command_redelivers_all_failed_teams(fake_cluster: Cluster[FakeCluster]) -> None:
    kube = fake_cluster.kube
    first, second = await kube.fresh_namespace(), await kube.fresh_namespace()
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        for number in range(NUMBER):
            await finished(fake_cluster, first, f"report-{number}", hook, failed(hook, number))
        await finished(fake_cluster, second, "other", hook, failed(hook, 1000))
        await finished(fake_cluster, second, "old", hook, failed(hook, 1001, hours=20))
        asked = ("redeliver", "--failed", "--all-teams", "--url", service.url, "--since", "6h")

        shown = await run(*asked, "--reason", "Timeout", "--dry-run")
        assert (shown.code, hook.requests) == (0, [])
        assert (
            f"would be sent again: {NUMBER + 1} targets of {NUMBER + 1} teams: Timeout {NUMBER + 1}\n"
            in shown.err
        )
        assert shown.out.count("hook") >= NUMBER + 1
        unasked = await run(*asked)
        assert (unasked.code, hook.requests) == (2, [])
        assert "add --yes, or --dry-run to look" in unasked.err

        sent = await run(*asked, "-n", first, "--yes", "--rate", "100")
        assert sent.code == 0, sent.err
        assert Counter(request.path for request in hook.requests) == Counter(
            f"/{one}" for one in range(NUMBER)
        )
        assert len([line for line in sent.out.splitlines() if "Delivered" in line]) == NUMBER
        assert "20 of" in sent.err
        assert f"sent again: {NUMBER} targets of {NUMBER} teams: Delivered {NUMBER}\n" in sent.err

        listed = await run("status", "-A", "--url", service.url, "-o", "json", "--phase", "Failed")
        assert listed.code == 1
        assert sorted(team["team"] for team in json.loads(listed.out)["items"]) == ["old", "other"]
        assert (await run("redeliver", "--url", service.url)).code == 2


async def test_a_bulk_redelivery_covers_only_what_the_caller_may_redeliver(
    real_cluster: Cluster[RealCluster], tmp_path: Path
) -> None:
    kube, callers = real_cluster.kube, Callers(real_cluster)
    mine, seen, theirs = [await kube.fresh_namespace() for _ in range(3)]
    account, token = await callers.account(mine), tmp_path / "token"
    token.write_text(await callers.token(account))
    for verb, namespace in (("get", mine), ("create", mine), ("get", seen)):
        await callers.grant(account, verb, namespace)
    async with Receiver() as hook, Service(real_cluster.kubeconfig, auth="kubernetes") as service:
        for number in range(NUMBER):
            await finished(real_cluster, mine, f"report-{number}", hook, failed(hook, number))
        await finished(real_cluster, seen, "seen", hook, failed(hook, 1000))
        await finished(real_cluster, theirs, "secret", hook, failed(hook, 1001))
        asked = ("redeliver", "--failed", "--all-teams", "--url", service.url, "--token-file", token)

        async def shown() -> bool:
            listed = await run(*asked, "--dry-run")
            assert "secret" not in listed.out + listed.err
            return f"{NUMBER + 1} targets of {NUMBER + 1} teams" in listed.err

        await until(shown, 30)
        none = await run(*asked, "-n", theirs, "--yes")
        assert (none.code, none.out, "secret" in none.err) == (2, "", False), none
        assert "may not get agentteams/delivery" in none.err, none

        # Less than half a second per team, so the command does not poll each team in turn.
        sent = await run(*asked, "--yes", "--rate", "100", "--timeout", str(0.4 * NUMBER))
        assert Counter(request.path for request in hook.requests) == Counter(
            f"/{one}" for one in range(NUMBER)
        )
        assert f"Delivered {NUMBER}" in sent.err
        assert f"10 of {NUMBER + 1} teams submitted" in sent.err
        rows = [line for line in sent.out.splitlines() if "report-" in line]
        assert len(rows) == NUMBER
        assert all("Delivered" in row for row in rows)
        assert "not sent" in sent.out
        assert "secret" not in sent.out + sent.err
        assert sent.code == 1, "one was refused"
