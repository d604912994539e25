"""In any order of events: no concurrent duplicates, no forgotten teams, no hot loop."""

from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.watcher.agenda import Agenda, Outcome, Submission, TeamKey
from app.watcher.pace import Pace
from tests.watcher.teams import delivered, team

T0 = 1_800_000_000.0
AT_ONCE = 3
NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
STATUSES = st.sampled_from([None, 200, 202, 302, 401, 404, 409, 422, 500, 503])


class AgendaMachine(RuleBasedStateMachine):
    """A cluster whose teams finish, change, settle and disappear, and a service with any answers."""

    @initialize(chance=st.floats(0.0, 0.999))
    def start(self, chance: float) -> None:
        self.now = T0
        self.pace = Pace(at_once=AT_ONCE, random=lambda: chance)
        self.agenda = Agenda(phases=("Completed",), max_age=86_400.0, pace=self.pace)
        self.versions: dict[str, tuple[str, int, bool]] = {}  # uid, resourceVersion, settled
        self.under_way: list[Submission] = []
        self.posts: dict[str, list[float]] = {}  # by uid
        self.counter = 0

    def document(self, name: str) -> Any:
        uid, version, is_settled = self.versions[name]
        ledger = [delivered()] if is_settled else None
        return team(name, uid=uid, version=version, completed=T0, delivery=ledger)

    @rule(name=NAMES, is_settled=st.booleans())
    def change(self, name: str, *, is_settled: bool) -> None:
        self.counter += 1
        uid = self.versions[name][0] if name in self.versions else f"u-{self.counter}"
        self.versions[name] = (uid, self.counter, is_settled)
        self.agenda.observe(self.document(name), self.now)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if self.versions.pop(name, None):
            self.agenda.forget(TeamKey("research", name))

    @rule()
    def relist(self) -> None:
        for name in self.versions:
            self.agenda.observe(self.document(name), self.now)
        self.agenda.retain({TeamKey("research", name) for name in self.versions}, None)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 1.0, 5.0, 30.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        moment = self.agenda.next_moment()
        submission = self.agenda.take(self.now)
        assert (submission is not None) == (moment is not None and moment <= self.now)
        if submission is None:
            return
        assert submission.team not in {other.team for other in self.under_way}
        self.under_way.append(submission)
        assert len(self.under_way) <= AT_ONCE
        self.posts.setdefault(submission.uid, [])

    @precondition(lambda self: self.under_way)
    @rule(status=STATUSES, retry_after=st.none() | st.floats(0.0, 600.0), which=st.integers(0, AT_ONCE))
    def answer(self, status: int | None, retry_after: float | None, which: int) -> None:
        submission = self.under_way.pop(which % len(self.under_way))
        self.agenda.note(submission, Outcome(status, retry_after), self.now)
        if status is not None:
            self.posts[submission.uid].append(self.now)

    @invariant()
    def never_hot(self) -> None:
        """Between two answers for one team there is always a wait."""
        for answered in getattr(self, "posts", {}).values():
            waits = [later - earlier for earlier, later in pairwise(answered)]
            assert all(wait >= self.pace.retry_after[0] for wait in waits)

    def teardown(self) -> None:
        """No team is forgotten: the next list, at the latest, brings up every team that is not settled."""
        for submission in self.under_way:
            self.agenda.note(submission, Outcome(202), self.now)
        self.relist()
        waiting = {name for name, (_, _, is_settled) in self.versions.items() if not is_settled}
        assert len(self.agenda) == len(self.versions)
        assert self.agenda.due(self.now + self.pace.failure.most) == len(waiting)
        submitted = set()
        while moment := self.agenda.next_moment():
            self.now = max(self.now, moment)
            last = self.agenda.take(self.now)
            assert last
            self.agenda.note(last, Outcome(200), self.now)
            submitted.add(last.team.name)
        assert submitted == waiting


AgendaMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAgenda = AgendaMachine.TestCase
