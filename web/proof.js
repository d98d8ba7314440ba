// Proving a new account: two codes that the other service accepts, one after the other.

import { call, get, pause } from "./api.js";
import { fill, h, say } from "./dom.js";
import { grouped, title } from "./format.js";
import { open } from "./notice.js";
import { forget, secret } from "./secret.js";
import { t } from "./text.js";

const words = t.proof;
/** How much later than it begins the second code counts: the two clocks need not agree. */
const AFTER_MS = 500;
const TICK_MS = 250;

/**
 * The two codes of an account and what became of them at the other service. `proved` gets the
 * account once it is in use, `gone` is called when it was taken away.
 */
export class Proof {
  #codes = [];
  #closed = false;

  constructor(id, { proved, gone }) {
    this.path = `/api/accounts/${id}/proof`;
    this.proved = proved;
    this.gone = gone;
    this.list = h("ol", { class: "proof" });
    this.wait = h("p", { class: "faint" });
    this.complaint = h("p", { class: "complaint", role: "alert" });
    this.yes = h("button", { type: "button", class: "main", disabled: true, "data-key": `proved-${id}`, click: () => this.#end(true) }, words.accepted);
    this.no = h("button", { type: "button", "data-key": `unproved-${id}`, click: () => this.#end(false) }, words.refused);
    this.again = h("button", { type: "button", class: "plain", click: () => this.begin() }, words.again);
    this.element = h("section", { class: "proving", "aria-label": words.title },
      h("p", {}, words.how), this.list, this.wait, this.complaint, h("div", { class: "buttons" }, this.yes, this.no, this.again));
    void this.begin();
  }

  /** Gets the present code and the one after it. */
  async begin() {
    this.complaint.textContent = "";
    this.yes.disabled = true;
    const asked = performance.now();
    let code;
    try {
      code = await get(this.path);
    } catch (problem) {
      this.complaint.textContent = problem.message;
      return;
    }
    const codes = [code.token, code.nextToken];
    this.#codes = codes;
    const now = performance.now();
    const until = (asked + now) / 2 + Date.parse(code.validUntil) - Date.parse(code.serverTime);
    const shown = (number, begun) => h("li", {}, h("span", { class: "faint" }, words.number[number]), " ",
      secret(grouped(codes[number]), { tag: "bdi", class: `digits${begun ? "" : " early"}`, dir: "ltr" }));
    forget(this.list);
    fill(this.list, shown(0, true), shown(1, false));
    for (;;) {
      const left = until + AFTER_MS - performance.now();
      if (this.#closed || this.#codes !== codes) return;
      if (left <= 0) break;
      const text = words.second(Math.ceil(left / 1000));
      if (this.wait.textContent !== text) this.wait.textContent = text;
      await pause(Math.min(TICK_MS, left));
    }
    forget(this.list);
    fill(this.list, shown(0, true), shown(1, true));
    this.wait.textContent = words.both;
    say(words.both);
    this.yes.disabled = false;
  }

  async #end(accepted) {
    this.yes.disabled = this.no.disabled = true;
    this.complaint.textContent = "";
    try {
      const account = await call("POST", this.path, { body: accepted ? { accepted, codes: this.#codes } : { accepted } });
      this.stop();
      if (accepted) this.proved(account);
      else this.gone();
    } catch (problem) {
      this.complaint.textContent = problem.message;
      this.no.disabled = this.yes.disabled = false;
    }
  }

  /** Forgets the codes. */
  stop() {
    this.#closed = true;
    this.#codes = [];
    forget(this.list);
  }
}

/** The same in a dialog, for an account of a list. */
export function prove(account, { proved, gone }) {
  const dialog = h("dialog", { "aria-labelledby": "proving", close: () => {
    proof.stop();
    dialog.remove();
  } });
  const proof = new Proof(account.id, {
    proved: (active) => {
      dialog.close();
      proved(active);
    },
    gone: () => {
      dialog.close();
      gone();
    },
  });
  dialog.append(h("h2", { id: "proving" }, words.titleOf(title(account))), proof.element,
    h("div", { class: "buttons" }, h("button", { type: "button", click: () => dialog.close() }, t.later)));
  open(dialog);
}
