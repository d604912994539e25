// Made from the code; to write it again: make reference

package controller;

/** What a problem's `type` and a target's `reason` say; more may come, and no word changes its meaning. */
public final class Constants {
  private Constants() {}

  /** Bad request */
  public static final String PROBLEM_BAD_REQUEST = "urn:agentteam-delivery:bad-request";

  /** Body too large */
  public static final String PROBLEM_BODY_TOO_LARGE = "urn:agentteam-delivery:body-too-large";

  /** Delivery in flight */
  public static final String PROBLEM_CLAIM_IN_FLIGHT = "urn:agentteam-delivery:claim-in-flight";

  /** Kubernetes API unavailable */
  public static final String PROBLEM_CLUSTER_UNAVAILABLE = "urn:agentteam-delivery:cluster-unavailable";

  /** Draining */
  public static final String PROBLEM_DRAINING = "urn:agentteam-delivery:draining";

  /** Caller not allowed */
  public static final String PROBLEM_FORBIDDEN = "urn:agentteam-delivery:forbidden";

  /** Request head too large */
  public static final String PROBLEM_HEAD_TOO_LARGE = "urn:agentteam-delivery:head-too-large";

  /** Internal error */
  public static final String PROBLEM_INTERNAL = "urn:agentteam-delivery:internal";

  /** Ledger not kept */
  public static final String PROBLEM_LEDGER_NOT_KEPT = "urn:agentteam-delivery:ledger-not-kept";

  /** Ledger refused */
  public static final String PROBLEM_LEDGER_REFUSED = "urn:agentteam-delivery:ledger-refused";

  /** Malformed request */
  public static final String PROBLEM_MALFORMED = "urn:agentteam-delivery:malformed";

  /** Method not allowed */
  public static final String PROBLEM_METHOD_NOT_ALLOWED = "urn:agentteam-delivery:method-not-allowed";

  /** No such path */
  public static final String PROBLEM_NO_SUCH_PATH = "urn:agentteam-delivery:no-such-path";

  /** Phase not terminal */
  public static final String PROBLEM_PHASE_NOT_TERMINAL = "urn:agentteam-delivery:phase-not-terminal";

  /** Too many requests */
  public static final String PROBLEM_RATE_LIMITED = "urn:agentteam-delivery:rate-limited";

  /** Request not complete in time */
  public static final String PROBLEM_REQUEST_TIMEOUT = "urn:agentteam-delivery:request-timeout";

  /** Team not finished */
  public static final String PROBLEM_TEAM_NOT_FINISHED = "urn:agentteam-delivery:team-not-finished";

  /** No such team */
  public static final String PROBLEM_TEAM_NOT_FOUND = "urn:agentteam-delivery:team-not-found";

  /** Too busy */
  public static final String PROBLEM_TOO_BUSY = "urn:agentteam-delivery:too-busy";

  /** Too many targets */
  public static final String PROBLEM_TOO_MANY_TARGETS = "urn:agentteam-delivery:too-many-targets";

  /** Another team of the same name */
  public static final String PROBLEM_UID_CHANGED = "urn:agentteam-delivery:uid-changed";

  /** Unknown caller */
  public static final String PROBLEM_UNAUTHENTICATED = "urn:agentteam-delivery:unauthenticated";

  /** No such target */
  public static final String PROBLEM_UNKNOWN_TARGET = "urn:agentteam-delivery:unknown-target";

  /** The receiver accepted the notification. */
  public static final String REASON_DELIVERED = "Delivered";

  /** The receiver answered with a status that is not 2xx; 408, 425, 500, 502, 503, 504 are retried. */
  public static final String REASON_HTTP_STATUS = "HTTPStatus";

  /** A mail relay refused the message, or some of its recipients. */
  public static final String REASON_REFUSED = "Refused";

  /** The receiver answered 429, or asked to wait longer than the target's remaining time; retried. */
  public static final String REASON_RATE_LIMITED = "RateLimited";

  /** No answer in time, in the last attempt or in total; retried while there is time. */
  public static final String REASON_TIMEOUT = "Timeout";

  /** No connection, a broken connection, or a name that does not resolve; retried. */
  public static final String REASON_CONNECTION_FAILED = "ConnectionFailed";

  /** The receiver's certificate is not trusted, or is for another host. */
  public static final String REASON_TLS_FAILED = "TLSFailed";

  /** The receiver answered 3xx; redirects are refused, because a 301 turns a POST into a GET. */
  public static final String REASON_REDIRECTED = "Redirected";

  /** The answer violated the protocol, or its headers were too large. */
  public static final String REASON_INVALID_RESPONSE = "InvalidResponse";

  /** The installation does not allow this address, or it is not https. */
  public static final String REASON_EGRESS_DENIED = "EgressDenied";

  /** The Secret does not exist in the team's namespace. */
  public static final String REASON_SECRET_NOT_FOUND = "SecretNotFound";

  /** The Secret lacks the key that the target needs. */
  public static final String REASON_SECRET_KEY_MISSING = "SecretKeyMissing";

  /** The key exists, but its value is empty, not text, or not what the sender needs. */
  public static final String REASON_SECRET_INVALID = "SecretInvalid";

  /** The service's account may not read the Secret, or it lacks the label in `SECRET_LABEL`. */
  public static final String REASON_SECRET_FORBIDDEN = "SecretForbidden";

  /** The service could not read the Secret from the API server; retried. */
  public static final String REASON_SECRET_UNAVAILABLE = "SecretUnavailable";

  /** The target's entry in the spec is invalid. */
  public static final String REASON_INVALID_TARGET = "InvalidTarget";

  /** The installation has no backend for this type of target. */
  public static final String REASON_NOT_IMPLEMENTED = "NotImplemented";

  /** Given up without an answer: its process died too often, it was removed from the spec, or a bug. */
  public static final String REASON_INTERRUPTED = "Interrupted";
}
