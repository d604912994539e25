"""Retries: how often, how long, when not, and with which result. Clock and randomness are passed in."""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.retry import EARLY, RetryPolicy, Timing, Tried, retrying
from app.domain.backoff import LONGEST, full_jitter
from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.senders.envelopes import Verdict
from tests.examples import unhurried

FAR = 1e9
DELIVERED = Verdict(Reason.DELIVERED, "answered 200", 200)
AWAY = Verdict(Reason.HTTP_STATUS, "answered 503 Service Unavailable", 503, retryable=True)
NOT_FOUND = Verdict(Reason.HTTP_STATUS, "answered 404 Not Found", 404)
NO_SECRET = Verdict.of(TargetError(Reason.SECRET_UNAVAILABLE, "no Secret", retryable=True))
NO_ADDRESS = Verdict.of(
    TargetError(Reason.CONNECTION_FAILED, "no connection", retryable=True, attempted=True)
)
DENIED = Verdict.of(TargetError(Reason.EGRESS_DENIED, "denied"))


def busy(wait: float | None) -> Verdict:
    return Verdict(Reason.RATE_LIMITED, "answered 429", 429, retryable=True, retry_after=wait)


@dataclass
class World:
    """A receiver with prepared answers, and a clock that only attempts and sleeps move."""

    answers: list[Verdict]
    takes: float = 0.0  # seconds an attempt takes, unless its time limit is shorter
    early: float = 0.0  # seconds by which a time limit ends early
    drains_after: int = 1000  # number of sleeps before the drain
    jitter: Callable[[float], float] = lambda longest: longest
    start: float = 50.0
    begun: list[float] = field(default_factory=list)  # start of each attempt, in seconds since the first
    limits: list[float] = field(default_factory=list)  # the time limit of each attempt
    slept: list[float] = field(default_factory=list)
    failures: list[Verdict] = field(default_factory=list)  # as reported after each attempt

    def __post_init__(self) -> None:
        self.now = self.start

    async def attempt(self, seconds: float) -> Verdict:
        answer = self.answers[min(len(self.begun), len(self.answers) - 1)]
        self.begun.append(self.now - self.start)
        self.limits.append(seconds)
        self.now += min(self.takes, seconds - self.early)
        if self.takes > seconds:
            return Verdict(Reason.TIMEOUT, f"no answer within {seconds:.3g} s", retryable=True)
        return answer

    async def sleep(self, seconds: float) -> bool:
        self.slept.append(seconds)
        if len(self.slept) > self.drains_after:
            return False
        self.now += seconds
        return True

    async def run(self, *, ends: float = FAR, **policy: Any) -> Tried:
        pace = Timing(self.sleep, lambda: self.now, self.jitter)
        return await retrying(
            self.attempt, RetryPolicy(**policy), pace, ends=ends, failed=self.failures.append
        )

    @property
    def elapsed(self) -> float:
        return self.now - self.start


async def test_a_delivered_target_is_not_sent_again() -> None:
    world = World([DELIVERED])
    assert await world.run() == Tried(DELIVERED, 1)
    assert world.slept == []


async def test_four_attempts_wait_half_a_second_then_one_then_two() -> None:
    world = World([AWAY])
    tried = await world.run()
    assert world.slept == [0.5, 1.0, 2.0]
    assert world.begun == [0.0, 0.5, 1.5, 3.5]
    assert (tried.attempts, tried.settled) == (4, True)
    assert (tried.verdict.reason, tried.verdict.http_status) == (Reason.HTTP_STATUS, 503)
    assert tried.verdict.message == "answered 503 Service Unavailable, after 4 attempts"


async def test_a_later_success_counts_every_attempt() -> None:
    world = World([AWAY, NO_ADDRESS, DELIVERED])
    assert await world.run() == Tried(DELIVERED, 3)
    assert [failure.reason for failure in world.failures] == [AWAY.reason, NO_ADDRESS.reason]


@pytest.mark.parametrize("attempts", [1, 2, 7])
async def test_there_are_no_more_attempts_than_allowed(attempts: int) -> None:
    world = World([AWAY], jitter=lambda _: 0.0)
    assert (await world.run(attempts=attempts)).attempts == attempts
    assert len(world.begun) == attempts


async def test_a_single_attempt_is_not_counted_in_the_message() -> None:
    assert (await World([AWAY]).run(attempts=1)).verdict == AWAY


WAITS = [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, LONGEST), (10**6, LONGEST)]


