/** A typed client of agentteam-delivery; the types are generated from openapi/openapi.yaml. */

import createClient, { type Client } from "openapi-fetch";

import type { components, paths } from "./api.js";
import { PROBLEM_KINDS, REASONS } from "./constants.js";

export { PROBLEM_KINDS, REASONS };
export type { paths };
export type CompletionEvent = components["schemas"]["CompletionEvent"];
export type Previewed = Known<components["schemas"]["Previewed"]>;
export type ProblemDetails = Known<components["schemas"]["ProblemDetails"]>;
export type Receipt = Known<components["schemas"]["Receipt"]>;
export type Report = Known<components["schemas"]["Report"]>;

/** An answer without later additions, so that a misspelled field does not compile. */
export type Known<T> = T extends (infer One)[]
  ? Known<One>[]
  : T extends object
    ? { [Name in keyof T as string extends Name ? (unknown extends T[Name] ? never : Name) : Name]: Known<T[Name]> }
    : T;

/** The types of problem in this version of the API; a later one may have more. */
export type ProblemKind = (typeof PROBLEM_KINDS)[number];

/** The reasons in this version of the API; a later one may have more. */
export type Reason = (typeof REASONS)[number];

/** A token, or a function that returns one, which is called for each request: projected tokens are renewed. */
export type Token = string | (() => string | Promise<string>);

export interface How {
  /** Ends the wait: `AbortSignal.timeout(60_000)`. */
  signal?: AbortSignal;
}

export interface HowToDeliver extends How {
  /** `respond-async`, or `wait=N` seconds; by default the answer waits for the outcome. */
  prefer?: string;
}

/** The operations of the service. An error answer is thrown as a `Problem`. */
export interface Deliveries {
  /** Deliver a finished team's notifications; the report is `Pending` while a target is not settled. */
  deliver(event: CompletionEvent, how?: HowToDeliver): Promise<Report>;
  /** Show what would be sent to which target, and send nothing. */
  preview(event: CompletionEvent, how?: How): Promise<Previewed>;
  /** Read the record of a team's delivery. */
  read(namespace: string, team: string, how?: How): Promise<Report>;
  /** Every operation of the API, through openapi-fetch: it returns errors, and throws no `Problem`. */
  readonly api: Client<paths>;
}

const PREFIX = "urn:agentteam-delivery:";

/** An error answer of the service (RFC 9457). */
export class Problem extends Error implements ProblemDetails {
  override readonly name = "Problem";
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly recorded?: boolean;
  readonly errors?: string[];
  /** Seconds to wait before a retry, if a retry can help. */
  readonly retryAfter: number | undefined;
  /** The id of this request in the service's log. */
  readonly requestId: string | undefined;

  constructor(details: ProblemDetails, headers: Headers = new Headers()) {
    super(details.detail);
    this.type = details.type;
    this.title = details.title;
    this.status = details.status;
    this.detail = details.detail;
    if (details.recorded !== undefined) this.recorded = details.recorded;
    if (details.errors !== undefined) this.errors = details.errors;
    this.retryAfter = secondsOf(headers.get("retry-after") ?? "");
    this.requestId = headers.get("x-request-id") ?? undefined;
  }

  /** Compare the type of problem; an unknown type does not compile. */
  is(kind: ProblemKind): boolean {
    return this.type === PREFIX + kind;
  }
}

