"""Times as Kubernetes and HTTP write them."""

import functools
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has the former
UNSET = datetime(1, 1, 1, tzinfo=UTC)
"""How a Go program writes a time that was never set."""
UNSET_DATE = "0001-01-01"
LONGEST_WAIT = 365 * 86_400.0  # seconds
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


steady: Callable[[], float] = functools.partial(time.clock_gettime, _STEADY)
"""Returns seconds on a monotonic clock that includes the time in which the machine was suspended."""


def parse_time(value: Any) -> datetime | None:
    """Read an RFC 3339 time; None for anything else, and for Go's unset time."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return None if moment == UNSET else moment


@functools.lru_cache(maxsize=256)  # what is written at once is of a few moments
def format_time(moment: datetime) -> str:
    """Write a time as Kubernetes does: RFC 3339, UTC, whole seconds."""
    there = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return there.isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def spoken(seconds: float) -> str:
    """Write a span of time for people, in at most two units: `2 d 3 h`, `2 h 5 min`, `3 min 20 s`, `8 s`."""
    rest, units = int(seconds), []
    for unit, size in _UNITS:
        number, rest = divmod(rest, size)
        units.append((number, unit))
    first = next((place for place, (number, _) in enumerate(units) if number), len(units) - 1)
    head, *tail = units[first : first + 2]
    return " ".join(f"{number} {unit}" for number, unit in (head, *(one for one in tail if one[0])))


def parse_http_date(value: str) -> datetime | None:
    """Read an HTTP date (RFC 9110, section 5.6.7), such as the `Date` header; None for anything else."""
    try:
        moment = parsedate_to_datetime(value)
        # The asctime form and `-0000` have no zone; HTTP dates are always in UTC.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a `Retry-After` header as seconds from `now`, at most a year; None for an invalid value.

    Seconds or an HTTP date: RFC 9110, section 10.2.3.
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT)
    date = parse_http_date(value)
    return None if date is None else min(max(0.0, (date - now).total_seconds()), LONGEST_WAIT)


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait, relative to its own clock if it shows that (`Date`).

    `headers` are looked up without regard to case.
    """
    asked = headers.get("Retry-After")
    if asked is None:
        return None
    return parse_retry_after(asked, parse_http_date(headers.get("Date", "")) or datetime.now(UTC))
