"""Which team to submit when: pure bookkeeping, without I/O, and the clock passed in.

Times are seconds since 1970 by the API server's clock. Of a team only a small record is kept; whoever calls
`observe` drops the resource afterwards.
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
class HandIn:
    """One team to be posted now. Each must be settled, whatever came of it, before the next for its team.

    `completed_at` is set where this is the first that the service hears of a completion.
    """

    team: TeamKey
    uid: str
    resource_version: str
    completed_at: float | None = None
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the service said: an HTTP status and the seconds of its `Retry-After`; no status: it is away."""

    status: int | None
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        """Whether the service has the event on record."""
        return self.status in {HTTPStatus.OK, HTTPStatus.ACCEPTED}


@dataclass(slots=True)
class _Memory:
    uid: str
    resource_version: str = ""
    finished_since: float | None = None  # when the terminal phase was first seen
    # When it finished, or was found to be redelivered; of one that is put off: when it is to be tried again.
    undelivered_since: float | None = None
    put_off_since: float | None = None  # when what is put off was accepted
    completed_at: float | None = None  # while the completion is news
    accepted: bool = False
    due: float | None = None
    not_before: float = 0.0  # holds over a change of the team
    posts: int = 0
    failures: int = 0  # in a row
    lines: int = 0  # on record
    wipes: int = 0  # how often there were fewer of them than before


class Agenda:
    """The teams known, and for each the moment at which it is due.

    Never two submissions of one team at a time, never more than `pace.at_once` in all, and between two of one
    team a wait that grows: a team that changes with every submission, by the service's own writes or by an
    operator that undoes them, does not become a hot loop.
    """

    def __init__(self, *, phases: Collection[str], max_age: float, pace: Pace, adopt: bool = False) -> None:
        self._phases = phases
        self._adopt = adopt  # what the operator failed to deliver
        self._max_age = timedelta(seconds=max_age)
        self._pace = pace
        self._records: dict[TeamKey, _Memory] = {}
        self._under_way: dict[TeamKey, HandIn] = {}
        # Moments at which to look at a team; what no longer agrees with the team's record is passed over.
        self._queue: list[tuple[float, TeamKey]] = []
        self._outage_steps = 0
        self._resume_at = 0.0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def away(self) -> bool:
        """Whether the service did not answer the last time; then only one submission at a time is tried."""
        return self._outage_steps > 0

    def due(self, now: float) -> int:
        """Count the teams that could be submitted now."""
        return sum(record.due is not None and record.due <= now for record in self._records.values())

    def undelivered(self, now: float) -> list[float]:
        """Return since when each team waits for us that is not settled as far as is known.

        One that is put off waits for its receiver, until it is time to try again.
        """
        waits = (record.undelivered_since for record in self._records.values())
        return [since for since in waits if since is not None and since <= now]

    def put_off(self) -> list[float]:
        """Return since when each team waits for a receiver that is to be tried again."""
        waits = (record.put_off_since for record in self._records.values())
        return [since for since in waits if since is not None]

    def is_news_without_time(self, team: AgentTeam) -> bool:
        """Whether a team is seen to have ended for the first time, is to be delivered, and lacks the time."""
        if team.phase not in self._phases or team.completed_at or team.entries or not team.wants_delivery:
            return False
        record = self._records.get(TeamKey(team.namespace, team.name))
        return record is None or record.uid != team.uid or record.finished_since is None

    def observe(self, team: AgentTeam, now: float) -> int:
        """Judge a team as it was listed, watched or read; one that did not change keeps its back-off.

        Returns how often its record was wiped by now, where it just was, else 0: what was on record is sent
        again then, under the same id, and each time later.
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
            if record.wipes > 1:  # once may happen to anybody
                wait = self._pace.wiped.wait(record.wipes - 2, self._pace.random)
                record.not_before = max(record.not_before, now + wait)
        record.put_off_since = None
        if due is None:
            record.due = record.undelivered_since = None
            return 0
        retried, alone = retried_targets(team)
        if retried:
            record.put_off_since = min(_seconds(receipt.timestamp, now) for receipt in retried)
        if alone:
            record.undelivered_since = min(
                _seconds(receipt.retry_at or receipt.delivered_at, now) for receipt in retried
            )
        elif record.undelivered_since is None or record.undelivered_since > now:
            finished = team.completed_at.timestamp() if team.completed_at and not team.entries else now
            record.undelivered_since = min(now, finished)
        if changed or record.due is None:
            at_once = due == team.completed_at  # even if that is ahead of this clock, or of any
            moment = now if at_once else self._moment(due.timestamp(), now)
            record.due = max(moment, record.not_before)
            self._enqueue(key, record)
        return record.wipes if wiped else 0

    def forget(self, key: TeamKey) -> None:
        """Drop a team that is gone."""
        self._records.pop(key, None)

    def retain(self, seen: Collection[TeamKey], namespace: str | None) -> None:
        """Drop the teams that a full list, of one namespace or of all, no longer names."""
        gone = [key for key in self._records if namespace in {None, key.namespace} and key not in seen]
        for key in gone:
            self.forget(key)

    def take(self, now: float) -> HandIn | None:
        """Return the team that has been due longest; None: nothing may be submitted now."""
        moment = self.next_moment()
        if moment is None or moment > now:
            return None
        _, key = heapq.heappop(self._queue)
        record = self._records[key]
        record.due = None
        hand_in = HandIn(key, record.uid, record.resource_version, record.completed_at, self.away)
        self._under_way[key] = hand_in
        return hand_in

    def next_moment(self) -> float | None:
        """Return when `take` will have something, unless a team is observed or a submission ends before."""
        if len(self._under_way) >= self._pace.at_once or self._probing:
            return None
        while self._queue and not self._stands(*self._queue[0]):
            heapq.heappop(self._queue)
        if not self._queue:
            return None
        return max(self._queue[0][0], self._resume_at)

    def note(self, hand_in: HandIn, answer: Outcome, now: float) -> None:
        """Note the outcome of a submission, and when its team is due again."""
        del self._under_way[hand_in.team]
        if answer.status is not None:
            self._outage_steps, self._resume_at = 0, 0.0
        elif hand_in.is_probe or not self.away:  # those that failed together are one failure
            self._resume_at = now + self._pace.outage.wait(self._outage_steps, self._pace.random)
            self._outage_steps += 1
        record = self._records.get(hand_in.team)
        if record is None:
            return
        if record.uid == hand_in.uid:
            again = self._again(record, answer, now)
            if record.resource_version == hand_in.resource_version:
                record.due = again
            elif record.due is not None:  # judged again since then: that applies
                record.due = max(record.due, record.not_before)
        self._enqueue(hand_in.team, record)

    def _again(self, record: _Memory, answer: Outcome, now: float) -> float | None:
        """Return when a team that does not change is due again; None: when it is next listed."""
        if answer.status is None:
            return now  # behind those that wait already, so that no team holds up the others
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
        """Return when to come for something due: at once, or a little after a time still to come."""
        if due <= now:
            return now
        return due + self._pace.claim_margin + self._pace.claim_jitter * self._pace.random()

    @property
    def _probing(self) -> bool:
        return self.away and any(hand_in.is_probe for hand_in in self._under_way.values())

    def _enqueue(self, key: TeamKey, record: _Memory) -> None:
        if record.due is not None and key not in self._under_way:
            heapq.heappush(self._queue, (record.due, key))

    def _stands(self, due: float, key: TeamKey) -> bool:
        record = self._records.get(key)
        return record is not None and record.due == due and key not in self._under_way


def _seconds(moment: datetime | None, default: float) -> float:
    return default if moment is None else moment.timestamp()
