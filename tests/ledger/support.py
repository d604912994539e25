"""Helpers of the ledger's suites: the programs on either CRD, a receiver that counts by path."""

import asyncio
import itertools
import re
from collections import defaultdict
from contextlib import closing, suppress
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from app.domain.teams import AgentTeam
from tests.harness.cluster import Cluster
from tests.harness.kube import TEAMS, Kube
from tests.harness.receiver import Received, Receiver
from tests.harness.service import Service, Watcher

Entries = dict[str, dict[str, Any]]
"""A team's entries by the words for their targets; if names are kept, the words are the names."""


def serve(on: Cluster[Any], **settings: object) -> Service:
    """Return a service for the AgentTeams of a CRD."""
    return Service(on.kubeconfig, api_group=on.kube.group, **settings)


def watch(on: Cluster[Any], url: str, **settings: object) -> Watcher:
    """Return a watcher for the AgentTeams of a CRD."""
    return Watcher(on.kubeconfig, url, api_group=on.kube.group, **settings)


class Outcomes(Receiver):
    """Answers by the path's last word: `flaky` first with 503, `gone` with 404, others with 200."""

    def __init__(self, *, delay: float = 0.0) -> None:
        super().__init__(respond=self._answer)
        self._delay = delay  # seconds before each answer
        self._refused: set[str] = set()

    def target(self, team: str, name: str) -> dict[str, Any]:
        """Return a target whose name says its outcome, with requests unlike those of other teams."""
        if name in {"slack", "missing"}:
            return {"type": "slack", "name": name, "credentialsSecret": f"{name}-{team}"}
        if name == "email":
            return {"type": "email", "name": name, "to": ["a@example.com"]}
        return {"type": "webhook", "name": name, "url": f"{self.url}/{team}/{name}"}

    async def slack_secret(self, kube: Kube, namespace: str, team: str) -> None:
        """Create the Secret for a team's target `slack`."""
        await kube.secret(namespace, f"slack-{team}", {"slack-webhook-url": f"{self.url}/{team}/slack"})

    @property
    def sends(self) -> dict[str, list[Received]]:
        """All requests, by team and target."""
        sends = defaultdict(list)
        for request in self.requests:
            sends[request.path.lstrip("/")].append(request)
        return sends

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        word = request.path.rpartition("/")[2]
        first = request.path not in self._refused
        self._refused.add(request.path)
        await asyncio.sleep(self._delay)
        if word == "flaky" and first:
            return web.Response(status=503)
        return web.Response(status=404 if word == "gone" else 200, text="ok")


class Front:
    """One address for several replicas, like a Kubernetes Service: each connection goes to another one."""

    def __init__(self, *replicas: Service) -> None:
        self.replicas = list(replicas)
        self._turns = itertools.count()
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        link.add_done_callback(lambda _: writer.close())  # also if it was cancelled before it began

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy bytes in both directions until either side ends; close a connection that nobody accepts."""
        turn = next(self._turns)
        for number in range(len(self.replicas)):
            replica = self.replicas[(turn + number) % len(self.replicas)]
            with suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", replica.port)
                break
        else:
            return
        with closing(far_writer):  # also if this is cancelled while it waits for the end of both ways
            there = asyncio.create_task(_pass_on(reader, far_writer))
            back = asyncio.create_task(_pass_on(far_reader, writer))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


def word(target: dict[str, Any]) -> str:
    """Return the word that identifies a target in its team, with or without a name."""
    match target["type"]:
        case "webhook":
            return str(target["url"]).rpartition("/")[2]
        case "slack":
            return str(target["credentialsSecret"]).partition("-")[0]
        case kind:
            return str(kind)


def by_word(team: dict[str, Any]) -> Entries:
    """Return a team's entries by word, as they are and as the service reads them."""
    read = AgentTeam.from_resource(team)
    words = dict(zip(read.record.names, map(word, read.targets), strict=True))
    lines = [line for line in read.record.lines if line.name in words]
    return {words[line.name]: line.receipt.to_wire() | dict(line.entry) for line in lines}


async def ledger(kube: Kube, namespace: str, team: str) -> Entries:
    """Read a team's entries."""
    return by_word((await kube.get(TEAMS, namespace, team)).body)


async def ledgers(kube: Kube, namespace: str) -> dict[str, Entries]:
    """Read the entries of all teams in a namespace."""
    teams = (await kube.list(TEAMS, namespace)).body["items"]
    return {team["metadata"]["name"]: by_word(team) for team in teams}


def settled(entries: Entries, targets: int) -> bool:
    """Whether `targets` targets are on record, each with its outcome."""
    return len(entries) == targets and all(entry["phase"] != "Pending" for entry in entries.values())


async def history(kube: Kube, namespace: str, since: str) -> list[Entries]:
    """Describe how the entries in a namespace changed after a resourceVersion."""
    return [
        by_word(event["object"])
        async for event in kube.watch(TEAMS, namespace, resourceVersion=since, timeoutSeconds=1)
    ]


async def metric(service: Service, sample: str) -> float:
    """Return the value of a sample, given by its name and labels in Prometheus' notation; 0 if absent."""
    text = (await service.request("GET", "/metrics")).content.decode()
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def have_one_id(sends: list[Received], entry: dict[str, Any]) -> bool:
    """Whether all requests have one id: the entry's, if it has one."""
    found = ids(sends)
    return len(found) == 1 and found == {entry.get("id", *found)}


def ids(sends: list[Received]) -> set[str]:
    """The `webhook-id`s of requests."""
    return {request.headers["webhook-id"] for request in sends}
