"""A deadline whose clock can be paused."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl


class Countdown:
    """Calls back after so many seconds, of which those that it is paused for do not count."""

    def __init__(self, seconds: float, over: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._over = over
        self._left: float | None = None  # seconds; None: nothing to count
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start again."""
        self.stop()
        self._left = self._seconds
        self.resume()

    def stop(self) -> None:
        """Count no more."""
        self.pause()
        self._left = None

    def pause(self) -> None:
        """Stop the clock, until `resume`."""
        if self._timer is not None and self._left is not None:
            self._left = max(0.0, self._timer.when() - self._loop.time())
            self._timer.cancel()
        self._timer = None

    def resume(self) -> None:
        """Let the clock go on, where it was started and is not over."""
        if self._left is not None and self._timer is None:
            self._timer = self._loop.call_later(self._left, self._end)

    def _end(self) -> None:
        self._timer = self._left = None
        self._over()


class TimedFlow(FlowControl):
    """uvicorn's flow control, with a countdown that goes on only while the caller is read from."""

    def __init__(self, transport: asyncio.Transport, reading: Countdown) -> None:
        super().__init__(transport)
        self._reading = reading

    def pause_reading(self) -> None:
        """Read no more for now; the caller cannot help that."""
        super().pause_reading()
        self._reading.pause()

    def resume_reading(self) -> None:
        """Read on."""
        super().resume_reading()
        self._reading.resume()
