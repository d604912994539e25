"""Metrics of both processes: their build, resource use, and requests to the Kubernetes API."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib.metadata import version
from itertools import product
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from app.telemetry.exposition import exposed

PREFIX = "agentteam_delivery"


class Instrument(NamedTuple):
    """The description of a metric; `labels` are its labels with their known values."""

    name: str
    kind: str
    told: str
    labels: dict[str, tuple[str, ...]]


class Instruments:
    """A registry of its own per process object, so that two in one process do not share counts.

    No label contains a team, a namespace, a URL or a host, because their number is unlimited.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the creation time of a series is not used
        self.registry = registry = CollectorRegistry()
        self.made: list[Instrument] = []
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        build = self.gauge("build_info", "Which version runs; always 1.", "version")
        build.labels(version("agentteam-delivery")).set(1)
        self._api_requests = self.counter(
            "api_requests",
            "Requests to the Kubernetes API, by method (`WATCH`: a watch) and status (`none`: no answer).",
            verb=(),
            code=(),
        )

    def counter(self, name: str, told: str, **labels: Iterable[str]) -> Counter:
        """Create a counter, and export each combination of its known label values.

        If a series began with its first event, `rate` and `increase` would miss that event.
        """
        known = {label: tuple(values) for label, values in labels.items()}
        counter = Counter(
            self._noted(f"{name}_total", "counter", told, known), told, list(known), registry=self.registry
        )
        # Looked up for every target: a known child is found without a lock.
        counter.labels = lru_cache(counter.labels)  # type: ignore[method-assign]
        for values in product(*known.values()) if known else ():
            counter.labels(*values)
        return counter

    def gauge(self, name: str, told: str, *labels: str) -> Gauge:
        """Create a gauge."""
        known: dict[str, tuple[str, ...]] = dict.fromkeys(labels, ())
        return Gauge(self._noted(name, "gauge", told, known), told, labels, registry=self.registry)

    def histogram(self, name: str, told: str, buckets: Sequence[float], **labels: Iterable[str]) -> Histogram:
        """Create a histogram; `buckets` are upper bounds in seconds."""
        known = {label: tuple(values) for label, values in labels.items()}
        whole = self._noted(name, "histogram", told, known)
        histogram = Histogram(whole, told, list(known), buckets=buckets, registry=self.registry)
        histogram.labels = lru_cache(histogram.labels)  # type: ignore[method-assign]  # as above
        return histogram

    def show(self, name: str, told: str, value: Callable[[], float]) -> None:
        """Export a value that is computed at every scrape."""
        self.gauge(name, told).set_function(value)

    def _noted(self, name: str, kind: str, told: str, labels: dict[str, tuple[str, ...]]) -> str:
        self.made.append(Instrument(f"{PREFIX}_{name}", kind, told, labels))
        return f"{PREFIX}_{name}"

    def count_api_request(self, verb: str, status: int | None) -> None:
        """Count a request to the Kubernetes API; without a status, it got no answer."""
        self._api_requests.labels(verb, "none" if status is None else status).inc()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics and their content type, in the accepted format or else Prometheus' oldest."""
        return exposed(self.registry, accept)
