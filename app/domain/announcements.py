"""The texts of Kubernetes Events: a delivery ended or was postponed, or a redelivery was requested. Pure."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from app.domain.events import CompletionEvent
from app.domain.receipts import Phase, Receipt
from app.domain.teams import AgentTeam
from app.domain.text import shortened
from app.domain.times import format_time

MOST_NAMED = 10  # targets that are named; `status.delivery` names all
LONGEST_NAME = 253  # https://kubernetes.io/docs/concepts/overview/working-with-objects/names/


@dataclass(frozen=True, slots=True)
class Announcement:
    """One Event per team and type of completion, and one for postponements; a redelivery updates them."""

    name: str
    type: Literal["Normal", "Warning"]
    reason: Literal["Delivered", "DeliveryFailed", "DeliveryPostponed", "RedeliveryRequested"]
    message: str
    count: int


def announce(
    team: AgentTeam, event: str, receipts: Iterable[Receipt], *, successes: bool
) -> Announcement | None:
    """Summarise the record of a team; None while a target is not settled, or without a record.

    Without `successes`, a delivery that had no problem is not announced. A later success is, because an
    earlier Event says that something failed or was postponed.
    """
    receipts = [receipt for receipt in receipts if not receipt.theirs]
    if not receipts or not all(receipt.settled for receipt in receipts):
        return None
    failed = [receipt for receipt in receipts if receipt.phase is not Phase.DELIVERED]
    if not (successes or failed or any(map(had_problem, receipts))):
        return None
    return Announcement(
        name=_name(team, event),
        type="Warning" if failed else "Normal",
        reason="DeliveryFailed" if failed else "Delivered",
        message=_said(receipts, failed),
        count=1 + max(receipt.redeliveries for receipt in receipts),
    )


def had_problem(receipt: Receipt) -> bool:
    """Whether a target was postponed, or sent again, before its outcome."""
    return bool(receipt.retries or receipt.redeliveries)


def announce_redelivery(
    team: AgentTeam, asked: CompletionEvent, asked_by: str, request_id: str
) -> Announcement:
    """Say who requested a redelivery, and of which targets: one Event per request."""
    if asked.targets is None:
        what = "all targets" if asked.redeliver == "all" else "failed targets"
    else:
        what = f"{'' if asked.redeliver == 'all' else 'failed targets among '}{listed(asked.targets, 40)}"
    return Announcement(
        name=_name(team, f"redelivery\n{request_id}"),
        type="Normal",
        reason="RedeliveryRequested",
        message=f"{shortened(asked_by, 300)} requested redelivery of {what} (request {request_id})",
        count=1,
    )


def announce_postponed(
    team: AgentTeam, event: str, receipts: Iterable[Receipt], written: Iterable[Receipt]
) -> Announcement | None:
    """Say which of a team's targets are retried, and when; None unless one is postponed for the first time.

    `written` holds the receipts that a dispatch has just recorded.
    """
    if not any(receipt.postponed and receipt.retries == 1 for receipt in written):
        return None
    receipts = [receipt for receipt in receipts if not receipt.theirs]
    waiting = [receipt for receipt in receipts if receipt.postponed]
    next_try = min((receipt.retry_at for receipt in waiting if receipt.retry_at), default=None)
    if next_try is None:
        return None
    names = _listed(f"{shortened(receipt.name, 60)} ({receipt.reason})" for receipt in waiting)
    return Announcement(
        name=_name(team, f"{event}\npostponed"),
        type="Warning",
        reason="DeliveryPostponed",
        message=f"{len(waiting)} of {len(receipts)} targets postponed: {names};"
        f" next try at {format_time(next_try)}; see status.delivery",
        count=1 + max(receipt.redeliveries for receipt in waiting),
    )


def _name(team: AgentTeam, what: str) -> str:
    """Return a name that every replica computes alike, so that the API server stores one Event."""
    digest = hashlib.sha256(f"{team.uid}\n{what}".encode()).hexdigest()[:16]
    return f"{team.name[: LONGEST_NAME - len(digest) - 1].rstrip('.-')}.{digest}"


def _said(receipts: Sequence[Receipt], failed: Sequence[Receipt]) -> str:
    if not failed:
        return f"delivered to {listed(receipt.name for receipt in receipts)}"
    names = _listed(f"{shortened(receipt.name, 60)} ({receipt.reason})" for receipt in failed)
    return f"{len(failed)} of {len(receipts)} targets failed: {names}; see status.delivery"


def listed(names: Iterable[str], longest: int = 90) -> str:
    """Return the first names of targets, of at most so many characters each, and how many more there are."""
    return _listed(shortened(name, longest) for name in names)


def _listed(texts: Iterable[str]) -> str:
    texts = list(texts)
    listed = ", ".join(texts[:MOST_NAMED])
    more = len(texts) - MOST_NAMED
    return f"{listed} and {more} more" if more > 0 else listed
