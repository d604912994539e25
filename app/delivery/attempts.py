"""The attempts at one target: its Secret read, its message put together, sent, and what came of it judged."""

import asyncio
from dataclasses import replace
from functools import cached_property
from typing import Any

from app.delivery import faults
from app.delivery.errand import Errand
from app.delivery.retry import Tried
from app.domain.errors import TargetError
from app.domain.ledger import Claim
from app.domain.reasons import Reason
from app.domain.receipts import Phase, Receipt
from app.senders.credentials import Credentials
from app.senders.envelopes import Envelope, Preview, Progress, Verdict, sender_for
from app.senders.messages import compose

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
        sender = sender_for(self._errand.senders, self._target.type)
        return await sender.preview(await self._composed(), self._target, await self._credentials())

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
            update |= {"retry_at": retry_at, "retries": receipt.retries + 1, "takeovers": 0}
            update["reason"] = verdict.reason
        elif tried.settled:
            update["phase"] = Phase.DELIVERED if verdict.delivered else Phase.FAILED
            update["reason"] = verdict.reason
            update |= {"timestamp": now, "delivered_at": max(filter(None, (now, receipt.delivered_at)))}
            if tried.passing:
                message += self._errand.put_off.given_up(receipt, now)
        return receipt.model_copy(update={**update, "message": message, "http_status": verdict.http_status})

    async def _attempt(self, seconds: float) -> Verdict:
        """Read the Secret where it is not known yet, send, and judge the answer."""
        target, errand = self._target, self._errand
        sender = sender_for(errand.senders, target.type)
        late = Verdict(
            Reason.SECRET_UNAVAILABLE,
            f"the Secret could not be read within {seconds:.3g} s",
            retryable=True,
            attempted=False,
        )
        try:
            async with asyncio.timeout(seconds):
                credentials = await self._credentials()
                late = Verdict(Reason.TIMEOUT, f"no answer within {seconds:.3g} s", retryable=True)
                envelope = await self._composed()
                if errand.timing.clock() >= errand.ends:
                    return ENDED  # the process slept, and somebody else may be sending by now
                faults.reach("sending")
                verdict = await sender.send(envelope, target, credentials)
                self._progress = verdict.progress or self._progress
                faults.reach("answered")
                return verdict
        except TimeoutError:
            return late

    async def _credentials(self) -> Credentials:
        """Read the Secret; where it holds the address, that is where it goes."""
        credentials = await self._errand.resolve(self._target.credentials_secret)
        self.address = self._target.address_with(credentials.values)
        return credentials

    async def _composed(self) -> Envelope:
        """Return what is sent; of many targets, one a turn of the loop, so that others get theirs."""
        async with self._errand.composing:
            await asyncio.sleep(0)
            return replace(self._envelope, progress=self._progress)

    @cached_property
    def _envelope(self) -> Envelope:
        """What is sent, the same in every attempt but for its progress."""
        errand, target = self._errand, self._target
        return compose(
            errand.team,
            target,
            errand.artifacts(target),
            message_id=self._receipt.id or "",
            event=errand.event,
            phase=errand.phase,
            most=errand.max_message,
        )
