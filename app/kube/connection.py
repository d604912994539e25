"""The connection to the Kubernetes API that the environment names: its address, trust, token and pool.

It translates every failure of a request into our own error; callers interpret the API server's answers.
"""

import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp.streams import StreamReader
from yarl import URL

from app import USER_AGENT
from app.domain.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    ObjectNotFound,
    Rejected,
    SettingsError,
)
from app.domain.text import as_json, json_object
from app.exchange import FAILURES, Exchange, Origin
from app.kube.config import Access, in_cluster
from app.timers import within
from app.whole import Pool

MOST_CONNECTIONS = 100
READ_BUFFER = 2**21  # bytes: a watch sends an object as one line, and etcd stores objects of up to 1.5 MiB
PIECE = 65_536  # bytes processed before other tasks run
HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
    "user-agent": USER_AGENT,
}
READING = {"read_bufsize": READ_BUFFER, "whole": True}
CONNECT_TIMEOUT = 5  # seconds, for a watch; an ordinary request's limit includes connecting

OpenAnswer = Exchange | aiohttp.ClientResponse
"""An answer whose body has not been read."""

CountRequest = Callable[[str, int | None], None]
"""Called with a request's method, or `WATCH`, and the status of its answer, if there was one."""


class Answer(NamedTuple):
    """The API server's complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            ApiUnavailable: it is not one.
        """
        return read_object(self.body)


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is still arriving: by lines, or in pieces of any size."""

    status: int
    headers: Mapping[str, str]
    lines: AsyncIterator[bytes]
    pieces: AsyncIterator[bytes]


class Connection:
    """A pool of connections; each request has a token, and trust is read again after a failure."""

    def __init__(self, access: Access, count: CountRequest = lambda *_: None) -> None:
        """Create the pool.

        Raises:
            OSError: a certificate cannot be read.
            ValueError: a certificate is invalid, or the address.
        """
        self._access = access
        self._count = count
        self._address = URL(f"{access.host}/", encoded=True)
        self._server, self._shown = self._trusting(), access.certificate()
        self._refused: Origin | None = None  # the server as it was when a connection or a request failed
        self._pool = Pool(limit=MOST_CONNECTIONS)
        self._session = aiohttp.ClientSession(
            connector=self._pool, read_bufsize=READ_BUFFER, timeout=aiohttp.ClientTimeout(total=None)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, body: Any = None, *, seconds: float) -> Answer:
        """Make one request and read its answer, whatever its status. A PATCH is a merge patch (RFC 7396).

        Raises:
            ApiUnavailable: no answer within `seconds`.
        """
        status: int | None = None
        try:
            with within(seconds):
                response = await self._request(method, path, body)
                try:
                    text = await response.content.read()
                finally:
                    response.release()
            status = response.status
            return Answer(status, response.headers, text)
        except FAILURES as error:
            raise _translated(error) from None
        finally:
            self._count(method, status)

    @asynccontextmanager
    async def follow(self, path: str, *, silence: float, verb: str = "WATCH") -> AsyncIterator[Stream]:
        """Make a GET request and read its answer as it arrives; end it after `silence` seconds without data.

        There is no other time limit. `verb` is the name under which it is counted.

        Raises:
            ApiUnavailable: no answer, or the connection broke.
        """
        limits = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT, sock_read=silence)
        status: int | None = None
        try:
            response = await self._request("GET", path, limits=limits)
            status = response.status
        except FAILURES as error:
            raise _translated(error) from None
        finally:
            self._count(verb, status)
        try:
            yield Stream(
                response.status, response.headers, _lines(response.content), _pieces(response.content)
            )
        finally:
            response.release()

    async def _request(
        self, method: str, path: str, body: Any = None, limits: aiohttp.ClientTimeout | None = None
    ) -> OpenAnswer:
        """Make a request; if its credentials are rejected and newer ones may exist, make it again."""
        response = await self._requested(method, path, body, limits)
        if response.status != HTTPStatus.UNAUTHORIZED:
            return response
        if self._shown:  # its file may have a newer one
            self._refused = self._server
        if not self._access.renew():
            return response
        response.release()
        return await self._requested(method, path, body, limits)

    async def _requested(
        self, method: str, path: str, body: Any, limits: aiohttp.ClientTimeout | None
    ) -> OpenAnswer:
        """Make a request over the pool itself, or over a session if it requires what only that can do."""
        access = self._access
        # For a GET too: a proxy on the way may add one, and the API server rejects others.
        headers = {"content-type": f"application/{'merge-patch+' if method == 'PATCH' else ''}json"}
        if authorization := await access.authorization():
            headers["authorization"] = authorization
        data = b"" if body is None else as_json(body)
        server = self._current()
        try:
            if limits is None and access.proxy is None and self._address.user is None:
                target = self._address.raw_path[:-1] + path
                asked = server.asked(method, target, headers, data)
                exchange = Exchange(self._pool, server, asked, READING, repeatable=method == "GET")
                return await exchange.made()
            return await self._session.request(
                method,
                URL(f"{access.host}{path}", encoded=True),
                data=data or None,
                headers={**HEADERS, **headers},
                timeout=limits,
                proxy=access.proxy,
                ssl=server.tls,
                server_hostname=access.server_name,
                allow_redirects=False,
            )
        except aiohttp.ClientSSLError:
            self._refused = server
            raise

    def _current(self) -> Origin:
        """Return the server with its TLS context, read again if its files may have been renewed.

        Requests in progress keep their own context, because connections are pooled per context.
        """
        shown = self._access.certificate()
        if self._server is self._refused or shown != self._shown:
            with suppress(OSError, ValueError):  # unreadable for now; the next request tries again
                self._server, self._shown = self._trusting(), shown
        return self._server

    def _trusting(self) -> Origin:
        if self._address.scheme == "http":  # as by `kubectl proxy`
            return Origin(self._address, HEADERS)
        return Origin(
            self._address, HEADERS, ssl=self._access.trust(), server_hostname=self._access.server_name
        )


@asynccontextmanager
async def connect(count: CountRequest) -> AsyncIterator[Connection]:
    """Yield a connection: in-cluster, otherwise to the cluster in `KUBECONFIG`.

    `count` is called for each request.

    Raises:
        SettingsError: neither exists, or it cannot be used.
    """
    try:
        connection = Connection(await _access(), count)
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001  # an invalid kubeconfig can raise anything
        raise SettingsError(
            "no Kubernetes API is configured: run inside a cluster, or set KUBECONFIG to a readable file"
            f" ({type(error).__name__})"
        ) from None
    async with connection:
        yield connection


async def _access() -> Access:
    """Return the access that the environment names: a pod's own, otherwise that of `KUBECONFIG`."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return in_cluster(os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"])
    # A pod needs neither this nor the YAML library.
    from app.kube.kubeconfig import read_kubeconfig  # noqa: PLC0415

    return await read_kubeconfig(os.environ.get("KUBECONFIG") or "~/.kube/config")


