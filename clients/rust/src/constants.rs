// Made from the code; to write it again: make reference

//! What a problem's `type` and a target's `reason` say; more may come, and no word changes its meaning.

#![allow(dead_code)]

pub mod problems {
    /// Bad request
    pub const BAD_REQUEST: &str = "urn:agentteam-delivery:bad-request";

    /// Body too large
    pub const BODY_TOO_LARGE: &str = "urn:agentteam-delivery:body-too-large";

    /// Delivery in flight
    pub const CLAIM_IN_FLIGHT: &str = "urn:agentteam-delivery:claim-in-flight";

    /// Kubernetes API unavailable
    pub const CLUSTER_UNAVAILABLE: &str = "urn:agentteam-delivery:cluster-unavailable";

    /// Draining
    pub const DRAINING: &str = "urn:agentteam-delivery:draining";

    /// Caller not allowed
    pub const FORBIDDEN: &str = "urn:agentteam-delivery:forbidden";

    /// Request head too large
    pub const HEAD_TOO_LARGE: &str = "urn:agentteam-delivery:head-too-large";

    /// Internal error
    pub const INTERNAL: &str = "urn:agentteam-delivery:internal";

    /// Ledger not kept
    pub const LEDGER_NOT_KEPT: &str = "urn:agentteam-delivery:ledger-not-kept";

    /// Ledger refused
    pub const LEDGER_REFUSED: &str = "urn:agentteam-delivery:ledger-refused";

    /// Malformed request
    pub const MALFORMED: &str = "urn:agentteam-delivery:malformed";

    /// Method not allowed
    pub const METHOD_NOT_ALLOWED: &str = "urn:agentteam-delivery:method-not-allowed";

    /// No such path
    pub const NO_SUCH_PATH: &str = "urn:agentteam-delivery:no-such-path";

    /// Phase not terminal
    pub const PHASE_NOT_TERMINAL: &str = "urn:agentteam-delivery:phase-not-terminal";

    /// Too many requests
    pub const RATE_LIMITED: &str = "urn:agentteam-delivery:rate-limited";

    /// Request not complete in time
    pub const REQUEST_TIMEOUT: &str = "urn:agentteam-delivery:request-timeout";

    /// Team not finished
    pub const TEAM_NOT_FINISHED: &str = "urn:agentteam-delivery:team-not-finished";

    /// No such team
    pub const TEAM_NOT_FOUND: &str = "urn:agentteam-delivery:team-not-found";

    /// Too busy
    pub const TOO_BUSY: &str = "urn:agentteam-delivery:too-busy";

    /// Too many targets
    pub const TOO_MANY_TARGETS: &str = "urn:agentteam-delivery:too-many-targets";

    /// Another team of the same name
    pub const UID_CHANGED: &str = "urn:agentteam-delivery:uid-changed";

    /// Unknown caller
    pub const UNAUTHENTICATED: &str = "urn:agentteam-delivery:unauthenticated";

    /// No such target
    pub const UNKNOWN_TARGET: &str = "urn:agentteam-delivery:unknown-target";
}

pub mod reasons {
    /// The receiver accepted the notification.
    pub const DELIVERED: &str = "Delivered";

    /// The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are retried.
    pub const HTTP_STATUS: &str = "HTTPStatus";

    /// A mail relay refused the message, or some of its recipients.
    pub const REFUSED: &str = "Refused";

    /// The receiver answered 429, or asked to wait longer than the target's remaining time; retried.
    pub const RATE_LIMITED: &str = "RateLimited";

    /// No answer in time, in the last attempt or in total; retried while there is time.
    pub const TIMEOUT: &str = "Timeout";

    /// No connection, a broken connection, or a name that does not resolve; retried.
    pub const CONNECTION_FAILED: &str = "ConnectionFailed";

    /// The receiver's certificate is not trusted, or is for another host.
    pub const TLS_FAILED: &str = "TLSFailed";

    /// The receiver answered 3xx; redirects are refused, because a 301 turns a POST into a GET.
    pub const REDIRECTED: &str = "Redirected";

    /// The answer violated the protocol, or its headers were too large.
    pub const INVALID_RESPONSE: &str = "InvalidResponse";

    /// The installation does not allow this address, or it is not https.
    pub const EGRESS_DENIED: &str = "EgressDenied";

    /// The Secret does not exist in the team's namespace.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";

    /// The Secret lacks the key that the target needs.
    pub const SECRET_KEY_MISSING: &str = "SecretKeyMissing";

    /// The key exists, but its value is empty, not text, or not what the sender needs.
    pub const SECRET_INVALID: &str = "SecretInvalid";

    /// The service's account may not read the Secret, or it lacks the label in `SECRET_LABEL`.
    pub const SECRET_FORBIDDEN: &str = "SecretForbidden";

    /// The service could not read the Secret from the API server; retried.
    pub const SECRET_UNAVAILABLE: &str = "SecretUnavailable";

    /// The target's entry in the spec is invalid.
    pub const INVALID_TARGET: &str = "InvalidTarget";

    /// The installation has no backend for this type of target.
    pub const NOT_IMPLEMENTED: &str = "NotImplemented";

    /// Given up without an answer: its process died too often, it was removed from the spec, or a bug.
    pub const INTERRUPTED: &str = "Interrupted";
}
