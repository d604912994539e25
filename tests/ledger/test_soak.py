"""Hundreds of events on the operator's CRD, with two replicas that are killed repeatedly: nothing is lost.

The project's CRD has its own kills, at chosen points and at random moments, in `test_crash_points`.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest

from tests.harness.cluster import OPERATORS_GROUP, operators_crd
from tests.harness.kube import TEAMS, Kube
from tests.harness.operator import operate
from tests.harness.service import Service, Watcher, lifecycle
from tests.harness.waiting import until
from tests.ledger.support import Entries, Front, Outcomes, by_word, have_one_id, settled

pytestmark = pytest.mark.quiet

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / ".artifacts"

EVENTS = int(os.environ.get("SOAK_EVENTS", "500"))
RATE = 40  # events per second
DELAY = 0.2  # seconds that a receiver takes, so that a kill interrupts something
CALM = 3 * EVENTS // 5  # settled events after which no replica is killed
KILLS = 4  # … if there were as many
WARM = 3 * EVENTS // 4  # … and after which memory is measured first
TYPED = 4  # the operator writes the whole status of every fourth team, immediately after its end
PAUSE = (1.0, 2.5)  # seconds between kills
GROWTH = 25  # MiB that a replica may grow by from WARM to the end

# With these settings, a claim lasts 18 s: 6 s, 2 s, and a margin of 4 * 2 s + 2 s. No answer takes 5 s.
SETTINGS: dict[str, object] = {
    "attempt_timeout": 5,
    "target_timeout": 6,
    "record_timeout": 2,
    "api_timeout": 2,
}

TEAMS_TARGETS = {
    # The outcomes of a team's targets, and the number of such teams per hundred.
    ("ok",): 40,
    ("flaky",): 10,
    ("slack",): 10,
    ("missing",): 5,
    ("ok", "flaky"): 15,
    ("ok", "gone"): 10,
    ("ok", "email"): 5,
    ("ok", "flaky", "gone", "slack", "missing"): 5,
}
ENDS = {
    # The recorded reason, and the number of requests if no process dies.
    "ok": ("Delivered", 1),
    "flaky": ("Delivered", 2),
    "slack": ("Delivered", 1),
    "gone": ("HTTPStatus", 1),
    "email": ("NotImplemented", 0),
    "missing": ("SecretNotFound", 0),
}


@dataclass
class Soak:
    """The whole test: a namespace, the replicas, and what is known of each team so far."""

    kube: Kube
    namespace: str
    receiver: Outcomes
    front: Front
    stack: AsyncExitStack  # of the replicas
    chance: random.Random
    teams: dict[str, tuple[str, ...]]
    done: set[str] = field(default_factory=set)
    kills: int = 0
    # By team and target; a delivered entry does not show takeovers.
    takeovers: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def operate(self) -> None:
        """Create and finish all teams, each at its time."""
        started = monotonic()

        async def work(number: int, team: str, names: tuple[str, ...]) -> None:
            await asyncio.sleep(max(0.0, started + number / RATE - monotonic()))
            if "slack" in names:
                await self.receiver.slack_secret(self.kube, self.namespace, team)
            targets = (self.receiver.target(team, name) for name in names)
            await self.kube.team(self.namespace, team, lifecycle(*targets))
            await self.kube.finish(self.namespace, team)
            if number % TYPED == 0:
                assert await operate(self.kube, self.namespace, team) == HTTPStatus.OK

        await asyncio.gather(*(work(number, *team) for number, team in enumerate(self.teams.items())))

    async def follow(self, since: str) -> None:
        """Record which teams are settled."""
        async for event in self.kube.watch(TEAMS, self.namespace, resourceVersion=since, timeoutSeconds=600):
            team, entries = event["object"]["metadata"]["name"], by_word(event["object"])
            self.takeovers |= Counter(
                {(team, one): said.get("takeovers", 0) for one, said in entries.items()}
            )
            if settled(entries, len(self.teams[team])):
                self.done.add(team)

    async def replica(self) -> Service:
        """Start a replica."""
        service = Service(self.kube.kubeconfig, api_group=self.kube.group, **SETTINGS)
        return await self.stack.enter_async_context(service)

    async def kill(self) -> None:
        """Kill one of the replicas, and start another in its place."""
        while True:
            await asyncio.sleep(self.chance.uniform(*PAUSE))
            if len(self.done) >= CALM and self.kills >= KILLS:
                return
            place = self.chance.randrange(len(self.front.replicas))
            await self.front.replicas[place].stop(signal.SIGKILL)
            self.kills += 1
            self.front.replicas[place] = await self.replica()

    async def ledgers(self) -> dict[str, Entries]:
        """Read the whole record."""
        found: dict[str, Entries] = {}
        more = ""
        while True:
            page = (await self.kube.list(TEAMS, self.namespace, limit=500, **{"continue": more})).body
            found.update({team["metadata"]["name"]: by_word(team) for team in page["items"]})
            more = page["metadata"].get("continue", "")
            if not more:
                return found

    def memory(self) -> list[float]:
        """MiB of memory per replica."""
        return [psutil.Process(one.pid).memory_info().rss / 1024**2 for one in self.front.replicas]


@asynccontextmanager
async def api_process(kubeconfig: Path) -> AsyncIterator[Kube]:
    """Run the fake API as a separate process, with the operator's CRD."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    arguments = ("-m", "tests.harness.fake_cluster", "--kubeconfig", kubeconfig)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, env=environment)
    try:
        await until(kubeconfig.exists, 20)
        async with Kube(kubeconfig, group=OPERATORS_GROUP) as kube:
            await kube.install_crd(operators_crd())
            yield kube
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def soaking(folder: Path) -> AsyncIterator[Soak]:
    """Start everything except the events."""
    chance = random.Random(2000)  # noqa: S311  # the same teams and moments in every run
    kinds = chance.choices([*TEAMS_TARGETS], weights=[*TEAMS_TARGETS.values()], k=EVENTS)
    async with (
        api_process(folder / "kubeconfig") as kube,
        Outcomes(delay=DELAY) as receiver,
        Front() as front,
        AsyncExitStack() as stack,
    ):
        namespace = await kube.fresh_namespace()
        teams = {f"team-{number}": names for number, names in enumerate(kinds)}
        soak = Soak(kube, namespace, receiver, front, stack, chance, teams)
        front.replicas = list(await asyncio.gather(soak.replica(), soak.replica()))
        async with Watcher(kube.kubeconfig, front.url, api_group=kube.group):
            yield soak


