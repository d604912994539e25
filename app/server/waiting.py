"""Connections whose request is not complete yet: limited in number; the oldest is closed first."""

from collections.abc import Callable, Hashable

from app.server.seldom import Seldom


class WaitingRoom:
    """Who waits for a request to be complete, in order of arrival.

    A flood of callers who never end their request pushes itself out: a good caller sends a whole request at
    once, and is gone from here before it could ever be the oldest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Hashable, Callable[[], object]] = {}
        self._warning = Seldom("callers_pushed_out")

    def enter(self, caller: Hashable, push_out: Callable[[], object]) -> None:
        """Let a caller wait, who can be pushed out like this from now on; who is here keeps the place."""
        if caller not in self._waiting and len(self._waiting) >= self._most:
            self.push_out_oldest()
        self._waiting[caller] = push_out

    def leave(self, caller: Hashable) -> None:
        """Note that a caller's request is complete, or that the caller is gone."""
        self._waiting.pop(caller, None)

    def empty(self) -> None:
        """Close every connection that waits."""
        while self._waiting:
            self._waiting.pop(next(iter(self._waiting)))()

    def push_out_oldest(self) -> None:
        """Close the connection that has waited longest."""
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return
        self._waiting.pop(oldest)()
        self._warning.warn(waiting=len(self._waiting))
