"""Waits double, are never shorter than stated, and never longer than the maximum."""

import pytest

from app.domain.backoff import Backoff
from app.watcher.pace import Pace


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (10_000, 30.0)]
)
def test_waits_double_up_to_the_longest(step: int, expected: float) -> None:
    assert Backoff(0.5, 30.0).wait(step, lambda: 0.0) == expected


@pytest.mark.parametrize(("step", "longest"), [(0, 0.625), (4, 10.0), (6, 30.0)])
def test_chance_adds_a_quarter_at_most(step: int, longest: float) -> None:
    assert Backoff(0.5, 30.0).wait(step, lambda: 1.0) == longest


def test_chance_is_chance() -> None:
    pace = Pace()
    drawn = {pace.random() for _ in range(10)}
    assert len(drawn) > 1
    assert all(0.0 <= number < 1.0 for number in drawn)
