// Made from the code; to write it again: make reference

package main

// What a problem's `type` and a target's `reason` say; more may come, and no word changes its meaning.
const (
	ProblemBadRequest = "urn:agentteam-delivery:bad-request" // Bad request

	ProblemBodyTooLarge = "urn:agentteam-delivery:body-too-large" // Body too large

	ProblemClaimInFlight = "urn:agentteam-delivery:claim-in-flight" // Delivery in flight

	ProblemClusterUnavailable = "urn:agentteam-delivery:cluster-unavailable" // Kubernetes API unavailable

	ProblemDraining = "urn:agentteam-delivery:draining" // Draining

	ProblemForbidden = "urn:agentteam-delivery:forbidden" // Caller not allowed

	ProblemHeadTooLarge = "urn:agentteam-delivery:head-too-large" // Request head too large

	ProblemInternal = "urn:agentteam-delivery:internal" // Internal error

	ProblemLedgerNotKept = "urn:agentteam-delivery:ledger-not-kept" // Ledger not kept

	ProblemLedgerRefused = "urn:agentteam-delivery:ledger-refused" // Ledger refused

	ProblemMalformed = "urn:agentteam-delivery:malformed" // Malformed request

	ProblemMethodNotAllowed = "urn:agentteam-delivery:method-not-allowed" // Method not allowed

	ProblemNoSuchPath = "urn:agentteam-delivery:no-such-path" // No such path

	ProblemPhaseNotTerminal = "urn:agentteam-delivery:phase-not-terminal" // Phase not terminal

	ProblemRateLimited = "urn:agentteam-delivery:rate-limited" // Too many requests

	ProblemRequestTimeout = "urn:agentteam-delivery:request-timeout" // Request not complete in time

	ProblemTeamNotFinished = "urn:agentteam-delivery:team-not-finished" // Team not finished

	ProblemTeamNotFound = "urn:agentteam-delivery:team-not-found" // No such team

	ProblemTooBusy = "urn:agentteam-delivery:too-busy" // Too busy

	ProblemTooManyTargets = "urn:agentteam-delivery:too-many-targets" // Too many targets

	ProblemUidChanged = "urn:agentteam-delivery:uid-changed" // Another team of the same name

	ProblemUnauthenticated = "urn:agentteam-delivery:unauthenticated" // Unknown caller

	ProblemUnknownTarget = "urn:agentteam-delivery:unknown-target" // No such target

	ReasonDelivered = "Delivered" // The receiver accepted the notification.

	ReasonHttpStatus = "HTTPStatus" // The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are retried.

	ReasonRefused = "Refused" // A mail relay refused the message, or some of its recipients.

	ReasonRateLimited = "RateLimited" // The receiver answered 429, or asked to wait longer than the target's remaining time; retried.

	ReasonTimeout = "Timeout" // No answer in time, in the last attempt or in total; retried while there is time.

	ReasonConnectionFailed = "ConnectionFailed" // No connection, a broken connection, or a name that does not resolve; retried.

	ReasonTlsFailed = "TLSFailed" // The receiver's certificate is not trusted, or is for another host.

	ReasonRedirected = "Redirected" // The receiver answered 3xx; redirects are refused, because a 301 turns a POST into a GET.

	ReasonInvalidResponse = "InvalidResponse" // The answer violated the protocol, or its headers were too large.

	ReasonEgressDenied = "EgressDenied" // The installation does not allow this address, or it is not https.

	ReasonSecretNotFound = "SecretNotFound" // The Secret does not exist in the team's namespace.

	ReasonSecretKeyMissing = "SecretKeyMissing" // The Secret lacks the key that the target needs.

	ReasonSecretInvalid = "SecretInvalid" // The key exists, but its value is empty, not text, or not what the sender needs.

	ReasonSecretForbidden = "SecretForbidden" // The service's account may not read the Secret, or it lacks the label in `SECRET_LABEL`.

	ReasonSecretUnavailable = "SecretUnavailable" // The service could not read the Secret from the API server; retried.

	ReasonInvalidTarget = "InvalidTarget" // The target's entry in the spec is invalid.

	ReasonNotImplemented = "NotImplemented" // The installation has no backend for this type of target.

	ReasonInterrupted = "Interrupted" // Given up without an answer: its process died too often, it was removed from the spec, or a bug.
)
