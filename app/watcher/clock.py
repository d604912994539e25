"""The API server's clock, as far as its answers tell it."""

import time
from collections.abc import Callable, Mapping

from app.times import parse_http_date, steady


class ServerClock:
    """Seconds since 1970 by the API server; at most a second and one answer's way behind, never ahead.

    Between answers it goes by a steady clock, so a local clock that is set does not matter. Until the first
    answer it is the local clock.
    """

    def __init__(self, ticks: Callable[[], float] = steady) -> None:
        self._ticks = ticks
        self._offset = time.time() - ticks()

    def now(self) -> float:
        """Return the time."""
        return self._ticks() + self._offset

    def learn(self, headers: Mapping[str, str]) -> None:
        """Set the clock by the `Date` header of an answer that has just arrived."""
        if date := parse_http_date(headers.get("Date", "")):
            self._offset = date.timestamp() - self._ticks()
