"""Decides which team to submit when: pure bookkeeping, without I/O, with the clock passed in.

Times are seconds since 1970 on the API server's clock. The agenda keeps only a small record of a team, so
callers of `observe` can drop the resource afterwards.
"""

import heapq
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple

from app.domain.teams import AgentTeam, needs_delivery, retried_targets
from app.watcher.pace import Pace


class TeamKey(NamedTuple):
    """The identity of a team; a recreated team has the same key and another uid."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Submission:
    """One team to submit now. The caller must report its outcome before the next submission for its team.

    `completed_at` is set on the first submission after a completion.
    """

    team: TeamKey
    uid: str
    resource_version: str
    completed_at: float | None = None
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The service's answer: an HTTP status and the seconds of its `Retry-After`; no status: unavailable."""

    status: int | None
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        """Whether the service has recorded the event."""
        return self.status in {HTTPStatus.OK, HTTPStatus.ACCEPTED}


@dataclass(slots=True)
class _Memory:
    uid: str
    resource_version: str = ""
    finished_since: float | None = None  # when the terminal phase was first seen
    # When it finished, or a redelivery was found; for a postponed one, when its retry is due.
    undelivered_since: float | None = None
    postponed_since: float | None = None  # when the postponed event was accepted
    completed_at: float | None = None  # until the completion was submitted
    accepted: bool = False
    due: float | None = None
    not_before: float = 0.0  # applies even if the team changes
    posts: int = 0
    failures: int = 0  # consecutive
    lines: int = 0  # lines on record
    wipes: int = 0  # how often the lines on record became fewer


