"""When each team is due, and the effect of each answer of the service."""

import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.backoff import Backoff
from app.domain.teams import AgentTeam
from app.watcher.agenda import Agenda, Outcome, Submission, TeamKey
from app.watcher.pace import Pace
from tests.watcher.teams import WEBHOOK, claimed, delivered, postponed, team

T0 = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()
KEY = TeamKey("research", "report")
STILL = Pace(random=lambda: 0.0)
AWAY = Outcome(None)


def agenda(pace: Pace = STILL) -> Agenda:
    return Agenda(phases=("Completed",), max_age=86_400.0, pace=pace)


def finished(name: str = "report", **how: Any) -> Any:
    return team(name, **{"completed": T0, **how})


def taken(book: Agenda, now: float) -> Submission:
    submission = book.take(now)
    assert submission is not None
    return submission


def posted(book: Agenda, answer: Outcome, now: float) -> None:
    book.note(taken(book, now), answer, now)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(T0 + seconds, UTC)


class TestWhatIsDue:
    """The first observation of a team."""

    def test_a_finished_team_is_submitted_once(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        assert taken(book, T0) == Submission(KEY, "u-1", "1", T0)
        assert book.take(T0) is None

    def test_a_settled_team_is_not_due(self) -> None:
        book = agenda()
        book.observe(finished(delivery=[delivered()]), T0)
        assert book.next_moment() is None

    def test_a_running_team_is_not_due(self) -> None:
        book = agenda()
        book.observe(team(phase="Running"), T0)
        assert book.next_moment() is None

    def test_the_grace_period_starts_when_the_phase_is_first_seen(self) -> None:
        book = agenda()
        book.observe(team(phase="Running", version=1), T0 - 100)
        book.observe(team(version=2), T0)
        book.observe(team(version=3), T0 + 20)
        assert book.take(T0 + 29) is None
        assert book.next_moment() == T0 + 30 + STILL.claim_margin
        assert taken(book, T0 + 31).completed_at is None

    def test_a_team_that_runs_again_gets_a_new_grace_period(self) -> None:
        book = agenda()
        book.observe(team(version=1), T0)
        book.observe(team(phase="Running", version=2), T0 + 10)
        assert book.next_moment() is None
        book.observe(team(version=3), T0 + 20)
        assert book.next_moment() == T0 + 50 + STILL.claim_margin

    def test_completed_at_ends_the_grace_period(self) -> None:
        book = agenda()
        book.observe(team(version=1), T0)
        book.observe(finished(version=2), T0 + 1)
        assert taken(book, T0 + 1).completed_at == T0

    @pytest.mark.parametrize("ahead", [1, 3600])
    def test_a_completion_ahead_of_the_clock_causes_no_wait(self, ahead: int) -> None:
        book = agenda()
        book.observe(finished(completed=T0 + ahead), T0)
        assert taken(book, T0)

    def test_a_claimed_team_is_due_shortly_after_the_claim_expires(self) -> None:
        book = agenda(Pace(random=lambda: 0.5))
        book.observe(finished(delivery=[claimed(at(140))]), T0)
        assert book.next_moment() == T0 + 140 + 1.0 + 0.5
        assert book.take(T0 + 141) is None
        assert taken(book, T0 + 141.5).completed_at is None  # not new: its event was accepted before

    def test_a_team_listed_again_keeps_its_time(self) -> None:
        book = agenda()
        book.observe(finished(delivery=[claimed(at(140))]), T0)
        book.observe(finished(delivery=[claimed(at(140))]), T0 + 140)
        assert book.next_moment() == T0 + 141

    def test_the_team_due_for_longest_comes_first(self) -> None:
        book = agenda()
        for position, name in enumerate(("c", "a", "b")):
            book.observe(finished(name), T0 + position)
        assert [taken(book, T0 + 5).team.name for _ in range(3)] == ["c", "a", "b"]

    def test_the_number_of_concurrent_submissions_is_limited(self) -> None:
        book = agenda()
        for number in range(40):
            book.observe(finished(f"team-{number}"), T0)
        submissions = [taken(book, T0) for _ in range(16)]
        assert book.take(T0) is None
        assert book.next_moment() is None
        book.note(submissions[3], Outcome(202), T0)
        assert book.take(T0) is not None
        assert book.take(T0) is None

    @pytest.mark.parametrize("end", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59"])
    def test_a_claim_at_the_end_of_time_causes_no_error(self, end: str) -> None:
        book = agenda()
        book.observe(finished(delivery=[claimed(at(0)) | {"claimedUntil": end}]), T0)
        assert book.next_moment() is not None


class TestRemovedTeams:
    """Teams that are deleted or recreated."""

    def test_a_deleted_team_is_forgotten(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        book.forget(KEY)
        book.forget(KEY)
        assert len(book) == 0
        assert book.take(T0) is None

    def test_a_complete_list_removes_the_teams_that_it_does_not_contain(self) -> None:
        book = agenda()
        for namespace in ("a", "b"):
            for name in ("one", "two"):
                book.observe(finished(name, namespace=namespace), T0)
        book.retain({TeamKey("a", "one")}, "a")
        assert len(book) == 3
        book.retain({TeamKey("a", "one")}, None)
        assert len(book) == 1
        assert taken(book, T0).team == TeamKey("a", "one")

    def test_a_team_deleted_during_its_submission_is_forgotten(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        submission = taken(book, T0)
        book.forget(KEY)
        book.note(submission, Outcome(500), T0 + 1)
        assert book.next_moment() is None

    def test_a_team_recreated_during_its_submission_waits_for_the_answer(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        submission = taken(book, T0)
        book.observe(finished(uid="u-2", version=9), T0 + 1)
        assert book.take(T0 + 1) is None
        book.note(submission, Outcome(409), T0 + 2)
        assert taken(book, T0 + 2).uid == "u-2"


class TestAnswers:
    """The effect of each answer on the team."""

    @pytest.mark.parametrize("status", [200, 202, 404])
    def test_an_accepted_team_is_done_until_listed_again(self, status: int) -> None:
        book = agenda()
        book.observe(finished(), T0)
        posted(book, Outcome(status), T0)
        assert book.next_moment() is None
        book.observe(finished(), T0 + 300)
        assert taken(book, T0 + 300)

    @pytest.mark.parametrize("status", [200, 202, 404, 409, 500])
    def test_an_accepted_team_is_done_until_it_changes(self, status: int) -> None:
        book = agenda()
        book.observe(finished(), T0)
        posted(book, Outcome(status), T0)
        book.observe(finished(version=2), T0 + 60)
        assert taken(book, T0 + 60)

    def test_a_change_during_a_submission_is_kept(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        submission = taken(book, T0)
        book.observe(finished(version=2, delivery=[claimed(at(140))]), T0 + 1)
        assert book.take(T0 + 1) is None
        book.note(submission, Outcome(202), T0 + 1)
        assert book.next_moment() == T0 + 141

    def test_a_team_settled_during_a_submission_is_done(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        submission = taken(book, T0)
        book.observe(finished(version=2, delivery=[delivered()]), T0 + 1)
        book.note(submission, Outcome(500), T0 + 1)
        assert book.next_moment() is None

    def test_a_team_listed_unchanged_during_a_submission_is_done_when_accepted(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        submission = taken(book, T0)
        book.observe(finished(), T0 + 1)
        book.note(submission, Outcome(202), T0 + 1)
        assert book.next_moment() is None

    @pytest.mark.parametrize("status", [401, 403, 413, 422, 500, 503, 302, 418, 200 + 1])
    def test_refusals_are_retried_after_five_seconds_up_to_an_hour(self, status: int) -> None:
        book = agenda()
        book.observe(finished(), T0)
        now, waits = T0, []
        for _ in range(13):
            posted(book, Outcome(status), now)
            moment = book.next_moment()
            assert moment is not None
            waits.append(moment - now)
            now = moment
        assert waits[:4] == [5, 10, 20, 40]
        assert waits[9:] == [2560, 3600, 3600, 3600]

    def test_a_list_without_a_change_keeps_the_backoff(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        posted(book, Outcome(422), T0)
        book.observe(finished(), T0 + 1)
        assert book.next_moment() == T0 + 5

    def test_an_accepted_submission_resets_the_backoff(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        posted(book, Outcome(500), T0)
        posted(book, Outcome(202), T0 + 5)
        book.observe(finished(), T0 + 300)
        posted(book, Outcome(500), T0 + 300)
        assert book.next_moment() == T0 + 305

    def test_conflicts_are_retried_with_backoff_too(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        now, waits = T0, []
        for _ in range(4):
            submission = taken(book, now)
            book.observe(finished(), now)  # read again, unchanged
            book.note(submission, Outcome(409), now)
            moment = book.next_moment()
            assert moment is not None
            waits.append(moment - now)
            now = moment
        assert waits == [0.5, 1, 2, 4]

    @pytest.mark.parametrize(("asked", "kept"), [(7.0, 7.0), (0.0, 0.2), (3600.0, 300.0), (-1.0, 0.2)])
    def test_retry_after_is_limited_to_a_reasonable_range(self, asked: float, kept: float) -> None:
        book = agenda()
        book.observe(finished(), T0)
        posted(book, Outcome(503, asked), T0)
        assert book.next_moment() == pytest.approx(T0 + kept)

    def test_retry_after_applies_even_after_a_change(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        posted(book, Outcome(503, 10.0), T0)
        book.observe(finished(version=2), T0 + 1)
        assert book.next_moment() == T0 + 10

    def test_a_team_that_changes_with_every_submission_causes_no_hot_loop(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        now, version, waits = T0, 1, []
        for answer in (202, 500, 202, 404, 500, 200, 202, 202, 202):
            submission = taken(book, now)
            version += 1
            book.observe(finished(version=version), now)
            book.note(submission, Outcome(answer), now)
            moment = book.next_moment()
            assert moment is not None
            waits.append(moment - now)
            now = moment
        assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


class TestOutage:
    """While the service is away, all teams wait, and one at a time is tried."""

    def test_after_a_failure_all_wait_and_one_is_tried(self) -> None:
        book = agenda()
        for name in ("a", "b", "c"):
            book.observe(finished(name), T0)
        book.note(taken(book, T0), AWAY, T0 + 0.1)
        assert book.away
        assert book.take(T0 + 0.1) is None
        assert book.next_moment() == T0 + 0.6
        probe = taken(book, T0 + 0.6)
        assert probe.is_probe
        assert probe.team.name == "b"  # the one that failed goes to the end of the queue
        assert book.take(T0 + 0.6) is None
        assert book.next_moment() is None
        book.note(probe, Outcome(202), T0 + 0.7)
        assert not book.away
        assert {taken(book, T0 + 0.7).team.name for _ in range(2)} == {"a", "c"}

    def test_the_waits_double_up_to_fifteen_seconds(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        now, waits = T0, []
        for _ in range(8):
            posted(book, AWAY, now)
            moment = book.next_moment()
            assert moment is not None
            waits.append(moment - now)
            now = moment
        assert waits == [0.5, 1, 2, 4, 8, 15, 15, 15]

    def test_concurrent_failures_count_as_one(self) -> None:
        book = agenda()
        for number in range(16):
            book.observe(finished(f"team-{number}"), T0)
        for submission in [taken(book, T0) for _ in range(16)]:
            book.note(submission, AWAY, T0)
        assert book.next_moment() == T0 + 0.5

    def test_any_answer_ends_the_outage_and_the_next_starts_with_a_short_wait(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        posted(book, AWAY, T0)
        posted(book, AWAY, T0 + 0.5)
        posted(book, Outcome(500), T0 + 1.5)
        posted(book, AWAY, T0 + 6.5)
        assert book.next_moment() == T0 + 7

    def test_a_team_that_changes_during_an_outage_waits_with_the_others(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        posted(book, AWAY, T0)
        book.observe(finished(version=2), T0 + 0.1)
        assert book.next_moment() == T0 + 0.5

    def test_a_team_whose_submissions_always_break_does_not_block_the_others(self) -> None:
        book = agenda()
        book.observe(finished("poison"), T0)
        for number in range(5):
            book.observe(finished(f"team-{number}"), T0 + 0.1)
        now, delivered_to = T0 + 0.1, []
        for _ in range(8):
            now = max(now, book.next_moment() or now)
            submission = taken(book, now)
            poisoned = submission.team.name == "poison"
            book.note(submission, AWAY if poisoned else Outcome(202), now)
            if not poisoned:
                delivered_to.append(submission.team.name)
        assert len(set(delivered_to)) == 5


class TestNews:
    """The lag is measured once per completion."""

    def test_only_the_first_submission_counts_for_the_lag(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        posted(book, Outcome(202), T0)
        book.observe(finished(version=2), T0 + 60)
        assert taken(book, T0 + 60).completed_at is None

    def test_a_completion_stays_new_until_it_is_accepted(self) -> None:
        book = agenda()
        book.observe(finished(), T0)
        posted(book, AWAY, T0)
        posted(book, Outcome(500), T0 + 0.5)
        assert taken(book, T0 + 5.5).completed_at == T0


def test_due_counts_the_teams_that_wait_now() -> None:
    book = agenda()
    book.observe(finished("now"), T0)
    book.observe(finished("later", delivery=[claimed(at(140))]), T0)
    book.observe(finished("never", delivery=[delivered()]), T0)
    assert len(book) == 3
    assert book.due(T0) == 1
    assert book.due(T0 + 141) == 2


def test_the_pace_determines_the_limits() -> None:
    book = agenda(Pace(random=lambda: 0.0, at_once=1, outage=Backoff(2.0, 2.0)))
    book.observe(finished("a"), T0)
    book.observe(finished("b"), T0)
    submission = taken(book, T0)
    assert book.take(T0) is None
    book.note(submission, AWAY, T0)
    assert book.next_moment() == T0 + 2.0


class TestDeletedRecords:
    """A record that another program deletes repeatedly."""

    def test_each_deletion_after_the_first_causes_a_longer_wait_up_to_an_hour(self) -> None:
        book, now, version, waits = agenda(), T0, 1, []
        for times in range(1, 20):
            assert book.observe(finished(version=version, delivery=[delivered()]), now) == 0
            assert book.observe(finished(version=version + 1), now) == times
            moment = book.next_moment()
            assert moment is not None
            waits.append(moment - now)
            now = moment
            posted(book, Outcome(202), now)
            version += 2
        assert waits[:4] == [0.0, 5.0, 10.0, 20.0]
        assert waits[-1] == 3600.0
        assert sum(waits[:10]) < 2 * 3600  # then 24 per day, instead of 2,880

    def test_a_partial_deletion_counts_too(self) -> None:
        book = agenda()
        book.observe(two_targets(delivered("a"), delivered("b")), T0)
        assert book.observe(two_targets(delivered("a"), version=2), T0) == 1

    def test_a_new_target_does_not_count_as_a_deletion(self) -> None:
        book = agenda()
        book.observe(finished(delivery=[delivered()]), T0)
        assert book.observe(two_targets(delivered("webhook-0"), version=2), T0) == 0
        assert book.next_moment() == T0

    def test_a_recreated_team_does_not_count_as_a_deletion(self) -> None:
        book = agenda()
        book.observe(finished(delivery=[delivered()]), T0)
        assert book.observe(finished(uid="u-2", version=2), T0) == 0
        assert book.next_moment() == T0


def two_targets(*entries: dict[str, Any], version: int = 1) -> AgentTeam:
    """A finished team with two targets and these entries on record."""
    specs = [{**WEBHOOK, "name": name} for name in ("a", "b")]
    return AgentTeam.from_resource(
        {
            "metadata": {
                "namespace": "research",
                "name": "report",
                "uid": "u-1",
                "resourceVersion": str(version),
            },
            "spec": {"lifecycle": {"onComplete": "deliver", "delivery": specs}},
            "status": {
                "phase": "Completed",
                "completedAt": "2026-03-01T12:00:00Z",
                "delivery": list(entries),
            },
        }
    )


class TestUndelivered:
    """How long a team has waited, for the operator's metrics."""

    def test_a_team_waits_from_its_completion_until_it_is_settled(self) -> None:
        book = agenda()
        book.observe(team(completed=T0 - 300), T0)
        assert book.undelivered(T0 + 900) == [T0 - 300]
        book.observe(team(version=2, completed=T0 - 300, delivery=[claimed(at(60))]), T0 + 1)
        assert book.undelivered(T0 + 900) == [T0 - 300]
        book.observe(team(version=3, completed=T0 - 300, delivery=[delivered()]), T0 + 2)
        assert book.undelivered(T0 + 900) == []

    def test_a_redelivery_does_not_have_the_age_of_its_team(self) -> None:
        book = agenda()
        book.observe(team(completed=T0 - 80_000, delivery=[delivered()]), T0)
        book.observe(team(version=2, completed=T0 - 80_000, delivery=[claimed(at(60))]), T0 + 5)
        assert book.undelivered(T0 + 900) == [T0 + 5]

    def test_a_completion_ahead_of_the_clock_waits_from_now(self) -> None:
        book = agenda()
        for now in (T0, T0 + 300, T0 + 600):
            book.observe(team(completed=T0 + 3600), now)
        assert book.undelivered(T0 + 900) == [T0]

    def test_a_deleted_team_does_not_wait(self) -> None:
        book = agenda()
        book.observe(team(completed=T0), T0)
        book.forget(TeamKey("research", "report"))
        assert book.undelivered(T0 + 900) == []


class TestPostponed:
    """A team with a receiver that is down: only its record says when to retry."""

    def test_a_postponed_team_is_submitted_at_its_time_at_any_age(self) -> None:
        book = agenda(Pace(random=lambda: 0.5))
        old = T0 - 200_000
        book.observe(finished(completed=old, delivery=[postponed(at(3600), since=old)]), T0)
        assert book.next_moment() == T0 + 3600 + 1.0 + 0.5
        assert book.take(T0 + 3601) is None
        assert taken(book, T0 + 3602).completed_at is None

    def test_a_watcher_that_starts_later_uses_the_same_time(self) -> None:
        book = agenda()
        book.observe(finished(delivery=[postponed(at(-60))]), T0)
        assert taken(book, T0)

    def test_a_team_postponed_again_is_submitted_again(self) -> None:
        book = agenda()
        for number, wait in enumerate((60, 360, 1260)):
            book.observe(finished(version=2 * number + 1, delivery=[postponed(at(wait))]), T0)
            assert book.next_moment() == T0 + wait + STILL.claim_margin
            submission = taken(book, T0 + wait + 1)
            book.observe(finished(version=2 * number + 2, delivery=[claimed(at(wait + 130))]), T0 + wait + 1)
            book.note(submission, Outcome(202), T0 + wait + 1)

    def test_until_its_time_a_postponed_team_waits_for_its_receiver_not_for_us(self) -> None:
        book = agenda()
        book.observe(finished(completed=T0 - 300, delivery=[postponed(at(600), since=T0 - 290)]), T0)
        assert (book.undelivered(T0 + 599), book.postponed()) == ([], [T0 - 290])
        assert book.undelivered(T0 + 900) == [T0 + 600]
        trying = {
            **claimed(at(740)),
            "retries": 1,
            "timestamp": postponed(at(0), since=T0 - 290)["timestamp"],
        }
        book.observe(finished(version=2, completed=T0 - 300, delivery=[trying]), T0 + 601)
        assert book.postponed() == [T0 - 290]
        book.observe(finished(version=3, completed=T0 - 300, delivery=[delivered()]), T0 + 602)
        assert (book.undelivered(T0 + 900), book.postponed()) == ([], [])

    def test_each_postponed_team_takes_less_than_a_kilobyte(self) -> None:
        book, number = agenda(), 1_000
        teams = [
            finished(f"report-{one}", uid=f"u-{one}", delivery=[postponed(at(60 + one))])
            for one in range(number)
        ]
        tracemalloc.start()
        try:
            for one in teams:
                book.observe(one, T0)
            teams.clear()
            taken_up = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert len(book) == len(book.postponed()) == number
        assert taken_up < 1024 * number