@pytest.mark.parametrize(("tries", "longest"), WAITS)
def test_the_wait_doubles_up_to_a_limit(tries: int, longest: float) -> None:
    assert RetryPolicy().backoff(tries) == longest


def test_the_default_schedule_fits_its_budget() -> None:
    policy = RetryPolicy()
    waits = sum(policy.backoff(tries) for tries in range(1, policy.attempts))
    assert policy.attempts * policy.attempt_timeout + waits < policy.target_timeout


def test_jitter_is_between_zero_and_the_longest_wait_and_spread_out() -> None:
    random.seed(7)
    drawn = [full_jitter(8.0) for _ in range(2000)]
    assert all(0.0 <= wait <= 8.0 for wait in drawn)
    assert min(drawn) < 0.5
    assert max(drawn) > 7.5
    assert 3.5 < sum(drawn) / len(drawn) < 4.5


FINAL: list[tuple[Verdict, int]] = [
    (NOT_FOUND, 1),
    (Verdict(Reason.REDIRECTED, "answered 301", 301), 1),
    (DENIED, 0),
    (Verdict.of(TargetError(Reason.TLS_FAILED, "handshake", attempted=True)), 1),
    (Verdict.of(TargetError(Reason.SECRET_NOT_FOUND, "no Secret")), 0),
    (Verdict.of(TargetError(Reason.INVALID_TARGET, "url")), 0),
]


@pytest.mark.parametrize(("answer", "attempts"), FINAL)
async def test_a_permanent_result_ends_the_retries(answer: Verdict, attempts: int) -> None:
    world = World([answer])
    tried = await world.run()
    assert (tried.verdict.reason, tried.verdict.message) == (
        answer.reason,
        answer.message,
    )
    assert (tried.attempts, tried.settled, len(world.begun)) == (attempts, True, 1)


async def test_only_attempts_that_used_the_network_are_counted() -> None:
    world = World([NO_SECRET, NO_SECRET, AWAY, NO_ADDRESS])
    tried = await world.run()
    assert (tried.attempts, len(world.begun)) == (2, 4)
    assert tried.verdict.message == "no connection, after 2 attempts"


async def test_missing_secrets_are_retried_no_more_often_than_receivers() -> None:
    world = World([NO_SECRET])
    tried = await world.run()
    assert (tried.attempts, len(world.begun), tried.verdict.reason) == (0, 4, Reason.SECRET_UNAVAILABLE)


# ---------------------------------------------------------------------------------------------------------
# Retry-After


@pytest.mark.parametrize("wait", [0.0, 0.2, 7.0, 59.0])
async def test_a_retry_after_that_fits_is_honoured_exactly(wait: float) -> None:
    world = World([busy(wait), DELIVERED])
    assert await world.run() == Tried(DELIVERED, 2)
    assert world.slept == [wait]


@pytest.mark.parametrize("wait", [60.0, 61.0, 120.0, 86_400.0, 31_536_000.0])
async def test_a_retry_after_that_does_not_fit_fails_immediately_and_is_reported(wait: float) -> None:
    world = World([busy(wait)])
    tried = await world.run()
    assert world.slept == []
    assert (tried.verdict.reason, tried.verdict.http_status) == (Reason.RATE_LIMITED, 429)
    assert (tried.attempts, tried.settled, tried.verdict.retryable) == (1, True, False)
    assert tried.verdict.message.startswith("answered 429; a retry is possible in ")
    assert tried.verdict.message.endswith(", but only 60 s are left")


async def test_the_time_of_the_next_possible_retry_is_given_for_people() -> None:
    tried = await World([busy(120.0)]).run()
    assert "in 2 min, but" in tried.verdict.message


async def test_a_retry_after_is_compared_with_the_remaining_time() -> None:
    world = World([busy(25.0)], takes=1.0)
    tried = await world.run()
    assert world.slept == [25.0, 25.0]
    assert tried.verdict.message.endswith("but only 7 s are left")
    assert tried.verdict.reason is Reason.RATE_LIMITED


async def test_a_503_with_retry_after_counts_as_a_rate_limit_too() -> None:
    away = Verdict(Reason.HTTP_STATUS, "answered 503", 503, retryable=True, retry_after=600.0)
    assert (await World([away]).run()).verdict.reason is Reason.RATE_LIMITED


async def test_after_the_last_attempt_retry_after_is_ignored() -> None:
    world = World([busy(1.0)])
    tried = await world.run(attempts=2)
    assert world.slept == [1.0]
    assert tried.verdict.message == "answered 429, after 2 attempts"


# ---------------------------------------------------------------------------------------------------------
# Bounds


