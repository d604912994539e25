"""What the watcher counts and measures."""

from collections.abc import Callable

from app.telemetry.instruments import Instruments

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
        self.lag = self.histogram(
            "watch_lag_seconds",
            "From completedAt, which has whole seconds, to the service's acceptance; once a completion.",
            _SECONDS,
        )
        self.restarts = self.counter(
            "watch_restarts",
            "Watches that ended: `closed` by the server in good order, `gone` (410), or with an `error`.",
            reason=("closed", "gone", "error"),
        )
        self.wipes = self.counter(
            "watch_wipes", "Records that somebody took entries out of, so that targets are sent to again."
        )
        self.relists = self.counter("watch_relists", "Full lists after the first.")

    def show_state(  # noqa: PLR0913  # one a metric
        self,
        *,
        teams: Callable[[], float],
        due: Callable[[], float],
        undelivered: Callable[[], float],
        oldest_undelivered: Callable[[], float],
        put_off: Callable[[], float],
        oldest_put_off: Callable[[], float],
        silence: Callable[[], float],
    ) -> None:
        """Show what the watcher knows and waits for, asked at every scrape; the last two are seconds."""
        self.show("watch_teams", "AgentTeams known.", teams)
        self.show("watch_due", "Teams that wait to be handed in now.", due)
        self.show(
            "watch_undelivered",
            "Finished teams whose targets are not all settled, but for those that are put off.",
            undelivered,
        )
        self.show(
            "watch_oldest_undelivered_seconds",
            "For how long the oldest of them has waited since it finished, or since it was to be tried again;"
            " 0: there is none.",
            oldest_undelivered,
        )
        self.show("watch_put_off", "Teams with a target that is put off, or was until this try.", put_off)
        self.show(
            "watch_oldest_put_off_seconds",
            "For how long the oldest of them has waited for its receiver since its event; 0: there is none.",
            oldest_put_off,
        )
        self.show(
            "watch_silence_seconds",
            "Since the Kubernetes API was last heard; 0 while it is watched.",
            silence,
        )

    def show_token(self, expiry: Callable[[], float]) -> None:
        """Show until when the token is good, asked at every scrape."""
        self.show(
            "watch_token_expiry_timestamp_seconds",
            "When the token that the service is called with ends, where one is sent; 0: none, NaN: it"
            " does not say.",
            expiry,
        )
