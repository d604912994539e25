// Made from the code; to write it anew: make reference

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
  "Delivered", // The receiver has it.
  "HTTPStatus", // The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are tried again.
  "Refused", // A mail relay refused the message, or some of its recipients.
  "RateLimited", // The receiver answered 429, or asked to wait longer than the target's remaining time.
  "Timeout", // No answer in time, in the last attempt or in all of them; tried again while there is time.
  "ConnectionFailed", // No connection, or one that broke; a name that does not resolve counts too. Tried again.
  "TLSFailed", // The receiver's certificate is not trusted, or is another's.
  "Redirected", // The receiver answered 3xx; redirects are refused, since a 301 turns a POST into a GET.
  "InvalidResponse", // The answer was not of the protocol, or its head was larger than is read.
  "EgressDenied", // The address is not one that the installation lets the service call, or is not https.
  "SecretNotFound", // There is no such Secret in the team's namespace.
  "SecretKeyMissing", // The Secret lacks the key that the target needs.
  "SecretInvalid", // The key is there, but its value is empty, no text, or not what the sender needs.
  "SecretForbidden", // The service's account may not read it, or it lacks the label that `SECRET_LABEL` asks for.
  "SecretUnavailable", // The API server could not be asked for the Secret; tried again.
  "InvalidTarget", // The target's entry in the spec cannot be used.
  "NotImplemented", // The installation has no backend for this type of target.
  "Interrupted", // Given up without an answer: its holder died too often, the target left the spec, or a bug.
] as const;
