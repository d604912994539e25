/** Takes steps with the TypeScript client, and prints what came of each; driver.py does the same.
 *
 * As a process, with steps as JSON on its input: node driver.js URL
 */

import { strict as assert } from "node:assert";
import { text } from "node:stream/consumers";

import {
  connect,
  PROBLEM_KINDS,
  Problem,
  type CompletionEvent,
  type Deliveries,
  type Previewed,
  type Report,
} from "agentteam-delivery-client";

type Step = {
  call: "deliver" | "preview" | "read";
  token: string;
  namespace: string;
  team: string;
  redeliver?: "failed" | "all";
  prefer?: string;
};

const HOUR = 3_600_000; // ms

async function answered(service: Deliveries, step: Step): Promise<Report | Previewed> {
  const { call, prefer, namespace, team, redeliver } = step;
  const how = { signal: AbortSignal.timeout(60_000) };
  const event: CompletionEvent = { namespace, team, ...(redeliver && { redeliver }) };
  switch (call) {
    case "deliver":
      return service.deliver(event, { ...how, ...(prefer && { prefer }) });
    case "preview":
      return service.preview(event, how);
    case "read":
      return service.read(namespace, team, how);
  }
}

/** Say the same of an answer as the other drivers do. */
function told(answer: Report | Previewed): object {
  if ("dryRun" in answer) {
    return { would: Object.fromEntries(answer.targets.map((one) => [one.name, one.would])) };
  }
  const targets = answer.targets.map(({ name, phase, reason, httpStatus, timestamp }) => ({
    name,
    phase,
    reason,
    httpStatus,
    changedLately: timestamp !== null && Math.abs(Date.now() - new Date(timestamp).getTime()) < HOUR,
  }));
  return { phase: answer.phase, targets };
}

function refused(error: unknown): object {
  if (!(error instanceof Problem)) throw error;
  const { type: problem, status, errors, retryAfter } = error;
  assert.ok(error.detail);
  assert.equal(error.message, error.detail);
  const ours = problem.startsWith("urn:agentteam-delivery:");
  assert.equal(PROBLEM_KINDS.filter((kind) => error.is(kind)).length, ours ? 1 : 0);
  assert.equal(error.requestId !== undefined, ours);
  return { problem, status, errors, retryAfter }; // what is undefined is not printed
}

/** What must not compile; it is never called. */
export function wrong(problem: Problem, report: Report): unknown[] {
  // @ts-expect-error TS2353: no such field
  const event: CompletionEvent = { namespace: "research", team: "report", address: "https://hooks.example.com" };
  // @ts-expect-error TS2322: no such word
  const word: CompletionEvent = { namespace: "research", team: "report", redeliver: "some" };
  // @ts-expect-error TS2741: a field too few
  const less: CompletionEvent = { namespace: "research" };
  // @ts-expect-error TS2345: no such kind of problem
  const kind = problem.is("team-unfinished");
  // @ts-expect-error TS2551: it is called httpStatus
  const status = report.targets.map((one) => one.httpstatus);
  return [event, word, less, kind, status];
}

const [url] = process.argv.slice(2);
assert.ok(url);
let token = ""; // another at each step, perhaps
const service = connect(url, async () => `${token}\n`);
const results: object[] = [];
for (const step of JSON.parse(await text(process.stdin)) as Step[]) {
  token = step.token;
  results.push(await answered(service, step).then(told, refused));
}
console.log(JSON.stringify(results));
