"""Mail headers with text for people, encoded and folded portably (RFC 5322, RFC 2047). Pure.

The library's own folding cuts encoded words in a way that makes lines too long or loses a space.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from email.headerregistry import HeaderRegistry
from email.policy import EmailPolicy
from functools import cache
from typing import Any, Self

LINE, ENCODED_LINE, WORD = 78, 76, 75  # characters: RFC 5322, section 2.1.1; RFC 2047, section 2
_OPENED, _CLOSED = "=?utf-8?b?", "?="


class AddressList(str):  # noqa: SLOT000  # it has two attributes of its own
    """Validated addresses as the value of a header, so that the library does not parse each again."""

    name: str
    addresses: Sequence[str]

    def __new__(cls, name: str, addresses: Sequence[str]) -> Self:
        """Return the value; the library does not parse a value again if it has the header's name."""
        value = super().__new__(cls, ", ".join(addresses))
        value.name, value.addresses = name, addresses
        return value


class Headers(HeaderRegistry):
    """The library's kinds of headers, with one class per kind.

    The library creates a class for each header of each message, 30 KB per mail that only the garbage
    collector frees.
    """

    def __init__(self) -> None:
        """Create no class yet."""
        super().__init__()
        self._class_of = cache(super().__getitem__)

    def __getitem__(self, name: str) -> type:
        """Return the class of a header."""
        return self._class_of(name.lower())


class Mail(EmailPolicy):
    """The library's policy, except for the subject, the sender and the recipients."""

    def fold(self, name: str, value: Any) -> str:
        """Return the lines of a header."""
        match name.lower():
            case "subject":
                return _header(name, text_lines(str(value), len(name) + 2))
            case "from":
                return _header(name, mailbox_lines(value.addresses[0], len(name) + 2))
            case "to":
                return _header(name, address_lines(value.addresses, len(name) + 2))
        return str(super().fold(name, value))

    def fold_binary(self, name: str, value: Any) -> bytes:
        """Return the lines of a header as ASCII bytes."""
        if name.lower() in {"subject", "from", "to"}:
            return self.fold(name, value).encode("ascii")
        return super().fold_binary(name, value)


def _header(name: str, lines: Iterator[str]) -> str:
    return f"{name}: " + "\r\n ".join(lines) + "\r\n"


def text_lines(text: str, taken: int) -> Iterator[str]:
    """Yield the lines of a text whose first line already has `taken` characters.

    A text that can be broken at its spaces stays as it is; any other text is encoded as a whole, so that all
    its spaces are inside encoded words.
    """
    lines = list(_plain(text, taken)) if text.isascii() and text.isprintable() and "=?" not in text else []
    room = LINE - 1
    fits = all(len(line) <= room for line in lines[1:]) and len(lines[0]) + taken <= LINE if lines else False
    yield from lines if fits else encoded_words(text, taken)


def _plain(text: str, taken: int) -> Iterator[str]:
    """Break a text before single spaces: unfolding restores each of them (RFC 5322, section 2.2.3)."""
    line, room = "", LINE - taken
    for word in re.split(r"(?<=\S) (?=\S)", text):
        more = f"{line} {word}" if line else word
        if line and len(more) > room:
            yield line
            line, room = word, LINE - 1
        else:
            line = more
    yield line


def encoded_words(text: str, taken: int) -> Iterator[str]:
    """Yield base64 encoded words of whole characters (RFC 2047, section 5), one per line."""
    piece, room = b"", _room(taken)
    for character in text:
        octets = character.encode(errors="replace")
        if piece and len(piece) + len(octets) > room:
            yield _encoded(piece)
            piece, room = b"", _room(1)
        piece += octets
    yield _encoded(piece)


def _room(taken: int) -> int:
    """Return how many octets fit into an encoded word on a line with `taken` characters."""
    return (min(WORD, ENCODED_LINE - taken) - len(_OPENED) - len(_CLOSED)) // 4 * 3


def _encoded(octets: bytes) -> str:
    return f"{_OPENED}{base64.b64encode(octets).decode('ascii')}{_CLOSED}"


def mailbox_lines(mailbox: Any, taken: int) -> Iterator[str]:
    """Yield the lines of a mailbox: its name (encoded if it is long or not ASCII), and its address."""
    address = f"<{mailbox.addr_spec}>"
    whole = str(mailbox)
    if whole.isascii() and len(whole) + taken <= LINE:
        yield whole
        return
    *lines, last = encoded_words(mailbox.display_name, taken)
    yield from lines
    begins = taken if not lines else 1
    if begins + len(last) + 1 + len(address) <= ENCODED_LINE:
        yield f"{last} {address}"
    else:
        yield last
        yield address


def address_lines(addresses: Sequence[str], taken: int) -> Iterator[str]:
    """Yield the lines of a list of bare addresses; no address is split."""
    line, room = "", LINE - taken
    for address in addresses:
        more = f"{line} {address}," if line else f"{address},"
        if line and len(more) > room:
            yield line
            line, room = f"{address},", LINE - 1
        else:
            line = more
    yield line.removesuffix(",")
