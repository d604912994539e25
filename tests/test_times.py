"""Times: RFC 3339 as Kubernetes writes it, HTTP dates, and `Retry-After`."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.times import (
    LONGEST_WAIT,
    format_time,
    parse_http_date,
    parse_retry_after,
    parse_time,
    spoken,
    steady,
)
from tests.examples import unhurried

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/Los_Angeles"])
def local_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the machine's time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


PARSED: list[tuple[Any, datetime | None]] = [
    ("2026-03-01T12:00:00Z", NOON),
    ("2026-03-01T12:00:00+00:00", NOON),
    ("2026-03-01T14:00:00+02:00", NOON),
    ("2026-03-01T12:00:00", NOON),
    ("2026-03-01T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
    ("2026-03-01T12:00:00.123456Z", NOON + timedelta(microseconds=123456)),
    ("", None),
    ("noon", None),
    ("2026-02-30T12:00:00Z", None),
    ("2026-03-01T25:00:00Z", None),
    (None, None),
    (1_772_366_400, None),
    (["2026-03-01T12:00:00Z"], None),
]


@pytest.mark.parametrize(("text", "moment"), PARSED)
@pytest.mark.usefixtures("local_time")
def test_an_rfc_3339_time_is_read_and_any_other_text_is_none(text: Any, moment: datetime | None) -> None:
    assert parse_time(text) == moment


def test_a_time_is_written_as_in_kubernetes() -> None:
    abroad = timezone(timedelta(hours=-5))
    assert format_time(NOON) == "2026-03-01T12:00:00Z"
    assert format_time(NOON.astimezone(abroad)) == "2026-03-01T12:00:00Z"
    assert format_time(NOON + timedelta(microseconds=999_999)) == "2026-03-01T12:00:00Z"


@unhurried
@given(st.datetimes(datetime(1900, 1, 2), datetime(9999, 12, 30), timezones=st.timezones()))  # noqa: DTZ001
def test_a_time_survives_writing_and_reading_to_the_second(moment: datetime) -> None:
    whole = moment.astimezone(UTC).replace(microsecond=0)
    assert parse_time(format_time(moment)) == whole


HTTP_DATES: list[tuple[str, datetime | None]] = [
    ("Sun, 01 Mar 2026 12:00:00 GMT", NOON),
    ("Sunday, 01-Mar-26 12:00:00 GMT", NOON),
    ("Sun Mar  1 12:00:00 2026", NOON),
    ("Sun, 01 Mar 2026 12:00:00 -0000", NOON),
    ("Sun, 01 Mar 2026 14:00:00 +0200", NOON),
    ("", None),
    ("soon", None),
    ("Sun, 99 Mar 2026 12:00:00 GMT", None),
    ("Sun, 01 Foo 2026 12:00:00 GMT", None),
    ("Sun, 01 Mar 99999999999 12:00:00 GMT", None),
    ("Sun, 01 Mar 2026 12:00:00 +9999999999", None),
    ("2026-03-01T12:00:00Z", None),
]


@pytest.mark.parametrize(("text", "moment"), HTTP_DATES)
@pytest.mark.usefixtures("local_time")
def test_an_http_date_is_read_in_all_its_forms_and_any_other_text_is_none(
    text: str, moment: datetime | None
) -> None:
    assert parse_http_date(text) == moment


WAITS: list[tuple[str | None, float | None]] = [
    (None, None),
    ("", None),
    ("0", 0.0),
    ("7", 7.0),
    ("007", 7.0),
    ("120", 120.0),
    ("31536000", LONGEST_WAIT),
    ("31536001", LONGEST_WAIT),
    ("9" * 5000, LONGEST_WAIT),
    ("-1", None),
    ("+1", None),
    ("1.5", None),
    ("1e3", None),
    ("1_000", None),
    ("0x10", None),
    ("\N{ARABIC-INDIC DIGIT SEVEN}", None),
    ("²", None),
    ("inf", None),
    ("nan", None),
    ("soon", None),
    ("Sun, 01 Mar 2026 12:02:00 GMT", 120.0),
    ("Sun Mar  1 12:02:00 2026", 120.0),
    ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT),
    ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0),
    ("Sun, 01 Mar 2026 99:00:00 GMT", None),
]


@pytest.mark.parametrize(("value", "seconds"), WAITS)
@pytest.mark.usefixtures("local_time")
def test_retry_after_is_read_as_seconds_from_now(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOON) == seconds


_dateish = st.text("SunMrFi0123456789 ,:+-GTUCZ()\t", max_size=40)


@unhurried
@given(st.text(max_size=40) | _dateish)
def test_no_retry_after_raises_an_error(value: str) -> None:
    seconds = parse_retry_after(value, NOON)
    assert seconds is None or 0.0 <= seconds <= LONGEST_WAIT


def test_the_steady_clock_never_goes_back() -> None:
    first = steady()
    assert 0 <= steady() - first < 60


@pytest.mark.parametrize(
    "unset", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00.000000000Z"]
)
def test_go_s_zero_time_is_none(unset: str) -> None:
    assert parse_time(unset) is None
    assert parse_time("0001-01-01T00:00:01Z") is not None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min 59 s"),
        (3605, "1 h"),
        (86_460, "1 d"),
        (31_536_000, "365 d"),
    ],
)
def test_a_duration_is_written_in_at_most_two_units(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
