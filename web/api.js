// The front door's JSON interface, and on whose behalf it is asked.

import { untouched } from "./dom.js";
import { t } from "./text.js";

/**
 * Tells `lost` and `back` about the server, and `signed-out` about the session, with the
 * problem that says so as its `detail`.
 */
export const link = new EventTarget();

const tell = (name, detail) => link.dispatchEvent(new CustomEvent(name, { detail }));

export class Problem extends Error {
  /** `status` is the answer's, 0 without one; `body` is its problem+json. */
  constructor(status, body = {}) {
    super([body.detail || body.title || t.answered(status), body.nextStep].filter(Boolean).join(" ").replaceAll("`", ""));
    this.status = status;
    this.body = body;
  }
}

/** The status of what was asked for somebody who is no longer shown. */
const GONE = -1;
/** Problems with which the page no longer shows who is logged in, beside a missing session. */
const OTHERS = new Set(["session-changed", "session-ambiguous"]);

/** After how many milliseconds a server that does not answer counts as lost, where nothing is shown yet. */
export const PATIENCE = 5000;

/** What is asked while nobody is shown; anything else would be asked for whoever is logged in. */
const NOBODYS = new Set(["/api/session", "/api/session/current", "/healthz"]);

/** The server's clock minus this browser's, in milliseconds; known to about a second. */
export let clockOffset;

// Whom the page shows. Every request says so, and what was asked for somebody is given up,
// and its answer thrown away, when it is somebody else or nobody.
let shown;
let showing = new AbortController();

/** From now on the page shows this caller, or nobody. */
export function shows(caller) {
  if (caller === shown) return;
  showing.abort();
  showing = new AbortController();
  shown = caller;
}

/** What `run` does, and what it finds out when it is done, is for the caller who is shown now. */
async function ask(path, { headers = {}, signal, patience, ...options }, run) {
  const mine = showing.signal;
  const gone = () => {
    if (mine.aborted || (shown === undefined && !NOBODYS.has(path))) throw new Problem(GONE, { detail: t.gone });
  };
  gone();
  const late = patience === undefined ? undefined : AbortSignal.timeout(patience);
  let answer;
  try {
    answer = await fetch(path, {
      ...options,
      headers: { ...headers, ...(shown === undefined ? {} : { "x-countersign-caller": shown }) },
      signal: AbortSignal.any([mine, signal, late].filter(Boolean)),
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch {
    gone();
    if (!signal?.aborted) tell("lost");
    throw new Problem(0, { detail: t.unreachable });
  }
  gone();
  tell("back");
  const content = await run(answer);
  gone();
  return content;
}

async function read(answer) {
  const text = await answer.text().catch(() => "");
  try {
    return text ? JSON.parse(text) : {};
  } catch {
    const body = { detail: t.answered(answer.status) };
    // Another program at this address: what it says is no answer to what was asked.
    if (answer.ok) throw new Problem(answer.status, body);
    return body;
  }
}

function refused(status, content) {
  const problem = new Problem(status, content);
  if (status === 401 || OTHERS.has(content.code)) tell("signed-out", problem);
  return problem;
}

/** Asks the server. `body` may be a text or form; anything else becomes JSON. The server is lost after `patience` milliseconds. */
export async function call(method, path, { query = {}, body, headers = {}, refusals = {}, patience } = {}) {
  const wanted = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  const parameters = new URLSearchParams(wanted.flatMap(([name, value]) => [value].flat().map((each) => [name, each]))).toString();
  const raw = body === undefined || body instanceof Blob || body instanceof FormData;
  const asked = Date.now();
  return ask(parameters ? `${path}?${parameters}` : path, {
    method,
    patience,
    headers: raw ? headers : { "content-type": "application/json", ...headers },
    body: raw ? body : JSON.stringify(body),
  }, async (answer) => {
    const date = Date.parse(answer.headers.get("date"));
    // The header has whole seconds: on the average it is half a second old.
    if (!Number.isNaN(date)) clockOffset = date + 500 - (asked + Date.now()) / 2;
    const content = await read(answer);
    if (answer.ok || answer.status === refusals.except) return content;
    throw refusals.signedOut ? new Problem(answer.status, content) : refused(answer.status, content);
  });
}

/** Reads, and answers when what is shown may be replaced. */
export async function get(path, query) {
  const content = await call("GET", path, { query });
  await untouched();
  return content;
}

/**
 * Reads a stream of events until it ends or `signal` is aborted; `told` gets the data and id of
 * each. By fetch, since an EventSource cannot say whom the page shows.
 */
export function stream(path, { after, signal, opened = () => {} }, told) {
  const headers = { accept: "text/event-stream", ...(after ? { "last-event-id": after } : {}) };
  return ask(path, { headers, signal }, async (answer) => {
    if (!answer.ok) throw refused(answer.status, await read(answer));
    opened();
    let rest = "";
    const decoder = new TextDecoder();
    try {
      for await (const bytes of chunks(answer.body)) {
        const blocks = (rest + decoder.decode(bytes, { stream: true })).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) event(block, told);
      }
    } catch {
      // It broke off, or is wanted no more: whoever reads it asks again if need be.
    }
  });
}

/** The parts of a body; not every browser can go through one by itself. */
async function* chunks(body) {
  const reader = body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    void reader.cancel().catch(() => {});
  }
}

function event(block, told) {
  const lines = block.split("\n").map((line) => line.match(/^(\w+): ?(.*)$/)).filter(Boolean);
  const values = (name) => lines.filter((line) => line[1] === name).map((line) => line[2]);
  if (values("data").length > 0) told(JSON.parse(values("data").join("\n")), values("id")[0]);
}

/** A shelf of the pack of icons: by its number alone, and as nobody in particular. */
export async function shelfOf(number) {
  const answer = await fetch(`/icons/${number.toString(16).padStart(2, "0")}.json.gz`, { credentials: "omit", referrerPolicy: "no-referrer" });
  if (!answer.ok) throw new Problem(answer.status);
  return new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).json();
}

/** A new idempotency key: what is sent twice is done once. */
export const newKey = () => crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Waits. */
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
