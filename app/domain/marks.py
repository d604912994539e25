"""The mark at the end of an entry's `error`: the ledger's data about a target.

        HTTPStatus: answered 404 Not Found [agentteam-delivery/1 id=msg_74b1… attempts=1]

An entry of the operator's has five fields, and a typed write of the operator's strips all others; what
stands in `error` survives. The mark is strict: written again it must be identical, else the text
is somebody else's. Its number changes when a reader of today could misread it. Pure.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from app.domain.times import format_time, parse_time

_MARK = re.compile(r" \[agentteam-delivery/1((?: [a-z]+=[^\s\[\]=]+)+)\]")
_PLAIN = re.compile(r"[A-Za-z0-9_.~@+-]*")
_OPENING = " [agentteam-delivery/1 "
LONGEST = (
    40_000  # characters: a hundred recipients of the longest addresses, and room; nothing beyond is read
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of a target beside type, label and what people read; defaults are not written."""

    id: str = ""
    name: str = ""  # of the target, where its author gave one
    holder: str = ""  # of the claim
    until: datetime | None = None  # when the claim ends
    retry: datetime | None = None  # nobody may claim it earlier
    since: datetime | None = None  # when the phase changed, where `deliveredAt` does not say so
    reason: str = ""  # of the last attempt, where the target is pending
    status: int = 0  # HTTP's, of the last attempt
    attempts: int = 0
    takeovers: int = 0
    redeliveries: int = 0
    retries: int = 0  # how often it was put off
    has: tuple[str, ...] = ()  # recipients that have it already

    def __str__(self) -> str:
        """Write it, with the blank before it."""
        said = []
        for name, default, write in _FIELDS:
            value = getattr(self, name)
            if value != default:
                said.append(f"{name}={write(value)}")
        return f"{_OPENING}{' '.join(said)}]"


@dataclass(frozen=True, slots=True)
class _Codec:
    """How values of a field are written and read; None for what is none."""

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

_FIELDS = tuple((field.name, field.default, _KINDS[field.name].write) for field in fields(Mark))


def name_in(error: Any) -> str:
    """Return the target's name that the mark of an `error` says; nothing where there is none."""
    if not isinstance(error, str) or " name=" not in error:  # most say none, and are looked at no further
        return ""
    found = split(error)
    return found[1].name if found else ""


def id_hinted_at(error: Any) -> str:
    """Return what may be the id in the mark of an `error`; whether it is one, `split` says."""
    if not isinstance(error, str) or _OPENING not in error:
        return ""
    return error.rpartition(f"{_OPENING}id=")[2].partition(" ")[0].removesuffix("]")


def split(error: str) -> tuple[str, Mark] | None:
    """Return what people read of an `error`, and its mark; None where it does not end with exactly one."""
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
    # Order, repeats, defaults that are written, other spellings of a value: all of these end here.
    return (error[:at], mark) if mark.id and str(mark) == error[at:] else None
