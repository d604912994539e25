"""Sends to all claimed targets concurrently, each with its own deadline, and reports each outcome."""

import asyncio
from collections.abc import Callable, Iterable

from structlog.typing import FilteringBoundLogger

from app.delivery.attempts import Attempts
from app.delivery.errand import Errand
from app.delivery.retry import Tried, retrying
from app.domain.ledger import Claim
from app.domain.reasons import Reason
from app.domain.receipts import Phase, Receipt
from app.domain.times import format_time
from app.senders.envelopes import Verdict
from app.telemetry.metrics import Metrics


def fan_out(
    group: asyncio.TaskGroup, errand: Errand, claims: Iterable[Claim], record: Callable[[Receipt], None]
) -> None:
    """Start a task per target; it calls `record` with the receipt as soon as that is known."""
    for claim in claims:
        group.create_task(_deliver(errand, claim, record))


async def _deliver(errand: Errand, claim: Claim, record: Callable[[Receipt], None]) -> None:
    """Attempt until the target is settled, postponed or released; count, log and record the outcome."""
    target, timing = claim.target, errand.timing
    with errand.tracing.span("target", target=target.name, type=target.type, id=claim.receipt.id) as say:
        started = timing.clock()
        attempts = Attempts(errand, claim)
        try:
            tried = await retrying(
                attempts.attempt,
                errand.policy,
                timing,
                ends=errand.ends,
                failed=attempts.note_failure,
                waited=attempts.waited,
            )
        except Exception as error:  # noqa: BLE001  # one target's unexpected error must not affect others
            # The text of an unknown exception may contain a secret; its type and place do not.
            errand.log.error("target_crashed", target=target.name, id=claim.receipt.id, error=place(error))  # noqa: TRY400
            verdict = Verdict(Reason.INTERRUPTED, f"internal error ({type(error).__name__}); see the log")
            tried = Tried(verdict, 1)
        receipt = attempts.receipt(tried)
        if errand.counted:
            _count(errand.metrics, receipt, tried, timing.clock() - started)
        tell(errand.log, receipt)
        say(
            failed=receipt.phase is Phase.FAILED,
            reason=receipt.reason,
            attempts=receipt.attempts,
            http_status=receipt.http_status,
        )
    record(receipt)


def _count(metrics: Metrics, receipt: Receipt, tried: Tried, seconds: float) -> None:
    kind = receipt.type
    metrics.attempts.labels(kind).inc(tried.attempts)
    if receipt.settled:
        metrics.deliveries.labels(kind, receipt.reason).inc()
        metrics.target_seconds.labels(kind).observe(seconds)
        metrics.tries.labels(kind).observe(receipt.retries + 1)
        if receipt.retries and tried.passing:
            metrics.given_up.labels(kind, receipt.reason).inc()
    elif receipt.postponed:
        metrics.postponed.labels(kind, receipt.reason).inc()


def tell(log: FilteringBoundLogger, receipt: Receipt) -> None:
    """Log the outcome of a target in one line."""
    if receipt.settled:
        event = "target_settled"
    else:
        event = "target_postponed" if receipt.postponed else "target_released"
    log.info(
        event,
        target=receipt.name,
        type=receipt.type,
        reason=receipt.reason and str(receipt.reason),
        attempts=receipt.attempts,
        http_status=receipt.http_status,
        id=receipt.id,
        **({"retry_at": format_time(receipt.retry_at)} if receipt.retry_at else {}),
    )


def place(error: BaseException) -> str:
    """Return the type of an unknown exception and where it was raised, without its text."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return type(error).__name__ + where
