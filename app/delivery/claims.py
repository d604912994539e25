"""The claims of this process: the targets that it may send to, is sending to, or has lost.

A claim is written to the team's status before anything is sent. This module holds what the status cannot:
which of the claims with this process's name are really in progress in it.
"""

import asyncio
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple, NoReturn
from weakref import WeakValueDictionary

import structlog

from app.delivery import faults
from app.delivery.capacity import Capacity, Held
from app.delivery.judge import Judge, Judgement
from app.delivery.reader import Reader, unavailable
from app.domain.backoff import Backoff, full_jitter
from app.domain.errors import (
    ApiUnavailable,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    LedgerNotKept,
    LedgerRefused,
    ObjectNotFound,
    Problem,
    Rejected,
    TeamNotFound,
)
from app.domain.events import CompletionEvent
from app.domain.ledger import Plan, Terms, holds, outgrows
from app.domain.receipts import Receipt
from app.kube.cluster import Cluster, Snapshot
from app.settings import ServiceSettings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing
from app.timers import within

log = structlog.get_logger(__name__)

TRIES = 8
REQUESTS = 3  # a cached read, a read and a write: each may take all of its time
BACKOFF = Backoff(0.05)  # at most 50 ms, 100 ms, 200 ms … between attempts to claim


class Accepted(NamedTuple):
    """An event whose claims are on record: the team as it was judged, and as it is now."""

    read: Snapshot
    claimed: Snapshot
    judgement: Judgement

    @property
    def plan(self) -> Plan:
        """Return what the event requires: which targets to send to, and which to leave."""
        return self.judgement.plan


