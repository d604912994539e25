"""The API server's clock, estimated from its answers."""

import time
from collections.abc import Callable, Mapping

from app.domain.times import parse_http_date, steady

RESOLUTION = 1.0  # second: a `Date` header is truncated


class ServerClock:
    """Seconds since 1970 on the API server's clock, accurate to a second, and better with each answer.

    Between answers it follows a monotonic clock, so changes to the local clock have no effect. Before the
    first answer, it is the local clock.
    """

    def __init__(self, ticks: Callable[[], float] = steady) -> None:
        self._ticks = ticks
        self._offset = time.time() - ticks()
        self._learned = False

    def now(self) -> float:
        """Return the time."""
        return self._ticks() + self._offset

    def learn(self, headers: Mapping[str, str]) -> None:
        """Set the clock by the `Date` header of an answer that has just arrived."""
        if date := parse_http_date(headers.get("Date", "")):
            least = date.timestamp() - self._ticks()
            # Keep the earlier estimate if it is still possible, so that the clock does not jump.
            self._offset = min(max(self._offset, least), least + RESOLUTION) if self._learned else least
            self._learned = True
