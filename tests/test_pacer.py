"""The pacer: which target waits for which, what it learns about a receiver, and what stays separate."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from app.delivery.pacer import FASTER, HOLD, PATIENCE, REMEMBERED, Pacer
from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.egress.guard import Guard
from app.senders.envelopes import Verdict, Way, way_to

DELIVERED = Verdict(Reason.DELIVERED, "answered 200", 200)
AWAY = Verdict(Reason.HTTP_STATUS, "answered 503 Service Unavailable", 503, retryable=True)
POISON = Verdict(Reason.HTTP_STATUS, "answered 500 Internal Server Error", 500, retryable=True)
UNREACHED = TargetError(
    Reason.CONNECTION_FAILED, "no connection", retryable=True, attempted=True, unreached=True
)
BROKEN = TargetError(Reason.CONNECTION_FAILED, "closed without an answer", retryable=True, attempted=True)
GUARD = Guard((), deny=(), http=True)
URL = "https://hooks.slack.com/services/T/B/x"


def busy(seconds: float | None) -> Verdict:
    return Verdict(Reason.RATE_LIMITED, "answered 429", 429, retryable=True, retry_after=seconds)


def way(url: str = URL) -> Way:
    return way_to(GUARD.check(url))


@dataclass
class World:
    """A clock that only waiting moves, and the times of all sends."""

    now: float = 1000.0
    sent: list[tuple[float, str]] = field(default_factory=list)
    draining: bool = False
    _sleepers: list[tuple[float, int, asyncio.Future[bool]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pacer = Pacer(1.0, clock=lambda: self.now)

    async def rest(self, seconds: float) -> bool:
        if self.draining:
            return False
        woken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, len(self.sent), woken))
        return await woken

    async def send(
        self,
        who: str,
        answer: Verdict | TargetError = DELIVERED,
        url: str = URL,
        *,
        kind: str = "slack",
        within: float = PATIENCE,
        owner: str = "research",
    ) -> Verdict:
        async def attempt() -> Verdict:
            self.sent.append((self.now, who))
            if isinstance(answer, TargetError):
                raise answer
            return answer

        try:
            return await self.pacer.paced(
                kind, way(url), attempt, owner=owner, who=who, within=within, rest=self.rest
            )
        except TargetError as error:
            return Verdict(error.reason, error.message, retryable=error.retryable)

    async def all(self, *sends: Awaitable[Verdict]) -> list[Verdict]:
        """Run these concurrently; when all wait, the clock moves on."""
        together = asyncio.gather(*sends)
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            if together.done():
                return await together
            self._sleepers.sort(key=lambda one: one[:2])
            moment, _, woken = self._sleepers.pop(0)
            self.now = max(self.now, moment)
            woken.set_result(True)


async def test_a_slack_webhook_gets_one_message_per_second_and_others_return_at_their_turn() -> None:
    world = World()
    verdicts = await world.all(*(world.send(f"team-{number}") for number in range(300)))
    times = [at - 1000.0 for at, _ in world.sent]
    assert times == [float(number) for number in range(int(PATIENCE) + 1)]
    later = verdicts[len(times) :]
    assert [one.retry_after for one in later] == [float(second) for second in range(len(times), 300)]
    assert all(one.queued and not one.attempted and one.retryable for one in later)
    assert later[-1].message.endswith("its turn comes in 4 min 59 s, and no attempt was made")

    for number, one in enumerate(later, len(times)):  # each at its time
        world.now = 1000.0 + (one.retry_after or 0)
        assert await world.send(f"team-{number}") == DELIVERED
    assert [at - 1000.0 for at, _ in world.sent] == [float(second) for second in range(300)]


async def test_other_receivers_do_not_wait() -> None:
    world = World()
    others = [f"https://hooks.slack.com/services/T/B/{number}" for number in range(5)]
    slack = [world.send(f"slow-{number}") for number in range(9)]
    await world.all(
        *slack,
        *(world.send(url, url=url) for url in others),
        *(
            world.send(f"hook-{number}", url="https://hooks.example.com/a", kind="webhook")
            for number in range(50)
        ),
    )
    assert {who for at, who in world.sent if at == 1000.0} >= {
        *others,
        *(f"hook-{number}" for number in range(50)),
    }


async def test_retry_after_applies_to_all_targets_at_that_url_path_and_to_no_other() -> None:
    world = World()
    url = "https://hooks.example.com/a?team="
    assert await world.send("first", busy(3600.0), url + "1", kind="webhook") == busy(3600.0)
    second = await world.send("second", url=url + "2", kind="webhook")
    assert (second.reason, second.retry_after, second.attempted) == (Reason.RATE_LIMITED, 3600.0, False)
    assert await world.send("third", url="https://hooks.example.com/b", kind="webhook") == DELIVERED
    world.now += 3599.0
    assert (await world.send("second", url=url + "2", kind="webhook", within=0.5)).queued
    world.now += 1.0
    assert await world.send("second", url=url + "2", kind="webhook") == DELIVERED
    assert [who for _, who in world.sent] == ["first", "third", "second"]


async def test_a_retry_after_of_a_year_is_limited_to_the_longest_wait() -> None:
    world = World()
    url = "https://hooks.example.com/a"
    year = 365 * 86_400.0
    assert await world.send("first", busy(year), url, kind="webhook") == busy(year)
    assert (await world.send("second", url=url, kind="webhook")).retry_after == REMEMBERED
    world.now += REMEMBERED
    assert await world.send("second", url=url, kind="webhook") == DELIVERED


async def test_targets_that_wait_during_a_refusal_continue_to_wait() -> None:
    world = World()
    await world.all(world.send("a"), world.send("b", busy(2.0)), world.send("c"))
    assert [at - 1000.0 for at, _ in world.sent] == [0.0, 1.0, 3.0]


async def test_a_429_without_retry_after_slows_the_pace_down_which_then_recovers() -> None:
    world = World()
    url = "https://hooks.example.com/a"
    for answer in [*[busy(None)] * 3, *[DELIVERED] * 12]:
        await world.all(world.send("a", answer, url, kind="webhook"))
    gaps = [later - earlier for (earlier, _), (later, _) in zip(world.sent, world.sent[1:], strict=False)]
    assert gaps[:3] == [1.0, 2.0, 4.0]
    rates = [1 / gap for gap in gaps[3:] if gap]
    assert rates == pytest.approx([0.25 + FASTER * number for number in range(len(rates))])
    assert rates[-1] == pytest.approx(1.0, abs=FASTER)
    assert gaps[-1] == 0.0, "a pace above one per second is no longer limited"


@pytest.mark.parametrize(("replicas", "most"), [(2, 15), (4, 30)])
async def test_independent_replicas_find_the_pace_of_a_receiver(replicas: int, most: int) -> None:
    """Each has its own pacer; the receiver accepts one per second, and one that comes early."""
    world, number, free, came = World(), 100, 0.0, Counter[bool]()
    pacers = [Pacer(1.1, clock=lambda: world.now) for _ in range(replicas)]

    async def take() -> Verdict:
        nonlocal free
        await world.rest(0.25)  # the receiver's response time
        taken = world.now >= free - 1.0
        came[taken] += 1
        free = max(world.now, free) + taken
        return DELIVERED if taken else busy(1.0)

    async def one(pacer: Pacer, who: str) -> Verdict:
        verdict = busy(0.0)
        while not verdict.delivered:
            await world.rest(verdict.retry_after or 0.0)
            verdict = await pacer.paced(
                "slack", way(), take, owner="research", who=who, within=PATIENCE, rest=world.rest
            )
        return verdict

    await world.all(*(one(pacers[team % replicas], f"team-{team}") for team in range(number)))
    assert came[True] == number
    assert came[False] <= most
    assert world.now - 1000.0 < 1.5 * number


@pytest.mark.parametrize("path", ["same", "other"])
async def test_one_target_probes_an_unreachable_receiver_for_all(path: str) -> None:
    world = World()
    urls = [f"https://down.example.com/{path if path == 'same' else number}" for number in range(200)]
    await world.send("first", UNREACHED, urls[0], kind="webhook")
    for number, url in enumerate(urls):
        verdict = await world.send(f"team-{number}", UNREACHED, url, kind="webhook")
        assert (verdict.reason, verdict.retryable) == (Reason.CONNECTION_FAILED, True)
    assert [who for _, who in world.sent] == ["first"], "the others get its result"
    await world.send("first", UNREACHED, urls[0], kind="webhook")
    assert len(world.sent) == 2, "it continues its own attempts"
    world.now += HOLD
    await world.all(
        *(world.send(f"team-{number}", UNREACHED, url, kind="webhook") for number, url in enumerate(urls))
    )
    assert len(world.sent) == 3, "then another target probes"
    world.now += HOLD + 3600.0
    assert await world.send("team-7", url=urls[7], kind="webhook") == DELIVERED
    assert await world.send("team-8", url=urls[8], kind="webhook") == DELIVERED, (
        "the receiver is back, for all targets"
    )


@pytest.mark.parametrize("answer", [AWAY, BROKEN, Verdict(Reason.TIMEOUT, "no answer", retryable=True)])
async def test_failures_of_two_teams_in_a_row_count_as_the_receiver_s_state(
    answer: Verdict | TargetError,
) -> None:
    world = World()
    url = "https://hooks.example.com/a"
    for who in ("a", "a", "a", "b"):
        await world.send(who, answer, url, kind="webhook")
    assert not (await world.send("c", url=url, kind="webhook")).delivered
    assert await world.send("c", url="https://hooks.example.com/b", kind="webhook") == DELIVERED
    assert [who for _, who in world.sent] == ["a", "a", "a", "b", "c"]


async def test_a_message_that_a_receiver_rejects_delays_no_other() -> None:
    world = World()
    url = "https://hooks.example.com/a"
    for _ in range(5):
        await world.send("bad", AWAY, url, kind="webhook")
        assert await world.send("good", url=url, kind="webhook") == DELIVERED
    for who in ("bad", "worse", "bad", "worse"):
        await world.send(who, POISON, url, kind="webhook")
    assert await world.send("good", url=url, kind="webhook") == DELIVERED


async def test_a_drain_ends_all_waits() -> None:
    world = World()
    await world.send("a")
    world.draining = True
    verdict = await world.send("b")
    assert (verdict.queued, verdict.retry_after, len(world.sent)) == (True, None, 1)


async def test_if_the_probing_target_dies_the_next_one_probes() -> None:
    world = World()
    url = "https://down.example.com/a"
    await world.send("first", UNREACHED, url, kind="webhook")
    world.now += HOLD

    async def cancelled() -> Verdict:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await world.pacer.paced(
            "webhook", way(url), cancelled, owner="research", who="second", within=1.0, rest=world.rest
        )
    assert await world.send("third", url=url, kind="webhook") == DELIVERED


async def test_the_memory_of_receivers_is_limited_in_time_and_number() -> None:
    world = World()
    for number in range(100):
        await world.send("a", url=f"{URL}{number}")
    world.now += 10.0
    for _ in range(100):
        await world.send("a", url="https://hooks.example.com/a", kind="webhook")
    assert len(world.pacer) <= 4
    await world.send("a", UNREACHED, "https://down.example.com/a", kind="webhook")
    world.now += REMEMBERED
    for _ in range(10):
        await world.send("a", url="https://hooks.example.com/a", kind="webhook")
    assert len(world.pacer) <= 4
    assert "services" not in repr(vars(world.pacer)), "a Slack URL is stored only as a hash"


async def test_the_limit_holds_while_receivers_are_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.delivery.pacer.LANES", 50)
    world = World()
    for number in range(300):
        await world.send("a", UNREACHED, f"https://down-{number}.example.com/a", kind="webhook")
    assert len(world.pacer) <= 50 + 2


@pytest.mark.parametrize(
    "answer",
    [AWAY, BROKEN, UNREACHED, busy(86_400.0), Verdict(Reason.TIMEOUT, "no answer", retryable=True)],
)
async def test_failures_of_one_namespace_delay_no_other(answer: Verdict | TargetError) -> None:
    world = World()
    url = "https://hooks.example.com/a?team="
    for number in range(200):
        await world.send(f"bad-{number}", answer, f"{url}{number}", kind="webhook", owner="hostile")
    for number in range(40):
        good = f"good-{number}"
        assert await world.send(good, url=f"{url}{good}", kind="webhook", owner="good") == DELIVERED
    assert {at for at, who in world.sent if who.startswith("good")} == {1000.0}


async def test_a_slack_webhook_s_pace_is_shared_and_no_namespace_books_it_ahead() -> None:
    world = World()
    many = [world.send(f"bad-{number}", owner="hostile") for number in range(300)]
    few = [world.send(f"good-{number}", owner="good") for number in range(2)]
    await world.all(*many, *few)
    times = [at for at, _ in world.sent]
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))
    assert sum(who.startswith("good") for _, who in world.sent) == 2, "within some seconds"
