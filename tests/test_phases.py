"""Which phases are notified: those that an installation delivers, limited to those of a target."""

from datetime import timedelta
from typing import Any

import pytest

from app.delivery.judge import Judge
from app.domain.events import TERMINAL_PHASES, CompletionEvent
from app.domain.ledger import Terms
from app.domain.targets import InvalidTarget, read_targets
from app.domain.teams import needs_delivery
from tests.examples import NOW, team

ALL = Judge(TERMINAL_PHASES, 100)
TERMS = Terms("holder", NOW, timedelta(seconds=60), 3)
EVENT = CompletionEvent(namespace="research", team="report")


def hook(name: str, *on: Any) -> dict[str, Any]:
    told = {"on": list(on)} if on else {}
    return {"type": "webhook", "name": name, "url": f"https://{name}.example.com", **told}


TARGETS = [hook("always"), hook("failures", "Failed", "TimedOut"), hook("success", "Completed")]


@pytest.mark.parametrize(
    ("phase", "names"),
    [
        ("Completed", ["always", "success"]),
        ("Failed", ["always", "failures"]),
        ("TimedOut", ["always", "failures"]),
        ("BudgetExceeded", ["always"]),
    ],
)
def test_a_target_is_notified_of_the_outcomes_that_it_names(phase: str, names: list[str]) -> None:
    ended = team(TARGETS, phase=phase)
    assert ended.notified == names
    judged = ALL.judge(EVENT, ended, TERMS)
    assert [claim.target.name for claim in judged.plan.claims] == names
    entries = [claim.receipt.to_wire() for claim in judged.plan.claims]
    assert judged.plan.entries == entries, "targets that are not notified have no entry"


def test_the_phase_in_the_caller_s_event_counts() -> None:
    judged = ALL.judge(EVENT.model_copy(update={"phase": "Failed"}), team(TARGETS, phase="Running"), TERMS)
    assert [claim.target.name for claim in judged.plan.claims] == ["always", "failures"]


def test_without_a_target_to_notify_nothing_is_delivered_or_submitted() -> None:
    ended = team([hook("failures", "Failed")])
    judged = ALL.judge(EVENT, ended, TERMS)
    assert (judged.plan.claims, judged.skipped) == (
        (),
        "no target requests notification of teams with the phase Completed",
    )
    now: dict[str, Any] = {"finished_since": NOW, "now": NOW}
    asked = {"phases": TERMINAL_PHASES, "max_age": timedelta(days=1), **now}
    assert needs_delivery(ended, **asked) is None
    assert needs_delivery(team([hook("failures", "Failed")], phase="Failed"), **asked) is not None


def test_the_installation_s_phases_take_precedence() -> None:
    judged = Judge(("Completed",), 100).judge(EVENT, team(TARGETS, phase="Failed"), TERMS)
    assert judged.skipped == "this installation does not deliver teams with the phase Failed"


@pytest.mark.parametrize("on", [["Lost"], ["completed"], [1], [None], "Failed", {"a": 1}, [["Failed"]]])
def test_an_unknown_outcome_is_an_error_and_not_ignored(on: Any) -> None:
    (target,) = read_targets([{**hook("odd"), "on": on}])
    assert isinstance(target, InvalidTarget)
    assert target.problem.startswith("on")
    assert team([{**hook("odd"), "on": on}]).notified == ["odd"], "so that its entry has the error"


def test_an_empty_list_equals_no_list() -> None:
    assert team([{**hook("x"), "on": []}]).notified == ["x"]
