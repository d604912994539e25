"""What an event would do, without its record: a preview that sends nothing, and a test notification."""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog
from structlog.contextvars import bind_contextvars
from structlog.typing import FilteringBoundLogger

from app.delivery.attempts import Attempts
from app.delivery.capacity import Capacity, Held
from app.delivery.claims import Claims
from app.delivery.errand import Errand, Errands
from app.delivery.fanout import fan_out, place, tell
from app.delivery.judge import UNASKED, Judge, Judgement
from app.delivery.reader import Reader
from app.domain.errors import TargetError
from app.domain.events import TEST, CompletionEvent
from app.domain.ledger import Claim
from app.domain.previews import Previewed, PreviewedRequest, PreviewedTarget
from app.domain.reasons import Reason
from app.domain.receipts import Receipt, Report, overall_phase
from app.domain.teams import AgentTeam
from app.domain.times import format_time
from app.timers import within

log = structlog.get_logger(__name__)
BODIES = 2_000_000  # characters for all bodies of one preview together


class Rehearsal:
    """Previews and tests: judged like a delivery, never recorded."""

    def __init__(
        self, reader: Reader, judge: Judge, claims: Claims, capacity: Capacity, errands: Errands
    ) -> None:
        self._reader = reader
        self._judge = judge
        self._claims = claims
        self._capacity = capacity
        self._errands = errands

    async def preview(self, event: CompletionEvent) -> Previewed:
        """Show what the event would send to which target; send and write nothing.

        A team that is still running is shown as if it had completed.

        Raises:
            Problem: the event would not be accepted.
        """
        with Held() as held:
            self._capacity.events.take(held, event.namespace)
            read = await self._reader.read(event.namespace, event.team)
            team = read.team
            judged = self._judge.judge(event, team, self._claims.terms(read), unfinished=True)
            plan = self._rehearsed(event, team).plan if event.test else judged.plan
            said = TEST if event.test else event.event
            errand = self._errands.rehearse(
                read, said, judged.phase, targets=len(plan.claims), log=_about(team)
            )
            self._capacity.targets.take(held, event.namespace, len(plan.claims))
            shown = await show(errand, plan.claims)
        shown += [_failing(receipt, receipt.message, receipt.reason) for receipt in plan.closed]
        known = {target.name for target in shown}
        left = [
            _left(line.receipt)
            for name, line in team.record.by_key.items()
            if name not in known and not event.test and (event.targets is None or name in event.targets)
        ]
        untold = {*team.record.names} - {*replace(team, phase=judged.phase).notified}
        left += [
            PreviewedTarget(
                name=target.name,
                type=target.type,
                target=target.address,
                would="Leave",
                message=f"it requests no notification of teams with the phase {judged.phase}",
            )
            for target in team.record.targets
            if target.name in untold - known - {*team.record.by_key} and not event.test
        ]
        return Previewed(
            namespace=team.namespace,
            team=team.name,
            uid=team.uid,
            phase=judged.phase,
            reason=judged.skipped,
            targets=_in_order(team, [*shown, *left]),
        )

    async def test(self, event: CompletionEvent) -> Report:
        """Send each target one test notification, whatever the team's phase; record nothing.

        Raises:
            Problem: the event is not accepted, and nothing is sent for it.
        """
        bind_contextvars(test=True)
        with Held() as held:
            self._capacity.events.take(held, event.namespace)
            read = await self._reader.read(event.namespace, event.team)
            team, about = read.team, _about(read.team)
            judged = self._rehearsed(event, team)
            receipts = list(judged.plan.closed)
            for receipt in receipts:
                tell(about, receipt)
            self._capacity.targets.take(held, event.namespace, len(judged.plan.claims))
            errand = self._errands.rehearse(
                read, TEST, judged.phase, targets=len(judged.plan.claims), log=about
            )
            async with asyncio.TaskGroup() as group:
                fan_out(group, errand, judged.plan.claims, receipts.append)
        return Report(
            namespace=team.namespace,
            team=team.name,
            uid=team.uid,
            phase=overall_phase(receipts) if receipts else "Skipped",
            recorded=False,
            reason="it was a test" if receipts else UNASKED,
            targets=_in_order(team, receipts),
        )

    def _rehearsed(self, event: CompletionEvent, team: AgentTeam) -> Judgement:
        return self._judge.rehearse(event, team, secrets.token_hex(8))


@dataclass(slots=True)
class Budget:
    """The characters left for the bodies of one preview."""

    left: int = BODIES

    def cut(self, body: str) -> str:
        """Return the body, or its beginning if it does not fit."""
        if len(body) > self.left:
            return f"{body[:200]}… ({len(body)} characters; preview this target alone to see them)"
        self.left -= len(body)
        return body


async def show(errand: Errand, claims: Iterable[Claim]) -> list[PreviewedTarget]:
    """Show what each target would receive: read Secrets and check addresses, and no more."""
    budget = Budget()
    return await asyncio.gather(*(_shown(errand, claim, budget) for claim in claims))


async def _shown(errand: Errand, claim: Claim, budget: Budget) -> PreviewedTarget:
    """Show the request that the first attempt would send."""
    attempts = Attempts(errand, claim)
    seconds = errand.policy.attempt_timeout

    def about() -> Receipt:
        return claim.receipt.changed(target=attempts.address)

    try:
        with within(seconds):
            request = await attempts.preview()
    except TargetError as error:
        return _failing(about(), error.message, error.reason)
    except TimeoutError:
        message = f"its Secret or its host's name could not be read within {seconds:g} s"
        return _failing(about(), message, Reason.TIMEOUT)
    except Exception as error:  # noqa: BLE001  # one target's unexpected error must not affect others
        errand.log.error("preview_crashed", target=claim.target.name, error=place(error))  # noqa: TRY400
        return _failing(about(), f"internal error ({type(error).__name__}); see the log")
    return PreviewedTarget(
        name=claim.target.name,
        type=claim.target.type,
        target=attempts.address,
        would="Send",
        request=PreviewedRequest(
            method=request.method,
            url=request.url,
            headers=dict(request.headers),
            body=budget.cut(request.body),
        ),
    )


def _failing(receipt: Receipt, message: str, reason: Reason | None = None) -> PreviewedTarget:
    return PreviewedTarget(
        name=receipt.name,
        type=receipt.type,
        target=receipt.target,
        would="Fail",
        reason=reason,
        message=message,
    )


def _left(receipt: Receipt) -> PreviewedTarget:
    """Say why a target that is on record would be left alone."""
    if receipt.theirs:
        message = "another program recorded it, so it is left alone"
    elif receipt.settled:
        message = f"it is settled ({receipt.phase}); redeliver sends again"
    elif receipt.postponed and receipt.retry_at:
        message = f"it is postponed: next try at {format_time(receipt.retry_at)}; redeliver sends sooner"
    else:
        message = "it is being sent to"
    about = {"name": receipt.name, "type": receipt.type, "target": receipt.target}
    return PreviewedTarget(**about, would="Leave", message=message)


Named = TypeVar("Named", Receipt, PreviewedTarget)


def _in_order(team: AgentTeam, targets: Iterable[Named]) -> tuple[Named, ...]:
    """Return targets in the team's order; those that the team no longer lists come last."""
    order = {name: number for number, name in enumerate(team.record.names)}
    return tuple(sorted(targets, key=lambda target: order.get(target.name, len(order))))


def _about(team: AgentTeam) -> FilteringBoundLogger:
    bound: FilteringBoundLogger = log.bind(team=team.name, namespace=team.namespace)
    return bound
