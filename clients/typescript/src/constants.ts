// Made from the code; to write it again: make reference

/** What a problem's `type` says after the prefix; more may come. */
export const PROBLEM_KINDS = [
  "bad-request", // Bad request
  "body-too-large", // Body too large
  "claim-in-flight", // Delivery in flight
  "cluster-unavailable", // Kubernetes API unavailable
  "draining", // Draining
  "forbidden", // Caller not allowed
  "head-too-large", // Request head too large
  "internal", // Internal error
  "ledger-not-kept", // Ledger not kept
  "ledger-refused", // Ledger refused
  "malformed", // Malformed request
  "method-not-allowed", // Method not allowed
  "no-such-path", // No such path
  "phase-not-terminal", // Phase not terminal
  "rate-limited", // Too many requests
  "request-timeout", // Request not complete in time
  "team-not-finished", // Team not finished
  "team-not-found", // No such team
  "too-busy", // Too busy
  "too-many-targets", // Too many targets
  "uid-changed", // Another team of the same name
  "unauthenticated", // Unknown caller
  "unknown-target", // No such target
] as const;

/** What a target's `reason` says; more may come. */
export const REASONS = [
  "Delivered", // The receiver accepted the notification.
  "HTTPStatus", // The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are retried.
  "Refused", // A mail relay refused the message, or some of its recipients.
  "RateLimited", // The receiver answered 429, or asked to wait longer than the target's remaining time; retried.
  "Timeout", // No answer in time, in the last attempt or in total; retried while there is time.
  "ConnectionFailed", // No connection, a broken connection, or a name that does not resolve; retried.
  "TLSFailed", // The receiver's certificate is not trusted, or is for another host.
  "Redirected", // The receiver answered 3xx; redirects are refused, because a 301 turns a POST into a GET.
  "InvalidResponse", // The answer violated the protocol, or its headers were too large.
  "EgressDenied", // The installation does not allow this address, or it is not https.
  "SecretNotFound", // The Secret does not exist in the team's namespace.
  "SecretKeyMissing", // The Secret lacks the key that the target needs.
  "SecretInvalid", // The key exists, but its value is empty, not text, or not what the sender needs.
  "SecretForbidden", // The service's account may not read the Secret, or it lacks the label in `SECRET_LABEL`.
  "SecretUnavailable", // The service could not read the Secret from the API server; retried.
  "InvalidTarget", // The target's entry in the spec is invalid.
  "NotImplemented", // The installation has no backend for this type of target.
  "Interrupted", // Given up without an answer: its process died too often, it was removed from the spec, or a bug.
] as const;
