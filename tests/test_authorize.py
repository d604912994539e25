"""The cache of callers: for how long, how many, and how many reviews run at once."""

import asyncio

import pytest

from app.api.callers import REFUSAL_REMEMBERED, REMEMBERED, REVIEWS, Recent
from app.domain.errors import ApiUnavailable, ClusterError
from tests.examples import Clock


class Asked:
    """Answers reviews, and counts them."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.times = 0
        self.held: asyncio.Event | None = None

    async def __call__(self) -> str:
        self.times += 1
        if self.held:
            await self.held.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_a_result_is_cached_from_its_request_on_however_often_it_is_used() -> None:
    clock, asked = Clock(), Asked("yes")
    recent: Recent[str] = Recent(30.0, clock)
    for _ in range(29):
        assert await recent.answer("question", asked) == "yes"
        clock.now += 1
    assert asked.times == 1
    clock.now += 1.1
    assert "question" not in recent
    await recent.answer("question", asked)
    assert asked.times == 2


async def test_a_slow_result_is_not_cached_for_longer() -> None:
    clock, asked = Clock(), Asked("yes")
    asked.held = asyncio.Event()
    recent: Recent[str] = Recent(30.0, clock)
    waiting = asyncio.create_task(recent.answer("question", asked))
    await asyncio.sleep(0)
    clock.now += 29
    asked.held.set()
    assert await waiting == "yes"
    clock.now += 1.1
    assert "question" not in recent


async def test_a_refusal_is_cached_only_briefly() -> None:
    clock, asked = Clock(), Asked("")
    recent: Recent[str] = Recent(30.0, clock)
    assert await recent.answer("question", asked) == ""
    await asyncio.sleep(0)  # until the result is cached
    clock.now += REFUSAL_REMEMBERED - 0.1
    await recent.answer("question", asked)
    assert asked.times == 1
    clock.now += 0.2
    await recent.answer("question", asked)
    assert asked.times == 2


async def test_a_failure_is_not_cached() -> None:
    asked = Asked(ClusterError("away"))
    recent: Recent[str] = Recent(30.0, Clock())
    for times in (1, 2):
        with pytest.raises(ClusterError):
            await recent.answer("question", asked)
        await asyncio.sleep(0)  # until the result is cached
        assert asked.times == times
        assert not len(recent)


async def test_a_caller_that_disconnects_does_not_cancel_the_review_for_others() -> None:
    asked = Asked("yes")
    asked.held = asyncio.Event()
    recent: Recent[str] = Recent(30.0, Clock())
    first, second = (asyncio.create_task(recent.answer("question", asked)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    asked.held.set()
    assert await second == "yes"
    assert asked.times == 1


async def test_the_number_of_concurrent_reviews_is_limited() -> None:
    asked = Asked("yes")
    asked.held = asyncio.Event()
    recent: Recent[str] = Recent(30.0, Clock())
    waiting = [asyncio.create_task(recent.answer(number, asked)) for number in range(REVIEWS)]
    await asyncio.sleep(0)
    with pytest.raises(ApiUnavailable, match="too many callers are being authenticated"):
        await recent.answer("one more", asked)
    asked.held.set()
    assert await asyncio.gather(*waiting) == ["yes"] * REVIEWS
    assert await recent.answer("one more", asked) == "yes"


async def test_the_number_of_cached_results_is_limited() -> None:
    recent: Recent[str] = Recent(30.0, Clock())
    for number in range(REMEMBERED + 50):
        await recent.answer(number, Asked("yes"))
    assert len(recent) == REMEMBERED
