// Codes of the accounts that are looked at: asked for together once for each time step, and
// kept in this page's memory only until they end.

import { get } from "./api.js";

/** The most codes that the server gives at a time. */
const BATCH = 500;
/** How long what becomes visible together is gathered, in milliseconds. */
const GATHER_MS = 40;
/** How much later than its step's end the next code is asked for: no step begins early. */
const AFTER_MS = 80;
/** How long a failure is left alone, in milliseconds. */
const RETRY_MS = 2000;
/**
 * Failures after which asking again helps. Any other lasts until the account is looked at anew,
 * such as a lease that is used up: asking again would only fill the record.
 */
const PASSING = new Set(["unreachable", "vault-unavailable", "database-unavailable", "audit-unavailable", "rate-limited", "busy", "timeout", "internal"]);
/** A jump between the two clocks by this much, in milliseconds, means that the machine slept. */
const SLEPT_MS = 2000;
const TICK_MS = 200;

/**
 * Times are those of `performance.now()`, anchored to what the server says about its own: the
 * browser's idea of the time of day does not matter.
 */
export class Codes {
  #wanted = new Map();
  #known = new Map();
  #asking = new Set();
  #answered;
  #gathering;
  #ticking;
  #slept;

  /** Begins to keep codes; `stop` ends it and forgets them. */
  constructor() {
    /** Ends with the first answer, whatever it is. */
    this.answered = new Promise((resolve) => (this.#answered = resolve));
    this.#slept = Date.now() - performance.now();
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
    this.visible = () => {
      this.#known.clear();
      // A tab that nobody sees shows no code, from this moment on.
      if (document.visibilityState === "visible") this.#tick();
      else for (const { told, once } of [...this.#wanted.values()]) told(undefined, once ? Infinity : performance.now());
    };
    document.addEventListener("visibilitychange", this.visible);
  }

  stop() {
    clearInterval(this.#ticking);
    clearTimeout(this.#gathering);
    document.removeEventListener("visibilitychange", this.visible);
    this.#wanted.clear();
    this.#known.clear();
  }

  /**
   * Keeps the code of an account: `told(code, now)` is called several times a second. With
   * `once`, the code of one step is all that is asked for.
   */
  want(id, told, once = false) {
    this.#wanted.set(id, { told, once });
    if (this.#known.get(id)?.problem) this.#known.delete(id);
    const code = this.#known.get(id);
    if (code) told(code, performance.now());
    this.#gathering ??= setTimeout(() => this.#tick(), GATHER_MS);
  }

  /** No longer. */
  leave(id) {
    this.#wanted.delete(id);
    this.#known.delete(id);
  }

  #tick() {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    if (document.visibilityState !== "visible") return;
    const now = performance.now();
    const slept = Date.now() - now;
    if (Math.abs(slept - this.#slept) > SLEPT_MS) this.#known.clear();
    this.#slept = slept;
    const due = [];
    for (const [id, { told, once }] of this.#wanted) {
      let code = this.#known.get(id);
      if (once && code?.token && now >= code.until) {
        this.#known.delete(id);
        told(undefined, now);
        continue;
      }
      if (code?.next && now >= code.until) {
        // The server has said what comes next, so nobody waits for the answer to see it.
        code = { ...code, token: code.next, next: undefined, until: code.until + code.period, again: now + AFTER_MS };
        this.#known.set(id, code);
      }
      if ((!code || now >= (code.again ?? code.until)) && !this.#asking.has(id)) due.push(id);
      if (code && now >= code.until) {
        if (code.over) this.#known.set(id, { problem: code.over, until: Infinity });
        else this.#known.delete(id);
        code = undefined;
      }
      told(code, now);
    }
    for (let at = 0; at < due.length; at += BATCH) void this.#ask(due.slice(at, at + BATCH));
  }

  async #ask(ids) {
    for (const id of ids) this.#asking.add(id);
    const asked = performance.now();
    let answers;
    try {
      answers = ids.length === 1
        ? [{ id: ids[0], ...await get(`/api/accounts/${ids[0]}/token`) }]
        : (await get("/api/tokens", { id: ids })).tokens;
    } catch (problem) {
      answers = ids.map((id) => ({ id, problem: problem.body?.code ?? "unreachable" }));
    }
    this.#answered();
    // The answer was true somewhere between the question and now.
    const now = performance.now();
    const anchor = (asked + now) / 2;
    for (const answer of answers) {
      this.#asking.delete(answer.id);
      if (!this.#wanted.has(answer.id) || document.visibilityState !== "visible") continue;
      if (answer.problem) this.#failed(answer, now);
      else {
        this.#known.set(answer.id, {
          token: answer.token,
          next: answer.nextToken,
          period: answer.period * 1000,
          until: anchor + (Date.parse(answer.validUntil) - Date.parse(answer.serverTime)),
          stale: answer.vaultStaleSeconds,
        });
      }
    }
    for (const { id } of answers) this.#wanted.get(id)?.told(this.#known.get(id), performance.now());
  }

  #failed({ id, problem }, now) {
    const code = this.#known.get(id);
    const again = PASSING.has(problem) ? now + RETRY_MS : Infinity;
    // What is known already stays true until its time is over.
    if (code?.token && now < code.until) this.#known.set(id, { ...code, again, over: again === Infinity && problem });
    else this.#known.set(id, { problem, until: again });
  }
}
