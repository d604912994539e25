"""The connection to the Kubernetes API that the environment names: its address, trust, token and pool.

It translates every failure of a request into our own error; callers interpret the API server's answers.
"""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
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
from app.domain.text import json_object
from app.kube.config import Access, in_cluster

MOST_CONNECTIONS = 100
READ_BUFFER = 2**21  # bytes: a watch sends an object as one line, and etcd stores objects of up to 1.5 MiB
PIECE = 65_536  # bytes processed before other tasks run
CONNECT_TIMEOUT = 5  # seconds, for a watch; an ordinary request's limit includes connecting


CountRequest = Callable[[str, int | None], None]
"""Called with a request's method, or `WATCH`, and the status of its answer, if there was one."""


@dataclass(frozen=True, slots=True)
class Answer:
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
            ValueError: a certificate is invalid.
        """
        self._access = access
        self._count = count
        self._tls, self._shown = access.trust(), access.certificate()
        self._refused: ssl.SSLContext | None = None  # the context with which a connection or a request failed
        connector = aiohttp.TCPConnector(limit=MOST_CONNECTIONS)
        self._pool = aiohttp.ClientSession(
            connector=connector, read_bufsize=READ_BUFFER, timeout=aiohttp.ClientTimeout(total=None)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def ask(self, method: str, path: str, body: Any = None, *, seconds: float) -> Answer:
        """Make one request and read its answer, whatever its status. A PATCH is a merge patch (RFC 7396).

        Raises:
            ApiUnavailable: no answer within `seconds`.
        """
        status: int | None = None
        try:
            with _translated():
                async with asyncio.timeout(seconds), await self._request(method, path, body) as response:
                    text = await response.read()
            status = response.status
            return Answer(status, response.headers, text)
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
            with _translated():
                response = await self._request("GET", path, limits=limits)
            status = response.status
        finally:
            self._count(verb, status)
        try:
            yield Stream(response.status, response.headers, _lines(response), _pieces(response))
        finally:
            response.release()

    async def _request(
        self, method: str, path: str, body: Any = None, limits: aiohttp.ClientTimeout | None = None
    ) -> aiohttp.ClientResponse:
        """Make a request; if its credentials are rejected and newer ones may exist, make it again."""
        response = await self._requested(method, path, body, limits)
        if response.status != HTTPStatus.UNAUTHORIZED:
            return response
        if self._shown:  # its file may have a newer one
            self._refused = self._tls
        if not self._access.renew():
            return response
        response.release()
        return await self._requested(method, path, body, limits)

    async def _requested(
        self, method: str, path: str, body: Any, limits: aiohttp.ClientTimeout | None
    ) -> aiohttp.ClientResponse:
        access = self._access
        headers = {
            "accept": "application/json",
            # For a GET too: a proxy on the way may add one, and the API server rejects others.
            "content-type": f"application/{'merge-patch+' if method == 'PATCH' else ''}json",
            "user-agent": USER_AGENT,
        }
        if authorization := await access.authorization():
            headers["authorization"] = authorization
        tls = self._trusted()
        try:
            return await self._pool.request(
                method,
                URL(f"{access.host}{path}", encoded=True),
                data=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=limits,
                proxy=access.proxy,
                ssl=tls,
                server_hostname=access.server_name,
                allow_redirects=False,
            )
        except aiohttp.ClientSSLError:
            self._refused = tls
            raise

    def _trusted(self) -> ssl.SSLContext:
        """Return the TLS context, read again if its files may have been renewed.

        Requests in progress keep their own context, because connections are pooled per context.
        """
        shown = self._access.certificate()
        if self._tls is self._refused or shown != self._shown:
            with suppress(OSError, ValueError):  # unreadable for now; the next request tries again
                self._tls, self._shown = self._access.trust(), shown
        return self._tls


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


def path_of(*parts: str, **query: Any) -> str:
    """Join the parts of a path, each quoted, and a query."""
    path = "".join(f"/{quote(part, safe='')}" for part in parts)
    return f"{path}?{urlencode(query)}" if query else path


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    while True:
        with _translated():
            line = await response.content.readline()
        if not line:
            return
        yield line


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    while True:
        with _translated():
            piece = await response.content.read(PIECE)
        if not piece:
            return
        yield piece


@contextmanager
def _translated() -> Iterator[None]:
    """Translate every error of a library into our own, without its text."""
    try:
        yield
    except TimeoutError:
        raise ApiUnavailable("the Kubernetes API does not answer in time") from None
    except aiohttp.ClientSSLError:
        raise ApiUnavailable("no trusted connection to the Kubernetes API") from None
    except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
        raise ApiUnavailable(f"the Kubernetes API cannot be reached ({type(error).__name__})") from None
