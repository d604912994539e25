"""How fast each receiver is sent to: one lane a receiver, in this process. Who waits in one makes no attempt.

A lane spreads bursts, waits as long as its receiver asks for, and where that is down lets one target find out
whether it is back; the others are told what that one met. Lanes know nothing of each other. A receiver is a
URL without its query, known by a hash, and beside it its host and port, of which only one thing is learned:
that nothing can be connected to, which is true of all that is there. What one path answers, or what one
team's message makes it answer, holds nobody else up.

Each namespace has lanes of its own, so that it waits for nothing that another has met or asked for: whoever
can make a receiver hang, or say that it is too much, does so to themselves. What they have in common is the
pace that Slack gives a URL, which is kept from one message to the next, and in which nobody books ahead.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta

from app.delivery.places import Sleep
from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.times import steady
from app.senders.envelopes import Verdict, Way

Send = Callable[[], Awaitable[Verdict]]
"""Makes one attempt; raises `TargetError` where there was no answer to judge."""

LANES = 20_000  # that are remembered at once, of half a kilobyte each
PATIENCE = 5.0  # seconds that a turn is waited for here; who has to wait longer comes back for it
REMEMBERED = 4500.0  # seconds for which it is known what a receiver is like: longer than the longest wait
SUSPECTED = 30.0  # seconds for which one target's failure is remembered
HOLD = 3.0  # seconds after an attempt for which it is left to the same target to find out more
LEARNED = 1.0  # second between two messages, to a receiver that says that they are too many
FASTER = 0.1  # messages a second that it is trusted with more, for each that it takes then
MOST_LEARNED = 60.0
DOWN = frozenset({408, 502, 503, 504})  # what says that a receiver is away, whatever the message


@dataclass(eq=False, slots=True)
class Lane:
    """What is known of one receiver, while anything is."""

    own: float  # seconds between two messages that it takes at any time
    booked: bool = True  # whether turns are booked ahead
    gap: float = field(init=False)  # the same, as it has been learned
    free_at: float = 0.0  # when the next may start
    last: float = -MOST_LEARNED  # when one started, or where it has a pace, when one was through
    takes: float = 0.0  # seconds that the last one took
    closed_until: float = 0.0  # as the receiver asked
    booked_until: float = 0.0  # the end of the turns of those who come back for theirs
    failed: Hashable = None  # whose attempt was the last that met nobody, with no better one since
    down: Verdict | None = None  # what they met
    finding_out: Hashable = None
    until: float = 0.0  # for how long it is left to that one
    known_until: float = 0.0  # for how long it is remembered that it is down
    inside: int = 0
    sending: int = 0

    def __post_init__(self) -> None:
        self.gap = self.own

    def at_rest(self, now: float) -> bool:
        """Whether there is nothing to be remembered."""
        ends = (self.free_at, self.closed_until, self.booked_until, self.known_until, self.last + self.gap)
        return not self.inside and max(ends) <= now

    @property
    def step(self) -> float:
        """Seconds from one message to the next, when many wait."""
        return self.gap + self.takes

    def ready_at(self, now: float) -> float:
        """Return when it takes another message, as far as is known; where it has a pace, one at a time."""
        busy = now + self.gap / 4 if self.own and self.sending else 0.0
        return max(self.closed_until, self.last + self.gap, busy)

    def shut_to(self, who: Hashable, now: float) -> Verdict | None:
        """Return what others met, where it is left to one of them to find out more."""
        return self.down if self.finding_out not in {None, who} and now < self.until else None


class Pacer:
    """The lanes of one process; times are seconds on its steady clock."""

    def __init__(self, slack_interval: float, clock: Callable[[], float] = steady) -> None:
        self._slack_interval = slack_interval
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lanes: dict[Hashable, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    async def paced(  # noqa: PLR0913  # who sends what where, and for how long it may wait
        self, kind: str, way: Way, send: Send, *, owner: str, who: Hashable, room: float, rest: Sleep
    ) -> Verdict:
        """Make the attempt when its turn comes; where that is not within `room` seconds, say when it is.

        `owner` is whose lanes are meant, a namespace. `who` is known by a word that holds nothing, since it
        is remembered while its receiver is down.

        Raises:
            TargetError: as the attempt does.
        """
        lanes = self._lanes_of(kind, way, owner)
        for lane in lanes:
            lane.inside += 1
        try:
            not_now = await self._turn(lanes, who, room, rest)
            return not_now or await self._sent(lanes, who, send)
        finally:
            for lane in lanes:
                lane.inside -= 1
            self._forget()

    async def _turn(self, lanes: tuple[Lane, ...], who: Hashable, room: float, rest: Sleep) -> Verdict | None:
        """Wait for a turn; return why there is none, or nothing."""
        now = self._clock()
        latest = ends = now + room
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
                    Reason.INTERRUPTED, "it waited for its turn", retryable=True, attempted=False, queued=True
                )
            latest = ends + room  # whoever has a turn is not sent away for a little
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
        """Take from an answer what it says of the receiver."""
        now = self._clock()
        if verdict.retryable and (verdict.reason is Reason.RATE_LIMITED or verdict.retry_after is not None):
            lane.gap = min(max(LEARNED, lane.own, 2 * lane.gap), MOST_LEARNED)
            asked = verdict.retry_after if verdict.retry_after is not None else lane.gap
            asked = min(asked, REMEMBERED)  # whom it was said to keeps to all of it, on record
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
        """Note an attempt that met nobody; `alone`: one target's word is enough, for it is so for all."""
        if lane.down is None and not alone and lane.failed in {None, who}:
            lane.failed, lane.known_until = who, self._clock() + SUSPECTED
            return
        lane.known_until = self._clock() + REMEMBERED
        said = f"{met.message}, by another target's attempt"
        lane.down = Verdict(met.reason, said, met.http_status, retryable=True, attempted=False)
        if lane.finding_out in {None, who} or lane.until <= self._clock():
            lane.finding_out, lane.until = who, self._clock() + HOLD

    def _lanes_of(self, kind: str, way: Way, owner: str) -> tuple[Lane, ...]:
        """Return the lanes that an attempt passes: its host's, its URL's, and that of all at the URL."""
        host = self._lane((owner, way.to), Lane(0.0))
        if way.url is None:
            return (host,)
        digest = hashlib.blake2b(way.url.place.encode(), key=self._key, digest_size=16).digest()
        own = self._slack_interval if kind == "slack" else 0.0
        lanes = host, self._lane((owner, digest), Lane(own))
        return (*lanes, self._lane(digest, Lane(own, booked=False))) if own else lanes

    def _lane(self, key: Hashable, new: Lane) -> Lane:
        lane = self._lanes.pop(key, new)
        self._lanes[key] = lane  # the last to be forgotten
        return lane

    def _forget(self) -> None:
        """Forget receivers of which nothing is to be remembered; beyond the bound, the oldest idle ones."""
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
    """Book a turn behind those that come back for theirs, and say when it is."""
    turn = max(start, *(lane.booked_until for lane in lanes))
    for lane in lanes:
        if lane.booked and lane.gap:
            # As if it were at its best by then: who comes too early waits, an idle lane would be lost.
            lane.booked_until = turn + (lane.own or LEARNED) + lane.takes
    wait = turn - now
    return Verdict(
        Reason.RATE_LIMITED,
        f"its receiver is sent to no faster than it takes; its turn comes in"
        f" {timedelta(seconds=round(wait))}, and no attempt was made",
        retryable=True,
        retry_after=wait,
        attempted=False,
        queued=True,
    )
