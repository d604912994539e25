"""Sends to all claimed targets at once, each under its own budget, and says of each as it settles.

It can also show what it would send, and send nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import structlog

from app.delivery import faults
from app.delivery.retry import Pace, RetryPolicy, Tried, retrying
from app.domain.errors import TargetError
from app.domain.events import TEST
from app.domain.ledger import Claim
from app.domain.previews import PreviewedRequest, PreviewedTarget
from app.domain.reasons import Reason
from app.domain.receipts import Phase, Receipt
from app.domain.targets import Target, WebhookTarget
from app.domain.teams import AgentTeam
from app.senders.credentials import Credentials
from app.senders.envelopes import Artifact, Envelope, Progress, Sender, Verdict, sender_for
from app.senders.messages import compose, pick_artifacts
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing

log = structlog.get_logger(__name__)

ENDED = Verdict(Reason.INTERRUPTED, "the claim ended before it was sent", retryable=True, attempted=False)


@dataclass(slots=True)
class Room:
    """Characters that the bodies of one preview may still take, all together."""

    left: int = 2_000_000

    def cut(self, body: str) -> str:
        """Return the body, or its beginning where there is no room for it."""
        if len(body) > self.left:
            return f"{body[:200]}… ({len(body)} characters; preview this target alone to see them)"
        self.left -= len(body)
        return body


@dataclass(frozen=True, slots=True)
class Fanout:
    """One event's sends: what is sent is read from `team`, `phase` is the terminal phase it is sent for."""

    team: AgentTeam
    event: str
    phase: str
    senders: Mapping[str, Sender]
    resolve: Callable[[str | None], Awaitable[Credentials]]
    policy: RetryPolicy
    pace: Pace
    metrics: Metrics
    tracing: Tracing
    ends: float  # on the pace's clock; no attempt may last beyond it
    now: Callable[[], datetime]  # the API server's time, for stamps
    max_message: int  # characters of a notice's text
    composing: asyncio.Lock = field(default_factory=asyncio.Lock)
    picked: dict[str | None, tuple[Artifact, ...]] = field(default_factory=dict)
    room: Room = field(default_factory=Room)

    @property
    def counted(self) -> bool:
        """Whether the metrics tell of it: a test is nobody's delivery."""
        return self.event != TEST

    def artifacts(self, pattern: str | None) -> tuple[Artifact, ...]:
        """Return what a target's `artifactPath` picks; a long list is gone through once a pattern."""
        if pattern not in self.picked:
            self.picked[pattern] = pick_artifacts(self.team, pattern)
        return self.picked[pattern]

    async def send(self, claims: Iterable[Claim], settle: Callable[[Receipt], None]) -> None:
        """Send to every target; `settle` is called with each receipt the moment it is known."""
        await asyncio.gather(*(self._deliver(claim, settle) for claim in claims))

    async def preview(self, claims: Iterable[Claim]) -> list[PreviewedTarget]:
        """Show what every target would be sent: Secrets are read and addresses judged, and that is all."""
        return await asyncio.gather(
            *(Delivery(self, claim.target, claim.receipt).preview() for claim in claims)
        )

    async def _deliver(self, claim: Claim, settle: Callable[[Receipt], None]) -> None:
        target = claim.target
        with self.tracing.span("target", target=target.name, type=target.type, id=claim.receipt.id) as say:
            receipt = await self._settled(claim)
            say(
                failed=receipt.phase is Phase.FAILED,
                reason=receipt.reason,
                attempts=receipt.attempts,
                http_status=receipt.http_status,
            )
        settle(receipt)

    async def _settled(self, claim: Claim) -> Receipt:
        started = self.pace.clock()
        delivery = Delivery(self, claim.target, claim.receipt)
        try:
            tried = await retrying(
                delivery.attempt, self.policy, self.pace, ends=self.ends, failed=delivery.note_failure
            )
        except Exception as error:  # noqa: BLE001  # one target's surprise is not its neighbours'
            # The text of an unknown exception may hold a secret; its type and place do not.
            log.error(  # noqa: TRY400
                "target_crashed",
                team=self.team.name,
                namespace=self.team.namespace,
                target=claim.target.name,
                id=claim.receipt.id,
                error=_place(error),
            )
            verdict = Verdict(Reason.INTERRUPTED, f"internal error ({type(error).__name__}); see the log")
            tried = Tried(verdict, 1)
        receipt = delivery.receipt(tried)
        if self.counted:
            self.metrics.attempts.labels(claim.target.type).inc(tried.attempts)
            if receipt.settled:
                self.metrics.deliveries.labels(claim.target.type, receipt.reason).inc()
                self.metrics.target_seconds.labels(claim.target.type).observe(self.pace.clock() - started)
        tell(self.team, receipt)
        return receipt


