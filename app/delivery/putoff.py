"""When a postponed target is retried: minutes and hours later, on record. Pure.

Nothing waits here: the time stands in the team's status, and the watcher hands the team in when it comes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.receipts import Receipt
from app.domain.times import LONGEST_WAIT, spoken
from app.senders.envelopes import Verdict

JITTER = 0.2  # of a wait is added at most
CLOCK_STEP = 1.0  # seconds: the API server's clock is read to the whole second, which may be one too early


@dataclass(frozen=True, slots=True)
class PutOff:
    """The waits between tries, the last of which repeats, and for how long they go on; all in seconds.

    `chance`, from 0 up to 1, is drawn once an event: its targets come back together, those of others do not.
    """

    waits: tuple[float, ...]
    during: float  # since the event was accepted; 0: nothing is put off
    chance: float = 0.0

    def until(self, receipt: Receipt, verdict: Verdict, now: datetime) -> datetime | None:
        """Return when a target is tried again, in whole seconds; None: it is not, for it has failed.

        A receiver's `Retry-After` makes it later, never earlier. The last try is made when the time is over.
        """
        if not self.during or not verdict.retryable:
            return None
        ends = (receipt.timestamp or now) + timedelta(seconds=self.during)
        wait = self.waits[min(receipt.retries, len(self.waits) - 1)] * (1 + JITTER * self.chance)
        # Who waits for its turn has not tried, and comes when that is.
        own = now if verdict.queued else min(now + timedelta(seconds=wait), ends)
        asked = now + timedelta(seconds=min(verdict.retry_after or 0.0, LONGEST_WAIT))
        if now >= ends or asked > ends:
            return None
        return _next_second(max(own, asked) + timedelta(seconds=CLOCK_STEP))

    def given_up(self, receipt: Receipt, verdict: Verdict, now: datetime) -> str:
        """Return what is said of a target that is not put off any more: what it met, and for how long."""
        said = verdict.message
        if verdict.retry_after and not verdict.queued:
            wait = spoken(round(verdict.retry_after))
            said += f"; could be tried again in {wait}, when its time is over"
        if receipt.retries and receipt.timestamp is not None:
            since = spoken(round((now - receipt.timestamp).total_seconds()))
            said += f"; given up after {receipt.retries + 1} tries in {since}"
        return said


def _next_second(moment: datetime) -> datetime:
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + timedelta(seconds=1)
