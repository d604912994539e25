"""Submits due teams: takes them from the agenda, posts them, and reports the outcome to the agenda."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog

from app.domain.errors import ClusterError, ObjectNotFound
from app.timers import within
from app.watcher.advice import advice_on
from app.watcher.agenda import Agenda, Outcome, Submission
from app.watcher.clock import ServerClock
from app.watcher.metrics import WatchMetrics
from app.watcher.service import NoToken, ServiceAway, ServiceClient
from app.watcher.source import TeamSource

log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Courier:
    """Submits teams to the service, as many at once as the agenda allows."""

    agenda: Agenda
    service: ServiceClient
    source: TeamSource
    clock: ServerClock
    metrics: WatchMetrics

    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _stopping: bool = field(default=False, init=False)

    def wake(self) -> None:
        """Look at the agenda again."""
        self._news.set()

    def stop(self) -> None:
        """Take no more teams; `run` returns when the submissions in progress have ended."""
        self._stopping = True
        self.wake()

    async def run(self) -> None:
        """Submit teams until stopped."""
        async with asyncio.TaskGroup() as posts:
            while not self._stopping:
                self._news.clear()
                while submission := self.agenda.take(self.clock.now()):
                    posts.create_task(self._submit(submission))
                moment = self.agenda.next_moment()
                wait = None if moment is None else moment - self.clock.now()
                with suppress(TimeoutError), within(wait):
                    await self._news.wait()

    async def _submit(self, submission: Submission) -> None:
        try:
            answer, problem = await self.service.post(submission)
        except ServiceAway as error:
            self.metrics.posts.labels("no_token" if isinstance(error, NoToken) else "error").inc()
            if not self.agenda.away:
                log.warning("service_lost", error=str(error))
            namespace, team = submission.team
            log.info("team_not_submitted", namespace=namespace, team=team, error=str(error))
            self.agenda.note(submission, Outcome(None), self.clock.now())
        else:
            await self._note(submission, answer, problem)
            if self.agenda.away:
                log.info("service_back")
            self.agenda.note(submission, answer, self.clock.now())
        self.wake()

    async def _note(self, submission: Submission, answer: Outcome, problem: str) -> None:
        where = {"namespace": submission.team.namespace, "team": submission.team.name}
        self.metrics.posts.labels(str(answer.status)).inc()
        said = {**where, "answer": answer.status, **({"problem": problem} if problem else {})}
        if advice := advice_on(answer.status, problem):
            log.warning("team_submitted", **said, advice=advice)
        else:
            log.info("team_submitted", **said)
        if answer.accepted and submission.completed_at is not None:
            self.metrics.lag.observe(max(0.0, self.clock.now() - submission.completed_at))
        if answer.status == HTTPStatus.CONFLICT:
            await self._read_again(submission)

    async def _read_again(self, submission: Submission) -> None:
        """Read the current state of a team; without an answer, the backoff leads here again."""
        try:
            team = await self.source.team(*submission.team)
        except ObjectNotFound:
            self.agenda.forget(submission.team)
        except ClusterError as error:
            log.warning(
                "team_unread",
                namespace=submission.team.namespace,
                team=submission.team.name,
                error=str(error),
            )
        else:
            self.agenda.observe(team, self.clock.now())
