"""Reads lists of the Kubernetes API, and keeps only one item in memory.

The standard library parses JSON as a whole, which takes dozens of times the size of a page of large
resources.
"""

import asyncio
import codecs
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from app.domain.errors import ApiUnavailable
from app.domain.teams import AgentTeam

NO_LIST = "the Kubernetes API answered with something that is not a list"
ITEM_LIMIT = 8 << 20  # characters: several times the limit of etcd for one object
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STEPS = {"{": 1, "[": 1, "}": -1, "]": -1}
_DECODER = json.JSONDecoder()


class Page(NamedTuple):
    """One page of a list, whose teams were passed on.

    The page had `number` items in `size` bytes; `unread` of them could not be parsed. `more` requests the
    next page, and is empty on the last one. If reading stopped early, the page is not `whole`, and its
    `resource_version` and `more` are unknown.
    """

    number: int
    size: int
    unread: int
    whole: bool = False
    resource_version: str = ""
    more: str = ""


async def read_page(
    pieces: AsyncIterator[bytes], take: Callable[[AgentTeam], None], *, limit: int = 0, most: float = math.inf
) -> Page:
    """Read a page as it arrives; pass each team to `take` as soon as it is parsed, and keep none.

    After `most` bytes reading stops, if it has some of the `limit` items of the page, but not all.

    Raises:
        ApiUnavailable: the answer is not a list, or breaks off.
    """
    parser = Pieces()
    number = size = unread = 0

    def pass_on(items: Iterator[Any]) -> None:
        nonlocal number, unread
        for item in items:
            number += 1
            if isinstance(item, Mapping):
                take(AgentTeam.from_resource(item))
            else:
                unread += 1
            del item

    try:
        async for piece in pieces:
            size += len(piece)
            pass_on(parser.feed(piece))
            if size > most and 0 < number < limit:
                return Page(number, size, unread)
            await asyncio.sleep(0)  # so that other tasks run, however fast it arrives
        pass_on(parser.end())
    except NoList:
        raise ApiUnavailable(NO_LIST) from None
    metadata = parser.around.get("metadata")
    if not isinstance(metadata, Mapping) or not metadata.get("resourceVersion"):
        raise ApiUnavailable(NO_LIST)
    version, more = str(metadata["resourceVersion"]), str(metadata.get("continue") or "")
    return Page(number, size, unread, whole=True, resource_version=version, more=more)


class NoList(ValueError):
    """The input is not a list, or has an item that is too large."""


class _Incomplete(Exception):
    """More input is needed."""


class Pieces:
    """Takes the bytes of a list in pieces of any size, and yields each item as soon as it is complete."""

    def __init__(self) -> None:
        self.around: dict[str, Any] = {}  # the rest of the document
        self.ended = False
        self.is_list = False
        self._text = ""  # not parsed yet
        self._enough = (
            0  # characters to wait for before the next try, so that a long item is tried only a few times
        )
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._opened = self._among_items = False

    def feed(self, piece: bytes) -> Iterator[Any]:
        """Take bytes, and yield the items that are complete; None in place of one nested too deeply.

        Raises:
            NoList: an item is too large, or the input is not an object.
        """
        self._text += self._decode(piece)
        if len(self._text) >= self._enough:
            yield from self._read()

    def end(self) -> Iterator[Any]:
        """Yield the remaining items.

        Raises:
            NoList: the input is incomplete, or not a list.
        """
        yield from self._read()
        if not (self.ended and self.is_list):
            raise NoList

    def _read(self) -> Iterator[Any]:
        text, at = self._text, 0
        try:
            while not self.ended:
                start = _next(text, at)
                if self._among_items:
                    if text[start] != "]":
                        item, at = _value(text, start)
                        yield item
                        del item  # before the next is parsed, so that there are never two
                        continue
                    self._among_items = False
                    at = start + 1
                else:
                    at = self._read_around(text, start)
        except (_Incomplete, IndexError):
            if len(text) - at > ITEM_LIMIT:
                raise NoList from None
        self._text = text[at:]
        self._enough = 2 * len(self._text)

    def _read_around(self, text: str, start: int) -> int:
        """Parse what is outside the list of items, and return where it ends."""
        if not self._opened:
            if text[start] != "{":
                raise NoList
            self._opened = True
            return start + 1
        if text[start] == "}":
            self.ended = True
            return start + 1
        key, end = _value(text, start)
        colon = _COLON.match(text, end)
        if colon is None:
            raise _Incomplete
        if key == "items" and text[colon.end()] == "[":
            self.is_list = self._among_items = True
            return colon.end() + 1
        value, end = _value(text, colon.end())
        self.around[str(key)] = value
        return end


def _next(text: str, at: int) -> int:
    """Return where the next value begins."""
    between = _BETWEEN.match(text, at)
    return between.end() if between else at


def _value(text: str, start: int) -> tuple[Any, int]:
    """Parse one value, and return where it ends; None if it is nested too deeply."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except ValueError:
        raise _Incomplete from None
    except RecursionError:
        return None, _end_of(text, start)
    if end == len(text):  # a number may continue
        raise _Incomplete
    return value, end


def _end_of(text: str, start: int) -> int:
    """Return where a value ends, by its brackets only."""
    blanked = _STRING.sub(lambda string: "." * len(string[0]), text[start:])
    depths = accumulate(_STEPS.get(character, 0) for character in blanked)
    for place, depth in enumerate(depths):
        if not depth:
            return start + place + 1
    raise _Incomplete
