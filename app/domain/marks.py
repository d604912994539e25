"""The mark at the end of an entry's `error`: the ledger's data about a target.

        HTTPStatus: answered 404 Not Found [agentteam-delivery/1 id=msg_74b1… attempts=1]

An entry of the operator has five fields, and a typed write by the operator removes all others. The text of
`error` survives. Parsing is strict: a mark that would not be written identically is not ours. The number
changes whenever a reader of today could misread the mark. Pure.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from app.domain.times import format_time, parse_time

_MARK = re.compile(r" \[agentteam-delivery/1((?: [a-z]+=[^\s\[\]=]+)+)\]")
_OPENING = " [agentteam-delivery/1 "
_PLAIN = re.compile(r"[A-Za-z0-9_.~@+-]*")  # ids and most names: nothing in them is quoted
LONGEST = 40_000  # characters: a hundred recipients of maximal length, and a margin


class Mark(NamedTuple):
    """What the ledger knows of a target besides type, label and readable text; defaults are not written."""

    id: str = ""
    name: str = ""  # of the target, if its author gave one
    holder: str = ""  # of the claim
    until: datetime | None = None  # when the claim expires
    retry: datetime | None = None  # the earliest time for the next claim
    since: datetime | None = None  # when the phase changed, unless `deliveredAt` says so
    reason: str = ""  # of the last attempt, if the target is pending
    status: int = 0  # HTTP status of the last attempt
    attempts: int = 0
    takeovers: int = 0
    redeliveries: int = 0
    retries: int = 0  # how often it was postponed
    has: tuple[str, ...] = ()  # recipients that already have the message

    def __str__(self) -> str:
        """Write the mark, with the space before it."""
        said = [f"{name}={write(value)}" for value, (name, write) in zip(self, _FIELDS, strict=True) if value]
        return f"{_OPENING}{' '.join(said)}]"


@dataclass(frozen=True, slots=True)
class _Codec:
    """How the values of a field are written and read; None for an invalid value."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


def _written_text(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe="@+", errors="replace")


def _read_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None  # noqa: PLR2004


_TEXT = _Codec(_written_text, unquote)
_TIME = _Codec(format_time, parse_time)
_NUMBER = _Codec(str, _read_number)
_TEXTS = _Codec(
    lambda texts: ",".join(map(_written_text, texts)), lambda text: tuple(map(unquote, text.split(",")))
)
_KINDS = {
    **dict.fromkeys(("id", "name", "holder", "reason"), _TEXT),
    **dict.fromkeys(("until", "retry", "since"), _TIME),
    **dict.fromkeys(("status", "attempts", "takeovers", "redeliveries", "retries"), _NUMBER),
    "has": _TEXTS,
}

_FIELDS = tuple((name, _KINDS[name].write) for name in Mark._fields)


def name_in(error: Any) -> str:
    """Return the target's name in the mark of an `error`; an empty text if there is none."""
    if not isinstance(error, str) or " name=" not in error:  # most have none and need no parsing
        return ""
    found = split(error)
    return found[1].name if found else ""


def id_hinted_at(error: Any) -> str:
    """Return what may be the id in the mark of an `error`; `split` decides whether it is one."""
    if not isinstance(error, str) or _OPENING not in error:
        return ""
    return error.rpartition(f"{_OPENING}id=")[2].partition(" ")[0].removesuffix("]")


def split(error: str) -> tuple[str, Mark] | None:
    """Return the readable part of an `error`, and its mark; None unless it ends with exactly one mark."""
    at = error.rfind(_OPENING)
    if at < 0 or len(error) - at > LONGEST:
        return None
    found = _MARK.fullmatch(error, at)
    if found is None:
        return None
    values: dict[str, Any] = {}
    for word in found[1].split():
        name, _, text = word.partition("=")
        value = _KINDS[name].read(text) if name in _KINDS else None
        if value is None:
            return None
        values[name] = value
    mark = Mark(**values)
    # This rejects wrong order, repetitions, defaults that are written out, and other spellings of a value.
    return (error[:at], mark) if mark.id and str(mark) == error[at:] else None
