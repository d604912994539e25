"""The watcher with the fake API and a real one: a team from its completion to its record."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.harness.cluster import Cluster
from tests.harness.kube import TEAMS
from tests.harness.waiting import until
from tests.watcher.stand import Service, watching
from tests.watcher.teams import SPEC, claimed, delivered


@pytest.mark.parametrize("whole_cluster", [True, False])
async def test_a_running_team_finishes_and_is_settled(
    cluster: Cluster[Any], service: Service, *, whole_cluster: bool
) -> None:
    kube = cluster.kube
    namespace = await kube.fresh_namespace()

    def posts() -> int:
        events = [service.event(request) for request in service.requests]
        return sum((event["namespace"], event["team"]) == (namespace, "report") for event in events)

    scope = "" if whole_cluster else namespace
    async with watching(cluster.kubeconfig, service.url, resync=0.5, namespaces=scope) as watcher:
        await kube.team(namespace, "report", SPEC)
        await kube.finish(namespace, "report", phase="Running", completedAt=None)
        await kube.finish(namespace, "report", completedAt=None)
        await kube.finish(namespace, "report")
        await until(lambda: posts() == 1)

        # Its holder dies, so it is submitted again when the claim expires.
        ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
        await kube.finish(namespace, "report", delivery=[claimed(ends)])
        seen = posts()
        await until(lambda: posts() > seen)
        assert datetime.now(UTC) >= ends

        await kube.finish(namespace, "report", delivery=[delivered()])
        relists = await watcher.metric("agentteam_delivery_watch_relists_total")
        await watcher.reaches("agentteam_delivery_watch_relists_total", relists + 1)
        seen = posts()
        await watcher.reaches("agentteam_delivery_watch_relists_total", relists + 3)
        assert posts() == seen

        await kube.delete(TEAMS, namespace, "report")
        assert (await watcher.get("/readyz"))[0] == 200
        assert not watcher.logged("api_lost")
