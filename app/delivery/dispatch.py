"""The delivery of one event as its caller sees it: whether it is done, and the report so far."""

import asyncio

from app.delivery.claims import Accepted
from app.delivery.recorder import Recorder
from app.domain.errors import UidChanged
from app.domain.receipts import Receipt, Report, overall_phase
from app.domain.teams import AgentTeam


class Dispatch:
    """A delivery, in progress or done."""

    def __init__(self, accepted: Accepted, recorder: Recorder, task: asyncio.Task[None]) -> None:
        self._accepted = accepted
        self._recorder = recorder
        self._task = task

    async def wait(self, seconds: float) -> None:
        """Wait for the outcome, for at most `seconds`. The delivery continues if the wait ends first."""
        if not self.done:
            await asyncio.wait({self._task}, timeout=seconds)

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
        report = reported(recorder.latest.team)
        targets = tuple(recorder.known(receipt) for receipt in report.targets)
        phase = "Skipped" if judgement.skipped else overall_phase(targets)
        idle = None if phase == "Pending" else judgement.idle
        return report.model_copy(
            update={
                "phase": phase,
                "recorded": recorder.unrecorded is None,
                "reason": recorder.unrecorded or judgement.skipped or idle,
                "targets": targets,
            }
        )


def reported(team: AgentTeam) -> Report:
    """Return the record of a team from its status."""
    receipts = tuple(_told(receipt) for receipt in team.record.receipts)
    return Report(
        namespace=team.namespace,
        team=team.name,
        uid=team.uid,
        phase=overall_phase(receipts),
        targets=receipts,
    )


def _told(receipt: Receipt) -> Receipt:
    """Replace the detail of an entry that another program recorded: it may contain confidential text."""
    if not receipt.theirs:
        return receipt
    how = "tried and failed" if receipt.adoptable else "is responsible"
    return receipt.changed(message=f"another program {how}, so it is left alone")
