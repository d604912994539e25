"""How fast each receiver is sent to: one line a receiver, in this process. Who waits in one makes no attempt.

A line spreads bursts, waits as long as its receiver asks for, and where that is down lets one target find out
whether it is back; the others are told what that one met. Lines know nothing of each other. A receiver is a
URL without its query, known by a hash, and beside it its host and port, of which only one thing is learned:
that nothing can be connected to, which is true of all that is there. What one path answers, or what one
team's message makes it answer, holds nobody else up.
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

LINES = 20_000  # that are remembered at once, of half a kilobyte each
PATIENCE = 5.0  # seconds that a turn is waited for here; who has to wait longer comes back for it
REMEMBERED = 4500.0  # seconds for which it is known that a receiver is down: longer than the longest wait
SUSPECTED = 30.0  # seconds for which one target's failure is remembered
HOLD = 3.0  # seconds after an attempt for which it is left to the same target to find out more
LEARNED = 1.0  # second between two messages, to a receiver that says that they are too many
MOST_LEARNED = 60.0
DOWN = frozenset(
    {408, 502, 503, 504}
)  # what says that a receiver is away, and not what it thinks of a message


@dataclass(eq=False, slots=True)
class Line:
    """What is known of one receiver, while anything is."""

    own: float  # seconds between two messages that it takes at any time
    gap: float = field(init=False)  # the same, as it has been learned
    free_at: float = 0.0  # when the next may start
    last: float = -MOST_LEARNED  # when one started
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

    def ready_at(self, now: float) -> float:
        """Return when it takes another message, as far as is known; where it has a pace, one at a time."""
        busy = now + self.gap / 4 if self.own and self.sending else 0.0
        return max(self.closed_until, self.last + self.gap, busy)

    def shut_to(self, who: Hashable, now: float) -> Verdict | None:
        """Return what others met, where it is left to one of them to find out more."""
        return self.down if self.finding_out not in {None, who} and now < self.until else None


class Pacer:
    """The lines of one process; times are seconds on its steady clock."""

    def __init__(self, slack_interval: float, clock: Callable[[], float] = steady) -> None:
        self._slack_interval = slack_interval
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lines: dict[Hashable, Line] = {}

    def __len__(self) -> int:
        return len(self._lines)

    async def paced(  # noqa: PLR0913  # who sends what where, and for how long it may wait
        self, kind: str, way: Way, send: Send, *, who: Hashable, room: float, rest: Sleep
    ) -> Verdict:
        """Make the attempt when its turn comes; where that is not within `room` seconds, say when it is.

        `who` is known by a word that holds nothing, since it is remembered while its receiver is down.

        Raises:
            TargetError: as the attempt does.
        """
        lines = self._lines_of(kind, way)
        for line in lines:
            line.inside += 1
        try:
            not_now = await self._turn(lines, who, room, rest)
            return not_now or await self._sent(lines, who, send)
        finally:
            for line in lines:
                line.inside -= 1
            self._forget()

    async def _turn(self, lines: tuple[Line, ...], who: Hashable, room: float, rest: Sleep) -> Verdict | None:
        """Wait for a turn; return why there is none, or nothing."""
        now = self._clock()
        latest = ends = now + room
        if met := _shut(lines, who, now):
            return met
        ready = max(now, *(max(line.free_at, line.ready_at(now)) for line in lines))
        for line in lines:
            if line.gap and ready <= ends:
                line.free_at = ready + line.gap
        while ready > now:
            if ready > latest:
                return _later(lines, ready, now)
            if not await rest(ready - now):
                return Verdict(
                    Reason.INTERRUPTED, "it waited for its turn", retryable=True, attempted=False, queued=True
                )
            latest = ends + room  # whoever has a turn is not sent away for a little
            now = self._clock()
            if met := _shut(lines, who, now):
                return met
            ready = max(line.ready_at(now) for line in lines)
        for line in lines:
            line.last = now
            line.sending += 1
            if line.down:
                line.finding_out, line.until = who, now + MOST_LEARNED
        return None

    async def _sent(self, lines: tuple[Line, ...], who: Hashable, send: Send) -> Verdict:
        host, *urls = lines
        asked = False
        try:
            verdict = await send()
            asked = verdict.attempted
            if asked and verdict.reason is not Reason.TIMEOUT:
                _note_up(host)
            for line in urls if asked else ():
                self._learn(line, who, verdict)
        except TargetError as error:
            asked = error.retryable and (error.attempted or error.unreached)
            met = Verdict(error.reason, error.message, retryable=True, attempted=False)
            for line in ([host] if error.unreached else urls) if asked else ():
                self._note_down(line, who, met, alone=error.unreached)
            raise
        finally:
            for line in lines:
                line.sending -= 1
                line.last = max(line.last, self._clock()) if line.own else line.last
                if not asked and line.finding_out == who:
                    line.until = 0.0
        return verdict

    def _learn(self, line: Line, who: Hashable, verdict: Verdict) -> None:
        """Take from an answer what it says of the receiver."""
        now = self._clock()
        if verdict.retryable and (verdict.reason is Reason.RATE_LIMITED or verdict.retry_after is not None):
            line.gap = min(max(LEARNED, line.own, 2 * line.gap), MOST_LEARNED)
            asked = verdict.retry_after if verdict.retry_after is not None else line.gap
            line.closed_until = max(line.closed_until, now + asked)
            line.free_at = max(line.free_at, line.closed_until)
            line.until = min(line.until, now)
        elif verdict.reason is Reason.TIMEOUT or (verdict.retryable and verdict.http_status in DOWN):
            self._note_down(line, who, verdict, alone=False)
        else:
            _note_up(line)
            if verdict.delivered:
                line.gap = line.own if line.gap <= LEARNED else max(line.own, line.gap / 2)

    def _note_down(self, line: Line, who: Hashable, met: Verdict, *, alone: bool) -> None:
        """Note an attempt that met nobody; `alone`: one target's word is enough, for it is so for all."""
        if line.down is None and not alone and line.failed in {None, who}:
            line.failed, line.known_until = who, self._clock() + SUSPECTED
            return
        line.known_until = self._clock() + REMEMBERED
        line.down = Verdict(met.reason, met.message, met.http_status, retryable=True, attempted=False)
        if line.finding_out in {None, who} or line.until <= self._clock():
            line.finding_out, line.until = who, self._clock() + HOLD

    def _lines_of(self, kind: str, way: Way) -> tuple[Line, ...]:
        """Return the lines that an attempt passes: its host's, and that of its URL."""
        host = self._line(way.to, 0.0)
        if way.url is None:
            return (host,)
        url = str(way.url.copy_with(query=None, fragment=None))
        digest = hashlib.blake2b(url.encode(), key=self._key, digest_size=16).digest()
        return host, self._line(digest, self._slack_interval if kind == "slack" else 0.0)

    def _line(self, key: Hashable, own: float) -> Line:
        line = self._lines.pop(key, None) or Line(own)
        self._lines[key] = line  # the last to be forgotten
        return line

    def _forget(self) -> None:
        """Forget receivers of which nothing is to be remembered; beyond the bound, the oldest idle ones."""
        now = self._clock()
        oldest = [key for key, _ in zip(self._lines, range(4), strict=False)]
        for key in oldest:
            line = self._lines[key]
            if line.at_rest(now) or (len(self._lines) > LINES and not line.inside):
                del self._lines[key]
            else:
                self._lines[key] = self._lines.pop(key)


def _shut(lines: tuple[Line, ...], who: Hashable, now: float) -> Verdict | None:
    return next((met for line in lines if (met := line.shut_to(who, now))), None)


def _note_up(line: Line) -> None:
    line.failed = line.down = line.finding_out = None
    line.until = line.known_until = 0.0


def _later(lines: tuple[Line, ...], start: float, now: float) -> Verdict:
    """Book a turn behind those that come back for theirs, and say when it is."""
    turn = max(start, *(line.booked_until for line in lines))
    for line in lines:
        if line.gap:
            line.booked_until = turn + line.gap
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
