"""The operations of the service on a team: deliver, read, preview, test; and its shutdown."""

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
    """Assembles the stages of a delivery, within the limits of the settings."""

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
        """Accept an event. On return, its claims are on record and its sends are in progress.

        For a redelivery, a Kubernetes Event on the team says who requested it.

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
        """Read the record of a team.

        Raises:
            Problem: the team does not exist, or the Kubernetes API is unavailable.
        """
        team = (await self._reader.read(namespace, name)).team
        report = reported(team)
        if report.targets:
            return report
        phase, reason = self._judge.outlook(team)
        return report.model_copy(update={"phase": phase, "reason": reason})

    async def survey(self, asked: Asked, after: str | None, may: May) -> Reports:
        """List one page of the teams that have such targets, limited to namespaces that the caller may read.

        Raises:
            Problem: the page does not exist, or the Kubernetes API is unavailable.
        """
        return await self._survey.page(asked, after, may)

    async def preview(self, event: CompletionEvent) -> Previewed:
        """Show what the event would send to which target; send and write nothing.

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
        """Whether the service refuses new events because it is shutting down."""
        return self._under_way.draining

    async def drain(self) -> None:
        """Refuse new events; return when those in progress are settled or released, and recorded."""
        await self._under_way.drain()

    def abandon(self) -> None:
        """Drop what did not finish in time; another process takes it over when its claim expires."""
        self._under_way.abandon()

    def _admit(self, event: CompletionEvent) -> None:
        self._judge.check(event)
        self._under_way.admit()
