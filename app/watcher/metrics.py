"""What the watcher counts and measures."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


class WatchMetrics:
    """The watcher's metrics, in one registry of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.posts = Counter(
            "agentteam_delivery_watch_posts",
            "Hand-ins by the service's answer: an HTTP status, `error` (none), `no_token` (not sent).",
            ["answer"],
            registry=registry,
        )
        self.lag = Histogram(
            "agentteam_delivery_watch_lag_seconds",
            "From completedAt, which has whole seconds, to the service's acceptance; once a completion.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.teams = Gauge("agentteam_delivery_watch_teams", "AgentTeams known.", registry=registry)
        self.due = Gauge(
            "agentteam_delivery_watch_due", "Teams that wait to be handed in now.", registry=registry
        )
        self.restarts = Counter(
            "agentteam_delivery_watch_restarts",
            "Watches that ended: `closed` by the server in good order, `gone` (410), or with an `error`.",
            ["reason"],
            registry=registry,
        )
        self.relists = Counter(
            "agentteam_delivery_watch_relists", "Full lists after the first.", registry=registry
        )
        for reason in ("closed", "gone", "error"):
            self.restarts.labels(reason)