@pytest.mark.timeout(300)
async def test_hundreds_of_events_survive_the_kills_of_their_replicas(tmp_path: Path) -> None:
    async with soaking(tmp_path) as soak:
        since = (await soak.kube.list(TEAMS, soak.namespace)).body["metadata"]["resourceVersion"]
        started = monotonic()
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(soak.follow(since))
            tasks.create_task(soak.operate())
            killing = tasks.create_task(soak.kill())
            await until(lambda: len(soak.done) >= WARM and killing.done(), 170)
            warm, measured = soak.memory(), len(soak.done)
            await until(lambda: len(soak.done) == EVENTS, 170)
            seconds = monotonic() - started
            final = soak.memory()
            following.cancel()
        ledgers = await soak.ledgers()

    counts: Counter[str] = Counter()
    for team, names in soak.teams.items():
        for name in names:
            reason, times = ENDS[name]
            entry, sent = ledgers[team][name], soak.receiver.sends[f"{team}/{name}"]
            takeovers = soak.takeovers[team, name]
            counts += Counter(targets=1, takeovers=takeovers, doubled=max(0, len(sent) - times))
            assert entry["reason"] == reason, (team, entry)
            assert "claimedBy" not in entry, (team, entry)
            assert times <= len(sent) <= times + takeovers, (team, entry, len(sent))
            if name == "slack":
                assert len({request.body for request in sent}) == 1, (team, entry)
            elif sent:
                assert have_one_id(sent, entry), (team, entry)
    figures: dict[str, Any] = {
        "events": EVENTS,
        "targets": counts["targets"],
        "lost": 0,
        "kills": soak.kills,
        "takeovers": counts["takeovers"],
        "sent_twice": counts["doubled"],
        "seconds": round(seconds, 1),
        "memory_mib_after_events": measured,
        "memory_mib_warm": [round(one, 1) for one in warm],
        "memory_mib_end": [round(one, 1) for one in final],
    }
    print(json.dumps(figures))  # noqa: T201  # for `pytest -rP`
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / "soak.json").write_text(json.dumps(figures, indent=2) + "\n")
    assert counts["takeovers"], "no kill interrupted a dispatch, so the test showed nothing"
    assert max(after - before for before, after in zip(warm, final, strict=True)) < GROWTH
