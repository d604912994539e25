"""The API server's clock, read from its answers."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from app.watcher.clock import ServerClock


class Ticks:
    """A steady clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_before_the_first_answer_it_is_the_local_clock() -> None:
    assert ServerClock().now() == pytest.approx(datetime.now(UTC).timestamp(), abs=1.0)


def test_it_goes_on_from_the_date_of_an_answer() -> None:
    ticks = Ticks()
    clock = ServerClock(ticks)
    date = datetime(2031, 1, 1, 12, 0, 0, tzinfo=UTC)
    clock.learn({"Date": format_datetime(date, usegmt=True)})
    assert clock.now() == date.timestamp()
    ticks.now += 2.5
    assert clock.now() == date.timestamp() + 2.5


@pytest.mark.parametrize("headers", [{}, {"Date": ""}, {"Date": "yesterday"}])
def test_an_answer_without_a_date_changes_nothing(headers: dict[str, str]) -> None:
    ticks = Ticks()
    clock = ServerClock(ticks)
    before = clock.now()
    clock.learn(headers)
    assert clock.now() == before