class Claims:
    """Writes claims, and distinguishes targets that are being sent to from those whose outcome was lost."""

    def __init__(  # noqa: PLR0913  # everything that a claim depends on
        self,
        settings: ServiceSettings,
        cluster: Cluster,
        *,
        judge: Judge,
        reader: Reader,
        capacity: Capacity,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self.holder = f"agentteam-delivery-{secrets.token_hex(8)}"
        self.life = settings.claim_life
        self._settings = settings
        self._cluster = cluster
        self._judge = judge
        self._reader = reader
        self._capacity = capacity
        self._metrics = metrics
        self._tracing = tracing
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        # Per team uid: how many dispatches send under a message id. Two do if somebody deleted a claim
        # meanwhile.
        self._sending: defaultdict[str, Counter[str]] = defaultdict(Counter)
        # Ids of messages that were sent but not recorded; their claims expire like those of another process.
        self._lost: set[str] = set()

    def terms(self, read: Snapshot) -> Terms:
        """Return who claims, for how long, and the time at which the team was read."""
        return Terms(
            holder=self.holder,
            now=read.date,
            life=self.life,
            max_takeovers=self._settings.max_takeovers,
            ours=self._sending.get(read.team.uid, ()),
            lost=self._lost,
            adopt=self._settings.adopt == "failed",
        )

    async def take(self, event: CompletionEvent, held: Held) -> Accepted:
        """Claim the targets that an event requests; each keeps its place as part of `held`.

        One event per team at a time, so that this process can tell its own claims apart.

        Raises:
            Problem: the event is not accepted, and nothing is sent for it.
        """
        turn = self._turns.setdefault((event.namespace, event.team), asyncio.Lock())
        try:
            # The wait for its turn counts too: an event is answered in time, however many events precede it.
            with within(REQUESTS * self._settings.api_timeout):
                async with turn:
                    with self._tracing.span("claim"):
                        accepted = await self._claim(event, held)
                    if ids := [claim.receipt.id or "" for claim in accepted.plan.claims]:
                        self._lost.difference_update(ids)
                        self._sending[accepted.read.team.uid].update(ids)
                    return accepted
        except TimeoutError:
            raise unavailable(ApiUnavailable("the Kubernetes API is too slow")) from None

    def release(self, uid: str, receipts: Iterable[Receipt]) -> None:
        """Forget targets of a team that are no longer sent to, even if others are not settled yet."""
        sending = self._sending[uid]
        for receipt in receipts:
            key = receipt.id or ""
            sending[key] -= 1
            if sending[key] <= 0:
                del sending[key]
        if not sending:
            del self._sending[uid]

    def lose(self, unwritten: Iterable[Receipt]) -> None:
        """Remember which outcomes could not be written."""
        self._lost.update(receipt.id for receipt in unwritten if receipt.id)

    async def _claim(self, event: CompletionEvent, held: Held) -> Accepted:
        """Read, judge and write; start over if the team changed in between."""
        error: ClusterError | None = None  # why the last claim is not on record, as far as is known
        for tries in range(1, TRIES + 1):
            try:
                if tries == 1 and (accepted := await self._claim_on_cached(event, held)):
                    return accepted
                read = await self._reader.read(event.namespace, event.team)
                return await self._claim_on(read, event, held)
            except (Conflict, ApiUnavailable, ObjectNotFound) as lost:
                # Without an answer, the claim may be on record. If so, the next plan finds and uses it.
                error = lost
                self._metrics.claim_retries.inc()
            except ClusterUnavailable:
                if error is None:
                    raise
            await asyncio.sleep(full_jitter(BACKOFF.longest(tries)))
        assert error is not None  # noqa: S101  # every try failed
        raise unavailable(error)

    async def _claim_on_cached(self, event: CompletionEvent, held: Held) -> Accepted | None:
        """Claim on a cached read of the team; None if it must be read again.

        Only a claim may follow from such a read: its write fails if the team has changed since.
        """
        if not self._reader.expects_little(event.namespace):
            return None  # to read a large team twice would take too much of the namespace's share
        try:
            read = await self._reader.read(event.namespace, event.team, cached=True)
        except TeamNotFound:
            return None
        try:
            accepted = await self._claim_on(read, event, held)
        except (ApiUnavailable, LedgerNotKept):
            raise
        except (ClusterError, Problem):
            return None
        return accepted if accepted.plan.changes else None

    async def _claim_on(self, read: Snapshot, event: CompletionEvent, held: Held) -> Accepted:
        """Judge the event on a read of the team, and write its claims."""
        judgement = self._judge.judge(event, read.team, self.terms(read))
        if not judgement.plan.changes:
            return Accepted(read, read, judgement)
        faults.reach("read")
        claimed = await self._write(read, judgement.plan, held)
        faults.reach("claim-written")
        receipts = [*(claim.receipt for claim in judgement.plan.claims), *judgement.plan.closed]
        if not holds(claimed.team, receipts, written=judgement.plan.entries):
            await self._take_back(read, claimed)
        self._metrics.takeovers.inc(judgement.plan.takeovers)
        return Accepted(read, claimed, judgement)

    async def _write(self, read: Snapshot, plan: Plan, held: Held) -> Snapshot:
        """Write the claims once; each takes a place, kept in `held`."""
        if outgrows(read.size, read.team, plan):
            raise LedgerRefused(
                "nothing was sent: with the record of its targets the team would be larger than the API"
                " server takes; give it fewer targets, or shorter ones",
                recorded=False,
            )
        try:
            with Held() as taken:
                namespace, capacity = read.team.namespace, self._capacity
                capacity.targets.take(taken, namespace, len(plan.claims))
                capacity.team_bytes.take(taken, namespace, read.size)
                claimed = await self._cluster.write_delivery(read.team, plan.entries)
                taken.pass_to(held)
        except (Conflict, ApiUnavailable, ObjectNotFound):
            raise
        except Rejected as refused:
            raise LedgerRefused(f"nothing was sent: {refused}", recorded=False) from None
        except ClusterError as denied:
            raise unavailable(denied) from None
        return claimed

    async def _take_back(self, read: Snapshot, claimed: Snapshot) -> NoReturn:
        """Remove the rest of a claim of which the CRD dropped a part.

        Raises:
            LedgerNotKept: always, for nothing may be sent.
        """
        self._metrics.ledger_not_kept.inc()
        about = log.bind(team=read.team.name, namespace=read.team.namespace)
        about.error("ledger_not_kept")
        try:
            # Part of a claim would look like an entry of another program, and its target as settled,
            # permanently.
            await self._cluster.write_delivery(claimed.team, read.team.entries)
        except ClusterError as error:
            about.warning("claim_not_taken_back", why=str(error))
        raise LedgerNotKept(
            "the cluster's AgentTeam CRD drops status.delivery or fields of it, so nothing was sent; bring"
            " the operator's CRD to release 0.8, or apply this project's patch of it",
            recorded=False,
        )