/** Create a client for the service at this address; it follows no redirect, which would lose the event. */
export function connect(baseUrl: string, token: Token): Deliveries {
  if (!isAddress(baseUrl)) {
    throw new TypeError("baseUrl must be the service's address: http:// or https://, a host, and no user");
  }
  if (typeof token !== "string" && typeof token !== "function") {
    throw new TypeError("token must be a string, or a function that returns one");
  }
  const api = createClient<paths>({ baseUrl, redirect: "manual" });
  api.use({
    async onRequest({ request }) {
      request.headers.set("Authorization", `Bearer ${await current(token, request.signal)}`);
      return request;
    },
  });
  const parseAs = "text"; // the answer may not be JSON, so it is parsed here
  return {
    api,
    async deliver(event, { prefer, ...how } = {}) {
      const header = prefer === undefined ? {} : { prefer };
      return answered(api.POST("/deliveries", { ...how, parseAs, params: { header }, body: event }), isReport);
    },
    async preview(event, how = {}) {
      return answered(api.POST("/previews", { ...how, parseAs, body: event }), isPreviewed);
    },
    async read(namespace, team, how = {}) {
      const params = { path: { namespace, team } };
      return answered(api.GET("/deliveries/{namespace}/{team}", { ...how, parseAs, params }), isReport);
    },
  };
}

/** Return the current token, unless the caller has aborted. */
async function current(token: Token, signal: AbortSignal): Promise<string> {
  const found: unknown = typeof token === "string" ? token : await whileWanted(signal, token);
  const text = typeof found === "string" ? found.trim() : "";
  // An error of `Headers` would contain the token.
  if (!/^[\x21-\x7e]+$/.test(text)) throw new TypeError("the token is empty or has invalid characters; check what provides it");
  return text;
}

/** Wait for a result until the signal aborts. */
function whileWanted<T>(signal: AbortSignal, ask: () => T | Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = () => reject(signal.reason);
    if (signal.aborted) return end();
    signal.addEventListener("abort", end, { once: true });
    (async () => ask())().then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
  });
}

type Answer = { data?: string; error?: unknown; response: Response };

/** Return the answer, or throw the problem. */
async function answered<T>(call: Promise<Answer>, fits: (body: unknown) => body is T): Promise<T> {
  const { data, error, response } = await call;
  const { status, statusText, headers } = response;
  if (response.ok) {
    const body = parsed(data);
    if (fits(body)) return body;
  } else if (mediaType(headers) === "application/problem+json" && isProblem(error)) {
    const { type, detail, title, recorded, errors } = error;
    const optional = {
      ...(typeof recorded === "boolean" && { recorded }),
      ...(isListOf(isText, errors) && { errors }),
    };
    throw new Problem({ type, title: isText(title) ? title : statusText, status, detail, ...optional }, headers);
  }
  // Not the service's answer: something on the way, such as a gateway, has its own format.
  const detail = `answered ${status}, and not as agentteam-delivery does`;
  throw new Problem({ type: "about:blank", title: statusText, status, detail }, headers);
}

function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}

function mediaType(headers: Headers): string | undefined {
  return headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
}

/** Read Retry-After: seconds, or a date. */
function secondsOf(wait: string): number | undefined {
  if (/^\d{1,9}$/.test(wait)) return Number(wait);
  const at = / GMT$/.test(wait) ? Date.parse(wait) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - Date.now()) / 1000));
}

function isAddress(text: string): boolean {
  try {
    const { protocol, username, password } = new URL(text);
    return /^https?:$/.test(protocol) && !username && !password;
  } catch {
    return false;
  }
}

// The checks of a body, to detect a gateway's answer; the types cover the fields.

type Fields = Record<string, unknown>;

const isText = (value: unknown): value is string => typeof value === "string";

const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function isListOf<T>(fits: (one: unknown) => one is T, value: unknown): value is T[] {
  return Array.isArray(value) && value.every(fits);
}

function isReport(body: unknown): body is Report {
  return isObject(body) && isText(body["phase"]) && isListOf(isObject, body["targets"]) && !("dryRun" in body);
}

function isPreviewed(body: unknown): body is Previewed {
  return isObject(body) && body["dryRun"] === "All" && isListOf(isObject, body["targets"]);
}

function isProblem(body: unknown): body is Fields & Pick<ProblemDetails, "type" | "detail"> {
  return isObject(body) && isText(body["type"]) && isText(body["detail"]);
}
