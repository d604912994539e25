"""What the service counts."""

from collections.abc import Callable

from app.domain.reasons import Reason
from app.domain.targets import TYPES
from app.telemetry.instruments import Instruments

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
TRIES = (1, 2, 3, 4, 5, 6, 8, 12, 18, 24, 30)
UNKNOWN = "unknown"
"""The type of a target that is none of those known: what a team writes is no label."""

ROUTES = (
    "/deliveries",
    "/deliveries/{namespace}/{team}",
    "/previews",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
)
OTHER = "other"
"""The route of a request for any other path."""
STATUSES = ("200", "202", "401", "403", "404", "409", "422", "500", "503")
"""Statuses that are shown before there was one."""
CONNECTIONS, MEMORY, SECRETS, READS = PLACES = ("connections", "memory", "secrets", "reads")
"""What is waited for: a connection at a receiver's host, memory for a message, a Secret's read, a team's."""

UNRECORDED = ("claim-lost", "drain", "not-kept", "rejected", "team-gone", "timeout")


class Metrics(Instruments):
    """The service's metrics."""

    def __init__(self) -> None:
        super().__init__()
        kinds, reasons = (*TYPES, UNKNOWN), tuple(Reason)
        failures = [reason for reason in reasons if reason is not Reason.DELIVERED]
        self.deliveries = self.counter(
            "deliveries",
            "Targets settled, by their outcome's reason; one whose record failed settles again.",
            type=kinds,
            reason=reasons,
        )
        self.attempts = self.counter("attempts", "Attempts that reached for the network.", type=kinds)
        self.attempt_failures = self.counter(
            "attempt_failures",
            "Attempts that failed, whether tried again or not: at the receiver, its Secret, its address.",
            type=kinds,
            reason=failures,
        )
        self.put_off = self.counter(
            "put_off", "Targets put off to a later try, each time.", type=kinds, reason=failures
        )
        self.given_up = self.counter(
            "given_up",
            "Targets that had been put off, and failed since their time was over.",
            type=kinds,
            reason=failures,
        )
        self.tries = self.histogram(
            "tries", "How many tries, of several attempts each, a settled target took.", TRIES, type=kinds
        )
        self.target_seconds = self.histogram(
            "target_seconds", "From claim to outcome of one target.", BUCKETS, type=kinds
        )
        self.event_seconds = self.histogram(
            "event_seconds",
            "From an event's arrival until all its targets are settled, and on record or given up.",
            BUCKETS,
        )
        self.in_flight = self.gauge("in_flight", "Events in flight.")
        self.waiting = self.gauge(
            "waiting",
            "Who waits for a place: `connections` at one host, `memory` for a message, a read of a Secret"
            " (`secrets`) or of a team (`reads`).",
            "place",
        )
        self.place_wait_seconds = self.histogram(
            "place_wait_seconds",
            "For how long was waited for a place, where there was none at once.",
            BUCKETS,
            place=PLACES,
        )
        for place in PLACES:
            self.waiting.labels(place)
            self.place_wait_seconds.labels(place)
        self.claim_retries = self.counter(
            "claim_retries", "Claims written again: lost to another writer, or not answered."
        )
        self.takeovers = self.counter("takeovers", "Claims taken over from a holder that is gone.")
        self.record_retries = self.counter("record_retries", "Record writes that were tried again.")
        self.unrecorded = self.counter("unrecorded", "Outcomes that could not be written.", cause=UNRECORDED)
        self._requests = self.counter(
            "http_requests",
            "Requests answered, by route and status; but for those that could not be read.",
            route=(*ROUTES, OTHER),
            status=STATUSES,
        )
        self._request_seconds = self.histogram(
            "http_request_seconds",
            "From a request's arrival until it was answered, waits for the outcome included.",
            BUCKETS,
            route=(*ROUTES, OTHER),
        )
        self.ledger_not_kept = self.counter("ledger_not_kept", "Claims and outcomes that the CRD dropped.")

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def show_certificate(self, not_after: Callable[[], float]) -> None:
        """Show until when the port's certificate is good, asked at every scrape."""
        self.show(
            "certificate_expiry_timestamp_seconds",
            "When the certificate of the service's port ends, where it has one.",
            not_after,
        )
