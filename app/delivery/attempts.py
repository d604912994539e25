"""The attempts at one target: read its Secret, build its message, send it, judge the answer."""

import asyncio
from dataclasses import replace
from typing import Any

from app.delivery import faults
from app.delivery.errand import Errand
from app.delivery.pacer import PATIENCE
from app.delivery.places import Turn
from app.delivery.retry import Tried
from app.domain.errors import TargetError
from app.domain.ledger import Claim
from app.domain.reasons import Reason
from app.domain.receipts import Phase, Receipt
from app.senders.credentials import Credentials
from app.senders.envelopes import Envelope, Preview, Progress, Sender, Verdict, Way, sender_for

PICKS_NOTHING = "artifactPath picks none of the team's artifacts, so none is listed"
ENDED = Verdict(Reason.INTERRUPTED, "the claim ended before it was sent", retryable=True, attempted=False)


class Attempts:
    """The attempts at one target, and what they have come to so far."""

    def __init__(self, errand: Errand, claim: Claim) -> None:
        self.address = claim.target.address
        self._errand = errand
        self._target = claim.target
        self._receipt = claim.receipt
        self._progress = Progress(claim.receipt.accepted)
        self._failures = 0  # all but the last attempt are failures, so this is its number too
        self._waited = 0.0  # seconds, for places
        self._whole = 0.0  # seconds that the attempt under way may take, with what its Secret takes
        self._way: tuple[Credentials, Way] | None = None  # judged once for a Secret that does not change

    async def attempt(self, seconds: float) -> Verdict:
        """Make one attempt, and leave a span of it."""
        with self._errand.tracing.span("attempt", "CLIENT", attempt=self._failures + 1) as say:
            try:
                verdict = await self._attempt(seconds)
            except TargetError as error:
                say(failed=True, reason=error.reason)
                raise
            say(failed=not verdict.delivered, reason=verdict.reason, http_status=verdict.http_status)
            return verdict

    async def preview(self) -> Preview:
        """Return the request that would be made first.

        Raises:
            TargetError: there would be none.
        """
        errand, target = self._errand, self._target
        sender = sender_for(errand.senders, target.type)
        credentials = await self._credentials()
        turn = errand.places.for_preview(errand.team.namespace, await errand.size_of(target))
        try:
            if not turn.take():
                await turn.wait()
            return await sender.preview(await self._composed(), target, credentials)
        finally:
            turn.leave()

    def note_failure(self, verdict: Verdict) -> None:
        """Count an attempt that did not deliver, and say so in the log's small print."""
        self._failures += 1
        if self._errand.counted:
            self._errand.metrics.attempt_failures.labels(self._target.type, verdict.reason).inc()
        self._errand.log.debug(
            "attempt_failed",
            target=self._target.name,
            type=self._target.type,
            reason=verdict.reason,
            attempt=self._failures,
            http_status=verdict.http_status,
            id=self._receipt.id,
        )

    def receipt(self, tried: Tried) -> Receipt:
        """Return what is to be recorded: the outcome, or the target put off or handed back."""
        receipt, now, verdict = self._receipt, self._errand.now(), tried.verdict
        update: dict[str, Any] = {
            "target": self.address,
            "attempts": receipt.attempts + tried.attempts,
            "accepted": () if verdict.delivered else self._progress.accepted,
            "claimed_by": None,
            "claimed_until": None,
        }
        message = verdict.message
        if tried.passing and (retry_at := self._errand.put_off.until(receipt, tried.passing, now)):
            verdict = tried.passing
            message = verdict.message
            # Its holder has come through, so that no takeover of before counts against it.
            tries = receipt.retries + (not verdict.queued)
            update |= {"retry_at": retry_at, "retries": tries, "takeovers": 0}
            update["reason"] = verdict.reason
        elif tried.settled or tried.passing:
            update["phase"] = Phase.DELIVERED if verdict.delivered else Phase.FAILED
            update["reason"] = verdict.reason
            update |= {"timestamp": now, "delivered_at": max(filter(None, (now, receipt.delivered_at)))}
            if tried.passing and self._errand.put_off.during:
                message = self._errand.put_off.given_up(receipt, tried.passing, now)
        return receipt.model_copy(update={**update, "message": message, "http_status": verdict.http_status})

    def waited(self) -> float:
        """Return the seconds spent waiting for places."""
        return self._waited

    async def _attempt(self, seconds: float) -> Verdict:
        """Read the Secret where it is not known yet, wait for a place, send, and judge the answer."""
        target, errand = self._target, self._errand
        sender = sender_for(errand.senders, target.type)
        size = await errand.size_of(target)
        self._whole = seconds
        ends = errand.timing.clock() + seconds
        if target.credentials_secret is None:
            credentials = await self._credentials()  # of which nothing is waited for
        else:
            try:
                async with asyncio.timeout(seconds):
                    credentials = await self._credentials()
            except TimeoutError:
                message = f"the Secret could not be read within {seconds:.3g} s"
                return Verdict(Reason.SECRET_UNAVAILABLE, message, retryable=True, attempted=False)
        if self._way is None or self._way[0] != credentials:
            self._way = credentials, sender.way(target, credentials)
        way = self._way[1]

        async def send() -> Verdict:
            self._waited += errand.timing.clock() - began
            return await self._placed(sender, credentials, way, size, errand.timing.clock() + left)

        began = errand.timing.clock()
        left = ends - began
        if not errand.put_off.during:
            return await send()  # who cannot be put off is not made to wait
        room = max(0.0, min(PATIENCE, errand.policy.place_timeout - self._waited))
        who = self._receipt.id
        owner = errand.team.namespace
        return await errand.pacer.paced(
            target.type, way, send, owner=owner, who=who, room=room, rest=errand.rest
        )

    async def _placed(
        self, sender: Sender[Any], credentials: Credentials, way: Way, size: int, ends: float
    ) -> Verdict:
        """Wait for a place, and send."""
        errand = self._errand
        seconds = ends - errand.timing.clock()
        turn = errand.places.for_message(errand.team.namespace, way.to, size)
        try:
            if not turn.take():
                if lacking := await self._wait(turn):
                    return Verdict(Reason.INTERRUPTED, lacking, retryable=True, attempted=False, queued=True)
                ends = errand.timing.clock() + seconds
            return await self._send(sender, credentials, way, ends)
        finally:
            turn.leave()

    async def _send(self, sender: Sender[Any], credentials: Credentials, way: Way, ends: float) -> Verdict:
        """Put the message together and send it; nothing of it is kept for another attempt."""
        errand = self._errand
        seconds = min(ends, errand.ends) - errand.timing.clock()
        if seconds <= 0 and ends >= errand.ends:
            return ENDED
        try:
            async with asyncio.timeout(seconds):
                envelope = await self._composed()
                if errand.timing.clock() >= errand.ends:
                    return ENDED  # the process slept, and somebody else may be sending by now
                faults.reach("sending")
                verdict = await sender.send(envelope, self._target, credentials, way)
                self._progress = verdict.progress or self._progress
                faults.reach("answered")
                return self._noted(verdict)
        except TimeoutError:
            # The setting's seconds, though the Secret took a few thousandths of them.
            bound = self._whole if ends <= errand.ends else seconds
            return Verdict(Reason.TIMEOUT, f"no answer within {bound:.3g} s", retryable=True)

    async def _wait(self, turn: Turn) -> str:
        """Wait for places beside the target's own time; return what to say where there are none."""
        errand, began = self._errand, self._errand.timing.clock()
        lacking = await turn.wait(
            max(0.0, errand.policy.place_timeout - self._waited), errand.rest, first=self._failures > 0
        )
        waited = errand.timing.clock() - began
        self._waited += waited
        if not lacking:
            return ""
        return (
            f"it waited {waited:.3g} s for {lacking}, which its namespace has a share of; no attempt was made"
        )

    def _noted(self, verdict: Verdict) -> Verdict:
        """Say beside the outcome what its author would not see: that their pattern picked nothing."""
        if not (verdict.delivered and self._errand.artifacts.picks_nothing(self._target)):
            return verdict
        return replace(verdict, message=f"{verdict.message}; {PICKS_NOTHING}")

    async def _credentials(self) -> Credentials:
        """Read the Secret; where it holds the address, that is where it goes."""
        credentials = await self._errand.resolve(self._target.credentials_secret)
        self.address = self._target.address_with(credentials.values)
        return credentials

    async def _composed(self) -> Envelope:
        """Return what is sent: made for this attempt, and not kept while nothing is sent."""
        return await self._errand.composed(self._target, self._receipt.id or "", self._progress, self._note)

    def _note(self, progress: Progress) -> None:
        self._progress = progress
