"""Parses the head of an answer (RFC 9112), and normalises repeated headers. Pure.

The parser of the library rejects a head if the bytes that follow it in the same packet are not part of an
answer. A receiver's answer would then depend on packet boundaries, so this module separates the head. It also
resolves duplicate headers as the standard requires, because the parser rejects those as well.
"""

import re
from collections.abc import Iterator

VERSION = b"HTTP/"
ONCE, CODED = b"content-length", b"transfer-encoding"

_END = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"\r?\n")
_FOLDED = re.compile(rb"\n[ \t]")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?!\d)")
_FRAMING = re.compile(rb"\n(?:content-length|transfer-encoding)([^\n]*)", re.IGNORECASE)


class Heads:
    """Takes bytes as they arrive and returns them head by head, up to the final one."""

    def __init__(self, *, tunnel: bool = False) -> None:
        """Start with no bytes; `tunnel`: the answer is to CONNECT, so it has no content (RFC 9110, 9.3.6)."""
        self._tunnel = tunnel
        self._held = bytearray()
        self._looked = 0  # bytes already searched for the end of a head
        self._over = False

    def taken(self, data: bytes) -> Iterator[bytes]:
        """Yield input for a parser: one head at a time, and what follows the last as it arrives."""
        if self._over:
            yield data
            return
        self._held += data
        while not self._over and (head := self._next()):
            yield head
        if self._over and self._held:
            yield self.rest()

    def rest(self) -> bytes:
        """Return the remaining bytes: an incomplete head, if the connection has ended."""
        held = bytes(self._held)
        self._held.clear()
        return held

    def _next(self) -> bytes:
        if not self._looked:
            del self._held[
                : len(self._held) - len(self._held.lstrip(b"\r\n"))
            ]  # empty lines may precede a head
        if self._held[: len(VERSION)] != VERSION[: len(self._held)]:
            self._over = True  # not an answer; the parser reports it
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
    """Return a head that states the length of its content once, if the length is unambiguous.

    Equal lengths count as one (RFC 9110, section 8.6), chunks override a length (RFC 9112, section 6.3), and
    any 2xx to CONNECT opens the tunnel.
    """
    framing = _FRAMING.findall(head)
    if not tunnel and (not framing or (len(framing) == 1 and b"," not in framing[0])):
        return head  # as nearly all: it says once at most how long its content is
    status = _STATUS.match(head)
    if status is None or _FOLDED.search(head):  # the parser handles folded lines
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
