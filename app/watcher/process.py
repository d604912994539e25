"""The sidecar: watches AgentTeams and submits those that need delivery to the service."""

import asyncio
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from app.kube.connection import Connection, connect
from app.settings import WatcherSettings
from app.watcher.agenda import Agenda
from app.watcher.clock import ServerClock
from app.watcher.courier import Courier
from app.watcher.feed import Feed
from app.watcher.health import OK, HealthServer
from app.watcher.metrics import WatchMetrics
from app.watcher.pace import Pace
from app.watcher.service import ServiceClient
from app.watcher.source import TeamSource

__all__ = ["Pace", "watch", "watch_until"]

log = structlog.get_logger(__name__)
_PACE = Pace()


async def watch(settings: WatcherSettings) -> None:
    """Watch until SIGTERM or SIGINT, then let submissions in progress finish, and return.

    Raises:
        SettingsError: the environment names no Kubernetes API.
    """
    metrics = WatchMetrics()
    async with connect(metrics.count_api_request) as connection:
        with _signals() as stop:
            await watch_until(stop, settings, connection, metrics)


async def watch_until(
    stop: asyncio.Event,
    settings: WatcherSettings,
    connection: Connection,
    metrics: WatchMetrics,
    pace: Pace = _PACE,
) -> None:
    """Watch until `stop` is set.

    Raises:
        OSError: the port of the health server is in use.
        ExceptionGroup: a task ended with an error in this program; the process should be restarted.
    """
    clock = ServerClock()
    agenda = Agenda(
        phases=settings.phases, max_age=settings.max_age, pace=pace, adopt=settings.adopt == "failed"
    )
    source = TeamSource(
        connection, group=settings.api_group, timeout=settings.api_timeout, pace=pace, clock=clock
    )
    service = ServiceClient(settings.url, token_file=settings.token_file, ca_file=settings.ca_file, pace=pace)
    courier = Courier(agenda, service, source, clock, metrics)
    feeds = [
        Feed(namespace, source, agenda, clock, settings.resync, pace, metrics, changed=courier.wake)
        for namespace in dict.fromkeys(settings.namespaces or (None,))
    ]
    metrics.show_state(
        teams=lambda: len(agenda),
        due=lambda: agenda.due(clock.now()),
        undelivered=lambda: len(agenda.undelivered(clock.now())),
        oldest_undelivered=lambda: _oldest(agenda.undelivered(clock.now()), clock.now()),
        postponed=lambda: len(agenda.postponed()),
        oldest_postponed=lambda: _oldest(agenda.postponed(), clock.now()),
        silence=lambda: max(feed.silence for feed in feeds),
    )
    if settings.token_file:
        metrics.show_token(service.token_expiry)
    health = HealthServer(
        settings.host,
        settings.watch_port,
        alive=lambda: {"loop": OK},  # a process that answers is alive, because a failed task ends the process
        ready=lambda: _readiness(feeds, pace),
        metrics=metrics.render,
    )
    async with service, health, asyncio.TaskGroup() as tasks:
        # A failed task cancels the others and ends the process.
        watching = [tasks.create_task(feed.run()) for feed in feeds]
        delivering = tasks.create_task(courier.run())
        log.info("watching", port=health.port, namespaces=list(settings.namespaces))
        await stop.wait()
        log.info("stopping")
        for feed in watching:
            feed.cancel()
        courier.stop()
        await asyncio.wait([delivering], timeout=pace.drain)
        delivering.cancel()


def _oldest(since: Sequence[float], now: float) -> float:
    return max(0.0, now - min(since, default=now))


def _readiness(feeds: Sequence[Feed], pace: Pace) -> Mapping[str, str]:
    """Return whether each feed has its first list and a recent answer from the API server."""
    checks = {}
    for feed in feeds:
        where = feed.namespace or "all"
        checks[f"listed:{where}"] = OK if feed.listed else "no list yet"
        quiet = feed.listed and feed.silence > pace.contact
        checks[f"contact:{where}"] = f"nothing heard for {feed.silence:.0f} s" if quiet else OK
    return checks


@contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """Set an event on SIGTERM and SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
