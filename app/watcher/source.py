"""The watcher's access to the Kubernetes API: AgentTeams in pages, their changes, one team.

It translates error answers into our own errors; no error's text contains an object's content.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, NamedTuple

from app.domain.errors import ApiUnavailable, ClusterError, NoSuchKind
from app.domain.teams import PLURAL, VERSION, AgentTeam, no_crd
from app.domain.text import json_object
from app.kube.connection import Answer, Connection, Stream, path_of, read_object, refusal
from app.kube.lists import Page, read_page
from app.watcher.clock import ServerClock
from app.watcher.pace import Pace

FIRST = 50  # teams of the first page, until their size is known


class Gone(ClusterError):
    """The resourceVersion from which a watch or list was to continue has expired; list again."""


class Change(NamedTuple):
    """A watch event: `ADDED`, `MODIFIED`, `DELETED`, or `BOOKMARK`, of which only the version counts."""

    type: str
    team: AgentTeam


class TeamSource:
    """The API server's AgentTeams; each answer sets the clock."""

    def __init__(
        self, connection: Connection, *, group: str, timeout: float, pace: Pace, clock: ServerClock
    ) -> None:
        self._connection = connection
        self._group = group
        self._timeout = timeout  # seconds per request
        self._pace = pace
        self._clock = clock
        self._limit = min(FIRST, pace.page)  # teams to request with the next page

    async def page(self, namespace: str | None, seen: Callable[[AgentTeam], None], more: str = "") -> Page:
        """List teams of one namespace or of all; pass each on as soon as it is parsed, and keep none.

        There is no time limit while data arrives. The number of teams per page adapts to their size.

        Raises:
            Gone: the requested page has expired.
            ClusterError: no usable answer.
        """
        path = self._path(namespace, limit=self._limit, **({"continue": more} if more else {}))
        async with self._connection.follow(path, silence=self._timeout, verb="GET") as stream:
            self._judge(stream, of_all=True)
            page = await read_page(stream.pieces, seen)
        if page.number:
            fitting = self._pace.page_bytes * page.number // max(1, page.size)
            self._limit = max(1, min(self._pace.page, 2 * self._limit, fitting))
        return page

    async def team(self, namespace: str, name: str) -> AgentTeam:
        """Read one team.

        Raises:
            ObjectNotFound: it does not exist.
            ClusterError: no usable answer.
        """
        return AgentTeam.from_resource(await self._read(self._path(namespace, name)))

    @asynccontextmanager
    async def watch(self, namespace: str | None, since: str) -> AsyncIterator[AsyncIterator[Change]]:
        """Open a watch from a resourceVersion on; its changes end when the server ends it.

        Raises:
            Gone: that version is too old.
            ClusterError: the watch did not open, broke, or sent something else than an event.
        """
        path = self._path(
            namespace,
            watch="true",
            resourceVersion=since,
            allowWatchBookmarks="true",
            timeoutSeconds=self._pace.watch_timeout,
        )
        async with self._connection.follow(path, silence=self._pace.watch_silence) as stream:
            self._judge(stream, of_all=True)
            yield _changes(stream)

    def _path(self, namespace: str | None, *name: str, **query: Any) -> str:
        where = ("namespaces", namespace) if namespace else ()
        return path_of("apis", self._group, VERSION, *where, PLURAL, *name, **query)

    async def _read(self, path: str) -> Mapping[str, Any]:
        answer = await self._connection.ask("GET", path, seconds=self._timeout)
        self._judge(answer, of_all=False)
        return answer.document

    def _judge(self, answer: Answer | Stream, *, of_all: bool) -> None:
        self._clock.learn(answer.headers)
        if answer.status == HTTPStatus.NOT_FOUND and of_all:
            raise NoSuchKind(no_crd(self._group))
        if answer.status != HTTPStatus.OK:
            raise _refusal(answer.status)


async def _changes(stream: Stream) -> AsyncIterator[Change]:
    async for line in stream.lines:
        event = json_object(line)
        if event is None and line.startswith(b'{"type":"') and line.endswith(b"}\n"):
            # Nested too deeply. Its version cannot be read either, so only a list can find what comes after.
            raise Gone("the Kubernetes API sent a team that cannot be read")
        yield _change(read_object(line) if event is None else event)


def _change(event: Mapping[str, Any]) -> Change:
    kind, document = event.get("type"), _mapping(event.get("object"))
    if kind == "ERROR":
        code = document.get("code")
        raise _refusal(code if isinstance(code, int) else HTTPStatus.INTERNAL_SERVER_ERROR)
    if kind not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"} or not document:
        raise ApiUnavailable("the Kubernetes API sent something that is not a watch event")
    return Change(kind, AgentTeam.from_resource(document))


def _refusal(status: int) -> ClusterError:
    message = f"the Kubernetes API answered {status}"
    if status == HTTPStatus.GONE:
        return Gone(message)
    return refusal(status, message + _HINTS.get(status, ""))


_HINTS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: (needs := f": the watcher's account needs get, list and watch on {PLURAL}"),
    HTTPStatus.FORBIDDEN: needs,
}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
