/** A typed client of agentteam-delivery; the types are generated from openapi/openapi.yaml. */

import createClient, { type Client } from "openapi-fetch";

import type { components, paths } from "./api.js";
import { PROBLEM_KINDS } from "./problems.js";

export { PROBLEM_KINDS };
export type { paths };
export type CompletionEvent = components["schemas"]["CompletionEvent"];
export type Previewed = components["schemas"]["Previewed"];
export type ProblemDetails = components["schemas"]["ProblemDetails"];
export type Receipt = components["schemas"]["Receipt"];
export type Report = components["schemas"]["Report"];

/** The kinds of problem that this version of the API knows; a later one may know more. */
export type ProblemKind = (typeof PROBLEM_KINDS)[number];

/** A token, or what gives one. It is asked before each request, since projected tokens are renewed. */
export type Token = string | (() => string | Promise<string>);

export interface How {
  /** Ends the wait: `AbortSignal.timeout(60_000)`. */
  signal?: AbortSignal;
}

export interface HowToDeliver extends How {
  /** `respond-async`, or `wait=N` seconds; else the answer waits for the outcome. */
  prefer?: string;
}

/** What the service does for its callers. Where it refuses, a `Problem` is thrown. */
export interface Deliveries {
  /** Send a finished team's notices; the report is `Pending` while something is not settled. */
  deliver(event: CompletionEvent, how?: HowToDeliver): Promise<Report>;
  /** Show what would be sent where, and send nothing. */
  preview(event: CompletionEvent, how?: How): Promise<Previewed>;
  /** Read what is on record of a team's delivery. */
  read(namespace: string, team: string, how?: How): Promise<Report>;
  /** Every operation of the API, as openapi-fetch has it: it returns what is wrong, and throws no `Problem`. */
  readonly api: Client<paths>;
}

const PREFIX = "urn:agentteam-delivery:";

/** What the service refused, and why (RFC 9457). */
export class Problem extends Error implements ProblemDetails {
  override readonly name = "Problem";
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly recorded?: boolean;
  readonly errors?: string[];
  /** How many seconds to wait before the next try, where there is a use in one. */
  readonly retryAfter: number | undefined;
  /** The id under which the service's log has this request. */
  readonly requestId: string | undefined;

  constructor(details: ProblemDetails, headers: Headers = new Headers()) {
    super(details.detail);
    this.type = details.type;
    this.title = details.title;
    this.status = details.status;
    this.detail = details.detail;
    if (details.recorded !== undefined) this.recorded = details.recorded;
    if (details.errors !== undefined) this.errors = details.errors;
    const seconds = headers.get("retry-after") ?? "";
    this.retryAfter = /^\d+$/.test(seconds) ? Number(seconds) : undefined;
    this.requestId = headers.get("x-request-id") ?? undefined;
  }

  /** Tell this kind of problem from others; a kind that does not exist does not compile. */
  is(kind: ProblemKind): boolean {
    return this.type === PREFIX + kind;
  }
}

/** Make a client of the service at this address. */
export function connect(baseUrl: string, token: Token): Deliveries {
  const api = createClient<paths>({ baseUrl });
  api.use({
    async onRequest({ request }) {
      const current = typeof token === "string" ? token : await token();
      request.headers.set("Authorization", `Bearer ${current.trim()}`);
      return request;
    },
  });
  return {
    api,
    async deliver(event, { prefer, ...how } = {}) {
      const header = prefer === undefined ? {} : { prefer };
      return (await answered(api.POST("/deliveries", { ...how, params: { header }, body: event }))) as Report;
    },
    async preview(event, how = {}) {
      const query = { dryRun: "All" } as const;
      return (await answered(api.POST("/deliveries", { ...how, params: { query }, body: event }))) as Previewed;
    },
    async read(namespace, team, how = {}) {
      return answered(api.GET("/deliveries/{namespace}/{team}", { ...how, params: { path: { namespace, team } } }));
    },
  };
}

/** Return what was answered, or throw the problem. */
async function answered<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  if (response.ok && data !== undefined) return data;
  if (response.headers.get("content-type")?.startsWith("application/problem+json")) {
    throw new Problem(error as ProblemDetails, response.headers);
  }
  // Not the service: something on the way to it, as a gateway, has words of its own.
  const { status, statusText: title } = response;
  const detail = `answered ${status}, and not as agentteam-delivery does`;
  throw new Problem({ type: "about:blank", title, status, detail }, response.headers);
}
