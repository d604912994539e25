"""Untrusted text: what of it can be shown, and parsing it as JSON."""

import json
from typing import Any

SHOWN_LIMIT = 300
"""Characters of an address or a wrong value that are shown; a path may be as long as its author likes."""


JOINERS = "\u200c\u200d"
"""What joins letters and pictures, or keeps them apart: Persian and emoji need them, and nobody sees them."""


def printable(text: str) -> bool:
    """Whether all of a text can be shown on one line."""
    return text.isprintable() or text.translate(_WITHOUT_JOINERS).isprintable()


_WITHOUT_JOINERS = dict.fromkeys(map(ord, JOINERS))


def shortened(text: str, limit: int = SHOWN_LIMIT) -> str:
    """Return the text on one line without control characters, cut to `limit` characters."""
    line = text[: limit + 1]
    if not line.isprintable():
        line = "".join(sign if sign.isprintable() or sign in JOINERS else " " for sign in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def readable(text: str) -> bool:
    """Whether a text can be told to anybody: JSON can carry half a surrogate pair, which UTF-8 cannot."""
    return text.isascii() or text.encode(errors="ignore").decode() == text


def json_object(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a text is; None where it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
