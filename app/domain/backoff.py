"""How long to wait before the next attempt: doubling waits with jitter.

Full jitter: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

LONGEST = 30.0  # seconds, after however many attempts
MOST_DOUBLINGS = 30

Random = Callable[[], float]
"""Returns numbers in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `initial` to at most `most` seconds."""

    initial: float
    most: float = LONGEST

    def longest(self, tries: int) -> float:
        """Return the longest wait after `tries` attempts, of at least one."""
        return min(self.most, self._doubled(tries - 1))

    def wait(self, step: int, random: Random) -> float:
        """Return the seconds of wait number `step`, counted from 0; `random` adds a quarter at most."""
        return min(self.most, self._doubled(step) * (1 + random() / 4))

    def _doubled(self, step: int) -> float:
        return self.initial * 2.0 ** min(step, MOST_DOUBLINGS)


def full_jitter(longest: float) -> float:
    """Return a random wait of at most `longest`, so that simultaneous failures do not retry together."""
    return random.uniform(0.0, longest)  # noqa: S311  # not used for a secret
