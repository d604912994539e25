"""The deliveries in progress in this process, and its shutdown: drained, or abandoned."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from app.delivery.recorder import Recorder
from app.domain.errors import RETRY_SOON, Draining

Result = TypeVar("Result")


class UnderWay:
    """The tasks of events, and the recorders of those that are sending."""

    def __init__(self) -> None:
        self.draining = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._recorders: set[Recorder] = set()

    def admit(self) -> None:
        """Admit another event.

        Raises:
            Draining: the service is shutting down.
        """
        if self.draining:
            raise Draining("this replica is shutting down; retry", retry_after=RETRY_SOON)

    def start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Start work in a task of its own, so that a caller who disconnects does not stop it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextmanager
    def recording(self, recorder: Recorder) -> Iterator[None]:
        """Let a drain reach this recorder while the block runs."""
        self._recorders.add(recorder)
        if self.draining:
            recorder.stopped.set()
        try:
            yield
        finally:
            self._recorders.discard(recorder)

    async def drain(self) -> None:
        """Refuse new events; return when those in progress are settled or released, and recorded."""
        self.draining = True
        for recorder in self._recorders:
            recorder.stopped.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def abandon(self) -> None:
        """Drop what did not finish in time; another process takes it over when its claim expires."""
        for recorder in self._recorders:
            recorder.abandon()
        for task in self._tasks:
            task.cancel()
