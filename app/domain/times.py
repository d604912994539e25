"""Times as Kubernetes and HTTP write them."""

import functools
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the former is Linux's
UNSET = datetime(1, 1, 1, tzinfo=UTC)
"""What a Go program writes for a time that was never set."""
UNSET_DATE = "0001-01-01"
LONGEST_WAIT = 365 * 86_400.0  # seconds


def steady() -> float:
    """Return seconds on a clock that never goes back, and that counts a suspended machine's sleep."""
    return time.clock_gettime(_STEADY)


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


def parse_http_date(value: str) -> datetime | None:
    """Read an HTTP date (RFC 9110, section 5.6.7), such as the `Date` header; None for anything else."""
    try:
        moment = parsedate_to_datetime(value)
        # The asctime form, and -0000, come without a zone; HTTP dates are in UTC whatever they say.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a `Retry-After` header as seconds from `now`, a year at most; None for what is neither form.

    Seconds or an HTTP date: RFC 9110, section 10.2.3.
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT)
    date = parse_http_date(value)
    return None if date is None else min(max(0.0, (date - now).total_seconds()), LONGEST_WAIT)


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait, by its own clock where it shows that (`Date`).

    `headers` are looked up whatever their case.
    """
    asked = headers.get("Retry-After")
    if asked is None:
        return None
    return parse_retry_after(asked, parse_http_date(headers.get("Date", "")) or datetime.now(UTC))
