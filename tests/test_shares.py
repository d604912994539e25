"""Shares: no owner takes all places, small requests are served, and waiting requests get their turn."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.shares import Shares, Waiter
from tests.examples import unhurried


def greedy(shares: Shares, *owners: str) -> None:
    """Take as much as possible, one place each in turn."""
    for owner in owners * shares.most:
        shares.take(owner)


@pytest.mark.parametrize(("most", "share"), [(1, 1), (2, 1), (3, 2), (100, 50), (4000, 2000)])
def test_one_owner_gets_half_rounded_up(most: int, share: int) -> None:
    shares = Shares(most)
    greedy(shares, "a")
    assert shares.held == {"a": share}


@pytest.mark.parametrize("number", [2, 3, 10, 49])
def test_greedy_owners_leave_a_share_as_large_as_theirs(number: int) -> None:
    shares = Shares(1000)
    owners = [f"owner-{one}" for one in range(number)]
    greedy(shares, *owners)
    share = 1000 // (number + 1)
    assert set(shares.held.values()) <= {share, share + 1}
    assert 1000 - shares.taken >= share - number
    assert shares.take("new")


def test_a_single_owner_may_have_everything() -> None:
    shares = Shares(10, alone=True)
    assert shares.take("only", 12)
    assert shares.held == {"only": 10}
    assert not shares.take("only")
    shares.give_back("only", 12)
    assert not shares.held


def test_a_request_larger_than_a_share_counts_as_a_whole_share() -> None:
    shares = Shares(10)
    assert shares.take("a", 30)
    assert shares.held == {"a": 5}
    shares.give_back("a", 30)
    assert shares.taken == 0


def test_zero_places_are_always_available() -> None:
    shares = Shares(2)
    greedy(shares, "a", "b")
    assert shares.take("c", 0)
    shares.give_back("c", 0)
    assert shares.taken == 2


async def test_the_owner_with_the_fewest_places_is_served_first_and_each_owner_s_requests_in_turn() -> None:
    shares = Shares(4)
    greedy(shares, "many")
    assert shares.take("few")
    assert shares.take("other")
    waits = [shares.line_up(owner) for owner in ("many", "few", "new", "new", "newer")]
    order: list[str] = []
    for owner in ("many", "many", "other", "few", "new"):
        before = {id(wait) for wait in waits if wait.granted.done()}
        shares.give_back(owner)
        order += [wait.owner for wait in waits if wait.granted.done() and id(wait) not in before]
    assert order == ["new", "many", "newer", "few", "new"]
    assert [wait.granted.done() for wait in waits] == [True] * 5


async def test_a_large_waiting_request_is_not_overtaken_by_an_owner_with_more() -> None:
    shares = Shares(16)
    assert shares.take("hog", 6)
    large = shares.line_up("large", 6)
    assert not large.granted.done()
    assert not shares.take("hog", 1)  # its own share has places left
    assert shares.take("new", 1)  # but an owner with a small request gets one
    shares.give_back("hog", 6)
    assert large.granted.done()


async def test_a_cancelled_waiter_leaves_the_queue_and_releases_its_places() -> None:
    shares = Shares(2)
    greedy(shares, "a", "b")
    first, second = shares.line_up("c"), shares.line_up("c")
    shares.leave(first)
    assert shares.line_of("c") == shares.waiting == 1
    shares.give_back("a")
    assert second.granted.done()
    assert not first.granted.done()
    shares.leave(second)
    assert shares.held == {"b": 1}
    assert shares.waiting == 0


OWNERS = st.sampled_from("abcdefgh")


@unhurried
@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.sampled_from(["take", "wait", "leave", "back"]), OWNERS, st.integers(0, 12))),
)
def test_no_limit_is_exceeded_no_place_is_lost_and_no_servable_waiter_waits(
    most: int, steps: list[tuple[str, str, int]]
) -> None:
    asyncio.run(_play(Shares(most), steps))


async def _play(shares: Shares, steps: list[tuple[str, str, int]]) -> None:
    held: list[tuple[str, int]] = []
    waits: list[Waiter] = []

    def note() -> None:
        for wait in [one for one in waits if one.granted.done()]:
            waits.remove(wait)
            held.append((wait.owner, wait.number))
        _check(shares, held, waits)

    for what, owner, number in steps:
        if what == "take" and shares.take(owner, number):
            held.append((owner, number))
        elif what == "wait":
            waits.append(shares.line_up(owner, number or 1, first=number % 2 == 0))
        elif what == "leave" and waits:
            shares.leave(waits.pop(number % len(waits)))
        elif what == "back" and held:
            shares.give_back(*held.pop(number % len(held)))
        note()
    while held:  # no request waits forever
        shares.give_back(*held.pop())
        note()
    assert (waits, shares.taken, shares.held, shares.waiting) == ([], 0, {}, 0)


def _check(shares: Shares, held: list[tuple[str, int]], waits: list[Waiter]) -> None:
    sums: Counter[str] = Counter()
    for owner, number in held:
        sums[owner] += min(number, shares.largest)
    assert {owner: number for owner, number in sums.items() if number} == shares.held
    assert shares.taken == sums.total() <= shares.most
    assert all(number <= shares.largest for number in shares.held.values())
    assert shares.waiting == len(waits)
    if waits:
        # At least one owner whose turn it may be does not fit: otherwise there would be one fewer.
        assert not all(shares.fits(wait.owner, wait.number) for wait in waits)
