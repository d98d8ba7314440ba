// The front door's JSON interface.

import { untouched } from "./dom.js";
import { t } from "./text.js";

/** Tells `lost` and `back` about the server, and `signed-out` about the session. */
export const link = new EventTarget();

const tell = (name) => link.dispatchEvent(new Event(name));

export class Problem extends Error {
  /** `status` is the answer's, 0 without one; `body` is its problem+json. */
  constructor(status, body = {}) {
    super([body.detail || body.title || t.answered(status), body.nextStep].filter(Boolean).join(" "));
    this.status = status;
    this.body = body;
  }
}

/** The server's clock minus this browser's, in milliseconds; known to about a second. */
export let clockOffset;

/** Asks the server. `body` may be a text or form; anything else becomes JSON. */
export async function call(method, path, { query = {}, body, headers = {}, refusals = {} } = {}) {
  const wanted = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  const parameters = new URLSearchParams(wanted.flatMap(([name, value]) => [value].flat().map((each) => [name, each]))).toString();
  const raw = body === undefined || body instanceof Blob || body instanceof FormData;
  const asked = Date.now();
  let answer;
  try {
    answer = await fetch(parameters ? `${path}?${parameters}` : path, {
      method,
      headers: raw ? headers : { "content-type": "application/json", ...headers },
      body: raw ? body : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch {
    tell("lost");
    throw new Problem(0, { detail: t.unreachable });
  }
  tell("back");
  const date = Date.parse(answer.headers.get("date"));
  // The header has whole seconds: on the average it is half a second old.
  if (!Number.isNaN(date)) clockOffset = date + 500 - (asked + Date.now()) / 2;
  const text = await answer.text().catch(() => "");
  let content = {};
  try {
    content = text ? JSON.parse(text) : {};
  } catch {
    content = { detail: t.answered(answer.status) };
  }
  if (answer.status === 401 && !refusals.signedOut) tell("signed-out");
  if (!answer.ok && answer.status !== refusals.except) throw new Problem(answer.status, content);
  return content;
}

/** Reads, and answers when what is shown may be replaced. */
export async function get(path, query) {
  const content = await call("GET", path, { query });
  await untouched();
  return content;
}

/** Waits. */
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
