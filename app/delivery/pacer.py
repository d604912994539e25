"""Limits how fast this process sends to each receiver, in lanes; waiting in a lane is not an attempt.

A lane spreads bursts, and waits as long as its receiver requests. If the receiver is down, the lane lets one
target probe whether it is back, and the others get the probe's verdict. Lanes are independent. A receiver is
a URL without its query, stored as a hash. A second lane covers its host and port, and learns only one thing:
that no connection is possible, which holds for everything there. What one path answers, or what one team's
message causes it to answer, delays nobody else.

Each namespace has lanes of its own, so it never waits because of what another namespace met or caused: a
tenant who makes a receiver hang or answer "too many requests" harms only itself. Namespaces share only the
rate limit that Slack sets per URL. It is kept from one message to the next, and nobody can book turns ahead
in it.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field

from app.delivery.places import Sleep
from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.times import spoken, steady
from app.senders.envelopes import Verdict, Way

Send = Callable[[], Awaitable[Verdict]]
"""Makes one attempt; raises `TargetError` if there was no answer to judge."""

LANES = 20_000  # lanes that are remembered at once, half a kilobyte each
PATIENCE = 5.0  # seconds to wait here for a turn; a target with a longer wait is postponed
REMEMBERED = 4500.0  # seconds to remember a receiver: longer than the longest wait
SUSPECTED = 30.0  # seconds to remember one target's failure
HOLD = 3.0  # seconds after a failed probe in which only the same target may probe again
LEARNED = 1.0  # second between two messages, to a receiver that answers "too many requests"
FASTER = 0.1  # more messages per second for each message that the receiver then accepts
MOST_LEARNED = 60.0
DOWN = frozenset({408, 502, 503, 504})  # statuses that say that a receiver is down, whatever the message


@dataclass(eq=False, slots=True)
class Lane:
    """What is known of one receiver."""

    own: float  # seconds between two messages that it accepts at any time
    booked: bool = True  # whether turns are booked ahead
    gap: float = field(init=False)  # seconds between two messages, as learned from its answers
    free_at: float = 0.0  # when the next message may start
    last: float = -MOST_LEARNED  # when the last message started; with a fixed rate, when it ended
    takes: float = 0.0  # seconds that the last message took
    closed_until: float = 0.0  # as the receiver requested
    booked_until: float = 0.0  # the end of the turns booked by postponed targets
    failed: Hashable = None  # the target whose attempt was the last to get no connection, until one succeeds
    down: Verdict | None = None  # the verdict of that attempt
    finding_out: Hashable = None
    until: float = 0.0  # how long only that target may probe
    known_until: float = 0.0  # how long the receiver is remembered as down
    inside: int = 0
    sending: int = 0

    def __post_init__(self) -> None:
        self.gap = self.own

    def at_rest(self, now: float) -> bool:
        """Whether the lane holds nothing worth remembering."""
        ends = (self.free_at, self.closed_until, self.booked_until, self.known_until, self.last + self.gap)
        return not self.inside and max(ends) <= now

    @property
    def step(self) -> float:
        """Seconds from one message to the next if many wait."""
        return self.gap + self.takes

    def ready_at(self, now: float) -> float:
        """Return when it accepts the next message, as far as is known; with a fixed rate, one at a time."""
        busy = now + self.gap / 4 if self.own and self.sending else 0.0
        return max(self.closed_until, self.last + self.gap, busy)

    def shut_to(self, who: Hashable, now: float) -> Verdict | None:
        """Return the verdict of others if one of them is probing the receiver."""
        return self.down if self.finding_out not in {None, who} and now < self.until else None


class Pacer:
    """The lanes of one process; times are seconds on its monotonic clock."""

    def __init__(self, slack_interval: float, clock: Callable[[], float] = steady) -> None:
        self._slack_interval = slack_interval
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lanes: dict[Hashable, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    async def paced(  # noqa: PLR0913  # who sends what where, and for how long it may wait
        self, kind: str, way: Way, send: Send, *, owner: str, who: Hashable, within: float, rest: Sleep
    ) -> Verdict:
        """Make the attempt when its turn comes; after more than `within` seconds, return its time instead.

        `owner` is the namespace whose lanes apply. `who` identifies the target by a short key, because the
        lane keeps it while its receiver is down.

        Raises:
            TargetError: the attempt raised it.
        """
        lanes = self._lanes_of(kind, way, owner)
        for lane in lanes:
            lane.inside += 1
        try:
            not_now = await self._turn(lanes, who, within, rest)
            return not_now or await self._sent(lanes, who, send)
        finally:
            for lane in lanes:
                lane.inside -= 1
            self._forget()

    async def _turn(
        self, lanes: tuple[Lane, ...], who: Hashable, within: float, rest: Sleep
    ) -> Verdict | None:
        """Wait for a turn; return why there is none, or None."""
        now = self._clock()
        latest = ends = now + within
        if met := _shut(lanes, who, now):
            return met
        ready = max(now, *(max(lane.free_at, lane.ready_at(now)) for lane in lanes))
        for lane in lanes:
            if lane.booked and lane.gap and ready <= ends:
                lane.free_at = ready + lane.step
        while ready > now:
            if ready > latest:
                return _later(lanes, ready, now)
            if not await rest(ready - now):
                return Verdict(
                    Reason.INTERRUPTED,
                    "the service was waiting for its turn",
                    retryable=True,
                    attempted=False,
                    queued=True,
                )
            latest = ends + within  # a target that has a turn is not turned away for a short wait
            now = self._clock()
            if met := _shut(lanes, who, now):
                return met
            ready = max(lane.ready_at(now) for lane in lanes)
        for lane in lanes:
            lane.last = now
            lane.sending += 1
            if lane.down:
                lane.finding_out, lane.until = who, now + MOST_LEARNED
        return None

    async def _sent(self, lanes: tuple[Lane, ...], who: Hashable, send: Send) -> Verdict:
        host, urls = lanes[0], lanes[1:2]
        asked = False
        try:
            verdict = await send()
            asked = verdict.attempted
            if asked and verdict.reason is not Reason.TIMEOUT:
                _note_up(host)
            for lane in urls if asked else ():
                self._learn(lane, who, verdict)
        except TargetError as error:
            asked = error.retryable and (error.attempted or error.unreached)
            met = Verdict(error.reason, error.message, retryable=True, attempted=False)
            for lane in ([host] if error.unreached else urls) if asked else ():
                self._note_down(lane, who, met, alone=error.unreached)
            raise
        finally:
            for lane in lanes:
                lane.sending -= 1
                if lane.own:
                    lane.takes = self._clock() - lane.last
                    lane.last = self._clock()
                if not asked and lane.finding_out == who:
                    lane.until = 0.0
        return verdict

    def _learn(self, lane: Lane, who: Hashable, verdict: Verdict) -> None:
        """Learn from an answer how the receiver is."""
        now = self._clock()
        if verdict.retryable and (verdict.reason is Reason.RATE_LIMITED or verdict.retry_after is not None):
            lane.gap = min(max(LEARNED, lane.own, 2 * lane.gap), MOST_LEARNED)
            asked = verdict.retry_after if verdict.retry_after is not None else lane.gap
            asked = min(asked, REMEMBERED)  # the target itself obeys the whole wait, which is on record
            lane.closed_until = max(lane.closed_until, now + asked)
            lane.free_at = max(lane.free_at, lane.closed_until)
            lane.until = min(lane.until, now)
        elif verdict.reason is Reason.TIMEOUT or (verdict.retryable and verdict.http_status in DOWN):
            self._note_down(lane, who, verdict, alone=False)
        else:
            _note_up(lane)
            if verdict.delivered:
                faster = 1 / (1 / lane.gap + FASTER) if lane.gap > LEARNED else 0.0
                lane.gap = max(lane.own, faster)

    def _note_down(self, lane: Lane, who: Hashable, met: Verdict, *, alone: bool) -> None:
        """Remember an attempt that got no connection; `alone`: one target's failure proves it for all."""
        if lane.down is None and not alone and lane.failed in {None, who}:
            lane.failed, lane.known_until = who, self._clock() + SUSPECTED
            return
        lane.known_until = self._clock() + REMEMBERED
        said = f"{met.message}, found by another target's attempt"
        lane.down = Verdict(met.reason, said, met.http_status, retryable=True, attempted=False)
        if lane.finding_out in {None, who} or lane.until <= self._clock():
            lane.finding_out, lane.until = who, self._clock() + HOLD

    def _lanes_of(self, kind: str, way: Way, owner: str) -> tuple[Lane, ...]:
        """Return the lanes of an attempt: its host's, its URL's, and the one shared by all namespaces."""
        host = self._lane((owner, way.to), Lane(0.0))
        if way.url is None:
            return (host,)
        digest = hashlib.blake2b(way.url.place.encode(), key=self._key, digest_size=16).digest()
        own = self._slack_interval if kind == "slack" else 0.0
        lanes = host, self._lane((owner, digest), Lane(own))
        return (*lanes, self._lane(digest, Lane(own, booked=False))) if own else lanes

    def _lane(self, key: Hashable, new: Lane) -> Lane:
        lane = self._lanes.pop(key, new)
        self._lanes[key] = lane  # most recently used, so forgotten last
        return lane

    def _forget(self) -> None:
        """Forget idle receivers; above the limit, the oldest idle ones first."""
        now = self._clock()
        oldest = [key for key, _ in zip(self._lanes, range(4), strict=False)]
        for key in oldest:
            lane = self._lanes[key]
            if lane.at_rest(now) or (len(self._lanes) > LANES and not lane.inside):
                del self._lanes[key]
            else:
                self._lanes[key] = self._lanes.pop(key)


def _shut(lanes: tuple[Lane, ...], who: Hashable, now: float) -> Verdict | None:
    return next((met for lane in lanes if (met := lane.shut_to(who, now))), None)


def _note_up(lane: Lane) -> None:
    lane.failed = lane.down = lane.finding_out = None
    lane.until = lane.known_until = 0.0


def _later(lanes: tuple[Lane, ...], start: float, now: float) -> Verdict:
    """Book a turn after the other postponed targets, and return when it is."""
    turn = max(start, *(lane.booked_until for lane in lanes))
    for lane in lanes:
        if lane.booked and lane.gap:
            # Assume the fastest rate: a target that comes too early waits, an idle lane would be wasted.
            lane.booked_until = turn + (lane.own or LEARNED) + lane.takes
    wait = turn - now
    return Verdict(
        Reason.RATE_LIMITED,
        f"waiting, because its receiver limits the rate; its turn comes in"
        f" {spoken(round(wait))}, and no attempt was made",
        retryable=True,
        retry_after=wait,
        attempted=False,
        queued=True,
    )
