"""Records outcomes in the team's status: one write in flight per team, retried until RECORD_TIMEOUT."""

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from app.delivery import faults
from app.domain.backoff import Backoff, full_jitter
from app.domain.errors import AccessDenied, ApiUnavailable, ClusterError, Conflict, ObjectNotFound
from app.domain.ledger import holds, settle
from app.domain.receipts import Receipt
from app.domain.times import steady
from app.kube.cluster import Cluster, Snapshot
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing
from app.timers import Timer, call_later, within

MOST_WAITED = 5.0  # seconds: the recorder soon sees that the API server is back
BACKOFF = Backoff(0.1, MOST_WAITED)  # at most 0.1 s, 0.2 s, 0.4 s … between attempts to write
VERIFIED_FOR = 1.0  # seconds for which targets share one check of the team's uid
MOST = 1 << 20  # outcomes in one write; in effect, no limit
LINGER = 0.05  # seconds that the first outcome waits for others, at least
LONGEST_LINGER = 1.0
WRITING_SHARE = 0.2  # share of the time spent on writes at most: each write carries the whole list


class Waiting(NamedTuple):
    """A receipt to write, and until when to try (seconds on the monotonic clock)."""

    receipt: Receipt
    until: float


class Recorder:
    """The record of one team's dispatch.

    Outcomes that arrive during a write, or while it waits for a retry, go into the next write. If an outcome
    cannot be written for `timeout` seconds, or its claim is no longer ours, the recorder logs it and counts
    it as unrecorded. It calls `written` with each receipt that is on record.
    """

    def __init__(  # noqa: PLR0913  # the dispatch's own parts, each used
        self,
        cluster: Cluster,
        claimed: Snapshot,
        *,
        holder: str,
        timeout: float,
        written: Callable[[Receipt], None],
        metrics: Metrics,
        tracing: Tracing,
        log: FilteringBoundLogger,
    ) -> None:
        self.latest = claimed
        self.unwritten: dict[str, Receipt] = {}
        self.written: dict[str, Receipt] = {}
        self._tell_written = written
        self.unrecorded: str | None = None  # why the last outcome could not be written
        self.uid_changed = False
        self.stopped = asyncio.Event()  # no further attempt: the team is gone, or the process drains
        self._cluster = cluster
        self._holder = holder
        self._timeout = timeout
        self._metrics = metrics
        self._tracing = tracing
        self._log = log
        self._waiting: dict[str, Waiting] = {}
        self._wake = asyncio.Event()
        self._lingering: Timer | None = None
        self._writing = False
        self._expected = 0
        self._linger_for = LINGER
        self._verifying = asyncio.Lock()
        self._verified_until = 0.0

    def record(self, receipt: Receipt) -> None:
        """Take a receipt; it is written soon."""
        self._waiting[receipt.name] = Waiting(receipt, steady() + self._timeout)
        if not self._writing:
            self._linger()

    async def run(self, expected: int) -> None:
        """Write until `expected` receipts have arrived, and each is written or given up."""
        self._expected = expected
        most = MOST  # outcomes per write: halved by a refusal, doubled by a success
        tries = 0
        while self._expected:
            await self._wake.wait()
            self._begin()
            batch = [waiting.receipt for waiting in self._waiting.values()][:most]
            try:
                if tries:
                    # Another write went first, or ours did and only its answer was lost.
                    self.latest = await self._fresh()
                with self._tracing.span("record", targets=len(batch), tries=tries + 1):
                    await self._write(batch)
                tries = 0
                most = min(MOST, 2 * most)
            except (Conflict, ApiUnavailable, AccessDenied) as error:
                tries += 1
                self._metrics.record_retries.inc()
                self._give_up(str(error))
                asked = error.retry_after if isinstance(error, ApiUnavailable) else None
                # A drain does not shorten this: recording a known outcome is worth the wait.
                await asyncio.sleep(self._pause(tries, asked))
            except ObjectNotFound:
                self.stopped.set()
                self._lose(list(self._waiting), "team-gone", "the team was deleted or recreated")
            except ClusterError as error:
                if len(batch) == 1:
                    self._lose([batch[0].name], "rejected", str(error))
                most = max(1, len(batch) // 2)  # so that a refused outcome does not block the others
            self._writing = False
            self._linger()

    def _linger(self) -> None:
        """Write when the outcomes that are about to arrive are there; mostly these are all, in one write."""
        if len(self._waiting) >= self._expected:
            self._wake.set()
        elif self._waiting and self._lingering is None:
            self._lingering = call_later(self._linger_for, self._wake.set)

    def _begin(self) -> None:
        """Begin a write: what arrives until its end, or its retry, waits for the next."""
        self._wake.clear()
        self._writing = True
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def abandon(self) -> None:
        """Drop what is not written, because the process ends first."""
        self._lose(list(self._waiting), "drain", "the process ended before it could be written")

    async def undisturbed(self, seconds: float) -> bool:
        """Sleep. Return False at once if the process drains, and at the end if the team is gone."""
        faults.reach("waiting")
        try:
            with within(seconds):
                await self.stopped.wait()
        except TimeoutError:
            await self._verify()
        return not self.stopped.is_set()

    async def _verify(self) -> None:
        """Check that the team is still the same; if it is gone, allow no further attempt.

        Targets waiting for a retry ask at about the same moment, so they share one answer.
        """
        async with self._verifying:
            if steady() < self._verified_until or self.stopped.is_set():
                return
            try:
                await self._fresh()
            except ObjectNotFound:
                self.stopped.set()
            except ClusterError:
                pass  # unknown for now; a duplicate notification is better than a missing one
            self._verified_until = steady() + VERIFIED_FOR

    async def _fresh(self) -> Snapshot:
        team = self.latest.team
        fresh = await self._cluster.read_team(team.namespace, team.name)
        if fresh.team.uid != team.uid:
            self.uid_changed = True
            raise ObjectNotFound("another team of the same name")
        return fresh

    async def _write(self, batch: list[Receipt]) -> None:
        """Write the batch once, based on the last read, and check that the API server kept it."""
        entries, written, lost = settle(self.latest.team, batch, holder=self._holder)
        if written:
            faults.reach("recording")
            began = steady()
            self.latest = await self._cluster.write_delivery(self.latest.team, entries)
            took = steady() - began
            self._linger_for = min(max(LINGER, took / WRITING_SHARE - took), LONGEST_LINGER)
            faults.reach("record-written")
            if not holds(self.latest.team, written, written=entries):
                self._metrics.ledger_not_kept.inc()
                self._lose([receipt.name for receipt in written], "not-kept", "the CRD drops the record")
        self._lose([receipt.name for receipt in lost], "claim-lost", "the claim was wiped or taken over")
        for receipt in written:
            if receipt.name in self._waiting:
                self.written[receipt.name] = self._take(receipt.name)
                self._tell_written(receipt)

    def known(self, receipt: Receipt) -> Receipt:
        """Return what this process knows of a target if the record knows less or something else."""
        if receipt.name in self.unwritten:
            return self.unwritten[receipt.name]
        written = self.written.get(receipt.name)
        whole = written and not receipt.id and written.essence == receipt.essence
        return written if written and whole else receipt

    def _take(self, name: str) -> Receipt:
        self._expected -= 1
        return self._waiting.pop(name).receipt

    def _give_up(self, why: str) -> None:
        """Give up the outcomes whose time is over."""
        over = [name for name, waiting in self._waiting.items() if steady() >= waiting.until]
        self._lose(over, "timeout", why)

    def _pause(self, tries: int, asked: float | None) -> float:
        """Return the wait before the next attempt, which is at the last outcome's deadline at the latest."""
        wait = max(min(asked or 0.0, MOST_WAITED), full_jitter(BACKOFF.longest(tries)))
        last = max((waiting.until for waiting in self._waiting.values()), default=0.0)
        return max(0.0, min(wait, last - steady()))

    def _lose(self, names: Iterable[str], cause: str, why: str) -> None:
        for name in names:
            if name not in self._waiting:  # already dropped, because the process ends
                continue
            receipt = self._take(name)
            self.unwritten[name] = receipt
            self.unrecorded = why
            self._metrics.unrecorded.labels(cause).inc()
            self._log.error(
                "outcome_unrecorded",
                target=name,
                phase=receipt.phase,
                reason=receipt.reason,
                id=receipt.id,
                cause=cause,
                why=why,
            )
