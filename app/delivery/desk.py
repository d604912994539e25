"""The operations of the service on a team: deliver, read, preview, test; and shutting down."""

import asyncio

from app.delivery.capacity import Capacity
from app.delivery.claims import Claims
from app.delivery.dispatch import Dispatch, reported
from app.delivery.dispatcher import Dispatcher
from app.delivery.errand import Errands
from app.delivery.judge import Judge
from app.delivery.reader import Reader
from app.delivery.rehearsal import Rehearsal
from app.delivery.survey import Asked, May, Survey
from app.delivery.underway import UnderWay
from app.domain.announcements import announce_redelivery
from app.domain.events import CompletionEvent
from app.domain.previews import Previewed
from app.domain.receipts import Report, Reports
from app.kube.cluster import Cluster
from app.senders.envelopes import Senders
from app.settings import ServiceSettings
from app.telemetry.correlation import request_id
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing


class Desk:
    """Puts the stages of a delivery together, within the bounds that the settings give."""

    def __init__(
        self,
        settings: ServiceSettings,
        cluster: Cluster,
        senders: Senders,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        capacity = Capacity.of(settings, metrics)
        errands = Errands(settings, cluster, senders, metrics, tracing, capacity.places)
        self._judge = Judge.of(settings)
        self._reader = Reader(settings, cluster, capacity.places)
        self._survey = Survey(settings, cluster)
        self._under_way = UnderWay()
        claims = Claims(
            settings,
            cluster,
            judge=self._judge,
            reader=self._reader,
            capacity=capacity,
            metrics=metrics,
            tracing=tracing,
        )
        self._rehearsal = Rehearsal(self._reader, self._judge, claims, capacity, errands)
        self._dispatcher = Dispatcher(
            settings,
            cluster,
            claims=claims,
            errands=errands,
            capacity=capacity,
            under_way=self._under_way,
            metrics=metrics,
            tracing=tracing,
        )

    async def dispatch(self, event: CompletionEvent, *, asked_by: str) -> Dispatch:
        """Accept an event: when this returns its claims are on record and its sends are under way.

        That a redelivery was asked for, and by whom, is told by a Kubernetes Event on the team.

        Raises:
            Problem: the event is not accepted, and nothing is sent for it.
        """
        self._admit(event)
        dispatch = await self._dispatcher.dispatch(event)
        if event.redeliver != "none":
            said = announce_redelivery(dispatch.team, event, asked_by, request_id())
            self._under_way.start(self._dispatcher.publish(dispatch.team, said))
        return dispatch

    async def read(self, namespace: str, name: str) -> Report:
        """Return the record of a team.

        Raises:
            Problem: there is no such team, or the Kubernetes API is away.
        """
        team = (await self._reader.read(namespace, name)).team
        report = reported(team)
        if report.targets:
            return report
        phase, reason = self._judge.outlook(team)
        return report.model_copy(update={"phase": phase, "reason": reason})

    async def survey(self, asked: Asked, after: str | None, may: May) -> Reports:
        """Return a page of the teams that have such targets, and which the caller may read of.

        Raises:
            Problem: there is no such page, or the Kubernetes API is away.
        """
        return await self._survey.page(asked, after, may)

    async def preview(self, event: CompletionEvent) -> Previewed:
        """Show what the event would send where; nothing is sent, and nothing written.

        Raises:
            Problem: the event would not be accepted.
        """
        self._admit(event)
        return await self._rehearsal.preview(event)

    async def test(self, event: CompletionEvent) -> Report:
        """Send each target one test notification; record nothing.

        Raises:
            Problem: the event is not accepted, and nothing is sent for it.
        """
        self._admit(event)
        return await asyncio.shield(self._under_way.start(self._rehearsal.test(event)))

    @property
    def draining(self) -> bool:
        """Whether no more events are taken."""
        return self._under_way.draining

    async def drain(self) -> None:
        """Take no more events; return when those in flight are settled or handed back, and recorded."""
        await self._under_way.drain()

    def abandon(self) -> None:
        """Let go of what a drain could not finish; it is taken over when its claim ends."""
        self._under_way.abandon()

    def _admit(self, event: CompletionEvent) -> None:
        self._judge.check(event)
        self._under_way.admit()
