"""What is read of an AgentTeam, and when it needs delivery."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.receipts import Receipt
from app.domain.teams import (
    CLOCKS_APART,
    COMPLETION_GRACE,
    LONGEST_CLAIM,
    AgentTeam,
    needs_delivery,
    open_targets,
)
from app.domain.times import format_time

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
MAX_AGE = timedelta(hours=24)
SECOND = timedelta(seconds=1)

WEBHOOK = {"type": "webhook", "url": "https://hooks.example.com/a"}
SLACK = {"type": "slack", "credentialsSecret": "slack-credentials"}


def resource(
    *targets: Any, phase: Any = "Completed", completed: Any = NOW, delivery: Any = None, on: Any = "deliver"
) -> dict[str, Any]:
    status = {"phase": phase, "completedAt": format_time(completed) if completed else None}
    return {
        "metadata": {"namespace": "research", "name": "report", "uid": "u-1", "resourceVersion": "7"},
        "spec": {"lifecycle": {"onComplete": on, "delivery": list(targets)}},
        "status": status | ({} if delivery is None else {"delivery": delivery}),
    }


def entry(name: str, phase: str = "Pending", **more: Any) -> dict[str, Any]:
    return {"name": name, "phase": phase, "id": f"msg_{name}", **more}


def claimed(name: str, until: datetime) -> dict[str, Any]:
    return entry(name, claimedBy="holder", claimedUntil=format_time(until))


def when(
    team: dict[str, Any],
    *,
    phases: tuple[str, ...] = ("Completed",),
    finished_since: datetime = NOW,
    now: datetime = NOW,
) -> datetime | None:
    return needs_delivery(
        AgentTeam.from_resource(team), phases=phases, max_age=MAX_AGE, finished_since=finished_since, now=now
    )


class TestReading:
    """A missing or odd field counts as absent."""

    def test_a_complete_team(self) -> None:
        team = AgentTeam.from_resource(
            {
                "metadata": {"namespace": "research", "name": "report", "uid": "u-1", "resourceVersion": "7"},
                "spec": {
                    "lifecycle": {"onComplete": "deliver", "delivery": [SLACK]},
                    "auth": {"any": "thing"},
                },
                "status": {
                    "phase": "Failed",
                    "startedAt": "2026-03-01T11:00:00Z",
                    "completedAt": "2026-03-01T13:00:00+01:00",
                    "artifacts": [{"name": "report.md", "path": "/out/report.md"}, "odd"],
                    "delivery": [entry("slack-0"), None],
                },
            }
        )
        assert (team.namespace, team.name, team.uid, team.resource_version) == (
            "research",
            "report",
            "u-1",
            "7",
        )
        assert team.wants_delivery
        assert team.finished
        assert team.targets == [SLACK]
        assert team.started_at == NOW - timedelta(hours=1)
        assert team.completed_at == NOW
        assert team.artifacts == [{"name": "report.md", "path": "/out/report.md"}]
        assert team.entries == [entry("slack-0")]

    @pytest.mark.parametrize("odd", [None, 0, "text", [], {}, True, 1.5, [[]], [{}]])
    @pytest.mark.parametrize(
        "where",
        [
            ("metadata",),
            ("metadata", "name"),
            ("spec",),
            ("spec", "lifecycle"),
            ("spec", "lifecycle", "onComplete"),
            ("spec", "lifecycle", "delivery"),
            ("status",),
            ("status", "phase"),
            ("status", "completedAt"),
            ("status", "artifacts"),
            ("status", "delivery"),
        ],
    )
    def test_odd_types_are_absent(self, where: tuple[str, ...], odd: Any) -> None:
        team = resource(WEBHOOK)
        place = team
        for key in where[:-1]:
            place = place[key]
        place[where[-1]] = odd
        when(team)

    @pytest.mark.parametrize("odd", [None, 0, [], {}, ["Delivered"], {"a": 1}])
    @pytest.mark.parametrize("field", ["name", "phase", "id", "claimedBy", "claimedUntil"])
    def test_odd_entries_do_not_prevent_reading_the_others(self, field: str, odd: Any) -> None:
        when(resource(WEBHOOK, delivery=[claimed("webhook-0", NOW) | {field: odd}]))

    def test_an_empty_resource(self) -> None:
        team = AgentTeam.from_resource({})
        assert not team.wants_delivery
        assert not team.finished
        assert open_targets(team, NOW) == {}

    @pytest.mark.parametrize("phase", ["Completed", "Failed", "TimedOut", "BudgetExceeded"])
    def test_terminal_phases(self, phase: str) -> None:
        assert AgentTeam.from_resource(resource(phase=phase)).finished

    @pytest.mark.parametrize("phase", ["Pending", "Initializing", "Running", "", "completed"])
    def test_other_phases(self, phase: str) -> None:
        assert not AgentTeam.from_resource(resource(phase=phase)).finished


class TestEntries:
    """What one entry of the ledger means."""

    @pytest.mark.parametrize(
        ("one", "expected"),
        [
            (entry("a", "Delivered"), True),
            (entry("a", "Failed"), True),
            (entry("a", "Pending"), False),
            (entry("a", "Pending") | {"id": ""}, True),  # another program's
            ({"name": "a", "phase": "Pending"}, True),
            ({"name": "a"}, True),
            ({"name": "a", "id": "msg_a"}, False),
        ],
    )
    def test_settled(self, one: dict[str, Any], *, expected: bool) -> None:
        assert Receipt.from_wire(one).settled is expected

    @pytest.mark.parametrize(
        ("one", "expected"),
        [
            (claimed("a", NOW), NOW),
            (entry("a", claimedUntil=format_time(NOW)), None),  # released
            (entry("a", claimedBy="holder"), None),
            (entry("a", claimedBy="holder", claimedUntil="soon"), None),
            (entry("a", retryAt=format_time(NOW)), NOW),
        ],
    )
    def test_when_an_entry_may_be_claimed(self, one: dict[str, Any], expected: datetime | None) -> None:
        assert Receipt.from_wire(one).due == expected


class TestFinishedTeams:
    """A finished team is submitted once its end is on record, unless it is too old."""

    def test_with_completed_at_a_team_is_due_immediately(self) -> None:
        assert when(resource(WEBHOOK)) == NOW

    def test_with_completed_at_in_the_past_a_team_is_due_since_then(self) -> None:
        completed = NOW - timedelta(minutes=5)
        assert when(resource(WEBHOOK, completed=completed)) == completed

    def test_without_completed_at_a_team_is_due_after_a_grace_period(self) -> None:
        assert timedelta(seconds=30) == COMPLETION_GRACE
        team = resource(WEBHOOK, completed=None)
        assert when(team) == NOW + COMPLETION_GRACE
        seen = NOW - 10 * SECOND
        assert when(team, finished_since=seen) == seen + COMPLETION_GRACE

    @pytest.mark.parametrize(
        ("age", "expected"),
        [(MAX_AGE - SECOND, True), (MAX_AGE, True), (MAX_AGE + SECOND, False)],
    )
    def test_a_team_that_finished_long_ago_is_not_submitted(self, age: timedelta, *, expected: bool) -> None:
        assert (when(resource(WEBHOOK, completed=NOW - age)) is not None) is expected

    def test_the_age_of_a_team_without_completed_at_counts_from_its_first_sight(self) -> None:
        team = resource(WEBHOOK, completed=None)
        assert when(team, finished_since=NOW - MAX_AGE - SECOND) is None

    @pytest.mark.parametrize("phase", ["Pending", "Running", "Failed", "TimedOut", "BudgetExceeded", ""])
    def test_only_the_configured_phases_are_submitted(self, phase: str) -> None:
        assert when(resource(WEBHOOK, phase=phase)) is None

    def test_other_phases_are_submitted_if_configured(self) -> None:
        assert when(resource(WEBHOOK, phase="Failed"), phases=("Completed", "Failed")) == NOW

    @pytest.mark.parametrize("on", ["create-pr", "push-branch", "notify", "none", None, ""])
    def test_only_teams_that_request_delivery_are_submitted(self, on: str | None) -> None:
        assert when(resource(WEBHOOK, on=on)) is None

    def test_a_team_without_targets_is_not_submitted(self) -> None:
        assert when(resource()) is None

    def test_a_team_with_a_malformed_target_is_submitted(self) -> None:
        assert when(resource("odd")) == NOW


class TestLedger:
    """Settled targets need no delivery; pending ones do until they are settled."""

    @pytest.mark.parametrize("phase", ["Delivered", "Failed"])
    def test_a_team_with_only_settled_targets_needs_nothing(self, phase: str) -> None:
        assert when(resource(WEBHOOK, delivery=[entry("webhook-0", phase)])) is None

    def test_an_entry_of_another_program_counts_as_settled(self) -> None:
        assert when(resource(WEBHOOK, delivery=[{"name": "webhook-0", "phase": "Pending"}])) is None

    def test_a_team_with_one_of_two_targets_settled_is_due(self) -> None:
        assert when(resource(WEBHOOK, SLACK, delivery=[entry("webhook-0", "Delivered")])) == NOW

    def test_a_new_target_in_the_spec_is_due(self) -> None:
        late = NOW + timedelta(hours=1)
        ledger = [entry("webhook-0", "Delivered")]
        assert when(resource(WEBHOOK, SLACK, delivery=ledger), now=late) == NOW
        assert when(resource(WEBHOOK, SLACK, delivery=ledger), now=NOW + MAX_AGE + SECOND) is None

    def test_a_claimed_target_is_due_when_its_claim_expires(self) -> None:
        ends = NOW + timedelta(seconds=140)
        assert when(resource(WEBHOOK, delivery=[claimed("webhook-0", ends)])) == ends

    def test_a_claim_beyond_the_longest_possible_has_expired(self) -> None:
        longest = NOW + LONGEST_CLAIM + CLOCKS_APART
        assert when(resource(WEBHOOK, delivery=[claimed("webhook-0", longest)])) == longest
        assert when(resource(WEBHOOK, delivery=[claimed("webhook-0", longest + SECOND)])) == NOW

    def test_an_expired_claim_is_due(self) -> None:
        ended = NOW - SECOND
        assert when(resource(WEBHOOK, delivery=[claimed("webhook-0", ended)])) == ended

    def test_a_released_target_is_due(self) -> None:
        assert when(resource(WEBHOOK, delivery=[entry("webhook-0", attempts=2)])) == NOW

    def test_the_earliest_of_several_times_counts(self) -> None:
        soon, later = NOW + SECOND, NOW + 2 * SECOND
        ledger = [claimed("webhook-0", later), claimed("slack-1", soon)]
        assert when(resource(WEBHOOK, SLACK, delivery=ledger)) == soon
        assert when(resource(WEBHOOK, SLACK, delivery=ledger[:1])) == NOW

    def test_a_pending_target_is_due_at_any_age_and_phase(self) -> None:
        old = NOW - 10 * MAX_AGE
        ledger = [claimed("webhook-0", old)]
        assert when(resource(WEBHOOK, completed=old, delivery=ledger)) == old
        assert when(resource(WEBHOOK, phase="Running", completed=None, delivery=ledger)) == old
        assert when(resource(WEBHOOK, on="none", delivery=ledger)) == old

    def test_a_pending_entry_without_a_target_in_the_spec_is_due(self) -> None:
        assert when(resource(delivery=[entry("webhook-0")])) == NOW

    def test_open_targets_by_name(self) -> None:
        ends = NOW + timedelta(minutes=1)
        ledger = [entry("done", "Delivered"), claimed("webhook-0", ends), entry("left")]
        team = AgentTeam.from_resource(resource(WEBHOOK, SLACK, delivery=ledger))
        assert open_targets(team, NOW) == {"webhook-0": ends, "left": NOW, "slack-1": NOW}
