"""The service's capacity, and how namespaces share it fairly.

An event needs places before it is accepted: for itself, for its targets, and for its team's bytes. Without
them, the service refuses it and says when to try again, so nothing waits before the claim. After the claim,
deliveries wait for places, with one queue per namespace.
"""

from dataclasses import dataclass
from typing import Self

from app.delivery.places import Places
from app.delivery.shares import Shares
from app.domain.errors import RETRY_SOON, TooBusy
from app.settings import ServiceSettings
from app.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Bound:
    """A limited number of units; a request that does not fit is refused."""

    what: str
    shares: Shares

    def take(self, held: "Held", namespace: str, number: int = 1) -> None:
        """Hold `number` units for a namespace, as part of `held`.

        Raises:
            TooBusy: they do not fit.
        """
        shares = self.shares
        if not shares.take(namespace, number):
            own = shares.held.get(namespace, 0)
            raise TooBusy(
                f"{shares.taken} {self.what} are in progress (at most {shares.most}), {own} of"
                f' them of namespace "{namespace}", and capacity is kept for others; retry',
                retry_after=RETRY_SOON,
            )
        held.add(shares, namespace, number)


class Held:
    """Units of any kind that are held until its block ends."""

    def __init__(self) -> None:
        self._units: list[tuple[Shares, str, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._units:
            shares, namespace, number = self._units.pop()
            shares.give_back(namespace, number)

    def add(self, shares: Shares, namespace: str, number: int) -> None:
        """Hold units that were taken."""
        self._units.append((shares, namespace, number))

    def pass_to(self, other: "Held") -> None:
        """Let another block hold them."""
        while self._units:
            other.add(*self._units.pop())


class Capacity:
    """The limits of one process; if it serves one namespace only, that namespace may use all of it."""

    def __init__(self, *, events: int, targets: int, team_bytes: int, places: Places, alone: bool) -> None:
        self.events = Bound("events", Shares(events, alone))
        self.targets = Bound("targets", Shares(targets, alone))
        self.team_bytes = Bound("bytes of teams", Shares(team_bytes, alone))
        self.places = places

    @classmethod
    def of(cls, settings: ServiceSettings, metrics: Metrics) -> Self:
        """Return the limits that the settings define."""
        capacity = cls(
            events=settings.max_in_flight,
            targets=settings.max_targets_in_flight,
            team_bytes=settings.max_team_bytes_in_flight,
            places=Places(settings, metrics),
            alone=settings.serves_one,
        )
        metrics.in_flight.set_function(lambda: capacity.events.shares.taken)
        return capacity
