# Made from the code; to write it anew: make reference
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
"""The receiver has it."""

REASON_HTTP_STATUS: Final = "HTTPStatus"
"""The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are tried again."""

REASON_REFUSED: Final = "Refused"
"""A mail relay refused the message, or some of its recipients."""

REASON_RATE_LIMITED: Final = "RateLimited"
"""The receiver answered 429, or asked to wait longer than the target's remaining time."""

REASON_TIMEOUT: Final = "Timeout"
"""No answer in time, in the last attempt or in all of them; tried again while there is time."""

REASON_CONNECTION_FAILED: Final = "ConnectionFailed"
"""No connection, or one that broke; a name that does not resolve counts too. Tried again."""

REASON_TLS_FAILED: Final = "TLSFailed"
"""The receiver's certificate is not trusted, or is another's."""

REASON_REDIRECTED: Final = "Redirected"
"""The receiver answered 3xx; redirects are refused, since a 301 turns a POST into a GET."""

REASON_INVALID_RESPONSE: Final = "InvalidResponse"
"""The answer was not of the protocol, or its head was larger than is read."""

REASON_EGRESS_DENIED: Final = "EgressDenied"
"""The address is not one that the installation lets the service call, or is not https."""

REASON_SECRET_NOT_FOUND: Final = "SecretNotFound"
"""There is no such Secret in the team's namespace."""

REASON_SECRET_KEY_MISSING: Final = "SecretKeyMissing"
"""The Secret lacks the key that the target needs."""

REASON_SECRET_INVALID: Final = "SecretInvalid"
"""The key is there, but its value is empty, no text, or not what the sender needs."""

REASON_SECRET_FORBIDDEN: Final = "SecretForbidden"
"""The service's account may not read it, or it lacks the label that `SECRET_LABEL` asks for."""

REASON_SECRET_UNAVAILABLE: Final = "SecretUnavailable"
"""The API server could not be asked for the Secret; tried again."""

REASON_INVALID_TARGET: Final = "InvalidTarget"
"""The target's entry in the spec cannot be used."""

REASON_NOT_IMPLEMENTED: Final = "NotImplemented"
"""The installation has no backend for this type of target."""

REASON_INTERRUPTED: Final = "Interrupted"
"""Given up without an answer: its holder died too often, the target left the spec, or a bug."""
