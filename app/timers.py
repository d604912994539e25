"""Timers of which nearly none ends: they share one timer of the event loop.

Every request has time limits, and hardly any is reached. A timer of uvloop costs several times as much as an
entry in a heap, so the loop has only one: for the earliest entry.
"""

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from contextvars import Context
from functools import lru_cache
from itertools import count
from types import TracebackType
from typing import Any

RESOLUTION = time.get_clock_info("monotonic").resolution  # seconds: the same moment, as for asyncio
LEAST = 512  # entries, of which any number may be over


class Timer:
    """Does something at its end, unless it is cancelled before."""

    __slots__ = ("over", "when")

    over: bool  # it has ended, or was cancelled
    when: float  # the time of its end, on the loop's clock

    def cancel(self) -> None:
        """Do nothing at its end."""
        self.over = True

    def end(self) -> None:
        """Do what it was set for."""
        raise NotImplementedError


class Timers:
    """The timers of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()  # of two timers with the same end, the first one ends first
        self._most = LEAST
        self._shared: asyncio.Handle | None = None
        self._next = math.inf  # when the shared timer ends

    def start(self, timer: Timer, seconds: float) -> None:
        """Let a timer end after so many seconds; by then, the loop's clock has gone on for as long.

        Raises:
            ValueError: NaN, which is neither early nor late.
        """
        when = self._loop.time() + seconds
        if math.isnan(when):
            raise ValueError("a timer needs a number of seconds")
        timer.over, timer.when = False, when
        heapq.heappush(self._heap, (when, next(self._numbers), timer))
        if when < self._next:
            self._wait_until(when)
        if len(self._heap) > self._most:
            self._drop_what_is_over()

    def _wait_until(self, when: float) -> None:
        if self._shared is not None:
            self._shared.cancel()
        # In no context: otherwise it would keep that of the request during which it was set.
        if when > self._loop.time():
            self._shared = self._loop.call_at(when, self._end_due, context=Context())
        else:
            self._shared = self._loop.call_soon(self._end_due, context=Context())
        self._next = when

    def _end_due(self) -> None:
        self._next = math.inf
        now, begun = self._loop.time() + RESOLUTION, next(self._numbers)
        try:
            while self._heap:
                when, number, timer = self._heap[0]
                due = when <= now and number < begun  # what starts meanwhile waits for a turn
                if not (due or timer.over):
                    break
                heapq.heappop(self._heap)
                if not timer.over:
                    timer.over = True
                    timer.end()
        finally:
            if self._heap:
                self._wait_until(self._heap[0][0])

    def _drop_what_is_over(self) -> None:
        """Drop these entries, before they outnumber the others by far."""
        self._heap = [entry for entry in self._heap if not entry[2].over]
        heapq.heapify(self._heap)
        self._most = max(LEAST, 2 * len(self._heap))


_of = lru_cache(maxsize=4)(Timers)


class _Call(Timer):
    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call: Callable[[], Any] | None = call

    def cancel(self) -> None:
        self.over = True
        self._call = None  # and all that it holds: the entry stays for long

    def end(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


def call_later(seconds: float, call: Callable[[], Any]) -> Timer:
    """Call back after so many seconds, from the running event loop."""
    timer = _Call(call)
    _of(asyncio.get_running_loop()).start(timer, seconds)
    return timer


class within(Timer):  # noqa: N801  # used as `asyncio.timeout` is
    """A time limit of one block, in seconds or None.

    It is `asyncio.timeout`, but cannot be moved: if the block takes longer, its task is cancelled, and the
    block raises TimeoutError, unless something else cancels the task too.
    """

    __slots__ = ("_cancelling", "_exceeded", "_seconds", "_task")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._exceeded: bool | None = None  # None: its block has not begun

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None or self._exceeded is not None:
            raise RuntimeError("a time limit is for one block of a task")
        self._exceeded = False
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        if self._seconds is not None:
            _of(loop).start(self, self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over = True
        task = self._task
        del self._task  # an entry may outlast its block for long
        if self._exceeded and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """Cancel the task."""
        self._exceeded = True
        self._task.cancel()
