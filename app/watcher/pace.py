"""The watcher's waits and limits that are not settings. Tests pass shorter ones."""

from dataclasses import dataclass
from random import SystemRandom

from app.domain.backoff import Backoff, Random


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds and numbers; the defaults are what runs in production."""

    random: Random = SystemRandom().random

    page: int = 500  # teams in one answer to a list, at most
    page_bytes: int = 8 << 20  # that one answer is made to come to, by the size of the last
    watch_timeout: int = 290  # after which the API server is asked to end a watch
    watch_silence: float = 310.0  # after which a watch counts as dead
    watch_healthy: float = 1.0  # a watch that ends sooner is backed off
    reconnect: Backoff = Backoff(0.5, 30.0)
    contact: float = 60.0  # without an open watch for so long, the watcher is not ready

    at_once: int = 16  # posts
    post_timeout: float = 30.0
    drain: float = 5.0  # that posts under way are given at the end
    outage: Backoff = Backoff(0.5, 15.0)  # while the service is away, for all teams together
    repeat: Backoff = Backoff(0.5, 30.0)  # between two posts of one team, whatever asks for the second
    wiped: Backoff = Backoff(5.0, 3600.0)  # before submitting a team whose record was wiped again
    conflict: Backoff = Backoff(0.5, 3600.0)  # after a 409
    failure: Backoff = Backoff(5.0, 3600.0)  # after any other refusal
    retry_after: tuple[float, float] = (0.2, 300.0)  # least and most of a Retry-After that is kept to

    # Both the watcher and the service read the API server's clock from a header that shows whole seconds,
    # so a claim that has ended for the one may have a second left for the other.
    claim_margin: float = 1.0
    claim_jitter: float = 1.0  # so that several watchers do not all come at the same moment
