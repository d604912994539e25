"""What the service counts. No label holds a team, a namespace, a URL or a host: their number is unbounded."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


class Metrics:
    """The service's own registry, so that two apps in one process do not share counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        prefix = "agentteam_delivery"
        self.deliveries = Counter(
            f"{prefix}_deliveries", "Targets settled.", ["type", "reason"], registry=registry
        )
        self.attempts = Counter(
            f"{prefix}_attempts", "Attempts that reached for the network.", ["type"], registry=registry
        )
        self.target_seconds = Histogram(
            f"{prefix}_target_seconds",
            "From claim to outcome of one target.",
            ["type"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge(f"{prefix}_in_flight", "Events in flight.", registry=registry)
        self.unrecorded = Counter(
            f"{prefix}_unrecorded", "Outcomes that could not be written.", ["cause"], registry=registry
        )
        self.record_retries = Counter(
            f"{prefix}_record_retries", "Record writes that were tried again.", registry=registry
        )
        self.takeovers = Counter(
            f"{prefix}_takeovers", "Claims taken over from a holder that is gone.", registry=registry
        )
        self.ledger_not_kept = Counter(
            f"{prefix}_ledger_not_kept", "Events refused: the CRD drops the record.", registry=registry
        )

    def render(self) -> bytes:
        """Return the Prometheus text format."""
        return generate_latest(self.registry)