async def test_no_attempt_gets_more_than_the_remaining_time() -> None:
    world = World([AWAY], takes=FAR, jitter=lambda _: 1.0)
    tried = await world.run(attempts=100, attempt_timeout=10.0, target_timeout=35.0)
    assert world.limits == [10.0, 10.0, 10.0, 2.0]
    assert world.elapsed == 35.0
    assert tried.verdict.reason is Reason.TIMEOUT


async def test_the_last_real_verdict_is_returned_when_time_runs_out() -> None:
    world = World([AWAY], takes=4.0)
    tried = await world.run(attempts=100, target_timeout=9.0)
    assert world.begun == [0.0, 4.5]
    assert tried.verdict.message == "answered 503 Service Unavailable, after 2 attempts"
    assert tried.verdict.http_status == 503


_policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 20),
    attempt_timeout=st.floats(0.01, 30),
    target_timeout=st.floats(0.01, 120),
    backoff_initial=st.floats(0.01, 60),
)
_worlds = st.builds(
    World,
    answers=st.lists(st.builds(busy, st.none() | st.floats(0, 100)), min_size=1, max_size=5),
    takes=st.floats(0, 60),
    jitter=st.floats(0, 1).map(lambda chance: lambda longest: longest * chance),
)


@unhurried
@given(world=_worlds, policy=_policies, left=st.floats(-5, 200))
async def test_the_budget_and_the_claim_are_never_exceeded(
    world: World, policy: RetryPolicy, left: float
) -> None:
    tried = await world.run(ends=world.start + left, **asdict(policy))
    end = min(policy.target_timeout, max(left, 0.0))
    assert world.elapsed <= end + 1e-6
    assert len(world.begun) <= policy.attempts
    assert tried.attempts == len(world.begun)
    assert tried.settled or world.elapsed >= max(left, 0.0) - EARLY - 1e-6, "only if the claim has expired"
    for begun, limit in zip(world.begun, world.limits, strict=True):
        assert limit <= policy.attempt_timeout
        assert begun + limit <= end + 1e-6


async def test_no_attempt_starts_after_the_claim_has_expired() -> None:
    world = World([DELIVERED])
    tried = await world.run(ends=world.start)
    assert world.begun == []
    assert (tried.verdict.reason, tried.attempts, tried.settled) == (Reason.INTERRUPTED, 0, False)
    assert tried.verdict.message == "the claim expired before the first attempt"


async def test_an_attempt_that_its_claim_cuts_off_a_moment_early_is_left_to_the_next_holder() -> None:
    world = World([AWAY], takes=FAR, early=0.001)
    tried = await world.run(ends=world.start + 5.0)
    assert (world.limits, tried.settled) == ([5.0], False)


async def test_a_process_suspended_past_its_claim_sends_nothing_more() -> None:
    world = World([AWAY])

    def oversleep(longest: float) -> float:
        world.now += 3600.0
        return longest

    world.jitter = oversleep
    tried = await world.run(ends=world.start + 30.0)
    assert world.begun == [0.0]
    assert tried.verdict.message == "answered 503 Service Unavailable"


async def test_an_interrupted_last_attempt_does_not_hide_the_earlier_error() -> None:
    world = World([AWAY, Verdict(Reason.TIMEOUT, "no answer within 4 s", retryable=True)])
    tried = await world.run(ends=world.start + 5.0, attempts=2)
    assert tried.attempts == 2
    assert tried.verdict.message == "answered 503 Service Unavailable, after 2 attempts"


async def test_the_claim_s_end_applies_even_with_a_larger_budget() -> None:
    world = World([AWAY], takes=FAR)
    await world.run(ends=world.start + 12.0)
    assert world.limits == [10.0, 1.5]


# ---------------------------------------------------------------------------------------------------------
# Draining


async def test_a_drain_during_a_wait_releases_the_target() -> None:
    world = World([AWAY], drains_after=1)
    tried = await world.run()
    assert tried == Tried(AWAY, 2, settled=False)
    assert world.begun == [0.0, 0.5]


async def test_a_drain_does_not_change_a_settled_target() -> None:
    world = World([DELIVERED], drains_after=0)
    assert await world.run() == Tried(DELIVERED, 1)


async def test_an_unknown_exception_is_not_a_verdict() -> None:
    async def crash(_: float) -> Verdict:
        raise ZeroDivisionError

    world = World([DELIVERED])
    pace = Timing(world.sleep, lambda: world.now)
    with pytest.raises(ZeroDivisionError):
        await retrying(crash, RetryPolicy(), pace, ends=FAR, failed=world.failures.append)
