// Made from the code; to write it anew: make reference

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
    /// The receiver has it.
    pub const DELIVERED: &str = "Delivered";

    /// The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are tried again.
    pub const HTTP_STATUS: &str = "HTTPStatus";

    /// A mail relay refused the message, or some of its recipients.
    pub const REFUSED: &str = "Refused";

    /// The receiver answered 429, or asked to wait longer than the target's remaining time.
    pub const RATE_LIMITED: &str = "RateLimited";

    /// No answer in time, in the last attempt or in all of them; tried again while there is time.
    pub const TIMEOUT: &str = "Timeout";

    /// No connection, or one that broke; a name that does not resolve counts too. Tried again.
    pub const CONNECTION_FAILED: &str = "ConnectionFailed";

    /// The receiver's certificate is not trusted, or is another's.
    pub const TLS_FAILED: &str = "TLSFailed";

    /// The receiver answered 3xx; redirects are refused, since a 301 turns a POST into a GET.
    pub const REDIRECTED: &str = "Redirected";

    /// The answer was not of the protocol, or its head was larger than is read.
    pub const INVALID_RESPONSE: &str = "InvalidResponse";

    /// The address is not one that the installation lets the service call, or is not https.
    pub const EGRESS_DENIED: &str = "EgressDenied";

    /// There is no such Secret in the team's namespace.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";

    /// The Secret lacks the key that the target needs.
    pub const SECRET_KEY_MISSING: &str = "SecretKeyMissing";

    /// The key is there, but its value is empty, no text, or not what the sender needs.
    pub const SECRET_INVALID: &str = "SecretInvalid";

    /// The service's account may not read it, or it lacks the label that `SECRET_LABEL` asks for.
    pub const SECRET_FORBIDDEN: &str = "SecretForbidden";

    /// The API server could not be asked for the Secret; tried again.
    pub const SECRET_UNAVAILABLE: &str = "SecretUnavailable";

    /// The target's entry in the spec cannot be used.
    pub const INVALID_TARGET: &str = "InvalidTarget";

    /// The installation has no backend for this type of target.
    pub const NOT_IMPLEMENTED: &str = "NotImplemented";

    /// Given up without an answer: its holder died too often, the target left the spec, or a bug.
    pub const INTERRUPTED: &str = "Interrupted";
}
