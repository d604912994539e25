"""Parses the head of an answer (RFC 9112), and normalises repeated headers. Pure.

A parser that is given a head together with what follows it refuses both where what follows is none of an
answer, so that it depends on packets whether a receiver has said yes. What may be said in two ways is settled
here, as the standard has it: the parser refuses that too.
"""

import re
from collections.abc import Iterator

VERSION = b"HTTP/"
ONCE, CODED = b"content-length", b"transfer-encoding"

_END = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"\r?\n")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?!\d)")


class Heads:
    """Takes in bytes as they come, and gives them out head by head, until the one that counts has come."""

    def __init__(self, *, tunnel: bool = False) -> None:
        """`tunnel`: the answer is to CONNECT, so that it opens one and has no content (RFC 9110, 9.3.6)."""
        self._tunnel = tunnel
        self._held = bytearray()
        self._looked = 0  # bytes in which no head ends
        self._over = False

    def taken(self, data: bytes) -> Iterator[bytes]:
        """Yield what can be given to a parser: a head at a time, and what follows the last as it comes."""
        if self._over:
            yield data
            return
        self._held += data
        while not self._over and (head := self._next()):
            yield head
        if self._over and self._held:
            yield self.rest()

    def rest(self) -> bytes:
        """Return what is held: the beginning of a head, where the connection has ended."""
        held = bytes(self._held)
        self._held.clear()
        return held

    def _next(self) -> bytes:
        if not self._looked:
            del self._held[
                : len(self._held) - len(self._held.lstrip(b"\r\n"))
            ]  # they may stand before a head
        if self._held[: len(VERSION)] != VERSION[: len(self._held)]:
            self._over = True  # nothing of ours: the parser has a word for it
            return b""
        end = _END.search(self._held, max(0, self._looked - 3))
        if end is None:
            self._looked = len(self._held)
            return b""
        head = bytes(self._held[: end.end()])
        del self._held[: end.end()]
        self._looked = 0
        status = _STATUS.match(head)
        self._over = status is None or not status[1].startswith(b"1") or status[1] == b"101"
        return plain(head, tunnel=self._tunnel)


def plain(head: bytes, *, tunnel: bool = False) -> bytes:
    """Return a head that says of its content's length one thing, once, where it is clear what it means.

    Equal lengths are one (RFC 9110, section 8.6), chunks overrule a length (RFC 9112, section 6.3), and any
    2xx to CONNECT opens the tunnel.
    """
    status = _STATUS.match(head)
    if status is None or re.search(rb"\n[ \t]", head):  # lines that go on are the parser's to read
        return head
    first, *lines = _LINE.split(head)[:-2]
    said = [(line.partition(b":")[0].lower(), line) for line in lines]
    lengths = [line.partition(b":")[2].split(b",") for name, line in said if name == ONCE]
    different = {re.sub(rb"^0+(?=\d+$)", b"", one.strip(b" \t")) for length in lengths for one in length}
    coded = any(name == CODED for name, _ in said)
    opened = tunnel and status[1].startswith(b"2")
    if opened:
        first = b"HTTP/1.1 200 Opened"
        said = [(name, line) for name, line in said if name not in {ONCE, CODED}]
    elif len(lengths) + sum(len(length) - 1 for length in lengths) > 1 or (lengths and coded):
        if len(different) > 1:
            return head
        said = [(name, line) for name, line in said if name != ONCE]
        if not coded:
            said.append((ONCE, b"Content-Length: " + different.pop()))
    else:
        return head
    return b"\r\n".join([first, *(line for _, line in said)]) + b"\r\n\r\n"
