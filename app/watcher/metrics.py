"""What the watcher counts and measures."""

from collections.abc import Callable

from prometheus_client import Gauge, Histogram

from app.instruments import PREFIX, Instruments

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


class WatchMetrics(Instruments):
    """The watcher's metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.posts = self.counter(
            "watch_posts",
            "Hand-ins by the service's answer: an HTTP status, `error` (none), `no_token` (not sent).",
            answer=("200", "202", "error", "no_token"),
        )
        self.lag = Histogram(
            f"{PREFIX}_watch_lag_seconds",
            "From completedAt, which has whole seconds, to the service's acceptance; once a completion.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.restarts = self.counter(
            "watch_restarts",
            "Watches that ended: `closed` by the server in good order, `gone` (410), or with an `error`.",
            reason=("closed", "gone", "error"),
        )
        self.relists = self.counter("watch_relists", "Full lists after the first.")

    def show(self, name: str, told: str, value: Callable[[], float]) -> None:
        """Show a value that is asked for at every scrape."""
        Gauge(f"{PREFIX}_watch_{name}", told, registry=self.registry).set_function(value)
