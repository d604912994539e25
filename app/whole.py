"""Reads an answer that arrives in one piece without aiohttp's parser, which takes several times as long.

Only an answer that can be read in one way is read here; any other goes to the parser.
"""

import asyncio
import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import aiohttp
from aiohttp.client_proto import ResponseHandler

HEAD_LIMIT = 32_768  # bytes

_HEAD = re.compile(
    # It never tries twice, so a hostile answer takes no longer than any other of its length.
    rb"HTTP/1\.1 ([2-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*+)?+\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)++)\r\n"
)
_TELLING = re.compile(
    rb"\n(content-length|content-encoding|transfer-encoding|(?:proxy-)?connection|upgrade|retry-after|date):([^\r]*+)",
    re.IGNORECASE,
)
_CHUNK = re.compile(rb"([1-9a-f][0-9a-f]{0,7})\r\n", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_WITHOUT_CONTENT = frozenset({204, 304})  # whatever they declare


class Whole(NamedTuple):
    """An answer that arrived in one piece: its head and its content at once, as an exchange reads them."""

    code: int
    body: bytes
    date: str = ""

    @property
    def headers(self) -> Mapping[str, str]:
        """The date, if there is one: an answer with another header that is read takes a parser."""
        return {"Date": self.date} if self.date else {}

    def is_eof(self) -> bool:
        """Whether nothing follows."""
        return True

    def read_nowait(self) -> bytes:
        """Return all of its content."""
        return self.body

    async def read(self, most: int = -1) -> bytes:
        """Return all of its content, or of a long one so many bytes."""
        return self.body if most < 0 else self.body[:most]


def whole(data: bytes) -> Whole | None:
    """Return the answer in a packet that holds just one of a plain form; None for any other, for a parser.

    It has a length, or is one chunk, and has no other header that changes how it or its connection is used.
    """
    found = _HEAD.match(data)
    if found is None or found.end() > HEAD_LIMIT or (code := int(found[1])) in _WITHOUT_CONTENT:
        return None
    told = _TELLING.findall(data, found.start(2) - 1, found.end())  # from the end of the line before
    said = {name.lower(): value.strip(b" \t") for name, value in told}
    if len(said) < len(told) or said.pop(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    date = said.pop(b"date", b"").decode("utf-8", "surrogateescape")
    body = data[found.end() :]
    if said == {b"content-length": b"%d" % len(body)}:
        return Whole(code, body, date)
    if said == {b"transfer-encoding": b"chunked"} and (chunk := _CHUNK.match(body)):
        end = chunk.end() + int(chunk[1], 16)
        if body[end:] == _LAST_CHUNK:
            return Whole(code, body[chunk.end() : end], date)
    return None


class WholeReading(ResponseHandler):
    """A connection whose answers are read as they are, if they arrive in one piece."""

    options: dict[str, Any] | None = None  # of an answer that has not begun

    def set_response_params(self, *, whole: bool = False, **options: Any) -> None:
        """Expect an answer; with `whole`, it is read without the library's parser if that is possible."""
        self.options = options
        self._parser = None
        if not whole or self._tail:  # something arrived before the request
            self.expect()

    def expect(self) -> None:
        """Let the library's parser read the answer."""
        options, self.options = self.options, None
        assert options is not None  # noqa: S101  # an answer is expected
        super().set_response_params(**options)

    def took(self, data: bytes, most: float = math.inf) -> bool:
        """Take data if it is the whole answer, of at most so many bytes; else let the parser read it."""
        if self.options is None:
            return False
        answer = whole(data) if len(data) <= most else None
        if answer is None:
            self.expect()
            return False
        self.options = None
        self.feed_data((answer, answer), 0)  # type: ignore[arg-type]  # of the same use
        return True

    def data_received(self, data: bytes) -> None:
        """Take data."""
        if not self.took(data):
            super().data_received(data)


class Pool(aiohttp.TCPConnector):
    """A pool of such connections."""

    def __init__(
        self, reading: Callable[[asyncio.AbstractEventLoop], WholeReading] = WholeReading, **options: Any
    ) -> None:
        super().__init__(**options)
        # A private name, because aiohttp has no public way.
        self._factory = functools.partial(reading, asyncio.get_running_loop())  # type: ignore[assignment]  # partials are invariant
