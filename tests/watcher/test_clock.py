"""The API server's clock, estimated from its answers."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from app.watcher.clock import ServerClock


class Ticks:
    """A steady clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_before_the_first_answer_the_local_clock_counts() -> None:
    assert ServerClock().now() == pytest.approx(datetime.now(UTC).timestamp(), abs=1.0)


def test_the_clock_continues_from_the_date_of_an_answer() -> None:
    ticks = Ticks()
    clock = ServerClock(ticks)
    date = datetime(2031, 1, 1, 12, 0, 0, tzinfo=UTC)
    clock.learn({"Date": format_datetime(date, usegmt=True)})
    assert clock.now() == date.timestamp()
    ticks.now += 2.5
    assert clock.now() == date.timestamp() + 2.5


def test_answers_improve_the_estimate_without_a_jump() -> None:
    ticks = Ticks()
    clock = ServerClock(ticks)
    noon = datetime(2031, 1, 1, 12, 0, 0, tzinfo=UTC)

    def answer(seconds: int) -> float:
        clock.learn({"Date": format_datetime(noon + timedelta(seconds=seconds), usegmt=True)})
        return clock.now() - noon.timestamp()

    assert answer(0) == 0.0  # the time was between 12:00:00 and 12:00:01
    ticks.now += 0.25
    assert answer(1) == 1.0  # so it was at least 12:00:00.75
    ticks.now += 0.5
    assert answer(1) == 1.5
    ticks.now += 600.0
    assert answer(600) == 601.0  # the local clock runs too fast
    assert answer(-3600) == -3599.0  # the server's clock was set
    assert answer(3600) == 3600.0


@pytest.mark.parametrize("headers", [{}, {"Date": ""}, {"Date": "yesterday"}])
def test_an_answer_without_a_date_changes_nothing(headers: dict[str, str]) -> None:
    ticks = Ticks()
    clock = ServerClock(ticks)
    before = clock.now()
    clock.learn(headers)
    assert clock.now() == before
