"""A deadline whose clock can be paused."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

from app.timers import Timer, call_later


class Countdown:
    """Calls back after so many seconds, not counting those in which it is paused."""

    def __init__(self, seconds: float, over: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._over = over
        self._left: float | None = None  # seconds; None: not started
        self._timer: Timer | None = None

    def start(self) -> None:
        """Start from the beginning."""
        self.stop()
        self._left = self._seconds
        self.resume()

    def stop(self) -> None:
        """Stop counting."""
        self.pause()
        self._left = None

    def pause(self) -> None:
        """Stop the clock, until `resume`."""
        if self._timer is not None and self._left is not None:
            self._left = max(0.0, self._timer.when - self._loop.time())
            self._timer.cancel()
        self._timer = None

    def resume(self) -> None:
        """Continue, if it was started and has not ended."""
        if self._left is not None and self._timer is None:
            self._timer = call_later(self._left, self._end)

    def _end(self) -> None:
        self._timer = self._left = None
        self._over()


class TimedFlow(FlowControl):
    """uvicorn's flow control, with a countdown that runs only while the server reads from the caller."""

    def __init__(self, transport: asyncio.Transport, reading: Countdown) -> None:
        super().__init__(transport)
        self._reading = reading

    def pause_reading(self) -> None:
        """Stop reading for now; the countdown pauses, because the caller is not the cause."""
        super().pause_reading()
        self._reading.pause()

    def resume_reading(self) -> None:
        """Continue reading."""
        super().resume_reading()
        self._reading.resume()
