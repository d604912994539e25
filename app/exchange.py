"""One HTTP request and its answer, on a connection of an aiohttp pool.

The pool dials, speaks TLS and keeps connections; what aiohttp's session makes for each request beside that
(cookies, redirects, proxies, a writer, an answer that knows its history) is not used here, and so not made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

FAILURES = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)
"""What making a request can raise: no connection, no trust, no answer, or one that is not HTTP."""
CLOSED = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)
NO_LIMITS = aiohttp.ClientTimeout(total=None)
EMPTY: Mapping[str, str] = MappingProxyType({})
SWITCHING = 101  # of the 1xx, the one that no other answer follows


class Origin:
    """A scheme, host and port, as a pool knows them: requests to it share connections."""

    def __init__(self, url: URL, always: Mapping[str, str] = EMPTY, **options: Any) -> None:
        """Create it; `always` are the headers that every request to it has.

        Raises:
            ValueError: as `asked`.
        """
        self.request = _KeyedRequest("GET", url, **options)
        self._always = "\r\n".join(_lines(f"Host: {url.host_port_subcomponent}", always))

    @property
    def tls(self) -> Any:
        """What its connections trust."""
        return self.request.ssl

    def asked(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return a request as it goes over a connection; `headers` are those that not every request has.

        Raises:
            ValueError: something would end a line of its head.
        """
        first, *own = _lines(f"{method} {target} HTTP/1.1", headers)
        length = f"Content-Length: {len(body)}"
        return "\r\n".join([first, self._always, *own, length, "", ""]).encode() + body


def _lines(first: str, headers: Mapping[str, str]) -> list[str]:
    lines = [first, *map(": ".join, headers.items())]
    if not "".join(lines).isprintable():
        raise ValueError("a header holds a control character")
    return lines


class _KeyedRequest(aiohttp.ClientRequest):
    """Knows the key of its connections; the library would make it for each request."""

    @cached_property
    def connection_key(self) -> ConnectionKey:  # a property, whose value never changes
        return super().connection_key


@dataclass(slots=True)
class Exchange:
    """A request, and its answer once it is made; as a context, from its head to its release.

    A `repeatable` request is made once more if the server closed its connection, which may have been kept
    too long (RFC 9110, section 9.2.2).
    """

    connector: aiohttp.BaseConnector
    origin: Origin
    data: bytes = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    repeatable: bool = False
    head: RawResponseMessage = field(init=False)
    content: StreamReader = field(init=False)
    _connection: Connection = field(init=False)

    @property
    def status(self) -> int:
        """The status code of the answer."""
        return self.head.code

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers of the answer."""
        return self.head.headers

    async def __aexit__(self, *_: object) -> None:
        self.release()

    async def made(self) -> Self:
        """Make the request, and read the head of its answer; `release` must follow.

        Raises:
            Exception: aiohttp's own, mostly one of `FAILURES`.
        """
        while True:
            connection = await self.connector.connect(self.origin.request, traces=[], timeout=NO_LIMITS)
            protocol, transport = connection.protocol, connection.transport
            try:
                if protocol is None or transport is None or transport.is_closing():
                    raise aiohttp.ClientConnectionResetError("the connection was closed")  # noqa: TRY301
                protocol.set_response_params(skip_payload=False, read_until_eof=True, **self.options)
                transport.write(self.data)
                self.head, self.content = await protocol.read()
                while 100 <= self.head.code < 200 and self.head.code != SWITCHING:  # noqa: PLR2004  # 1xx
                    self.head, self.content = await protocol.read()
            except BaseException as error:
                connection.close()
                if not (self.repeatable and isinstance(error, CLOSED)):
                    raise
                self.repeatable = False
            else:
                self._connection = connection
                return self

    __aenter__ = made

    def release(self) -> None:
        """Keep the connection for the next request if the answer is at its end; else close it."""
        if self.content.is_eof():
            self._connection.release()
        else:
            self._connection.close()
