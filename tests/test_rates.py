"""A caller's rate limit: a burst of one second's requests, then evenly, and independent of others."""

import pytest

from app.api.rates import CALLERS, RateLimit
from app.domain.errors import RateLimited
from tests.examples import Clock


def admitted(rate: RateLimit, caller: str, requests: int) -> int:
    """Count how many of these requests are permitted."""
    count = 0
    for _ in range(requests):
        try:
            rate.admit(caller)
            count += 1
        except RateLimited:
            pass
    return count


@pytest.mark.parametrize("per_second", [1, 3, 7, 200])
def test_a_burst_may_have_the_requests_of_one_second(per_second: int) -> None:
    clock = Clock()
    rate = RateLimit(per_second, clock)
    assert admitted(rate, "a", 3 * per_second) == per_second
    clock.now += 1.0
    assert admitted(rate, "a", 3 * per_second) == per_second
    clock.now += 3600
    assert admitted(rate, "a", 3 * per_second) == per_second


def test_the_returned_wait_is_sufficient() -> None:
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


def test_callers_do_not_affect_each_other() -> None:
    rate = RateLimit(1, Clock())
    assert [admitted(rate, f"caller-{number}", 2) for number in range(50)] == [1] * 50


def test_the_number_of_remembered_callers_is_limited() -> None:
    rate = RateLimit(1, Clock())
    for number in range(CALLERS + 100):
        rate.admit(f"caller-{number}")
    assert len(rate._full) == CALLERS  # noqa: SLF001  # this test is about its size
