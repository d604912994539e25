"""The watcher's waits and limits that are not settings. Tests pass shorter ones."""

from dataclasses import dataclass
from random import SystemRandom

from app.domain.backoff import Backoff, Random


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds and numbers; the defaults are those of production."""

    random: Random = SystemRandom().random

    page: int = 500  # maximum number of teams in one page of a list
    page_bytes: int = 8 << 20  # target size of a page, by the size of the last
    watch_timeout: int = 290  # after this, the API server ends a watch
    watch_silence: float = 310.0  # after this, a watch counts as dead
    watch_healthy: float = 1.0  # a watch that ends sooner causes a backoff
    reconnect: Backoff = Backoff(0.5, 30.0)
    contact: float = 60.0  # without an open watch for so long, the watcher is not ready

    at_once: int = 16  # submissions
    post_timeout: float = 30.0
    drain: float = 5.0  # for submissions in progress at shutdown
    outage: Backoff = Backoff(0.5, 15.0)  # while the service is unavailable, for all teams together
    repeat: Backoff = Backoff(0.5, 30.0)  # between two submissions of one team, for any reason
    wiped: Backoff = Backoff(5.0, 3600.0)  # before the submission of a team whose record was wiped again
    conflict: Backoff = Backoff(0.5, 3600.0)  # after a 409
    failure: Backoff = Backoff(5.0, 3600.0)  # after any other refusal
    retry_after: tuple[float, float] = (0.2, 300.0)  # least and most of a Retry-After that is honoured

    # Both processes read the API server's clock from a header in whole seconds, so a claim that has expired
    # for the watcher may have a second left for the service.
    claim_margin: float = 1.0
    claim_jitter: float = 1.0  # so that several watchers do not submit at the same moment
