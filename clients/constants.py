# Made from the code; to write it again: make reference
"""What a problem's `type` and a target's `reason` say; more may come, and no word changes its meaning."""

from typing import Final

PROBLEM_BAD_REQUEST: Final = "urn:agentteam-delivery:bad-request"
"""Bad request"""

PROBLEM_BODY_TOO_LARGE: Final = "urn:agentteam-delivery:body-too-large"
"""Body too large"""

PROBLEM_CLAIM_IN_FLIGHT: Final = "urn:agentteam-delivery:claim-in-flight"
"""Delivery in flight"""

PROBLEM_CLUSTER_UNAVAILABLE: Final = "urn:agentteam-delivery:cluster-unavailable"
"""Kubernetes API unavailable"""

PROBLEM_DRAINING: Final = "urn:agentteam-delivery:draining"
"""Draining"""

PROBLEM_FORBIDDEN: Final = "urn:agentteam-delivery:forbidden"
"""Caller not allowed"""

PROBLEM_HEAD_TOO_LARGE: Final = "urn:agentteam-delivery:head-too-large"
"""Request head too large"""

PROBLEM_INTERNAL: Final = "urn:agentteam-delivery:internal"
"""Internal error"""

PROBLEM_LEDGER_NOT_KEPT: Final = "urn:agentteam-delivery:ledger-not-kept"
"""Ledger not kept"""

PROBLEM_LEDGER_REFUSED: Final = "urn:agentteam-delivery:ledger-refused"
"""Ledger refused"""

PROBLEM_MALFORMED: Final = "urn:agentteam-delivery:malformed"
"""Malformed request"""

PROBLEM_METHOD_NOT_ALLOWED: Final = "urn:agentteam-delivery:method-not-allowed"
"""Method not allowed"""

PROBLEM_NO_SUCH_PATH: Final = "urn:agentteam-delivery:no-such-path"
"""No such path"""

PROBLEM_PHASE_NOT_TERMINAL: Final = "urn:agentteam-delivery:phase-not-terminal"
"""Phase not terminal"""

PROBLEM_RATE_LIMITED: Final = "urn:agentteam-delivery:rate-limited"
"""Too many requests"""

PROBLEM_REQUEST_TIMEOUT: Final = "urn:agentteam-delivery:request-timeout"
"""Request not complete in time"""

PROBLEM_TEAM_NOT_FINISHED: Final = "urn:agentteam-delivery:team-not-finished"
"""Team not finished"""

PROBLEM_TEAM_NOT_FOUND: Final = "urn:agentteam-delivery:team-not-found"
"""No such team"""

PROBLEM_TOO_BUSY: Final = "urn:agentteam-delivery:too-busy"
"""Too busy"""

PROBLEM_TOO_MANY_TARGETS: Final = "urn:agentteam-delivery:too-many-targets"
"""Too many targets"""

PROBLEM_UID_CHANGED: Final = "urn:agentteam-delivery:uid-changed"
"""Another team of the same name"""

PROBLEM_UNAUTHENTICATED: Final = "urn:agentteam-delivery:unauthenticated"
"""Unknown caller"""

PROBLEM_UNKNOWN_TARGET: Final = "urn:agentteam-delivery:unknown-target"
"""No such target"""

REASON_DELIVERED: Final = "Delivered"
"""The receiver accepted the notification."""

REASON_HTTP_STATUS: Final = "HTTPStatus"
"""The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are retried."""

REASON_REFUSED: Final = "Refused"
"""A mail relay refused the message, or some of its recipients."""

REASON_RATE_LIMITED: Final = "RateLimited"
"""The receiver answered 429, or asked to wait longer than the target's remaining time; retried."""

REASON_TIMEOUT: Final = "Timeout"
"""No answer in time, in the last attempt or in total; retried while there is time."""

REASON_CONNECTION_FAILED: Final = "ConnectionFailed"
"""No connection, a broken connection, or a name that does not resolve; retried."""

REASON_TLS_FAILED: Final = "TLSFailed"
"""The receiver's certificate is not trusted, or is for another host."""

REASON_REDIRECTED: Final = "Redirected"
"""The receiver answered 3xx; redirects are refused, because a 301 turns a POST into a GET."""

REASON_INVALID_RESPONSE: Final = "InvalidResponse"
"""The answer violated the protocol, or its headers were too large."""

REASON_EGRESS_DENIED: Final = "EgressDenied"
"""The installation does not allow this address, or it is not https."""

REASON_SECRET_NOT_FOUND: Final = "SecretNotFound"
"""The Secret does not exist in the team's namespace."""

REASON_SECRET_KEY_MISSING: Final = "SecretKeyMissing"
"""The Secret lacks the key that the target needs."""

REASON_SECRET_INVALID: Final = "SecretInvalid"
"""The key exists, but its value is empty, not text, or not what the sender needs."""

REASON_SECRET_FORBIDDEN: Final = "SecretForbidden"
"""The service's account may not read the Secret, or it lacks the label in `SECRET_LABEL`."""

REASON_SECRET_UNAVAILABLE: Final = "SecretUnavailable"
"""The service could not read the Secret from the API server; retried."""

REASON_INVALID_TARGET: Final = "InvalidTarget"
"""The target's entry in the spec is invalid."""

REASON_NOT_IMPLEMENTED: Final = "NotImplemented"
"""The installation has no backend for this type of target."""

REASON_INTERRUPTED: Final = "Interrupted"
"""Given up without an answer: its process died too often, it was removed from the spec, or a bug."""
