"""Capacity: what fits is held for as long as it is under way, what does not is refused at once."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.capacity import Capacity
from app.domain.errors import TooBusy
from tests.examples import unhurried


def capacity(most: int, *, shared: bool = True) -> Capacity:
    return Capacity(events=most, targets=most, shared=shared)


def test_all_of_it_may_be_taken_and_no_more() -> None:
    bound = capacity(4).events
    with ExitStack() as held:
        for namespace in ("a", "a", "b", "b"):
            held.enter_context(bound.taking(namespace))
        with pytest.raises(TooBusy, match="4 events are in flight, of 4 at most; ask again") as refused:
            held.enter_context(bound.taking("c"))
        assert refused.value.retry_after == 1.0
    with bound.taking("c", 2):
        assert bound.taken.total() == 2
    assert not bound.taken


def test_a_namespace_has_half_of_it_however_little_the_others_take() -> None:
    bound = capacity(10).targets
    with bound.taking("greedy", 5):
        with pytest.raises(TooBusy, match='5 targets of namespace "greedy" are in flight, of 5 at most'):
            bound.taking("greedy").__enter__()
        with bound.taking("other", 5):
            assert bound.taken == {"greedy": 5, "other": 5}
    with bound.taking("greedy", 5):
        assert bound.taken == {"greedy": 5}


@pytest.mark.parametrize(("most", "share"), [(1, 1), (2, 1), (3, 2), (4000, 2000)])
def test_half_of_an_odd_number_is_rounded_up(most: int, share: int) -> None:
    assert capacity(most).events.share == share


def test_a_namespace_that_is_served_alone_may_have_everything() -> None:
    with capacity(10, shared=False).targets.taking("only", 10):
        pass


def test_what_is_refused_takes_nothing() -> None:
    bound = capacity(10).targets
    with bound.taking("a", 1), pytest.raises(TooBusy):
        bound.taking("a", 5).__enter__()
    assert not bound.taken


def test_more_than_a_share_fills_it_and_is_not_refused_for_ever() -> None:
    bound = capacity(10).targets
    with bound.taking("a", 30), bound.taking("b", 5):
        assert bound.taken == {"a": 5, "b": 5}
    assert not bound.taken


@unhurried
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 7), st.booleans()), max_size=40))
def test_no_bound_is_ever_passed_and_nothing_is_forgotten(steps: list[tuple[str, int, bool]]) -> None:
    bound = capacity(10).targets
    held: list[ExitStack] = []
    for namespace, number, leave in steps:
        if leave and held:
            held.pop().close()
        place = ExitStack()
        try:
            place.enter_context(bound.taking(namespace, number))
            held.append(place)
        except TooBusy:
            wanted = min(number, 5)
            assert bound.taken.total() + wanted > 10 or bound.taken[namespace] + wanted > 5
        assert bound.taken.total() <= 10
        assert all(taken <= 5 for taken in bound.taken.values())
    for place in held:
        place.close()
    assert not bound.taken
