"""AgentTeams outside any schema: no request fails, and a healthy target is always delivered."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import unhurried
from tests.harness.cluster import CRD, prepared
from tests.harness.documents import read_yaml
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver
from tests.harness.service import Answer, Program, Service, Watcher
from tests.harness.waiting import until
from tests.test_hostile_resources import (
    FOUND,
    HEALTHY,
    HOOK,
    asking,
    mixed,
    rubbish,
    statuses,
    strangers,
    targets,
)

GROUP = "lax.example.com"
"""A group of AgentTeams whose CRD names no fields, and so keeps all of them."""

REFUSALS = {"team-not-finished", "too-many-targets"}


@dataclass(frozen=True)
class Stand:
    """A service, the storage of the API server that it reads from, and a receiver."""

    service: Service
    server: FakeCluster
    hook: Receiver
    kubeconfig: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def following(self) -> str:
        """Return the next team's name."""
        return f"team-{next(self.numbers)}"

    def put(self, name: str, spec: Any, status: Any) -> None:
        """Store a team without validating it."""
        metadata = {"namespace": "research", "name": name, "uid": f"uid-{name}", "generation": 1}
        document = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "AgentTeam", "metadata": metadata}
        self.server.api.store.put((GROUP, "agentteams"), {**document, "spec": spec, "status": status})

    def hooked(self, name: str) -> dict[str, Any]:
        """Return the healthy target of a team."""
        return {"type": "webhook", "name": HEALTHY, "url": f"{self.hook.url}/{name}"}

    def received(self, name: str) -> int:
        """Count the requests for the healthy target of a team."""
        return sum(request.path == f"/{name}" for request in self.hook.requests)

    def recorded(self, name: str) -> list[Any]:
        """Read the record of a team's healthy target."""
        team = self.server.api.store.get((GROUP, "agentteams"), "research", name)
        assert team
        entries = team["status"].get("delivery") if isinstance(team["status"], dict) else None
        entries = entries if isinstance(entries, list) else []
        return [entry for entry in entries if isinstance(entry, dict) and entry.get("name") == HEALTHY]

    def delivered(self, name: str) -> bool:
        """Whether the record of a team's healthy target is correct."""
        return [entry["phase"] for entry in self.recorded(name)] == ["Delivered"]

    async def deliver(self, name: str) -> Answer:
        """Submit a team with a phase, because its own phase may be anything."""
        return await self.service.deliver("research", name, phase="Completed")


@asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[Stand]:
    """Start everything; check at the end that no process has failed."""
    crd = read_yaml(CRD)
    crd["metadata"]["name"] = f"agentteams.{GROUP}"
    crd["spec"]["group"] = GROUP
    for version in crd["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"] = {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
        }
    async with FakeCluster() as server, prepared(server, folder) as cluster, Receiver() as hook:
        await cluster.kube.install_crd(crd)
        await cluster.kube.namespace("research")
        async with Service(cluster.kubeconfig, api_group=GROUP, attempts=1) as service:
            yield Stand(service, server, hook, cluster.kubeconfig)
        assert_unshaken(service)


def assert_unshaken(program: Program) -> None:
    """Check that a process had no unexpected error."""
    printed = "".join(program.raw)
    for word in ("crashed", "Traceback", "uncaught", '"exception"', "ledger_not_kept", "unrecorded"):
        assert word not in printed, printed[printed.index(word) - 500 :][:3000]


@pytest.fixture
def stood(tmp_path: Path) -> Iterator[tuple[Stand, asyncio.Runner]]:
    """Start everything for many examples, which all run on the same loop."""
    with asyncio.Runner() as runner:
        context = standing(tmp_path)
        stand = runner.run(context.__aenter__())
        yield stand, runner
        runner.run(context.__aexit__(None, None, None))


async def assert_delivered(stand: Stand, odd: list[Any], place: int, status: Any) -> None:
    """Deliver a team with a healthy target among others twice, and check that the target got one request."""
    name = stand.following()
    stand.put(name, asking(mixed(odd, place, stand.hooked(name)))["spec"], status)
    for _ in range(2):
        answer = await stand.deliver(name)
        assert answer.status in {200, 202}, answer
        assert [entry["phase"] for entry in answer.body["targets"] if entry["name"] == HEALTHY] == [
            "Delivered"
        ]
        assert stand.delivered(name)
        assert stand.received(name) == 1
    assert (await stand.service.read("research", name)).status == 200


def test_a_healthy_target_is_delivered_once_next_to_any_others(
    stood: tuple[Stand, asyncio.Runner],
) -> None:
    stand, runner = stood

    @settings(unhurried, max_examples=60)
    @given(st.lists(targets, max_size=6), st.integers(0, 6), statuses | rubbish)
    def check(odd: list[Any], place: int, status: Any) -> None:
        runner.run(assert_delivered(stand, odd, place, status))

    check()
    for document in FOUND.values():
        delivery = document["spec"]["lifecycle"]["delivery"]
        odd = [target for target in delivery if target != HOOK]
        runner.run(assert_delivered(stand, odd, len(odd), document["status"]))


def test_a_caller_gets_an_answer_for_any_team(stood: tuple[Stand, asyncio.Runner]) -> None:
    stand, runner = stood

    async def once(spec: Any, status: Any) -> None:
        name = stand.following()
        stand.put(name, spec, status)
        for phase in (None, "Completed"):
            answer = await stand.service.deliver("research", name, **({"phase": phase} if phase else {}))
            assert answer.status in {200, 202} or answer.problem in REFUSALS
            assert answer.status < 500
        assert (await stand.service.read("research", name)).status == 200

    @settings(unhurried, max_examples=60)
    @given(strangers)
    def check(document: Any) -> None:
        odd = document if isinstance(document, dict) else {}
        runner.run(once(odd.get("spec"), odd.get("status")))

    check()


@pytest.mark.parametrize("number", [1_000, 10_000])
async def test_a_team_with_too_many_targets_is_refused_before_any_send(number: int, tmp_path: Path) -> None:
    odd: list[Any] = [None, 5, "text", [], {}, {"name": ["a"]}, {"type": "webhook", "url": {}}]
    async with standing(tmp_path) as stand:
        name = stand.following()
        delivery = mixed((odd * number)[:number], number // 2, stand.hooked(name))
        stand.put(name, asking(delivery)["spec"], {})
        answer = await stand.deliver(name)
        assert (answer.status, answer.problem) == (422, "too-many-targets")
        assert "at most 1000" in answer.body["detail"]
        assert not stand.received(name)
        assert not stand.recorded(name)


ODD_SPECS: tuple[Any, ...] = (None, [], "text", 5, {"lifecycle": None}, {"lifecycle": {"delivery": {}}})
ODD_STATUSES: tuple[Any, ...] = (
    None,
    [],
    "text",
    {"phase": ["Completed"]},
    {"phase": "Completed", "delivery": 7},
)


async def test_the_watcher_submits_a_healthy_team_after_any_other_teams(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        for document in FOUND.values():
            stand.put(stand.following(), document["spec"], document["status"])
        for odd, status in itertools.product(ODD_SPECS, ODD_STATUSES):
            stand.put(stand.following(), odd, status)
        watcher = Watcher(stand.kubeconfig, stand.service.url, api_group=GROUP)
        async with watcher:
            for _ in range(2):  # one that is listed, and one that is watched
                name = stand.following()
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                finished = {"phase": "Completed", "completedAt": now}
                stand.put(name, asking([stand.hooked(name)])["spec"], finished)
                await until(partial(stand.delivered, name), 30)
        assert_unshaken(watcher)
