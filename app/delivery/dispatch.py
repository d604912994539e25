"""The delivery of one event as its caller sees it: whether it is done, and the report so far."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from app.delivery.claims import Accepted
from app.delivery.recorder import Recorder
from app.domain.errors import UidChanged
from app.domain.receipts import Receipt, Report, overall_phase
from app.domain.teams import AgentTeam
from app.timers import within


class Dispatch:
    """A delivery, in progress or done."""

    def __init__(self, accepted: Accepted, recorder: Recorder, task: asyncio.Task[None]) -> None:
        self._accepted = accepted
        self._recorder = recorder
        self._task = task

    async def wait(self, seconds: float) -> None:
        """Wait for the outcome, for at most `seconds`. The delivery continues if the wait ends first."""
        if self.done:
            return
        ended = asyncio.Event()
        self._task.add_done_callback(lambda _: ended.set())
        with suppress(TimeoutError), within(seconds):
            await ended.wait()

    @property
    def done(self) -> bool:
        """Whether this process has nothing left to do for the event."""
        return self._task.done() or not self._accepted.plan.claims

    @property
    def team(self) -> AgentTeam:
        """The team as it was when its targets were claimed."""
        return self._accepted.claimed.team

    def report(self) -> Report:
        """Return what is on record, and the outcomes that could not be written.

        Raises:
            UidChanged: the team was recreated during the delivery.
        """
        recorder, judgement = self._recorder, self._accepted.judgement
        if recorder.uid_changed:
            raise UidChanged("the team was recreated during its delivery; nothing more was sent")
        team = recorder.latest.team
        targets = tuple(recorder.known(receipt) for receipt in _told(team))
        phase = "Skipped" if judgement.skipped else overall_phase(targets)
        idle = None if phase == "Pending" else judgement.idle
        return Report(
            namespace=team.namespace,
            team=team.name,
            uid=team.uid,
            phase=phase,
            recorded=recorder.unrecorded is None,
            reason=recorder.unrecorded or judgement.skipped or idle,
            targets=targets,
        )


def reported(team: AgentTeam) -> Report:
    """Return the record of a team from its status."""
    targets = tuple(_told(team))
    return Report(
        namespace=team.namespace,
        team=team.name,
        uid=team.uid,
        phase=overall_phase(targets),
        targets=targets,
    )


def _told(team: AgentTeam) -> Iterator[Receipt]:
    """Yield the receipts of a team, without the detail of another program's: it may be confidential."""
    for receipt in team.record.receipts:
        if receipt.theirs:
            how = "tried and failed" if receipt.adoptable else "is responsible"
            yield receipt.changed(message=f"another program {how}, so it is left alone")
        else:
            yield receipt
