"""Fair sharing of limited capacity: an owner that needs little gets it, whatever others hold.

What is held cannot be taken back, so room is kept for whoever comes next: an owner may hold as much as it
leaves free, and no more. One owner alone gets half, two get a third each, ten an eleventh each, and a share
as large as theirs is always left: https://doi.org/10.1109/90.664262 (dynamic thresholds). Those who have to
wait are served by what they would hold then, the least first (max-min fairness), an owner's own in turn.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Waiter:
    """Somebody who waits for so many places; the future is done when they are theirs."""

    owner: str
    number: int
    granted: asyncio.Future[None]


@dataclass(eq=False, slots=True, weakref_slot=True)
class Shares:
    """At most `most` places at once; where all owners are one (`alone`), it may have everything.

    Where there is room, taking is counting: nothing is awaited.
    """

    most: int
    alone: bool = False
    taken: int = field(default=0, init=False)
    held: dict[str, int] = field(default_factory=dict, init=False)
    _lines: dict[str, deque[Waiter]] = field(default_factory=dict, init=False)  # in the order of arrival

    @property
    def largest(self) -> int:
        """The most that one owner can ever hold."""
        return self.most if self.alone else (self.most + 1) // 2

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._lines.values()))

    def line_of(self, owner: str) -> int:
        """Return how many of an owner wait."""
        return len(self._lines.get(owner, ()))

    def fits(self, owner: str, number: int) -> bool:
        """Whether an owner may hold so many more now, as far as room goes."""
        left = self.most - self.taken - number
        # The last place is for somebody who has none.
        return left >= 0 and (self.alone or self.held.get(owner, 0) + number <= left + 1)

    def take(self, owner: str, number: int = 1) -> bool:
        """Take so many places if they are to be had at once; whoever waits and would hold less goes first.

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
        """Wait for so many places; they are the waiter's when its future is done, or until it leaves.

        `first`: before the others of its owner, to end what was begun.
        """
        waiter = Waiter(owner, max(1, min(number, self.largest)), asyncio.get_running_loop().create_future())
        line = self._lines.setdefault(owner, deque())
        (line.appendleft if first else line.append)(waiter)
        self._serve()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer; what was granted is given back."""
        if waiter.granted.done() and not waiter.granted.cancelled():
            self.give_back(waiter.owner, waiter.number)
            return
        line = self._lines.get(waiter.owner)
        if line and waiter in line:
            line.remove(waiter)
            if not line:
                del self._lines[waiter.owner]
        self._serve()  # who waits behind may fit

    def give_back(self, owner: str, number: int = 1) -> None:
        """Give back so many as were taken in one go."""
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
        """Return whose turn it is among those who wait, and what its owner would hold."""
        heads = [line[0] for line in self._lines.values()]
        first = min(heads, key=lambda one: self._rank(one.owner, one.number))
        return self._rank(first.owner, first.number), first

    def _serve(self) -> None:
        """Serve in turn as far as there is room; nobody who would hold more overtakes who waits for much."""
        while self._lines:
            _, first = self._next()
            if not self.fits(first.owner, first.number):
                return
            line = self._lines.pop(first.owner)
            line.popleft()
            if line:
                self._lines[first.owner] = line  # behind those who would hold as much
            if not first.granted.cancelled():
                self._hold(first.owner, first.number)
                first.granted.set_result(None)