class Delivery:
    """The attempts at one target."""

    def __init__(self, fanout: Fanout, target: Target, receipt: Receipt) -> None:
        self._fanout = fanout
        self._target = target
        self._receipt = receipt
        self._address = target.address
        self._progress = Progress(receipt.accepted)
        self._failures = 0  # all but the last attempt are failures, so this is its number too

    async def attempt(self, seconds: float) -> Verdict:
        """Make one attempt, and leave a span of it."""
        with self._fanout.tracing.span("attempt", "CLIENT", attempt=self._failures + 1) as say:
            try:
                verdict = await self._attempt(seconds)
            except TargetError as error:
                say(failed=True, reason=error.reason)
                raise
            say(failed=not verdict.delivered, reason=verdict.reason, http_status=verdict.http_status)
            return verdict

    async def _attempt(self, seconds: float) -> Verdict:
        """Read the Secret where it is not known yet, send, and judge the answer."""
        target, fanout = self._target, self._fanout
        sender = sender_for(fanout.senders, target.type)
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
                if fanout.pace.clock() >= fanout.ends:
                    return ENDED  # the process slept, and somebody else may be sending by now
                faults.reach("sending")
                verdict = await sender.send(envelope, target, credentials)
                self._progress = verdict.progress or self._progress
                faults.reach("answered")
                return verdict
        except TimeoutError:
            return late

    async def preview(self) -> PreviewedTarget:
        """Show the request that would be made first."""
        target, fanout = self._target, self._fanout
        seconds = fanout.policy.attempt_timeout

        def failing(message: str, reason: Reason | None = None) -> PreviewedTarget:
            where = {"name": target.name, "type": target.type, "target": self._address}
            return PreviewedTarget(**where, would="Fail", reason=reason, message=message)

        try:
            sender = sender_for(fanout.senders, target.type)
            async with asyncio.timeout(seconds):
                shown = await sender.preview(await self._composed(), target, await self._credentials())
        except TargetError as error:
            return failing(error.message, error.reason)
        except TimeoutError:
            message = f"its Secret or its host's name could not be read within {seconds:g} s"
            return failing(message, Reason.TIMEOUT)
        except Exception as error:  # noqa: BLE001  # one target's surprise is not its neighbours'
            log.error("preview_crashed", target=target.name, error=_place(error))  # noqa: TRY400
            return failing(f"internal error ({type(error).__name__}); see the log")
        request = PreviewedRequest(
            method=shown.method,
            url=shown.url,
            headers=dict(shown.headers),
            body=fanout.room.cut(shown.body),
        )
        where = {"name": target.name, "type": target.type, "target": self._address}
        return PreviewedTarget(**where, would="Send", request=request)

    def note_failure(self, verdict: Verdict) -> None:
        """Count an attempt that did not deliver, and say so in the log's small print."""
        team, target = self._fanout.team, self._target
        self._failures += 1
        if self._fanout.counted:
            self._fanout.metrics.attempt_failures.labels(target.type, verdict.reason).inc()
        log.debug(
            "attempt_failed",
            team=team.name,
            namespace=team.namespace,
            target=target.name,
            type=target.type,
            reason=verdict.reason,
            attempt=self._failures,
            http_status=verdict.http_status,
            id=self._receipt.id,
        )

    async def _credentials(self) -> Credentials:
        """Read the Secret; where it holds the address, that is where it goes."""
        target = self._target
        credentials = await self._fanout.resolve(target.credentials_secret)
        if isinstance(target, WebhookTarget) and "url" in credentials:
            self._address = target.secret_address
        return credentials

    async def _composed(self) -> Envelope:
        """Return what is sent; of many targets, one a turn of the loop, so that others get theirs."""
        async with self._fanout.composing:
            await asyncio.sleep(0)
            return replace(self._envelope, progress=self._progress)

    @cached_property
    def _envelope(self) -> Envelope:
        """What is sent, the same in every attempt but for its progress."""
        fanout, target = self._fanout, self._target
        return compose(
            fanout.team,
            target,
            fanout.artifacts(target.artifact_path),
            message_id=self._receipt.id or "",
            event=fanout.event,
            phase=fanout.phase,
            most=fanout.max_message,
        )

    def receipt(self, tried: Tried) -> Receipt:
        """Return what is to be recorded: the outcome, or the target handed back."""
        verdict = tried.verdict
        update: dict[str, Any] = {
            "target": self._address,
            "attempts": self._receipt.attempts + tried.attempts,
            "http_status": verdict.http_status,
            "message": verdict.message,
            "accepted": () if verdict.delivered else self._progress.accepted,
            "claimed_by": None,
            "claimed_until": None,
        }
        if tried.settled:
            update["phase"] = Phase.DELIVERED if verdict.delivered else Phase.FAILED
            update["reason"] = verdict.reason
            now = self._fanout.now()
            update |= {"timestamp": now, "delivered_at": max(filter(None, (now, self._receipt.delivered_at)))}
        return self._receipt.model_copy(update=update)


def tell(team: AgentTeam, receipt: Receipt) -> None:
    """Log what became of a target: one line an outcome."""
    log.info(
        "target_settled" if receipt.settled else "target_handed_back",
        team=team.name,
        namespace=team.namespace,
        target=receipt.name,
        type=receipt.type,
        reason=receipt.reason,
        attempts=receipt.attempts,
        http_status=receipt.http_status,
        id=receipt.id,
    )


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return type(error).__name__ + where
