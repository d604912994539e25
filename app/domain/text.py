"""Untrusted text: the part of it that can be shown; and JSON, by pydantic's parser, several times as fast."""

import json
from typing import Any

from pydantic_core import from_json, to_json

SHOWN_LIMIT = 300
"""Characters shown of an address or an invalid value; a path may have any length."""


JOINERS = "\u200c\u200d"
"""Invisible characters that join or separate letters and pictures: Persian and emoji need them."""


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
    """Whether a text is valid UTF-8: JSON can contain half of a surrogate pair."""
    return text.isascii() or text.encode(errors="ignore").decode() == text


def json_object(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a text; None if it is not one."""
    try:
        document = _parsed(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def as_json(value: Any, *, ascii_only: bool = False) -> bytes:
    """Return a value as JSON, with other characters escaped if `ascii_only`."""
    try:
        return to_json(value, ensure_ascii=ascii_only)
    except ValueError:  # half of a surrogate pair, which only JSON's escapes can contain
        return json.dumps(value).encode()


def _parsed(text: bytes) -> Any:
    try:
        # Only keys are cached: a value may be a secret.
        return from_json(text, cache_strings="keys")
    except ValueError:
        return json.loads(text)  # it also takes half of a surrogate pair, and more levels
