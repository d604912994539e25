"""The deliveries in progress in this process, and its shutdown: drained, or abandoned."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from app.delivery.recorder import Recorder
from app.domain.errors import RETRY_SOON, Draining

Result = TypeVar("Result")


class UnderWay:
    """The tasks of events, and the recorders of those that are being sent."""

    def __init__(self) -> None:
        self.draining = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._recorders: set[Recorder] = set()

    def admit(self) -> None:
        """Let another event in.

        Raises:
            Draining: no more are taken.
        """
        if self.draining:
            raise Draining("this replica is shutting down; retry", retry_after=RETRY_SOON)

    def start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Start a task of its own, so that a caller who goes away does not stop it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextmanager
    def recording(self, recorder: Recorder) -> Iterator[None]:
        """Tell the recorder of a drain, for as long as the block runs."""
        self._recorders.add(recorder)
        if self.draining:
            recorder.stopped.set()
        try:
            yield
        finally:
            self._recorders.discard(recorder)

    async def drain(self) -> None:
        """Take no more events; return when those in flight are settled or handed back, and recorded."""
        self.draining = True
        for recorder in self._recorders:
            recorder.stopped.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def abandon(self) -> None:
        """Let go of what a drain could not finish; it is taken over when its claim ends."""
        for recorder in self._recorders:
            recorder.abandon()
        for task in self._tasks:
            task.cancel()
