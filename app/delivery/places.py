"""The capacity that a message needs before it is built: a connection to its host, and memory.

Waiting for a place is not an attempt and does not count against the target's time limit. After
`PLACE_TIMEOUT` in all, the target is released.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from app.delivery.shares import Shares
from app.domain.times import steady
from app.senders.envelopes import Destination
from app.settings import ServiceSettings
from app.telemetry.metrics import CONNECTIONS, MEMORY, READS, SECRETS, Metrics

Sleep = Callable[[float], Awaitable[bool]]
"""Sleeps for so many seconds; returns False early if nothing more may start."""

LACKING = {
    CONNECTIONS: "a connection to its receiver's host",
    MEMORY: "memory for its message",
    SECRETS: "a read of its Secret",
    READS: "a read of the team",
}
"""What each kind of place is called in a message."""

SECRETS_AT_ONCE = 16  # reads: a Secret can have 1 MiB, and its read takes about five times as much memory


WITHOUT_END = 86_400.0  # seconds


async def asleep(seconds: float) -> bool:
    """Sleep, and never end early."""
    await asyncio.sleep(seconds)
    return True


class Step(NamedTuple):
    """A number of places of one kind."""

    kind: str
    shares: Shares
    number: int


class Places:
    """The places of one process for messages and reads."""

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self._alone = settings.serves_one
        self._most_at_host = settings.max_connections_per_host
        self._hosts: WeakValueDictionary[Destination, Shares] = WeakValueDictionary()
        self._memory = Shares(settings.max_bytes_in_flight, self._alone)
        self._secrets = Shares(SECRETS_AT_ONCE, self._alone)
        self._reads = Shares(settings.max_read_bytes, self._alone)
        self._metrics = metrics

    def for_message(self, namespace: str, destination: Destination, size: int) -> "Turn":
        """Return the turn of a message of `size` bytes to a host."""
        host = self._hosts.get(destination)
        if host is None:
            host = self._hosts[destination] = Shares(self._most_at_host, self._alone)
        steps = (Step(CONNECTIONS, host, 1), Step(MEMORY, self._memory, size))
        return Turn(namespace, steps, self._metrics)

    def for_preview(self, namespace: str, size: int) -> "Turn":
        """Return the turn of a message of `size` bytes that is shown, not sent."""
        return Turn(namespace, (Step(MEMORY, self._memory, size),), self._metrics)

    def for_read(self, namespace: str, size: int) -> "Turn":
        """Return the turn for the read of a team of `size` bytes."""
        return Turn(namespace, (Step(READS, self._reads, size),), self._metrics)

    def for_secret(self, namespace: str) -> "Turn":
        """Return the turn for the read of a Secret."""
        return Turn(namespace, (Step(SECRETS, self._secrets, 1),), self._metrics)


@dataclass(eq=False, slots=True)
class Turn:
    """Places of several kinds, taken one after another.

    The order is always the same, so no two turns deadlock.
    """

    owner: str
    steps: tuple[Step, ...]
    metrics: Metrics
    _held: int = field(default=0, init=False)  # number of steps that are taken

    @property
    def behind(self) -> int:
        """How many of the same owner wait for what this turn lacks."""
        return self.steps[self._held].shares.line_of(self.owner)

    def take(self) -> bool:
        """Take what is free at once; return whether that is everything."""
        for step in self.steps[self._held :]:
            if not step.shares.take(self.owner, step.number):
                return False
            self._held += 1
        return True

    async def wait(self, seconds: float = WITHOUT_END, sleep: Sleep = asleep, *, first: bool = False) -> str:
        """Wait until all places are taken, for at most `seconds`; return what was lacking, or None.

        `first`: go before others of the same owner, to finish work that has begun.
        """
        ends = asyncio.ensure_future(sleep(seconds))
        try:
            while not self.take():
                step = self.steps[self._held]
                if not await self._granted(step, ends, first=first):
                    return LACKING[step.kind]
            return ""
        finally:
            ends.cancel()

    def leave(self) -> None:
        """Give back what was taken."""
        while self._held:
            self._held -= 1
            step = self.steps[self._held]
            step.shares.give_back(self.owner, step.number)

    async def _granted(self, step: Step, ends: "asyncio.Future[bool]", *, first: bool) -> bool:
        began = steady()
        waiter = step.shares.line_up(self.owner, step.number, first=first)
        either: set[asyncio.Future[Any]] = {waiter.granted, ends}
        waiting = self.metrics.waiting.labels(step.kind)
        waiting.inc()
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            step.shares.leave(waiter)
            raise
        finally:
            waiting.dec()
            self.metrics.place_wait_seconds.labels(step.kind).observe(steady() - began)
        if not waiter.granted.done():
            step.shares.leave(waiter)
            return False
        self._held += 1
        return True
