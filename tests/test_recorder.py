"""The recorder: which outcomes share a write, when it begins, and that none is left behind."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, cast

import pytest
import structlog

from app.delivery import recorder
from app.delivery.recorder import LINGER, WRITING_SHARE, Recorder
from app.domain.errors import ApiUnavailable, Conflict, Rejected
from app.domain.events import CompletionEvent
from app.domain.ledger import Terms, decide
from app.domain.reasons import Reason
from app.domain.receipts import Phase, Receipt
from app.domain.teams import AgentTeam
from app.kube.cluster import Cluster, Snapshot
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing
from tests.examples import NOW, team
from tests.harness.timeless import timeless

NAMES = ("a", "b", "c", "d", "e")
SPEC = [{"type": "webhook", "name": name, "url": f"https://hooks.example.com/{name}"} for name in NAMES]
HOLDER = "agentteam-delivery-me"


class Api:
    """A Kubernetes API with one team: each write takes some seconds, and the first ones fail."""

    def __init__(self, claimed: Snapshot, took: float, errors: Sequence[Exception]) -> None:
        self.latest = claimed
        self._took = took
        self._errors = list(errors)
        self.writes: list[tuple[float, str]] = []  # when each began, and the delivered targets in it

    async def read_team(self, *_: str) -> Snapshot:
        return self.latest

    async def write_delivery(self, _: AgentTeam, entries: Sequence[Mapping[str, Any]]) -> Snapshot:
        names = [entry["name"] for entry in entries if entry["phase"] == "Delivered"]
        self.writes.append((round(_now(), 6), "".join(names)))
        await asyncio.sleep(self._took)
        if self._errors:
            raise self._errors.pop(0)
        self.latest = self.latest._replace(team=team(SPEC, entries=entries))
        return self.latest


def _now() -> float:
    return asyncio.get_running_loop().time()


class Recorded(NamedTuple):
    """The writes, which outcomes are on record and which are not, and when that was known."""

    writes: list[tuple[float, str]]
    written: set[str]
    unwritten: set[str]
    ended: float


async def _record(
    arrivals: Mapping[str, float], took: float = 0.0, errors: Sequence[Exception] = ()
) -> Recorded:
    """Record outcomes that arrive at these seconds."""
    event = CompletionEvent(namespace="research", team="report")
    terms = Terms(holder=HOLDER, now=NOW, life=timedelta(seconds=142), max_takeovers=10)
    plan = decide(team(SPEC), event, terms, start=True)
    api = Api(Snapshot(team(SPEC, entries=plan.entries), NOW, 0.0), took, errors)
    nobody = {"claimed_by": None, "claimed_until": None}
    settled = {"phase": Phase.DELIVERED, "reason": Reason.DELIVERED, **nobody}
    outcomes: dict[str, Receipt] = {
        claim.receipt.name: claim.receipt.changed(**settled) for claim in plan.claims
    }
    told: list[str] = []
    one = Recorder(
        cast("Cluster", api),
        api.latest,
        holder=HOLDER,
        timeout=60.0,
        written=lambda receipt: told.append(receipt.name),
        metrics=Metrics(),
        tracing=Tracing(),
        log=structlog.get_logger(),
    )
    for name, at in arrivals.items():
        asyncio.get_running_loop().call_at(at, one.record, outcomes[name])
    await one.run(len(arrivals))
    assert sorted(told) == sorted(one.written)
    return Recorded(api.writes, set(one.written), set(one.unwritten), _now())


@pytest.fixture(autouse=True)
def _one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "steady", _now)


def test_outcomes_that_are_all_there_are_written_at_once() -> None:
    done = timeless(_record(dict.fromkeys(NAMES, 0.02)))
    assert done == Recorded([(0.02, "abcde")], set(NAMES), set(), 0.02)


def test_the_last_outcome_ends_the_wait_for_it() -> None:
    done = timeless(_record({"a": 0.0, "b": 0.01, "c": LINGER - 0.01}))
    assert done.writes == [(LINGER - 0.01, "abc")]


def test_the_first_outcome_decides_how_long_others_are_waited_for() -> None:
    done = timeless(_record({"a": 0.0, "b": LINGER - 0.01, "c": 1.0}))
    assert done.writes == [(LINGER, "ab"), (1.0, "abc")]


@pytest.mark.parametrize(
    "errors",
    [(), (Conflict("changed"),), (ApiUnavailable("away"),), (Rejected("refused"),)],
    ids=["written", "conflict", "no answer", "refused"],
)
def test_what_arrives_during_a_write_goes_into_the_next(errors: Sequence[Exception]) -> None:
    arrivals = {"a": 0.0, "b": 0.0, "c": 0.1, "d": 0.11, "e": 0.12}
    done = timeless(_record(arrivals, took=0.2, errors=errors))
    assert done.writes[0] == (LINGER, "ab")
    assert done.writes[-1][1] == "abcde"
    assert done.written == set(NAMES)


def test_a_wait_begins_when_the_write_before_it_has_ended_and_is_as_long_as_that_took() -> None:
    took = 0.1
    pause = took / WRITING_SHARE - took  # so that writes take their share of the time, and no more
    done = timeless(_record({"a": 0.0, "b": 0.1, "c": 0.3, "d": 0.4, "e": 5.0}, took=took))
    assert done.writes == [(LINGER, "a"), (pytest.approx(LINGER + took + pause), "abcd"), (5.0, "abcde")]


def test_a_refused_outcome_does_not_keep_the_others_waiting() -> None:
    refused = [Rejected("too large")] * 3  # of five, two and one outcome; that one is given up
    done = timeless(_record(dict.fromkeys(NAMES, 0.0), errors=refused))
    assert [len(names) for _, names in done.writes] == [5, 2, 1, 1, 3, 4]
    assert (len(done.unwritten), done.ended) == (1, 0.0)
