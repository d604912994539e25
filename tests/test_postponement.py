"""Postponed targets: when a target is retried, and when it is given up. The clock is passed in."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.postponement import CLOCK_STEP, JITTER, Postponement
from app.domain.reasons import Reason
from app.domain.receipts import Receipt
from app.senders.envelopes import Verdict
from app.settings import ServiceSettings
from tests.examples import NOW, unhurried

DEFAULTS = ServiceSettings()
USUAL = Postponement(DEFAULTS.retry_waits, DEFAULTS.retry_for)
AWAY = Verdict(Reason.HTTP_STATUS, "answered 503 Service Unavailable", 503, retryable=True)
FINAL = Verdict(Reason.HTTP_STATUS, "answered 404 Not Found", 404)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def receipt(retries: int = 0) -> Receipt:
    """A target whose event was accepted at `NOW`."""
    return Receipt(name="hook", id="msg_1", timestamp=NOW, retries=retries)


def busy(seconds: float) -> Verdict:
    return Verdict(Reason.RATE_LIMITED, "answered 429", 429, retryable=True, retry_after=seconds)


def test_the_waits_are_1_5_15_30_60_minutes_and_then_hourly() -> None:
    waits = [USUAL.until(receipt(retries), AWAY, NOW) for retries in range(8)]
    minutes = [1, 5, 15, 30, 60, 60, 60, 60]
    assert waits == [after(60 * one + CLOCK_STEP) for one in minutes]


def test_jitter_adds_at_most_a_fifth_and_is_the_same_for_all_targets_of_an_event() -> None:
    latest = Postponement((100.0,), 1e6, chance=0.999).until(receipt(), AWAY, NOW)
    assert latest == after(100 * (1 + JITTER) + CLOCK_STEP)


def test_a_permanent_failure_is_not_postponed() -> None:
    assert USUAL.until(receipt(), FINAL, NOW) is None


def test_postponement_can_be_disabled() -> None:
    assert Postponement(USUAL.waits, 0.0).until(receipt(), AWAY, NOW) is None


@pytest.mark.parametrize(("asked", "wait"), [(5.0, 60.0), (60.0, 60.0), (3600.0, 3600.0), (80_000, 80_000)])
def test_retry_after_makes_a_retry_later_and_never_earlier(asked: float, wait: float) -> None:
    assert USUAL.until(receipt(), busy(asked), NOW) == after(wait + CLOCK_STEP)


def test_the_last_retry_is_at_the_end_of_the_time() -> None:
    day = USUAL.during
    assert USUAL.until(receipt(9), AWAY, after(day - 1800)) == after(day + CLOCK_STEP)
    assert USUAL.until(receipt(9), AWAY, after(day)) is None


def test_a_retry_after_beyond_the_end_gives_the_target_up() -> None:
    assert USUAL.until(receipt(), busy(USUAL.during + 1), NOW) is None
    assert USUAL.until(receipt(), busy(1800.0), after(USUAL.during - 1799)) is None


def test_the_message_of_a_given_up_target_has_the_time_spent_and_the_retry_after() -> None:
    given_up = f"{AWAY.message}; given up after 28 tries in 1 d"
    assert USUAL.given_up(receipt(27), AWAY, after(86_460)) == given_up
    assert USUAL.given_up(receipt(), AWAY, after(3)) == AWAY.message, "it was never postponed"
    asked = "answered 429; a retry is possible in 2 d, after its time is over"
    assert USUAL.given_up(receipt(), busy(2 * 86_400), NOW) == asked


_policies = st.builds(
    Postponement,
    st.lists(st.floats(0.01, 1e5), min_size=1, max_size=6).map(tuple),
    st.floats(0.0, 1e6),
    st.floats(0.0, 0.999),
)


@unhurried
@given(_policies, st.integers(0, 100), st.floats(0.0, 2e6), st.floats(0.0, 1e7))
def test_no_retry_is_before_retry_after_or_after_the_end(
    policy: Postponement, retries: int, since: float, asked: float
) -> None:
    now = after(since)
    found = policy.until(receipt(retries), busy(asked), now)
    if found is None:
        assert since >= policy.during or since + asked > policy.during - 1e-3
        return
    assert found.microsecond == 0, "the record has whole seconds"
    assert found >= now + timedelta(seconds=asked + CLOCK_STEP) - timedelta(milliseconds=1)
    assert found <= after(policy.during + CLOCK_STEP + 1)
