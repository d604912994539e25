"""Makes the attempts at one target: reads its Secret, builds its message, sends it, judges the answer."""

from collections.abc import Coroutine
from functools import partial
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
from app.timers import within

PICKS_NOTHING = "artifactPath selects none of the team's artifacts, so none is listed"
ENDED = Verdict(Reason.INTERRUPTED, "the claim expired before it was sent", retryable=True, attempted=False)


class Attempts:
    """The attempts at one target, and their result so far."""

    def __init__(self, errand: Errand, claim: Claim) -> None:
        self.address = claim.target.address
        self._errand = errand
        self._target = claim.target
        self._receipt = claim.receipt
        self._progress = Progress(claim.receipt.accepted)
        self._failures = 0  # every attempt before the last one failed, so this is also the number of retries
        self._waited = 0.0  # seconds spent waiting for places
        self._size = 0  # bytes that the message takes, approximately
        self._whole = 0.0  # seconds that the current attempt may take, including the read of its Secret
        self._way: tuple[Credentials, Way] | None = None  # does not change between attempts

    async def attempt(self, seconds: float) -> Verdict:
        """Make one attempt of at most `seconds`, and record a span for it."""
        with self._errand.tracing.span("attempt", "CLIENT", attempt=self._failures + 1) as say:
            try:
                verdict = await self._attempt(seconds)
            except TargetError as error:
                verdict = Verdict.of(error)
            say(failed=not verdict.delivered, reason=verdict.reason, http_status=verdict.http_status)
            return verdict

    async def preview(self) -> Preview:
        """Return the request that the first attempt would send.

        Raises:
            TargetError: the attempt would fail before it sends anything.
        """
        errand, target = self._errand, self._target
        sender = sender_for(errand.senders, target.type)
        credentials = await self._credentials()
        self._size = errand.size_of(target, await errand.listing(target))
        turn = errand.places.for_preview(errand.team.namespace, self._size)
        try:
            if not turn.take():
                await turn.wait()
            return await sender.preview(await self._composed(), target, credentials)
        finally:
            turn.leave()

    def note_failure(self, verdict: Verdict) -> None:
        """Count a failed attempt, and log it at level debug."""
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
        """Return the receipt to record: settled, postponed, or with its claim released."""
        receipt, now, verdict = self._receipt, self._errand.now(), tried.verdict
        update: dict[str, Any] = {
            "target": self.address,
            "attempts": receipt.attempts + tried.attempts,
            "accepted": () if verdict.delivered else self._progress.accepted,
            "claimed_by": None,
            "claimed_until": None,
        }
        message = verdict.message
        if tried.passing and (retry_at := self._errand.postponement.until(receipt, tried.passing, now)):
            verdict = tried.passing
            message = verdict.message
            # This process completed its attempts, so earlier takeovers no longer count against the target.
            tries = receipt.retries + (not verdict.queued)
            update |= {"retry_at": retry_at, "retries": tries, "takeovers": 0}
            update["reason"] = verdict.reason
        elif tried.settled or tried.passing:
            update["phase"] = Phase.DELIVERED if verdict.delivered else Phase.FAILED
            update["reason"] = verdict.reason
            update |= {"timestamp": now, "delivered_at": max(filter(None, (now, receipt.delivered_at)))}
            if tried.passing and self._errand.postponement.during:
                message = self._errand.postponement.given_up(receipt, tried.passing, now)
        return receipt.changed(**update, message=message, http_status=verdict.http_status)

    def waited(self) -> float:
        """Return the seconds spent waiting for places."""
        return self._waited

    async def _attempt(self, seconds: float) -> Verdict:
        """Read the Secret unless it is known, wait for a place, send, and judge the answer."""
        target, errand = self._target, self._errand
        sender = sender_for(errand.senders, target.type)
        self._size = errand.size_of(target, await errand.listing(target))
        self._whole = seconds
        ends = errand.timing.clock() + seconds
        try:
            credentials = await self._credentials(seconds)
        except TimeoutError:
            message = f"the Secret could not be read within {seconds:.3g} s"
            return Verdict(Reason.SECRET_UNAVAILABLE, message, retryable=True, attempted=False)
        if self._way is None or self._way[0] != credentials:
            self._way = credentials, sender.way(target, credentials)
        way = self._way[1]
        began = errand.timing.clock()
        send = partial(self._placed, sender, credentials, way, began, ends - began)
        if not errand.postponement.during:
            return await send()  # a target that cannot be postponed does not wait for a place
        within = max(0.0, min(PATIENCE, errand.policy.place_timeout - self._waited))
        who = self._receipt.id
        owner = errand.team.namespace
        return await errand.pacer.paced(
            target.type, way, send, owner=owner, who=who, within=within, rest=errand.rest
        )

    async def _placed(
        self, sender: Sender[Any], credentials: Credentials, way: Way, began: float, seconds: float
    ) -> Verdict:
        """Wait for a place, then send within `seconds`; `began`: when it was ready to be sent."""
        errand = self._errand
        self._waited += errand.timing.clock() - began
        turn = errand.places.for_message(errand.team.namespace, way.to, self._size)
        try:
            if not turn.take() and (lacking := await self._wait(turn)):
                return Verdict(Reason.INTERRUPTED, lacking, retryable=True, attempted=False, queued=True)
            return await self._send(sender, credentials, way, errand.timing.clock() + seconds)
        finally:
            turn.leave()

    async def _send(self, sender: Sender[Any], credentials: Credentials, way: Way, ends: float) -> Verdict:
        """Build the message and send it; keep nothing of it for the next attempt."""
        errand = self._errand
        seconds = min(ends, errand.ends) - errand.timing.clock()
        if seconds <= 0 and ends >= errand.ends:
            return ENDED
        try:
            with within(seconds):
                envelope = await self._composed()
                if errand.timing.clock() >= errand.ends:
                    return ENDED  # the process was suspended, and another replica may be sending by now
                faults.reach("sending")
                verdict = await sender.send(envelope, self._target, credentials, way)
                self._progress = verdict.progress or self._progress
                faults.reach("answered")
                return self._noted(verdict)
        except TimeoutError:
            # Report the configured limit, although reading the Secret used a few thousandths of it.
            bound = self._whole if ends <= errand.ends else seconds
            return Verdict(Reason.TIMEOUT, f"no answer within {bound:.3g} s", retryable=True)

    async def _wait(self, turn: Turn) -> str:
        """Wait for places outside the target's own time limit; return a verdict if there are none in time."""
        errand, began = self._errand, self._errand.timing.clock()
        lacking = await turn.wait(
            max(0.0, errand.policy.place_timeout - self._waited), errand.rest, first=self._failures > 0
        )
        waited = errand.timing.clock() - began
        self._waited += waited
        if not lacking:
            return ""
        return f"waited {waited:.3g} s for {lacking}, shared between namespaces; no attempt was made"

    def _noted(self, verdict: Verdict) -> Verdict:
        """Add to the outcome what the team's author must know: their pattern matched no artifact."""
        if not (verdict.delivered and self._errand.artifacts.picks_nothing(self._target)):
            return verdict
        return verdict._replace(message=f"{verdict.message}; {PICKS_NOTHING}")

    async def _credentials(self, seconds: float | None = None) -> Credentials:
        """Read the Secret, for at most so many seconds; if it contains the address, send there."""
        credentials = await self._errand.resolve(self._target.credentials_secret, seconds)
        self.address = self._target.address_with(credentials.values)
        return credentials

    def _composed(self) -> Coroutine[Any, Any, Envelope]:
        """Return the request, built for this attempt only, so that a waiting target holds no message."""
        return self._errand.composed(
            self._target, self._receipt.id or "", self._size, self._progress, self._note
        )

    def _note(self, progress: Progress) -> None:
        self._progress = progress
