"""Capacity: what fits is held while in progress, what does not fit is refused immediately."""

import re

import pytest

from app.delivery.capacity import Capacity, Held
from app.domain.errors import TooBusy
from app.telemetry.metrics import Metrics
from tests.examples import loopback_settings


def capacity(most: int, **settings: object) -> Capacity:
    given = {"max_targets": 1, "max_targets_in_flight": most, "max_in_flight": most, **settings}
    return Capacity.of(loopback_settings(**given), Metrics())


def test_all_capacity_can_be_taken_and_no_more() -> None:
    bound = capacity(4).events
    with Held() as held:
        for namespace in ("a", "a", "b", "c"):
            bound.take(held, namespace)
        said = '4 events are in progress (at most 4), 1 of them of namespace "c", and capacity'
        with pytest.raises(TooBusy, match=re.escape(said)) as refused:
            bound.take(held, "c")
        assert refused.value.retry_after == 1.0
    with Held() as held:
        bound.take(held, "c", 2)
        assert bound.shares.taken == 2
    assert not bound.shares.held


def test_neither_two_namespaces_nor_ten_have_all_of_it() -> None:
    bound = capacity(4000).targets
    with Held() as held:
        for namespace in "abcdefghij" * 20:
            try:
                bound.take(held, namespace, 50)
            except TooBusy:
                continue
        assert bound.shares.taken <= 4000 - 300
        bound.take(held, "new", 150)
    assert not bound.shares.held


def test_a_single_served_namespace_may_have_everything() -> None:
    with Held() as held:
        capacity(10, namespaces="only").targets.take(held, "only", 10)


def test_a_refused_event_takes_no_capacity() -> None:
    bound = capacity(10).targets
    with Held() as held:
        bound.take(held, "a", 4)
        with pytest.raises(TooBusy):
            bound.take(held, "a", 5)
        assert bound.shares.held == {"a": 4}
    assert not bound.shares.held


def test_an_event_larger_than_a_share_fills_it_and_is_accepted_eventually() -> None:
    bound = capacity(10).targets
    with Held() as held:
        bound.take(held, "a", 30)
        assert bound.shares.held == {"a": 5}
    assert not bound.shares.held


def test_the_bytes_of_teams_in_flight_are_limited() -> None:
    bound = capacity(100).team_bytes
    with Held() as held:
        for _ in range(5):
            bound.take(held, "a", 1_500_000)
        with pytest.raises(TooBusy, match="7500000 bytes of teams are in progress"):
            bound.take(held, "a", 1_500_000)
        bound.take(held, "b", 1_500_000)
