"""Decides when a postponed target is retried: minutes or hours later, on record. Pure.

Nothing waits in this process: the time is in the team's status, and the watcher submits the team again when
the time comes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.receipts import Receipt
from app.domain.times import LONGEST_WAIT, spoken
from app.senders.envelopes import Verdict

JITTER = 0.2  # share of a wait that is added at most
CLOCK_STEP = 1.0  # seconds: the API server's clock is read in whole seconds, so it may be one second early


@dataclass(frozen=True, slots=True)
class Postponement:
    """The waits between retries (the last one repeats), and how long they go on; all in seconds.

    `chance`, in [0, 1), is drawn once per event: its targets are retried together, but those of other events
    at other times.
    """

    waits: tuple[float, ...]
    during: float  # since the event was accepted; 0: nothing is postponed
    chance: float = 0.0

    def until(self, receipt: Receipt, verdict: Verdict, now: datetime) -> datetime | None:
        """Return when a target is retried, in whole seconds; None if it is not, because it has failed.

        A receiver's `Retry-After` makes it later, never earlier. The last retry is made when `during` ends.
        """
        if not self.during or not verdict.retryable:
            return None
        ends = (receipt.timestamp or now) + timedelta(seconds=self.during)
        wait = self.waits[min(receipt.retries, len(self.waits) - 1)] * (1 + JITTER * self.chance)
        # A target that waits for its turn has not been attempted, so it returns exactly at its turn.
        own = now if verdict.queued else min(now + timedelta(seconds=wait), ends)
        asked = now + timedelta(seconds=min(verdict.retry_after or 0.0, LONGEST_WAIT))
        if now >= ends or asked > ends:
            return None
        return _next_second(max(own, asked) + timedelta(seconds=CLOCK_STEP))

    def given_up(self, receipt: Receipt, verdict: Verdict, now: datetime) -> str:
        """Return the message for a target that is not postponed again: its last error, and the time spent."""
        said = verdict.message
        if verdict.retry_after and not verdict.queued:
            wait = spoken(round(verdict.retry_after))
            said += f"; a retry is possible in {wait}, after its time is over"
        if receipt.retries and receipt.timestamp is not None:
            since = spoken(round((now - receipt.timestamp).total_seconds()))
            said += f"; given up after {receipt.retries + 1} tries in {since}"
        return said


def _next_second(moment: datetime) -> datetime:
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + timedelta(seconds=1)
