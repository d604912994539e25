"""The metrics of the service."""

from collections.abc import Callable

from app.domain.reasons import Reason
from app.domain.targets import TYPES
from app.telemetry.instruments import Instruments

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
TRIES = (1, 2, 3, 4, 5, 6, 8, 12, 18, 24, 30)
UNKNOWN = "unknown"
"""Label for a target of an unknown type: text from a team never becomes a label."""

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
"""The route of a request with any other path."""
STATUSES = ("200", "202", "401", "403", "404", "409", "422", "500", "503")
"""Statuses that are exported before the first such answer."""
CONNECTIONS, MEMORY, SECRETS, READS = PLACES = ("connections", "memory", "secrets", "reads")
"""What deliveries wait for: a connection to a host, memory for a message, a Secret, a team."""

UNRECORDED = ("claim-lost", "drain", "not-kept", "rejected", "team-gone", "timeout")


class Metrics(Instruments):
    """The service's metrics."""

    def __init__(self) -> None:
        super().__init__()
        kinds, reasons = (*TYPES, UNKNOWN), tuple(Reason)
        failures = [reason for reason in reasons if reason is not Reason.DELIVERED]
        self.deliveries = self.counter(
            "deliveries",
            "Targets settled, by reason. A target whose record failed is settled, and counted, again.",
            type=kinds,
            reason=reasons,
        )
        self.attempts = self.counter("attempts", "Attempts that used the network.", type=kinds)
        self.attempt_failures = self.counter(
            "attempt_failures",
            "Failed attempts, whether retried or not; includes problems with the Secret and the address.",
            type=kinds,
            reason=failures,
        )
        self.postponed = self.counter(
            "postponed", "Postponements of targets to a later retry.", type=kinds, reason=failures
        )
        self.given_up = self.counter(
            "given_up",
            "Targets that were postponed, and failed when their retry period ended.",
            type=kinds,
            reason=failures,
        )
        self.tries = self.histogram(
            "tries", "Rounds of attempts that a settled target took.", TRIES, type=kinds
        )
        self.target_seconds = self.histogram(
            "target_seconds", "Seconds from the claim of a target to its outcome.", BUCKETS, type=kinds
        )
        self.event_seconds = self.histogram(
            "event_seconds",
            "Seconds from the arrival of an event until all its targets are recorded or given up.",
            BUCKETS,
        )
        self.in_flight = self.gauge("in_flight", "Events in progress, and previews and tests.")
        self.waiting = self.gauge(
            "waiting",
            "Deliveries that wait for capacity: `connections` to a host, `memory` for a message, reads of"
            " Secrets (`secrets`) or of teams (`reads`).",
            "place",
        )
        self.place_wait_seconds = self.histogram(
            "place_wait_seconds",
            "Seconds for which deliveries waited for capacity, if they had to wait.",
            BUCKETS,
            place=PLACES,
        )
        for place in PLACES:
            self.waiting.labels(place)
            self.place_wait_seconds.labels(place)
        self.claim_retries = self.counter(
            "claim_retries", "Claims that were written again, after a conflict or without an answer."
        )
        self.takeovers = self.counter("takeovers", "Claims taken over from a process that died.")
        self.record_retries = self.counter("record_retries", "Retries of writing outcomes.")
        self.unrecorded = self.counter("unrecorded", "Outcomes that could not be recorded.", cause=UNRECORDED)
        self._requests = self.counter(
            "http_requests",
            "Requests answered, by route and status, except requests that could not be parsed.",
            route=(*ROUTES, OTHER),
            status=STATUSES,
        )
        self._request_seconds = self.histogram(
            "http_request_seconds",
            "Seconds from the arrival of a request to its answer, including waits for the outcome.",
            BUCKETS,
            route=(*ROUTES, OTHER),
        )
        self.ledger_not_kept = self.counter("ledger_not_kept", "Claims and outcomes that the CRD dropped.")

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def show_certificate(self, not_after: Callable[[], float]) -> None:
        """Export when the port's certificate expires, evaluated at every scrape."""
        self.show(
            "certificate_expiry_timestamp_seconds",
            "When the certificate of the service's port expires, if it has one.",
            not_after,
        )
