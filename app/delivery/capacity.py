"""How much may be under way at once, and that nobody takes it all: bounds on events and targets in flight.

What does not fit is refused with when to ask again. Nobody waits in here, so that what hangs takes time from
nobody else; and a namespace has half of all at most, so that one tenant's hanging receivers leave room for
the others' events.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from app.domain.errors import RETRY_SOON, TooBusy
from app.settings import ServiceSettings


@dataclass(slots=True)
class Bound:
    """At most `most` at once, and of these at most `share` of one namespace."""

    what: str
    most: int
    share: int
    taken: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def taking(self, namespace: str, number: int = 1) -> Iterator[None]:
        """Hold so many for as long as the block runs.

        Raises:
            TooBusy: they do not fit.
        """
        # More than a share can only be what was claimed under other settings: it fills a share.
        number = min(number, self.share)
        whose, taken, most = "", self.taken.total(), self.most
        if taken + number <= most:
            whose, taken, most = f' of namespace "{namespace}"', self.taken[namespace], self.share
        if taken + number > most:
            raise TooBusy(
                f"{taken} {self.what}{whose} are in flight, of {most} at most; ask again",
                retry_after=RETRY_SOON,
            )
        self.taken[namespace] += number
        try:
            yield
        finally:
            self.taken[namespace] -= number
            if not self.taken[namespace]:
                del self.taken[namespace]


class Capacity:
    """The bounds of one process; where but one namespace is served, it may have everything."""

    def __init__(self, *, events: int, targets: int, shared: bool) -> None:
        self.events = Bound("events", events, -(-events // 2) if shared else events)
        self.targets = Bound("targets", targets, -(-targets // 2) if shared else targets)

    @classmethod
    def of(cls, settings: ServiceSettings) -> Self:
        """Return the bounds that the settings make."""
        return cls(
            events=settings.max_in_flight,
            targets=settings.max_targets_in_flight,
            shared=len(settings.namespaces) != 1,
        )
