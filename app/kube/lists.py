"""Reads lists of the Kubernetes API, and holds only one item in memory.

The standard library reads JSON as a whole, and a page of large resources takes dozens of times its size then.
"""

import asyncio
import codecs
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from app.domain.errors import ApiUnavailable
from app.domain.teams import AgentTeam

NO_LIST = "the Kubernetes API answered with something that is no list"
ITEM_LIMIT = 8 << 20  # characters: several times what etcd holds of one object
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STEPS = {"{": 1, "[": 1, "}": -1, "]": -1}
_DECODER = json.JSONDecoder()


class Page(NamedTuple):
    """A part of a list, whose teams were handed on.

    `number` items were read, in `size` bytes; `unread` of them were no teams. `more` asks for the next
    part, and is empty at the end. A page is not `whole` if reading stopped midway; the last two are
    unknown then.
    """

    number: int
    size: int
    unread: int
    whole: bool = False
    resource_version: str = ""
    more: str = ""


async def read_page(
    pieces: AsyncIterator[bytes], take: Callable[[AgentTeam], None], enough: Callable[[int, int], bool]
) -> Page:
    """Read a list as it comes: each team is handed on, and not kept.

    `enough`: asked between pieces, with the number and the size read so far, whether the rest is not needed.

    Raises:
        ApiUnavailable: it is no list, or breaks off.
    """
    parser = Pieces()
    number = size = unread = 0

    def hand_on(items: Iterator[Any]) -> None:
        nonlocal number, unread
        for item in items:
            number += 1
            if isinstance(item, Mapping):
                take(AgentTeam.from_resource(item))
            else:
                unread += 1

    try:
        async for piece in pieces:
            size += len(piece)
            hand_on(parser.feed(piece))
            if enough(number, size):
                return Page(number, size, unread)
            await asyncio.sleep(0)  # so that others have their turn, however fast it comes
        hand_on(parser.end())
    except NoList:
        raise ApiUnavailable(NO_LIST) from None
    metadata = parser.around.get("metadata")
    if not isinstance(metadata, Mapping) or not metadata.get("resourceVersion"):
        raise ApiUnavailable(NO_LIST)
    version, more = str(metadata["resourceVersion"]), str(metadata.get("continue") or "")
    return Page(number, size, unread, whole=True, resource_version=version, more=more)


class NoList(ValueError):
    """What came in is no list, or one with an item beyond measure."""


class _Incomplete(Exception):
    """More must come in first."""


class Pieces:
    """Takes the bytes of a list in pieces of any size, and gives out its items, each once it is whole."""

    def __init__(self) -> None:
        self.around: dict[str, Any] = {}  # what else is in the document
        self.ended = False
        self.is_list = False
        self._text = ""  # that could not be read yet
        self._enough = (
            0  # characters before it is worth another try, so that a long item is tried a few times
        )
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._opened = self._among_items = False

    def feed(self, piece: bytes) -> Iterator[Any]:
        """Take some bytes in, and yield the items that are whole now; None in place of one nested too deep.

        Raises:
            NoList: an item is too large, or it is no object at all.
        """
        self._text += self._decode(piece)
        if len(self._text) >= self._enough:
            yield from self._read()

    def end(self) -> Iterator[Any]:
        """Yield the items that are left.

        Raises:
            NoList: it breaks off, or is no list.
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
        """Read what stands outside the list of items, and return where it ends."""
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
    """Read one value, and return where it ends; None for one that is nested too deep."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except ValueError:
        raise _Incomplete from None
    except RecursionError:
        return None, _end_of(text, start)
    if end == len(text):  # of a number there may be more
        raise _Incomplete
    return value, end


def _end_of(text: str, start: int) -> int:
    """Return where a value ends, by its brackets alone."""
    blanked = _STRING.sub(lambda string: "." * len(string[0]), text[start:])
    depths = accumulate(_STEPS.get(character, 0) for character in blanked)
    for place, depth in enumerate(depths):
        if not depth:
            return start + place + 1
    raise _Incomplete
