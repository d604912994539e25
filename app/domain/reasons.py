"""The closed list of reasons for a target's outcome: one word for status, metric label and log.

Each has its meaning and its remedy; the reference page is generated from them.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Why a target is in its phase, in one word."""

    # CamelCase, like the conditions of Kubernetes:
    # https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md

    meaning: str
    remedy: str

    def __new__(cls, word: str, meaning: str, remedy: str) -> Self:
        """Create a member whose value is its word."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning, member.remedy = meaning, remedy
        return member

    DELIVERED = "Delivered", "The receiver accepted the notification.", "Nothing."
    HTTP_STATUS = (
        "HTTPStatus",
        "The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are retried.",
        "Check the receiver: `httpStatus` and the message show its answer.",
    )
    REFUSED = (
        "Refused",
        "A mail relay refused the message, or some of its recipients.",
        "The message says what the relay refused, and for which recipients.",
    )
    RATE_LIMITED = (
        "RateLimited",
        "The receiver answered 429, or asked to wait longer than the target's remaining time; retried.",
        "Nothing while it is pending; if it failed, redeliver later, and send fewer notifications to it.",
    )
    TIMEOUT = (
        "Timeout",
        "No answer in time, in the last attempt or in total; retried while there is time.",
        "Make the receiver answer before it does its work, or raise `ATTEMPT_TIMEOUT`.",
    )
    CONNECTION_FAILED = (
        "ConnectionFailed",
        "No connection, a broken connection, or a name that does not resolve; retried.",
        "Check the receiver's address; if it affects all receivers, check NetworkPolicy, proxy and DNS.",
    )
    TLS_FAILED = (
        "TLSFailed",
        "The receiver's certificate is not trusted, or is for another host.",
        "Fix the certificate; add your own certificate authority to `EGRESS_CA_FILE`.",
    )
    REDIRECTED = (
        "Redirected",
        "The receiver answered 3xx; redirects are refused, because a 301 turns a POST into a GET.",
        "Use the final address.",
    )
    INVALID_RESPONSE = (
        "InvalidResponse",
        "The answer violated the protocol, or its headers were too large.",
        "Check what answers at that address.",
    )
    EGRESS_DENIED = (
        "EgressDenied",
        "The installation does not allow this address, or it is not https.",
        "Use a public https address, or allow this one in `EGRESS_ALLOW` or a related setting.",
    )
    SECRET_NOT_FOUND = (
        "SecretNotFound",
        "The Secret does not exist in the team's namespace.",
        "Create it.",
    )
    SECRET_KEY_MISSING = (
        "SecretKeyMissing",
        "The Secret lacks the key that the target needs.",
        "Add the key that the message names.",
    )
    SECRET_INVALID = (
        "SecretInvalid",
        "The key exists, but its value is empty, not text, or not what the sender needs.",
        "Set the value as the message says.",
    )
    SECRET_FORBIDDEN = (
        "SecretForbidden",
        "The service's account may not read the Secret, or it lacks the label in `SECRET_LABEL`.",
        "Grant the account `get` on Secrets there, or label the Secret; the message says which.",
    )
    SECRET_UNAVAILABLE = (
        "SecretUnavailable",
        "The service could not read the Secret from the API server; retried.",
        "Check the Kubernetes API, then redeliver.",
    )
    INVALID_TARGET = (
        "InvalidTarget",
        "The target's entry in the spec is invalid.",
        "Change the field that the message names.",
    )
    NOT_IMPLEMENTED = (
        "NotImplemented",
        "The installation has no backend for this type of target.",
        "Enable it (`EMAIL`, `GOOGLE_DRIVE`), or use another type.",
    )
    INTERRUPTED = (
        "Interrupted",
        "Given up without an answer: its process died too often, it was removed from the spec, or a bug.",
        "The message says which. Check why replicas end, and the log; then redeliver.",
    )
