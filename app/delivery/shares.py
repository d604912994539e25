"""Fair sharing of limited capacity: an owner that needs little gets it, however much others hold.

A held place cannot be taken back, so some places stay free for the next owner: an owner may hold as many as
it leaves free. One owner alone gets half, two get a third each, ten get an eleventh each, and an equal share
always stays free (dynamic thresholds, https://doi.org/10.1109/90.664262). Waiting owners are served by how
much they would then hold, the least first (max-min fairness); requests of one owner are served in order.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Waiter:
    """A request that waits for places; its future is done when it gets them."""

    owner: str
    number: int
    granted: asyncio.Future[None]


@dataclass(eq=False, slots=True, weakref_slot=True)
class Shares:
    """At most `most` places at once; with `alone`, there is one owner, which may have all of them.

    If places are free, taking them only counts; it awaits nothing.
    """

    most: int
    alone: bool = False
    largest: int = field(init=False)  # the most that one owner can ever hold
    taken: int = field(default=0, init=False)
    held: dict[str, int] = field(default_factory=dict, init=False)
    _lines: dict[str, deque[Waiter]] = field(default_factory=dict, init=False)  # in order of arrival

    def __post_init__(self) -> None:
        self.largest = self.most if self.alone else (self.most + 1) // 2

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._lines.values()))

    def line_of(self, owner: str) -> int:
        """Return how many requests of an owner wait."""
        return len(self._lines.get(owner, ()))

    def fits(self, owner: str, number: int) -> bool:
        """Whether an owner may hold `number` more now, as far as capacity allows."""
        left = self.most - self.taken - number
        # The last place is reserved for an owner that has none.
        return left >= 0 and (self.alone or self.held.get(owner, 0) + number <= left + 1)

    def take(self, owner: str, number: int = 1) -> bool:
        """Take the places if they are free now, unless a waiting owner would hold less.

        More than the largest share counts as the largest share.
        """
        number = min(number, self.largest)
        if not number:
            return True
        if self._lines and (owner in self._lines or not self._rank(owner, number) < self._next()[0]):
            return False
        if not self.fits(owner, number):
            return False
        self._hold(owner, number)
        return True

    def line_up(self, owner: str, number: int = 1, *, first: bool = False) -> Waiter:
        """Queue for places; the waiter has them when its future is done.

        `first`: go before the other requests of its owner, to finish work that has begun.
        """
        waiter = Waiter(owner, max(1, min(number, self.largest)), asyncio.get_running_loop().create_future())
        line = self._lines.setdefault(owner, deque())
        (line.appendleft if first else line.append)(waiter)
        self._serve()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Stop waiting; give back what was granted."""
        if waiter.granted.done() and not waiter.granted.cancelled():
            self.give_back(waiter.owner, waiter.number)
            return
        line = self._lines.get(waiter.owner)
        if line and waiter in line:
            line.remove(waiter)
            if not line:
                del self._lines[waiter.owner]
        self._serve()  # a later request may fit now

    def give_back(self, owner: str, number: int = 1) -> None:
        """Give back the places of one `take`."""
        number = min(number, self.largest)
        if not number:
            return
        self.taken -= number
        left = self.held[owner] - number
        if left:
            self.held[owner] = left
        else:
            del self.held[owner]
        if self._lines:
            self._serve()

    def _hold(self, owner: str, number: int) -> None:
        self.taken += number
        self.held[owner] = self.held.get(owner, 0) + number

    def _rank(self, owner: str, number: int) -> int:
        return self.held.get(owner, 0) + number

    def _next(self) -> tuple[int, Waiter]:
        """Return the waiting request that is next, and what its owner would then hold."""
        heads = [line[0] for line in self._lines.values()]
        first = min(heads, key=lambda one: self._rank(one.owner, one.number))
        return self._rank(first.owner, first.number), first

    def _serve(self) -> None:
        """Serve waiting requests in order; one that needs many places is not overtaken by larger owners."""
        while self._lines:
            _, first = self._next()
            if not self.fits(first.owner, first.number):
                return
            line = self._lines.pop(first.owner)
            line.popleft()
            if line:
                self._lines[first.owner] = line  # behind owners that would hold as much
            if not first.granted.cancelled():
                self._hold(first.owner, first.number)
                first.granted.set_result(None)
