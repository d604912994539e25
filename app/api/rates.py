"""Rate limit per caller: requests per second, and the same number as a burst."""

from collections.abc import Callable

from cachetools import LRUCache

from app.domain.errors import RateLimited
from app.domain.times import steady

BUCKET = 1.0  # second's requests
ROUNDING = 1e-9  # seconds by which sums of fractions may be off
CALLERS = 10_000  # whose last requests are remembered; the one that asked longest ago is forgotten first


class RateLimit:
    """A bucket for each caller that holds one second's requests, refilled evenly.

    Of a bucket only the moment is kept at which it will be full again (GCRA, ITU-T I.371, annex A).
    """

    def __init__(self, per_second: int, clock: Callable[[], float] = steady) -> None:
        self._per_second = per_second
        self._clock = clock
        self._full: LRUCache[str, float] = LRUCache(CALLERS)

    def admit(self, caller: str) -> None:
        """Count a request.

        Raises:
            RateLimited: it is one too many; it is not counted.
        """
        now = self._clock()
        full = max(self._full.get(caller, now), now) + 1 / self._per_second
        too_early = full - now - BUCKET
        if too_early > ROUNDING:
            raise RateLimited(
                f"more than {self._per_second} requests a second; retry later", retry_after=too_early
            )
        self._full[caller] = full
