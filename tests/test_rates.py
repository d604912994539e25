"""A caller's rate limit: a burst of one second's requests, then evenly, and independent of others."""

import pytest

from app.api.rates import CALLERS, RateLimit
from app.domain.errors import RateLimited
from tests.examples import Clock


def admitted(rate: RateLimit, caller: str, requests: int) -> int:
    """Count how many of so many requests are let in."""
    count = 0
    for _ in range(requests):
        try:
            rate.admit(caller)
            count += 1
        except RateLimited:
            pass
    return count


@pytest.mark.parametrize("per_second", [1, 3, 7, 200])
def test_a_second_s_requests_may_come_at_once_and_no_more(per_second: int) -> None:
    clock = Clock()
    rate = RateLimit(per_second, clock)
    assert admitted(rate, "a", 3 * per_second) == per_second
    clock.now += 1.0
    assert admitted(rate, "a", 3 * per_second) == per_second
    clock.now += 3600
    assert admitted(rate, "a", 3 * per_second) == per_second


def test_the_wait_that_is_told_is_the_one_that_helps() -> None:
    clock = Clock()
    rate = RateLimit(4, clock)
    assert admitted(rate, "a", 4) == 4
    with pytest.raises(RateLimited, match="more than 4 requests per second; retry later") as refused:
        rate.admit("a")
    assert refused.value.retry_after == pytest.approx(0.25)
    clock.now += 0.24
    assert admitted(rate, "a", 1) == 0
    clock.now += 0.02
    assert admitted(rate, "a", 2) == 1


def test_nobody_pays_for_another() -> None:
    rate = RateLimit(1, Clock())
    assert [admitted(rate, f"caller-{number}", 2) for number in range(50)] == [1] * 50


def test_however_many_callers_there_are_only_so_many_are_remembered() -> None:
    rate = RateLimit(1, Clock())
    for number in range(CALLERS + 100):
        rate.admit(f"caller-{number}")
    assert len(rate._full) == CALLERS  # noqa: SLF001  # its size is what this is about
