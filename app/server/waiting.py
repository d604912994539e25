"""Connections whose request is not complete yet: limited in number; the oldest is closed first."""

from collections.abc import Callable, Hashable

from app.server.seldom import Seldom


class WaitingRoom:
    """The connections with an incomplete request, in order of arrival.

    A flood of callers that never complete a request pushes itself out: a good caller sends its whole request
    at once, and leaves before it could become the oldest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Hashable, Callable[[], object]] = {}
        self._warning = Seldom("callers_pushed_out")

    def enter(self, caller: Hashable, push_out: Callable[[], object]) -> None:
        """Add a caller; `push_out` closes its connection. A caller that is here already keeps its place."""
        if caller not in self._waiting and len(self._waiting) >= self._most:
            self.push_out_oldest()
        self._waiting[caller] = push_out

    def leave(self, caller: Hashable) -> None:
        """Remove a caller whose request is complete, or who is gone."""
        self._waiting.pop(caller, None)

    def empty(self) -> None:
        """Close every waiting connection."""
        while self._waiting:
            self._waiting.pop(next(iter(self._waiting)))()

    def push_out_oldest(self) -> None:
        """Close the connection that has waited longest."""
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return
        self._waiting.pop(oldest)()
        self._warning.warn(waiting=len(self._waiting))
