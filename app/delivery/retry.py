"""Retries: exponential backoff with full jitter until a target's deadline."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from app.domain.backoff import Backoff, full_jitter
from app.domain.reasons import Reason
from app.domain.times import spoken, steady
from app.senders.envelopes import Verdict

EARLY = 0.002
"""Seconds by which a time limit may end early: uvloop looks at its clock once per turn, in milliseconds."""

Attempt = Callable[[float], Awaitable[Verdict]]
"""Makes one attempt, given the seconds it may take."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try; all in seconds."""

    attempts: int = 4  # 1 and 3 retries
    attempt_timeout: float = 10.0
    target_timeout: float = 60.0
    backoff_initial: float = 0.5  # at most 0.5 s, 1 s, 2 s
    place_timeout: float = 30.0  # not counted against the times above

    def backoff(self, tries: int) -> float:
        """Return the longest wait after `tries` attempts."""
        return Backoff(self.backoff_initial).longest(tries)


@dataclass(frozen=True, slots=True)
class Timing:
    """Clock, sleep and randomness, passed in so that tests control them.

    `sleep` returns False if it ended early because the process drains; the target is then released.
    """

    sleep: Callable[[float], Awaitable[bool]]
    clock: Callable[[], float] = steady
    jitter: Callable[[float], float] = full_jitter


class Tried(NamedTuple):
    """The result of all attempts: the `attempts` that used the network, and whether the result is final.

    `passing` is the temporary error that stood in the way. With one, the result is final only if nothing is
    postponed.
    """

    verdict: Verdict
    attempts: int
    settled: bool = True
    passing: Verdict | None = None


def _none() -> float:
    return 0.0


async def retrying(  # noqa: PLR0913  # what to try, by which rules, and until when
    attempt: Attempt,
    policy: RetryPolicy,
    timing: Timing,
    *,
    ends: float,
    failed: Callable[[Verdict], None],
    waited: Callable[[], float] = _none,
) -> Tried:
    """Attempt until the verdict is final, or attempts or time are used up.

    `failed` is called for each failed attempt. `ends` is the time on the timing's clock after which no
    attempt may run, even within the budget. The verdict is that of the last attempt that had its full time,
    so a timeout does not hide the real error. If the claim expires before a final verdict, or no place became
    free for an attempt, the target is left to the next holder.

    `waited` returns the seconds spent waiting for places; they do not count against the budget.
    """
    clock = timing.clock
    left_now = _time_left(clock, ends, policy.target_timeout, waited)
    verdict = Verdict(Reason.INTERRUPTED, "the claim expired before the first attempt", attempted=False)
    attempts = tries = 0
    while (left := left_now()) > 0:
        latest = await attempt(min(policy.attempt_timeout, left))
        attempts += latest.attempted
        tries += 1
        if not (latest.delivered or latest.queued):
            failed(latest)
        cut_short = left < policy.attempt_timeout and latest.reason is Reason.TIMEOUT
        verdict = verdict if cut_short and tries > 1 else latest
        if not verdict.retryable or verdict.queued:
            passing = verdict if verdict.queued and verdict.retry_after is not None else None
            return Tried(verdict, attempts, settled=not verdict.queued, passing=passing)
        if tries >= policy.attempts:
            break
        left = left_now()
        if verdict.retry_after is not None and verdict.retry_after >= left:
            passing = verdict._replace(reason=Reason.RATE_LIMITED)
            return Tried(_rate_limited(verdict, left), attempts, passing=passing)
        wait = timing.jitter(policy.backoff(tries)) if verdict.retry_after is None else verdict.retry_after
        if wait >= left:
            break
        if not await timing.sleep(wait):
            return Tried(verdict, attempts, settled=False)
    if clock() >= ends - EARLY:  # the claim ended, and with it perhaps the attempt
        return Tried(verdict, attempts, settled=False)
    if attempts > 1:
        verdict = verdict._replace(message=f"{verdict.message}, after {attempts} attempts")
    return Tried(verdict, attempts, passing=verdict if verdict.retryable else None)


def _time_left(
    clock: Callable[[], float], ends: float, budget: float, waited: Callable[[], float]
) -> Callable[[], float]:
    """Return how many seconds are left: until `ends` at most, and waiting for places uses no budget."""
    own = clock() + budget
    return lambda: min(ends, own + waited()) - clock()


def _rate_limited(verdict: Verdict, left: float) -> Verdict:
    wait = spoken(round(verdict.retry_after or 0))
    message = f"{verdict.message}; a retry is possible in {wait}, but only {max(left, 0):.0f} s are left"
    return verdict._replace(reason=Reason.RATE_LIMITED, message=message, retryable=False)
