"""The watcher's door to the Kubernetes API: AgentTeams in pages, their changes, one team.

Foreign errors are translated here, and no error's text holds an object's content.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, NamedTuple

import aiohttp
from aiohttp.http_exceptions import LineTooLong
from kubernetes_asyncio.client import ApiClient, CustomObjectsApi
from kubernetes_asyncio.config import ConfigException

from app.connection import renew
from app.errors import AccessDenied, ApiUnavailable, ClusterError, ObjectNotFound, Rejected
from app.teams import PLURAL, VERSION, AgentTeam
from app.watcher.clock import ServerClock
from app.watcher.pace import Pace


class Gone(ClusterError):
    """The past from which a watch or a list was to go on is no longer kept; the answer is to list again."""


class Page(NamedTuple):
    """A part of a list; `more` asks for the next one and is empty on the last."""

    teams: Iterator[AgentTeam]
    resource_version: str
    more: str


class Change(NamedTuple):
    """A watch event: `ADDED`, `MODIFIED`, `DELETED`, or `BOOKMARK`, of which only the version counts."""

    type: str
    team: AgentTeam


class TeamSource:
    """AgentTeams as the API server has them; each answer sets the clock."""

    def __init__(self, api: ApiClient, *, group: str, timeout: float, pace: Pace, clock: ServerClock) -> None:
        self._api = api
        self._objects = CustomObjectsApi(api)
        self._group = group
        self._timeout = timeout  # seconds a request
        self._pace = pace
        self._clock = clock

    async def page(self, namespace: str | None, more: str = "") -> Page:
        """List teams of one namespace or of all.

        Raises:
            Gone: the page asked for has expired.
            ClusterError: no answer that can be used.
        """
        options = {"_continue": more} if more else {}
        async with self._collection(
            namespace, limit=self._pace.page, _request_timeout=self._timeout, **options
        ) as response:
            document = await self._document(response)
        metadata, items = _mapping(document.get("metadata")), document.get("items")
        if not isinstance(items, list) or not metadata.get("resourceVersion"):
            raise ApiUnavailable("the Kubernetes API answered with something that is no list")
        teams = (AgentTeam.from_resource(_mapping(item)) for item in items)
        return Page(teams, str(metadata["resourceVersion"]), str(metadata.get("continue") or ""))

    async def team(self, namespace: str, name: str) -> AgentTeam:
        """Read one team.

        Raises:
            ObjectNotFound: there is none of that name.
            ClusterError: no answer that can be used.
        """
        where = (self._group, VERSION, namespace, PLURAL, name)
        async with self._ask(
            self._objects.get_namespaced_custom_object, *where, _request_timeout=self._timeout
        ) as response:
            return AgentTeam.from_resource(await self._document(response))

    @asynccontextmanager
    async def watch(self, namespace: str | None, since: str) -> AsyncIterator[AsyncIterator[Change]]:
        """Open a watch from a resourceVersion on; its changes end when the server ends it.

        Raises:
            Gone: that version is too old.
            ClusterError: the watch did not open, broke, or brought something that is no event.
        """
        async with self._collection(
            namespace,
            watch=True,
            resource_version=since,
            allow_watch_bookmarks=True,
            timeout_seconds=self._pace.watch_timeout,
            _request_timeout=aiohttp.ClientTimeout(sock_connect=5, sock_read=self._pace.watch_silence),
        ) as response:
            yield self._changes(response)

    async def _changes(self, response: aiohttp.ClientResponse) -> AsyncIterator[Change]:
        while True:
            async with self._translated():
                line = await response.content.readline()
                event = json.loads(line) if line else None
            if not line:
                return
            yield _change(_mapping(event))

    def _collection(
        self, namespace: str | None, **options: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if namespace is None:
            where: tuple[str, ...] = (self._group, VERSION, PLURAL)
            return self._ask(self._objects.list_cluster_custom_object, *where, **options)
        where = (self._group, VERSION, namespace, PLURAL)
        return self._ask(self._objects.list_namespaced_custom_object, *where, **options)

    @asynccontextmanager
    async def _ask(self, call: Any, *where: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make a request; the library's own decoding is left out, since it logs the body."""
        async with self._translated():
            response: aiohttp.ClientResponse = await call(*where, _preload_content=False, **options)
        try:
            self._clock.learn(response.headers)
            if response.status != HTTPStatus.OK:
                raise _refusal(response.status)
            yield response
        finally:
            response.release()

    async def _document(self, response: aiohttp.ClientResponse) -> Mapping[str, Any]:
        async with self._translated():
            return _mapping(json.loads(await response.read()))

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except aiohttp.ClientSSLError as error:
            with suppress(OSError):  # no certificate to be read: the same again after the back-off
                await renew(self._api)
            raise ApiUnavailable(f"no trusted connection to the Kubernetes API: {_cause(error)}") from None
        except TimeoutError:
            raise ApiUnavailable("the Kubernetes API does not answer in time") from None
        except (aiohttp.ClientError, OSError, ConfigException) as error:
            raise ApiUnavailable(f"the Kubernetes API cannot be reached: {_cause(error)}") from None
        except (ValueError, LineTooLong):
            raise ApiUnavailable("the Kubernetes API answered with something that is not JSON") from None


def _change(event: Mapping[str, Any]) -> Change:
    kind, document = event.get("type"), _mapping(event.get("object"))
    if kind == "ERROR":
        code = document.get("code")
        raise _refusal(code if isinstance(code, int) else HTTPStatus.INTERNAL_SERVER_ERROR)
    if kind not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"} or not document:
        raise ApiUnavailable("the Kubernetes API sent something that is no watch event")
    return Change(kind, AgentTeam.from_resource(document))


def _refusal(status: int) -> ClusterError:
    message = f"the Kubernetes API answered {status}"
    match status:
        case HTTPStatus.GONE:
            return Gone(message)
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return AccessDenied(f"{message}: the watcher's account needs get, list and watch on {PLURAL}")
        case HTTPStatus.NOT_FOUND:
            return ObjectNotFound(f"{message}: no such team, or the API group has no {PLURAL}")
        case HTTPStatus.TOO_MANY_REQUESTS:
            return ApiUnavailable(message)
        case _ if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return Rejected(message)
    return ApiUnavailable(message)


def _cause(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
