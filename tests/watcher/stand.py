"""A running watcher, observed from outside: its logs, its port, its requests."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from structlog.testing import capture_logs

from app.domain.backoff import Backoff
from app.kube.connection import Connection
from app.kube.kubeconfig import read_kubeconfig
from app.settings import WatcherSettings
from app.watcher import Pace, watch_until
from app.watcher.metrics import WatchMetrics
from tests.harness.kube import Kube
from tests.harness.receiver import Received, Receiver
from tests.harness.waiting import until
from tests.watcher.teams import SPEC

QUICK = Pace(
    reconnect=Backoff(0.05, 0.4),
    outage=Backoff(0.05, 0.2),
    repeat=Backoff(0.05, 0.2),
    wiped=Backoff(0.1, 0.4),
    conflict=Backoff(0.1, 0.4),
    failure=Backoff(0.1, 60.0),
    watch_healthy=0.1,
    contact=0.3,
    drain=0.5,
    claim_margin=0.05,
    claim_jitter=0.05,
)
"""The watcher's settings, with shorter times."""


class Service(Receiver):
    """A fake service: answers with the given statuses, and repeats the last one."""

    def __init__(self, *answers: web.Response | int, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(respond=self.answer, tls=tls)
        self.answers = list(answers) or [202]

    async def answer(self, _: web.Request) -> web.Response:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, int):
            return web.json_response({}, status=answer)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    @property
    def teams(self) -> list[str]:
        """The submitted teams, in order."""
        return [str(self.event(request)["team"]) for request in self.requests]

    @staticmethod
    def event(request: Received) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(request.body)
        return event


async def finish(kube: Kube, name: str, *, namespace: str = "research", **status: Any) -> str:
    """Create a finished team; return its uid."""
    await kube.team(namespace, name, SPEC)
    team = await kube.finish(namespace, name, **status)
    return str(team["metadata"]["uid"])


@dataclass
class Watching:
    """A running watcher."""

    task: asyncio.Task[None]
    stop: asyncio.Event
    logs: list[Any]

    @property
    def port(self) -> int:
        return int(self.logged("watching")[0]["port"])

    async def reaches(self, sample: str, value: float) -> None:
        """Wait until a metric has at least this value."""

        async def holds() -> bool:
            return await self.metric(sample) >= value

        await until(holds)

    async def comes_to(self, sample: str, value: float) -> None:
        """Wait until a metric has exactly this value."""

        async def holds() -> bool:
            return await self.metric(sample) == value

        await until(holds)

    def logged(self, event: str) -> list[Any]:
        return [line for line in self.logs if line["event"] == event]

    async def get(self, path: str) -> tuple[int, Any]:
        """Request a path of its own server; return the status, and the body, decoded if it is JSON."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as response,
        ):
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.text())

    async def metric(self, sample: str) -> float:
        """Return the value of a sample, given by its name and labels in Prometheus' notation; 0 if absent."""
        _, text = await self.get("/metrics")
        values = [line.rpartition(" ") for line in text.splitlines()]
        return next((float(value) for name, _, value in values if name == sample), 0.0)


@asynccontextmanager
async def client(kubeconfig: Path) -> AsyncIterator[Connection]:
    """Connect as the command line does."""
    async with Connection(await read_kubeconfig(str(kubeconfig))) as connection:
        yield connection


@asynccontextmanager
async def watching(
    kubeconfig: Path, url: str, *, pace: Pace = QUICK, **settings: Any
) -> AsyncIterator[Watching]:
    """Run a watcher, and check that it stops in time and without an error."""
    given = WatcherSettings.load(url=url, watch_port=0, **settings)
    stop = asyncio.Event()
    with capture_logs() as logs:
        async with client(kubeconfig) as api:
            task = asyncio.create_task(watch_until(stop, given, api, WatchMetrics(), pace))
            watcher = Watching(task, stop, logs)
            await until(lambda: watcher.logged("watching") or task.done())
            try:
                yield watcher
            finally:
                stop.set()
                async with asyncio.timeout(10):
                    await task