def read_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object that the API server wrote.

    Raises:
        ApiUnavailable: it wrote something else.
    """
    document = json_object(text)
    if document is None:
        raise ApiUnavailable("the Kubernetes API answered something other than a JSON object")
    return document


def refusal(status: int, text: str, *, retry_after: float | None = None) -> ClusterError:
    """Return our own error for an unsuccessful answer; `text` is the answer's text."""
    match status:
        case HTTPStatus.NOT_FOUND:
            return ObjectNotFound(text)
        case HTTPStatus.CONFLICT:
            return Conflict(text)
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return AccessDenied(text)
        case HTTPStatus.TOO_MANY_REQUESTS:
            pass
        case _ if status < HTTPStatus.BAD_REQUEST:  # a redirect: not from the API server
            pass
        # etcd's size limit causes a 500
        case _ if status < HTTPStatus.INTERNAL_SERVER_ERROR or "too large" in text:
            return Rejected(text)
    return ApiUnavailable(text, retry_after=retry_after)


_quoted = functools.lru_cache(maxsize=1024)(functools.partial(quote, safe=""))


def path_of(*parts: str, **query: Any) -> str:
    """Join the parts of a path, each quoted, and a query."""
    path = "".join([f"/{_quoted(part)}" for part in parts])
    return f"{path}?{urlencode(query)}" if query else path


async def _lines(content: StreamReader) -> AsyncIterator[bytes]:
    while line := await _read(content.readline()):
        yield line


async def _pieces(content: StreamReader) -> AsyncIterator[bytes]:
    while piece := await _read(content.read(PIECE)):
        yield piece


async def _read(reading: Awaitable[bytes]) -> bytes:
    try:
        return await reading
    except FAILURES as error:
        raise _translated(error) from None


def _translated(error: Exception) -> ApiUnavailable:
    """Translate an error of a library into our own, without its text."""
    if isinstance(error, TimeoutError):
        return ApiUnavailable("the Kubernetes API does not answer in time")
    if isinstance(error, aiohttp.ClientSSLError):
        return ApiUnavailable("no trusted connection to the Kubernetes API")
    return ApiUnavailable(f"the Kubernetes API cannot be reached ({type(error).__name__})")
