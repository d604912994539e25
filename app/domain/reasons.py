"""The closed list of reasons for what became of a target: one word for status, metric label and log.

Beside each stands what it means, and what to do about it; the reference page is made of that.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Why a target is where it is, in one word."""

    # CamelCase, as Kubernetes' conditions have it:
    # https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md

    meaning: str
    remedy: str

    def __new__(cls, word: str, meaning: str, remedy: str) -> Self:
        """Make a member that is its word."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning, member.remedy = meaning, remedy
        return member

    DELIVERED = "Delivered", "The receiver has it.", "Nothing."
    HTTP_STATUS = (
        "HTTPStatus",
        "The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are tried again.",
        "Look at the receiver: `httpStatus` and the message say what it answered.",
    )
    REFUSED = (
        "Refused",
        "A mail relay refused the message, or some of its recipients.",
        "The message says what it refused, and whom.",
    )
    RATE_LIMITED = (
        "RateLimited",
        "The receiver answered 429, or asked to wait longer than the target's remaining time.",
        "Redeliver later; send less to it.",
    )
    TIMEOUT = (
        "Timeout",
        "No answer in time, in the last attempt or in all of them; tried again while there is time.",
        "Have the receiver answer before it works, or raise `ATTEMPT_TIMEOUT`.",
    )
    CONNECTION_FAILED = (
        "ConnectionFailed",
        "No connection, or one that broke; a name that does not resolve counts too. Tried again.",
        "Look at the receiver's address; if all receivers say so, at NetworkPolicy, proxy and DNS.",
    )
    TLS_FAILED = (
        "TLSFailed",
        "The receiver's certificate is not trusted, or is another's.",
        "Mend the certificate; an authority of your own goes into `EGRESS_CA_FILE`.",
    )
    REDIRECTED = (
        "Redirected",
        "The receiver answered 3xx; redirects are refused, since a 301 turns a POST into a GET.",
        "Give the final address.",
    )
    INVALID_RESPONSE = (
        "InvalidResponse",
        "The answer was not of the protocol, or its head was larger than is read.",
        "See what answers at that address.",
    )
    EGRESS_DENIED = (
        "EgressDenied",
        "The address is not one that the installation lets the service call, or is not https.",
        "Give a public https address, or have `EGRESS_ALLOW` and its like name this one.",
    )
    SECRET_NOT_FOUND = (
        "SecretNotFound",
        "There is no such Secret in the team's namespace.",
        "Create it.",
    )
    SECRET_KEY_MISSING = (
        "SecretKeyMissing",
        "The Secret lacks the key that the target needs.",
        "Add the key that the message names.",
    )
    SECRET_INVALID = (
        "SecretInvalid",
        "The key is there, but its value is empty, no text, or not what the sender needs.",
        "Set the value to what the message asks for.",
    )
    SECRET_FORBIDDEN = (
        "SecretForbidden",
        "The service's account may not read it, or it lacks the label that `SECRET_LABEL` asks for.",
        "Grant the account `get` on Secrets there, or label the Secret; the message says which.",
    )
    SECRET_UNAVAILABLE = (
        "SecretUnavailable",
        "The API server could not be asked for the Secret; tried again.",
        "Look at the Kubernetes API, then redeliver.",
    )
    INVALID_TARGET = (
        "InvalidTarget",
        "The target's entry in the spec cannot be used.",
        "Change the field that the message names.",
    )
    NOT_IMPLEMENTED = (
        "NotImplemented",
        "The installation has no backend for this type of target.",
        "Have it switched on (`EMAIL`, `GOOGLE_DRIVE`), or take another type.",
    )
    INTERRUPTED = (
        "Interrupted",
        "Given up without an answer: its holder died too often, the target left the spec, or a bug.",
        "The message says which. Look at why replicas end, or at the log; then redeliver.",
    )
