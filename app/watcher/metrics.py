"""The metrics of the watcher."""

from collections.abc import Callable

from app.telemetry.instruments import Instruments

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


class WatchMetrics(Instruments):
    """The watcher's metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.posts = self.counter(
            "watch_posts",
            "Submissions by the service's answer: an HTTP status, `error` (none), `no_token` (not sent).",
            answer=("200", "202", "error", "no_token"),
        )
        self.lag = self.histogram(
            "watch_lag_seconds",
            "Seconds from completedAt (whole seconds) to the service's acceptance, once per completion.",
            _SECONDS,
        )
        self.restarts = self.counter(
            "watch_restarts",
            "Watches that ended: `closed` normally by the server, `gone` (410), or with an `error`.",
            reason=("closed", "gone", "error"),
        )
        self.wipes = self.counter(
            "watch_wipes",
            "Records from which another program removed entries, so their targets are sent again.",
        )
        self.relists = self.counter("watch_relists", "Full lists after the first.")

    def show_state(  # noqa: PLR0913  # one per metric
        self,
        *,
        teams: Callable[[], float],
        due: Callable[[], float],
        undelivered: Callable[[], float],
        oldest_undelivered: Callable[[], float],
        postponed: Callable[[], float],
        oldest_postponed: Callable[[], float],
        silence: Callable[[], float],
    ) -> None:
        """Export what the watcher knows and waits for, evaluated at every scrape."""
        self.show("watch_teams", "AgentTeams that the watcher knows.", teams)
        self.show("watch_due", "Teams that wait for their submission now.", due)
        self.show(
            "watch_undelivered",
            "Finished teams with unsettled targets, except postponed ones.",
            undelivered,
        )
        self.show(
            "watch_oldest_undelivered_seconds",
            "Seconds that the oldest undelivered team has waited since it finished, or its retry was due;"
            " 0: none.",
            oldest_undelivered,
        )
        self.show(
            "watch_postponed",
            "Teams with a target that is postponed, or is being retried after a postponement.",
            postponed,
        )
        self.show(
            "watch_oldest_postponed_seconds",
            "Seconds that the oldest postponed target has waited since its event; 0: none.",
            oldest_postponed,
        )
        self.show(
            "watch_silence_seconds",
            "Seconds since the Kubernetes API last answered; 0 while a watch is open.",
            silence,
        )

    def show_token(self, expiry: Callable[[], float]) -> None:
        """Export when the token expires, evaluated at every scrape."""
        self.show(
            "watch_token_expiry_timestamp_seconds",
            "When the token for the service expires, if one is sent; 0: no token, NaN: the token does"
            " not say.",
            expiry,
        )