class Agenda:
    """The known teams, and when each is due.

    There is never more than one submission per team at a time, nor more than `pace.at_once` in all. The wait
    between two submissions of one team grows. So a team that changes with every submission, because of the
    service's own writes or an operator that undoes them, does not cause a hot loop.
    """

    def __init__(self, *, phases: Collection[str], max_age: float, pace: Pace, adopt: bool = False) -> None:
        self._phases = phases
        self._adopt = adopt  # include targets that the operator failed to deliver
        self._max_age = timedelta(seconds=max_age)
        self._pace = pace
        self._records: dict[TeamKey, _Memory] = {}
        self._under_way: dict[TeamKey, Submission] = {}
        # Times at which to look at a team; an entry that no longer agrees with the team's record is skipped.
        self._queue: list[tuple[float, TeamKey]] = []
        self._outage_steps = 0
        self._resume_at = 0.0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def away(self) -> bool:
        """Whether the service did not answer the last time; if so, only one submission at a time is tried."""
        return self._outage_steps > 0

    def due(self, now: float) -> int:
        """Count the teams that could be submitted now."""
        return sum(record.due is not None and record.due <= now for record in self._records.values())

    def undelivered(self, now: float) -> list[float]:
        """Return since when each unsettled team has waited for the watcher.

        A postponed team waits for its receiver instead, until its retry is due.
        """
        waits = (record.undelivered_since for record in self._records.values())
        return [since for since in waits if since is not None and since <= now]

    def postponed(self) -> list[float]:
        """Return since when each team has waited for the retry of a receiver."""
        waits = (record.postponed_since for record in self._records.values())
        return [since for since in waits if since is not None]

    def is_news_without_time(self, team: AgentTeam) -> bool:
        """Whether a team is new, finished and to be delivered, but has no completion time."""
        if team.phase not in self._phases or team.completed_at or team.entries or not team.wants_delivery:
            return False
        record = self._records.get(TeamKey(team.namespace, team.name))
        return record is None or record.uid != team.uid or record.finished_since is None

    def observe(self, team: AgentTeam, now: float) -> int:
        """Judge a team that was listed, watched or read; an unchanged one keeps its backoff.

        Returns how often its record has been wiped, if it was wiped now, otherwise 0. The service then sends
        again, under the same ids, after a wait that grows each time.
        """
        key = TeamKey(team.namespace, team.name)
        record = self._records.get(key)
        if record is None or record.uid != team.uid:
            record = self._records[key] = _Memory(team.uid)
        changed = record.resource_version != team.resource_version
        record.resource_version = team.resource_version
        since = record.finished_since if record.finished_since is not None else now
        record.finished_since = since if team.finished else None
        due = needs_delivery(
            team,
            phases=self._phases,
            max_age=self._max_age,
            finished_since=datetime.fromtimestamp(since, UTC),
            now=datetime.fromtimestamp(now, UTC),
            adopt=self._adopt,
        )
        is_news = team.completed_at is not None and not team.entries and not record.accepted
        record.completed_at = team.completed_at.timestamp() if team.completed_at and is_news else None
        wiped = len(team.entries) < record.lines and due is not None
        record.lines = len(team.entries)
        if wiped:
            record.wipes += 1
            if record.wipes > 1:  # a single one may be an accident
                wait = self._pace.wiped.wait(record.wipes - 2, self._pace.random)
                record.not_before = max(record.not_before, now + wait)
        record.postponed_since = None
        if due is None:
            record.due = record.undelivered_since = None
            return 0
        retried, alone = retried_targets(team)
        if retried:
            record.postponed_since = min(_seconds(receipt.timestamp, now) for receipt in retried)
        if alone:
            record.undelivered_since = min(
                _seconds(receipt.retry_at or receipt.delivered_at, now) for receipt in retried
            )
        elif record.undelivered_since is None or record.undelivered_since > now:
            finished = team.completed_at.timestamp() if team.completed_at and not team.entries else now
            record.undelivered_since = min(now, finished)
        if changed or record.due is None:
            at_once = due == team.completed_at  # even if that is in the future of every clock
            moment = now if at_once else self._moment(due.timestamp(), now)
            record.due = max(moment, record.not_before)
            self._enqueue(key, record)
        return record.wipes if wiped else 0

    def forget(self, key: TeamKey) -> None:
        """Forget a deleted team."""
        self._records.pop(key, None)

    def retain(self, seen: Collection[TeamKey], namespace: str | None) -> None:
        """Forget the teams that are missing from a full list of one namespace or of all."""
        gone = [key for key in self._records if namespace in {None, key.namespace} and key not in seen]
        for key in gone:
            self.forget(key)

    def take(self, now: float) -> Submission | None:
        """Remove and return the team that has been due longest; None: nothing may be submitted now."""
        moment = self.next_moment()
        if moment is None or moment > now:
            return None
        _, key = heapq.heappop(self._queue)
        record = self._records[key]
        record.due = None
        submission = Submission(key, record.uid, record.resource_version, record.completed_at, self.away)
        self._under_way[key] = submission
        return submission

    def next_moment(self) -> float | None:
        """Return when `take` will return a team, unless a team is observed or a submission ends before."""
        if len(self._under_way) >= self._pace.at_once or self._probing:
            return None
        while self._queue and not self._stands(*self._queue[0]):
            heapq.heappop(self._queue)
        if not self._queue:
            return None
        return max(self._queue[0][0], self._resume_at)

    def note(self, submission: Submission, answer: Outcome, now: float) -> None:
        """Record the outcome of a submission, and when its team is due again."""
        del self._under_way[submission.team]
        if answer.status is not None:
            self._outage_steps, self._resume_at = 0, 0.0
        elif submission.is_probe or not self.away:  # submissions that failed together count as one failure
            self._resume_at = now + self._pace.outage.wait(self._outage_steps, self._pace.random)
            self._outage_steps += 1
        record = self._records.get(submission.team)
        if record is None:
            return
        if record.uid == submission.uid:
            again = self._again(record, answer, now)
            if record.resource_version == submission.resource_version:
                record.due = again
            elif record.due is not None:  # judged again since then, which takes precedence
                record.due = max(record.due, record.not_before)
        self._enqueue(submission.team, record)

    def _again(self, record: _Memory, answer: Outcome, now: float) -> float | None:
        """Return when an unchanged team is due again; None: when it is next listed."""
        if answer.status is None:
            return now  # behind those that already wait, so that no team delays the others
        record.not_before = now + self._pace.repeat.wait(record.posts, self._pace.random)
        record.posts += 1
        if answer.accepted or answer.status == HTTPStatus.NOT_FOUND:
            record.accepted |= answer.accepted
            record.failures = 0
            return None
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE and answer.retry_after is not None:
            least, most = self._pace.retry_after
            record.not_before = now + min(max(answer.retry_after, least), most)
            return record.not_before
        backoff = self._pace.conflict if answer.status == HTTPStatus.CONFLICT else self._pace.failure
        record.failures += 1
        return now + backoff.wait(record.failures - 1, self._pace.random)

    def _moment(self, due: float, now: float) -> float:
        """Return when to process something due: immediately, or shortly after a future time."""
        if due <= now:
            return now
        return due + self._pace.claim_margin + self._pace.claim_jitter * self._pace.random()

    @property
    def _probing(self) -> bool:
        return self.away and any(submission.is_probe for submission in self._under_way.values())

    def _enqueue(self, key: TeamKey, record: _Memory) -> None:
        if record.due is not None and key not in self._under_way:
            heapq.heappush(self._queue, (record.due, key))

    def _stands(self, due: float, key: TeamKey) -> bool:
        record = self._records.get(key)
        return record is not None and record.due == due and key not in self._under_way


def _seconds(moment: datetime | None, default: float) -> float:
    return default if moment is None else moment.timestamp()
