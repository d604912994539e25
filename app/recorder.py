"""Writes outcomes into the team's status as they settle: one write in flight a team, held on to for long."""

import asyncio
from collections.abc import Iterable

import structlog

from app.cluster import Cluster, Snapshot
from app.errors import AccessDenied, ApiUnavailable, ClusterError, Conflict, ObjectNotFound
from app.ledger import holds, settle
from app.metrics import Metrics
from app.receipts import Receipt
from app.retry import RetryPolicy, full_jitter
from app.times import steady

log = structlog.get_logger(__name__)

BACKOFF = RetryPolicy(backoff_initial=0.1)  # 0.1 s, 0.2 s, 0.4 s … between tries to write


class Recorder:
    """The record of one team's dispatch.

    What settles while a write is under way rides in the next one. An outcome that cannot be written for
    `timeout` seconds, or whose claim is no longer ours, is logged and counted as unrecorded.
    """

    def __init__(  # noqa: PLR0913  # the dispatch's own parts, each used
        self,
        cluster: Cluster,
        claimed: Snapshot,
        *,
        holder: str,
        timeout: float,
        stop: asyncio.Event,
        metrics: Metrics,
    ) -> None:
        self.latest = claimed
        self.unwritten: dict[str, Receipt] = {}
        self.unrecorded: str | None = None  # why, of the last outcome that could not be written
        self.uid_changed = False
        self._cluster = cluster
        self._holder = holder
        self._timeout = timeout
        self._stop = stop  # set when the team is gone: no further attempt makes sense
        self._metrics = metrics
        self._waiting: list[Receipt] = []
        self._wake = asyncio.Event()

    def settle(self, receipt: Receipt) -> None:
        """Take in a receipt; it is written soon."""
        self._waiting.append(receipt)
        self._wake.set()

    async def run(self, expected: int) -> None:
        """Write until so many receipts have been taken in and written, or given up."""
        while expected:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, []
            expected -= len(batch)
            await self._record(batch)

    async def _record(self, batch: list[Receipt]) -> None:
        """Write the batch, again and again while the API server is away or the team keeps changing."""
        give_up = steady() + self._timeout
        tries = 0
        while True:
            try:
                if tries:
                    # Somebody else's write went through, or ours did and only its answer was lost.
                    await self._reread()
                await self._write(batch)
                break
            except (Conflict, ApiUnavailable, AccessDenied) as error:
                tries += 1
                asked = error.retry_after if isinstance(error, ApiUnavailable) else None
                wait = full_jitter(BACKOFF.backoff(tries)) if asked is None else asked
                if steady() + wait >= give_up:
                    self._lose(batch, "timeout", str(error))
                    break
            except ObjectNotFound:
                self._stop.set()
                self._lose(batch, "team-gone", "the team was deleted, or made anew")
                break
            except ClusterError as error:
                self._lose(batch, "rejected", str(error))
                break
            self._metrics.record_retries.inc()
            # Draining does not cut this short: an outcome that is known is worth the wait.
            await asyncio.sleep(wait)

    async def _reread(self) -> None:
        team = self.latest.team
        fresh = await self._cluster.read_team(team.namespace, team.name)
        if fresh.team.uid != team.uid:
            self.uid_changed = True
            raise ObjectNotFound("another team of the same name")
        self.latest = fresh

    async def _write(self, batch: list[Receipt]) -> None:
        """Write the batch once over what was read last, and tell whether the API server kept it."""
        entries, written, lost = settle(self.latest.team.entries, batch, holder=self._holder)
        if written:
            self.latest = await self._cluster.write_delivery(self.latest.team, entries)
            if not holds(self.latest.team, written):
                self._metrics.ledger_not_kept.inc()
                self._lose(written, "not-kept", "the cluster's CRD drops the record")
        if lost:
            self._lose(lost, "claim-lost", "the claim was wiped from the status, or taken over")

    def _lose(self, receipts: Iterable[Receipt], cause: str, why: str) -> None:
        self.unrecorded = why
        team = self.latest.team
        for receipt in receipts:
            self.unwritten[receipt.name] = receipt
            self._metrics.unrecorded.labels(cause).inc()
            log.error(
                "outcome_unrecorded",
                team=team.name,
                namespace=team.namespace,
                target=receipt.name,
                phase=receipt.phase,
                reason=receipt.reason,
                id=receipt.id,
                cause=cause,
                why=why,
            )
