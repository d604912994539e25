"""Shared timers: on every loop, a limit does what `asyncio.timeout` does, and nothing keeps what is over."""

import asyncio
import gc
import math
import weakref
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import uvloop
from hypothesis import example, given
from hypothesis import strategies as some

from app.timers import LEAST, Timer, call_later, within
from tests.harness.timeless import Timeless, timeless

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    asyncio.new_event_loop,
    uvloop.new_event_loop,
    Timeless,
]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop", "timeless"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run something on each kind of loop."""

    def on_loop(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(work)

    return on_loop


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


def cancelling() -> int:
    """Return how often the task was cancelled."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


# The model


@dataclass(frozen=True)
class Sleep:
    """Hundredths of a second."""

    long: int


@dataclass(frozen=True)
class Block:
    """Steps within a limit, in hundredths of a second or at once; `goes_on` after it was exceeded."""

    limit: int | None
    steps: "tuple[Sleep | Block, ...]"
    goes_on: bool


# A sleep ends at a whole hundredth, a limit three thousandths later, a cancellation seven: never at once.
SLEEPS = some.builds(Sleep, some.integers(0, 6))
STEPS = some.recursive(
    some.lists(SLEEPS, max_size=3).map(tuple),
    lambda steps: some.lists(
        SLEEPS | some.builds(Block, some.none() | some.integers(0, 12), steps, some.booleans()), max_size=4
    ).map(tuple),
    max_leaves=12,
)
Limits = Callable[[float | None], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def our_limit(seconds: float | None) -> Any:
    """Write `within` as `asyncio.timeout` is written."""
    with within(seconds):
        yield


async def perform(steps: tuple[Sleep | Block, ...], limit: Limits, said: list[Any]) -> None:
    """Go through the steps, and note what happens when."""
    for step in steps:
        if isinstance(step, Sleep):
            await asyncio.sleep(step.long / 100)
            said.append(("slept", round(now(), 3)))
            continue
        try:
            async with limit(step.limit and step.limit / 100 + 0.003):
                await perform(step.steps, limit, said)
        except TimeoutError as error:
            said.append(("exceeded", round(now(), 3), cancelling(), type(error.__cause__)))
            if not step.goes_on:
                raise


async def story(steps: tuple[Sleep | Block, ...], cancelled_at: int | None, limit: Limits) -> list[Any]:
    """Return all that happens to a task with these steps, which another one may cancel."""
    said: list[Any] = []
    task = asyncio.ensure_future(perform(steps, limit, said))
    if cancelled_at is not None:
        asyncio.get_running_loop().call_later(cancelled_at / 100 + 0.007, task.cancel)
    await asyncio.wait({task})
    ended = "cancelled" if task.cancelled() else type(task.exception()).__name__
    return [*said, ended, round(now(), 3), task.cancelling()]


# Two limits at the same moment, except for the rounding of its sum.
AT_ONCE = (Block(7, (Sleep(1), Block(6, (Sleep(7),), goes_on=False)), goes_on=False),)


@given(STEPS, some.none() | some.integers(0, 20))
@example(AT_ONCE, None)
def test_a_limit_does_what_asyncio_does(steps: tuple[Sleep | Block, ...], cancelled_at: int | None) -> None:
    ours = timeless(story(steps, cancelled_at, our_limit))
    assert ours == timeless(story(steps, cancelled_at, asyncio.timeout))


# Limits


def test_a_block_in_time_is_left_alone(run: Callable[..., Any]) -> None:
    async def work() -> tuple[int, list[Any]]:
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        with within(0.02):
            await asyncio.sleep(0)
        await asyncio.sleep(0.04)
        return cancelling(), failures

    assert run(work()) == (0, [])


def test_a_block_that_takes_too_long_ends(run: Callable[..., Any]) -> None:
    async def work() -> tuple[float, int]:
        began = now()
        with pytest.raises(TimeoutError), within(0.05):
            await asyncio.Event().wait()
        return now() - began, cancelling()

    took, cancelled = run(work())
    assert round(took, 6) >= 0.05
    assert cancelled == 0


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_limit_without_time_ends_the_block_at_its_first_wait(
    run: Callable[..., Any], seconds: float
) -> None:
    async def work() -> None:
        with pytest.raises(TimeoutError), within(seconds):
            await asyncio.Event().wait()

    run(work())


def test_a_cancellation_at_the_moment_of_the_limit_stays_one(run: Callable[..., Any]) -> None:
    async def block() -> None:
        task = asyncio.current_task()
        assert task is not None
        call_later(0.01, task.cancel)
        with within(0.01):
            await asyncio.Event().wait()

    async def work() -> None:
        task = asyncio.ensure_future(block())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1

    run(work())


def test_an_error_of_the_block_is_its_own(run: Callable[..., Any]) -> None:
    async def work() -> None:
        with pytest.raises(KeyError), within(5):
            raise KeyError

    run(work())


def test_a_limit_requires_a_task() -> None:
    loop = asyncio.new_event_loop()
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            with within(1):
                pass
        except RuntimeError as error:
            errors.append(error)
        loop.stop()

    loop.call_soon(enter)
    loop.run_forever()
    loop.close()
    assert [str(error) for error in errors] == ["a time limit is for one block of a task"]


def test_a_limit_has_one_block(run: Callable[..., Any]) -> None:
    async def work() -> None:
        limit = within(5)
        with limit:
            pass
        with pytest.raises(RuntimeError), limit:
            pass

    run(work())


def test_a_limit_is_a_number_and_disturbs_no_other(run: Callable[..., Any]) -> None:
    async def wait() -> None:
        with within(0.02), within(math.inf):
            with pytest.raises(ValueError, match="number of seconds"), within(math.nan):
                pass
            await asyncio.Event().wait()

    async def work() -> None:
        with pytest.raises(TimeoutError):
            await wait()

    run(work())


# Timers


def test_timers_end_in_the_order_of_their_times_and_then_of_their_starts() -> None:
    async def work() -> list[tuple[str, float]]:
        ended: list[tuple[str, float]] = []

        def note(name: str) -> None:
            ended.append((name, now()))

        for name, seconds in (("c", 3), ("a", 1), ("d", 3), ("b", 2), ("b2", 2.001), ("e", 7)):
            call_later(seconds, partial(note, name))
        await asyncio.sleep(8)
        return ended

    assert timeless(work()) == [("a", 1), ("b", 2), ("b2", 2.001), ("c", 3), ("d", 3), ("e", 7)]


def test_a_cancelled_timer_does_nothing(run: Callable[..., Any]) -> None:
    async def work() -> list[str]:
        ended: list[str] = []

        def end_two() -> None:
            ended.append("two")
            three.cancel()

        one = call_later(0.01, lambda: ended.append("one"))
        two = call_later(0.01, end_two)
        three = call_later(0.01, lambda: ended.append("three"))
        one.cancel()
        await asyncio.sleep(0.05)
        assert [timer.over for timer in (one, two, three)] == [True] * 3
        return ended

    assert run(work()) == ["two"]


def test_a_timer_that_fails_stops_no_other() -> None:
    async def work() -> tuple[list[str], list[str]]:
        ended: list[str] = []
        failures: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: failures.append(type(context["exception"]).__name__)
        )
        call_later(1, partial(int, "fails"))
        call_later(1, lambda: ended.append("at once"))
        call_later(2, lambda: ended.append("later"))
        await asyncio.sleep(3)
        return ended, failures

    assert timeless(work()) == (["at once", "later"], ["ValueError"])


def test_a_timer_may_start_another_at_its_end() -> None:
    async def work() -> list[float]:
        ended: list[float] = []

        def again() -> None:
            ended.append(now())
            if len(ended) < 3:
                call_later(1, again)

        call_later(1, again)
        call_later(10, again)
        await asyncio.sleep(20)
        return ended

    assert timeless(work()) == [1, 2, 3, 10]


def test_timers_that_start_others_at_once_leave_others_their_turns(run: Callable[..., Any]) -> None:
    async def work() -> list[str]:
        said: list[str] = []

        def again() -> None:
            said.append("timer")
            if len(said) < 1000:
                call_later(0, again)

        call_later(0, again)
        while len(said) < 1000:
            await asyncio.sleep(0)
            said.append("task")
        return said

    assert 300 < run(work()).count("task") < 700


def test_a_timer_is_in_no_context() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")

    async def work() -> list[str]:
        request.set("first")
        seen: list[str] = []
        call_later(1, lambda: seen.append(request.get()))
        await asyncio.sleep(2)
        return seen

    assert timeless(work()) == ["none"]


# Memory


def test_a_limit_that_is_over_keeps_nothing_of_its_task(run: Callable[..., Any]) -> None:
    async def block() -> None:
        with within(3600):
            await asyncio.sleep(0)

    async def work() -> bool:
        task = asyncio.ensure_future(block())
        await task
        gone = weakref.ref(task)
        del task
        await asyncio.sleep(0)  # the loop itself held it until now
        gc.collect()
        return gone() is None

    assert run(work())


def test_a_timer_that_was_cancelled_or_has_ended_keeps_nothing_of_its_callback(
    run: Callable[..., Any],
) -> None:
    class Held:
        def end(self) -> None:
            """Do nothing."""

    async def work() -> list[bool]:
        cancelled, ended = Held(), Held()
        gone = [weakref.ref(cancelled), weakref.ref(ended)]
        timers = [call_later(3600, cancelled.end), call_later(0, ended.end)]
        timers[0].cancel()
        del cancelled, ended
        await asyncio.sleep(0.01)
        return [one() is None for one in gone]

    assert run(work()) == [True, True]


def test_what_is_over_does_not_pile_up_and_the_rest_ends_in_time() -> None:
    async def work() -> tuple[int, list[float]]:
        ended: list[float] = []
        for number in range(1000):
            call_later(100 + number * 7919 % 1000, lambda: ended.append(now()))
        most = 0
        for number in range(20_000):
            call_later(50 if number % 2 else 2000, list).cancel()
            if number % 1000 == 0:
                most = max(most, sum(isinstance(one, Timer) for one in gc.get_objects()))
        await asyncio.sleep(1200)
        return most, ended

    most, ended = timeless(work())
    assert 1000 <= most <= 2 * 1000 + LEAST + 1
    assert ended == list(range(100, 1100))
