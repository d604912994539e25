"""Rate limit per caller: requests per second, and the same number as a burst."""

from collections.abc import Callable

from cachetools import LRUCache

from app.domain.errors import RateLimited
from app.domain.times import steady

BUCKET = 1.0  # seconds of requests
ROUNDING = 1e-9  # seconds of rounding error in sums of fractions
CALLERS = 10_000  # callers that are remembered; the least recent is forgotten first


class RateLimit:
    """A token bucket per caller that holds one second's requests and refills evenly.

    It stores only the time at which a bucket will be full again (GCRA, ITU-T I.371, annex A).
    """

    def __init__(self, per_second: int, clock: Callable[[], float] = steady) -> None:
        self._per_second = per_second
        self._clock = clock
        self._full: LRUCache[str, float] = LRUCache(CALLERS)

    def admit(self, caller: str) -> None:
        """Count a request.

        Raises:
            RateLimited: it exceeds the limit; it is not counted.
        """
        now = self._clock()
        full = max(self._full.get(caller, now), now) + 1 / self._per_second
        too_early = full - now - BUCKET
        if too_early > ROUNDING:
            raise RateLimited(
                f"more than {self._per_second} requests per second; retry later", retry_after=too_early
            )
        self._full[caller] = full
