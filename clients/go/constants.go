// Made from the code; to write it anew: make reference

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

	ReasonDelivered = "Delivered" // The receiver has it.

	ReasonHttpStatus = "HTTPStatus" // The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are tried again.

	ReasonRefused = "Refused" // A mail relay refused the message, or some of its recipients.

	ReasonRateLimited = "RateLimited" // The receiver answered 429, or asked to wait longer than the target's remaining time.

	ReasonTimeout = "Timeout" // No answer in time, in the last attempt or in all of them; tried again while there is time.

	ReasonConnectionFailed = "ConnectionFailed" // No connection, or one that broke; a name that does not resolve counts too. Tried again.

	ReasonTlsFailed = "TLSFailed" // The receiver's certificate is not trusted, or is another's.

	ReasonRedirected = "Redirected" // The receiver answered 3xx; redirects are refused, since a 301 turns a POST into a GET.

	ReasonInvalidResponse = "InvalidResponse" // The answer was not of the protocol, or its head was larger than is read.

	ReasonEgressDenied = "EgressDenied" // The address is not one that the installation lets the service call, or is not https.

	ReasonSecretNotFound = "SecretNotFound" // There is no such Secret in the team's namespace.

	ReasonSecretKeyMissing = "SecretKeyMissing" // The Secret lacks the key that the target needs.

	ReasonSecretInvalid = "SecretInvalid" // The key is there, but its value is empty, no text, or not what the sender needs.

	ReasonSecretForbidden = "SecretForbidden" // The service's account may not read it, or it lacks the label that `SECRET_LABEL` asks for.

	ReasonSecretUnavailable = "SecretUnavailable" // The API server could not be asked for the Secret; tried again.

	ReasonInvalidTarget = "InvalidTarget" // The target's entry in the spec cannot be used.

	ReasonNotImplemented = "NotImplemented" // The installation has no backend for this type of target.

	ReasonInterrupted = "Interrupted" // Given up without an answer: its holder died too often, the target left the spec, or a bug.
)
