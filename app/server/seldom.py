"""Rate-limited warnings for events that callers can cause at will, with a count."""

import structlog

from app.domain.times import steady

log = structlog.get_logger(__name__)

EVERY = 60.0  # seconds between two lines


class Seldom:
    """One kind of warning."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._times = 0
        self._next = 0.0

    def warn(self, **fields: object) -> None:
        """Count the event, and log it unless the last line is recent."""
        self._times += 1
        if steady() >= self._next:
            log.warning(self._event, times=self._times, **fields)
            self._times, self._next = 0, steady() + EVERY
