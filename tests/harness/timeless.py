"""An event loop whose time passes only while nothing can run, so waits are exact and take no time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Passing(selectors.DefaultSelector):
    """Waits for no file; time passes instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time until the next timer pass.

        Raises:
            RuntimeError: there is no timer, so nothing would ever happen.
        """
        if timeout is None:
            raise RuntimeError("everything waits, and no timer is set")
        self.now += max(0.0, timeout)
        return super().select(0)


class Timeless(asyncio.SelectorEventLoop):
    """A loop with such a time; it begins at 0."""

    def __init__(self) -> None:
        self._passing = _Passing()
        super().__init__(self._passing)

    def time(self) -> float:
        """Return the seconds that have passed."""
        return self._passing.now


def timeless(work: Coroutine[Any, Any, Result]) -> Result:
    """Run something on a loop of its own, whose time takes no time."""
    with asyncio.Runner(loop_factory=Timeless) as runner:
        return runner.run(work)
