"""What both processes show of themselves: their build, what they use, what they ask the Kubernetes API."""

from collections.abc import Iterable
from importlib.metadata import version
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

PREFIX = "agentteam_delivery"


class Instruments:
    """A registry of a process's own, so that two in one process do not share counts.

    No label holds a team, a namespace, a URL or a host: their number has no bound.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when a series began is of no use here
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        build = Gauge(f"{PREFIX}_build_info", "Which version runs; always 1.", ["version"], registry=registry)
        build.labels(version("agentteam-delivery")).set(1)
        self._api_requests = self.counter(
            "api_requests",
            "Requests to the Kubernetes API, by method (`WATCH`: a watch) and status (`none`: no answer).",
            verb=(),
            code=(),
        )

    def counter(self, name: str, told: str, **labels: Iterable[str]) -> Counter:
        """Make a counter, and show each combination of the values that its labels are known to take.

        A series that began with its first event would hide that event from `rate` and `increase`.
        """
        counter = Counter(f"{PREFIX}_{name}", told, list(labels), registry=self.registry)
        for values in product(*labels.values()) if labels else ():
            counter.labels(*values)
        return counter

    def count_api_request(self, verb: str, status: int | None) -> None:
        """Count a request to the Kubernetes API; without a status it was not answered."""
        self._api_requests.labels(verb, "none" if status is None else status).inc()

    def render(self) -> bytes:
        """Return all of it in the Prometheus text format."""
        return generate_latest(self.registry)
