"""What Kubernetes Events say: of a delivery that has ended, and of who asked for another; pure."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from app.domain.receipts import Phase, Receipt
from app.domain.teams import AgentTeam
from app.domain.text import shortened

MOST_NAMED = 10  # targets that are named; `status.delivery` names all
LONGEST_NAME = 253  # https://kubernetes.io/docs/concepts/overview/working-with-objects/names/


@dataclass(frozen=True, slots=True)
class Announcement:
    """One Event a team and kind of completion: a redelivery changes it, and counts up."""

    name: str
    type: Literal["Normal", "Warning"]
    reason: Literal["Delivered", "DeliveryFailed", "RedeliveryRequested"]
    message: str
    count: int


def announce(team: AgentTeam, event: str, receipts: Iterable[Receipt]) -> Announcement | None:
    """Sum up what we have on record of a team; None while a target is not settled, or where there is none."""
    receipts = [receipt for receipt in receipts if not receipt.theirs]
    if not receipts or not all(receipt.settled for receipt in receipts):
        return None
    failed = [receipt for receipt in receipts if receipt.phase is not Phase.DELIVERED]
    return Announcement(
        name=_name(team, event),
        type="Warning" if failed else "Normal",
        reason="DeliveryFailed" if failed else "Delivered",
        message=_said(receipts, failed),
        count=1 + max(receipt.redeliveries for receipt in receipts),
    )


def announce_redelivery(
    team: AgentTeam, which: Literal["none", "failed", "all"], asked_by: str, request_id: str
) -> Announcement:
    """Say who asked for a redelivery: an Event of its own for each request."""
    what = "all targets" if which == "all" else "what failed"
    return Announcement(
        name=_name(team, f"redelivery\n{request_id}"),
        type="Normal",
        reason="RedeliveryRequested",
        message=f"{shortened(asked_by, 300)} asked for {what} to be sent again, by request {request_id}",
        count=1,
    )


def _name(team: AgentTeam, event: str) -> str:
    """Return a name that is the same for every replica, so that the API server holds one Event."""
    digest = hashlib.sha256(f"{team.uid}\n{event}".encode()).hexdigest()[:16]
    return f"{team.name[: LONGEST_NAME - len(digest) - 1].rstrip('.-')}.{digest}"


def _said(receipts: Sequence[Receipt], failed: Sequence[Receipt]) -> str:
    if not failed:
        return f"delivered to {_listed(shortened(receipt.name, 90) for receipt in receipts)}"
    names = _listed(f"{shortened(receipt.name, 60)} ({receipt.reason})" for receipt in failed)
    return f"{len(failed)} of {len(receipts)} targets failed: {names}; see status.delivery"


def _listed(texts: Iterable[str]) -> str:
    texts = list(texts)
    listed = ", ".join(texts[:MOST_NAMED])
    more = len(texts) - MOST_NAMED
    return f"{listed} and {more} more" if more > 0 else listed
