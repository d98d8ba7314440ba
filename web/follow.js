// An enrollment from now to its end, as the server tells it, also across its restarts.

import { Problem, get, pause, stream } from "./api.js";
import { inTurn } from "./dom.js";

export const ENDED = new Set(["Enrolled", "Invalid", "Rejected", "Expired", "Failed", "Terminated"]);

/** How many streams are open at once: a browser has few connections to one server. */
const STREAMS = 2;
/** How often is asked where there is no stream: people take their time to decide. */
const ASK_MS = 2000;
let streams = 0;

/** Tells every state of an enrollment to `told`, until its end or until `signal` is aborted. */
export async function follow(id, told, signal) {
  const path = `/api/enrollments/${id}`;
  for (;;) {
    const state = await unbroken(() => get(path), signal);
    if (signal.aborted) return undefined;
    told(state);
    if (ENDED.has(state.stage)) return state;
    if (state.stage === "AwaitingApproval" || streams >= STREAMS) await pause(ASK_MS);
    else if (!await streamed(path, told, signal)) await pause(ASK_MS);
  }
}

/** Asks again for as long as the server does not answer. */
export async function unbroken(ask, signal) {
  for (;;) {
    try {
      return await ask();
    } catch (problem) {
      const away = problem instanceof Problem && (problem.status === 0 || problem.status === 503);
      if (!away || signal?.aborted) throw problem;
      await pause(ASK_MS / 2);
    }
  }
}

/**
 * The server's own stream of changes, until it says that a person has to decide, or stops.
 * Answers whether there was a place for one.
 */
async function streamed(path, told, signal) {
  const enough = new AbortController();
  streams += 1;
  try {
    return await inTurn(() => stream(path, { signal: AbortSignal.any([signal, enough.signal]) }, (state) => {
      if (enough.signal.aborted) return;
      told(state);
      if (ENDED.has(state.stage) || state.stage === "AwaitingApproval") enough.abort();
    }));
  } catch (problem) {
    // Whether it is the server or the session, asking tells.
    if (!(problem instanceof Problem)) throw problem;
    await pause(ASK_MS / 2);
    return true;
  } finally {
    streams -= 1;
  }
}
