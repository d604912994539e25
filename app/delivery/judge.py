"""Decides what an event requests, given the team's state, and whether to accept it. Pure."""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from app.domain.errors import PhaseNotTerminal, Problem, TeamNotFinished, TooManyTargets, UidChanged
from app.domain.events import TERMINAL_PHASES, CompletionEvent
from app.domain.ledger import Plan, Terms, decide, trial
from app.domain.receipts import ReportPhase
from app.domain.teams import AgentTeam
from app.domain.text import shortened
from app.settings import ServiceSettings

UNASKED = "the team requests no delivery: onComplete is not deliver, or it names no targets"


class Judgement(NamedTuple):
    """What an event requests, the phase to report, and why it starts no target, if it starts none.

    `idle` says why nothing is sent although every requested target is settled.
    """

    plan: Plan
    phase: str
    skipped: str | None = None
    idle: str | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """Knows which phases this service delivers, and how many targets per team it serves."""

    phases: tuple[str, ...]
    max_targets: int

    @classmethod
    def of(cls, settings: ServiceSettings) -> Self:
        """Return the judge that the settings define."""
        return cls(settings.phases, settings.max_targets)

    def check(self, event: CompletionEvent) -> None:
        """Check that an event can apply at all, in whatever phase the team is.

        Raises:
            PhaseNotTerminal: it names a phase that is not terminal.
        """
        if event.phase is not None and event.phase not in TERMINAL_PHASES:
            raise PhaseNotTerminal(f"phase must be one of {', '.join(TERMINAL_PHASES)}, or left out")

    def judge(
        self, event: CompletionEvent, team: AgentTeam, terms: Terms, *, unfinished: bool = False
    ) -> Judgement:
        """Judge an event. With `unfinished`, treat a team that is still running as one that has finished.

        Raises:
            Problem: the caller must change something, or try again.
        """
        self._check_uid(event, team)
        phase = self._phase(event, team, unfinished=unfinished)
        if phase != team.phase:  # the caller knows the phase before the resource shows it
            team = replace(team, phase=phase)
        settled_all = team.record.all_settled
        try:
            skipped = self._why_not(team, phase)
        except Problem as problem:
            if settled_all:
                raise
            # Once accepted, a target is completed, whatever happened to the team since.
            skipped = problem.detail
        if settled_all and skipped:
            return Judgement(Plan([]), phase, skipped)
        if phase not in TERMINAL_PHASES:
            # The service accepted the event when the caller knew the phase before the resource showed it, and
            # that process has ended. The phase was one of those that this service delivers; most
            # installations have one.
            phase = (self.phases or TERMINAL_PHASES)[0]
        plan = decide(team, event, terms, start=not skipped)
        return Judgement(plan, phase, idle=None if plan.changes else self._idle(event, team))

    def outlook(self, team: AgentTeam) -> tuple[ReportPhase, str]:
        """Say of a team without a record what it waits for, or why it gets no delivery."""
        if not team.wants_delivery:
            return "Skipped", UNASKED
        if not team.finished:
            phase = f'is in phase "{shortened(team.phase, 60)}"' if team.phase else "has no phase yet"
            return "Pending", f"the team {phase}; it is delivered when it has finished"
        if team.phase not in self.phases:
            return "Skipped", self._undelivered(team.phase)
        return "Pending", "the team has finished, and has not been submitted yet"

    def rehearse(self, event: CompletionEvent, team: AgentTeam, nonce: str) -> Judgement:
        """Judge a test: each named target gets one notification, whatever the team's phase.

        Raises:
            Problem: the caller must change something.
        """
        self._check_uid(event, team)
        self._check_number(team)
        phase = self._phase(event, team, unfinished=True)
        if not team.wants_delivery:
            return Judgement(Plan([]), phase, UNASKED)
        return Judgement(trial(team, event, nonce), phase)

    def _phase(self, event: CompletionEvent, team: AgentTeam, *, unfinished: bool) -> str:
        """Return the phase to report."""
        phase = event.phase or team.phase
        return self.phases[0] if unfinished and phase not in TERMINAL_PHASES else phase

    def _why_not(self, team: AgentTeam, phase: str) -> str | None:
        """Return why no target of the team may start; None if they may."""
        if not team.wants_delivery:
            return UNASKED
        if phase not in TERMINAL_PHASES:
            raise TeamNotFinished(
                f'the team is in phase "{shortened(phase, 60)}"; submit it when it has finished'
            )
        if phase not in self.phases:
            return self._undelivered(phase)
        self._check_number(team)
        if not team.notified:
            return f"no target requests notification of teams with the phase {phase}"
        return None

    def _idle(self, event: CompletionEvent, team: AgentTeam) -> str:
        """Say why nothing is sent, if nothing is in progress either."""
        if event.redeliver == "none":
            return "nothing was sent: every target is settled; redeliver sends again"
        asked = [
            receipt for receipt in team.record.receipts if receipt.name in (event.targets or {receipt.name})
        ]
        if any(receipt.theirs and (event.redeliver == "all" or not receipt.success) for receipt in asked):
            return "nothing was sent again: another program recorded it, so it is left alone"
        return "nothing was sent again: no requested target has failed"

    def _undelivered(self, phase: str) -> str:
        return f"this installation does not deliver teams with the phase {phase}"

    def _check_uid(self, event: CompletionEvent, team: AgentTeam) -> None:
        if event.uid is not None and event.uid != team.uid:
            raise UidChanged("the team of this name has another uid: it was deleted and recreated")

    def _check_number(self, team: AgentTeam) -> None:
        if len(team.targets) > self.max_targets:
            raise TooManyTargets(
                f"the team lists {len(team.targets)} targets, and at most {self.max_targets} are served;"
                " nothing was sent"
            )
