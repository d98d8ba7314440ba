// What waits for a decision, and deciding it.

import { call, clockOffset, get, pause, stream } from "./api.js";
import { field, fill, h, inTurn, say, untouched } from "./dom.js";
import { duration, fromNow, parameters, time, title } from "./format.js";
import { toast } from "./notice.js";
import { t } from "./text.js";

const words = t.approvals;
const PATH = "/api/approvals";
const MAX_COMMENT = 500;
/** How often is asked where there is no stream, in milliseconds. */
const ASK_MS = 2000;
/** What there is to say on why somebody cannot approve, by the problem's code. */
const OBSTACLES = { "self-approval-forbidden": "oneHand", "approver-group-missing": "others", "already-decided": "voted", "mandate-refused": "unchecked" };
/** How soon a stream that has ended is asked for again, in milliseconds. */
const AGAIN_MS = 500;

/** Enrollments and requests in one list, what waits for longest first. */
function everything({ enrollments, requests, decisions }) {
  const decision = new Map(decisions.map((each) => [each.id, each]));
  return [...enrollments.map(enrollmentShown), ...requests.map(requestShown)]
    .map((item) => ({ ...item, mine: decision.get(item.id) ?? {} }))
    .sort((a, b) => a.createdAt.localeCompare(b.createdAt));
}

/** How many the one who is logged in can approve: what is for others is not counted. */
function number({ decisions, more }) {
  const count = decisions.filter((decision) => decision.mayApprove === true).length;
  return count > 0 && more ? `${count}+` : String(count || "");
}

/** An enrollment as a card shows it. */
function enrollmentShown(enrollment) {
  const { preview = {} } = enrollment;
  return { ...enrollment, path: `/api/enrollments/${enrollment.id}/approval`, name: title(preview), preview };
}

/** A request on an account, likewise. */
function requestShown(request) {
  const name = title(request.account) || request.account.id;
  return { ...request, path: request.approvalPostUri, name: t.requests.titleOf[request.kind](name), preview: request.account, what: t.requests.what[request.kind](request, duration) };
}

/** How many wait, as the navigation shows it. */
export async function count() {
  return number(await get(PATH));
}

export function show(main, { session, refresh, counted }) {
  const cards = new Map();
  const list = h("ul", { class: "works", "aria-label": words.list });
  const none = h("p", { class: "faint", hidden: true }, words.none);
  const more = h("p", { class: "faint", hidden: true }, words.more);
  fill(main, h("h1", {}, words.title), none, list, more);

  function put(item) {
    let card = cards.get(item.id);
    if (!card) {
      card = new Card(session, refresh);
      cards.set(item.id, card);
      list.append(card.element);
    }
    card.update(item);
  }

  function update(waiting) {
    const items = everything(waiting);
    const there = new Set(items.map((item) => item.id));
    for (const [id, card] of cards) {
      if (there.has(id)) continue;
      card.element.remove();
      cards.delete(id);
    }
    for (const item of items) put(item);
    none.hidden = cards.size > 0;
    more.hidden = !waiting.more;
    counted(number(waiting));
  }

  // The server tells what changes. A browser has few connections to one server, so this one is
  // open only while somebody looks; without it, the view asks from time to time.
  let source;
  let last;
  let closed = false;
  const streams = () => Boolean(source?.open);

  async function listen() {
    if (closed || source || document.visibilityState !== "visible") return;
    const ending = new AbortController();
    const mine = { ending, open: false };
    source = mine;
    let turn;
    try {
      turn = await inTurn(() => stream(PATH, { after: last, signal: ending.signal, opened: () => (mine.open = true) }, async (waiting, id) => {
        await untouched();
        if (ending.signal.aborted) return;
        last = id;
        update(waiting);
      }));
    } catch {
      // Asking tells whether it is the server or the session.
    }
    if (source !== mine) return;
    source = undefined;
    // Other tabs have all the streams that there are: this one asks, and tries again then.
    if (turn === false) return;
    if (!ending.signal.aborted) await pause(AGAIN_MS);
    if (!closed) void refresh();
  }

  function hush() {
    source?.ending.abort();
    source = undefined;
  }
  const looked = () => void (document.visibilityState === "visible" ? listen() : hush());
  document.addEventListener("visibilitychange", looked);

  return {
    title: words.title,
    get every() {
      return streams() ? 0 : ASK_MS;
    },
    async refresh() {
      void listen();
      const waiting = await get(PATH);
      if (!closed) update(waiting);
    },
    close() {
      closed = true;
      document.removeEventListener("visibilitychange", looked);
      hush();
    },
  };
}

/** One enrollment or request. Its comment and focus stay while what is around them is brought up to date. */
class Card {
  #told = "";

  constructor({ caller }, refresh) {
    this.me = caller;
    this.refresh = refresh;
    this.heading = h("h2");
    this.facts = h("dl");
    this.notes = h("div");
    this.comment = h("textarea", { rows: 2, maxlength: MAX_COMMENT });
    this.complaint = h("p", { class: "complaint", role: "alert" });
    this.approve = h("button", { type: "button", class: "main", click: () => this.#decide(true) }, words.approve);
    this.refuse = h("button", { type: "button", class: "danger", click: () => this.#decide(false) }, words.refuse);
    this.form = h("div", {}, field(words.comment, this.comment), this.complaint, h("div", { class: "buttons" }, this.approve, this.refuse));
    this.element = h("li", { class: "card" }, this.heading, this.facts, this.notes, this.form);
  }

  update(item) {
    this.item = item;
    const { approval, preview, name } = item;
    const told = JSON.stringify([item, fromNow(approval.deadline ?? item.createdAt, clockOffset)]);
    if (told === this.#told) return;
    this.#told = told;
    const fact = (label, ...values) => h("div", {}, h("dt", {}, label), h("dd", {}, values));
    fill(this.heading, h("bdi", {}, name));
    fill(this.facts,
      item.what && fact(words.what, item.what),
      fact(words.issuer, h("bdi", {}, preview.issuer ?? words.noIssuer)),
      fact(words.account, h("bdi", {}, preview.accountName ?? preview.id)),
      preview.digits && fact(words.codes, parameters(preview)),
      fact(words.askedBy, h("bdi", {}, item.requestedBy)),
      fact(words.askedAt, time(item.createdAt)),
      approval.from && fact(words.from, h("bdi", {}, approval.from.join(", "))),
      item.reason && fact(words.reason, h("bdi", {}, item.reason)),
      approval.deadline && fact(words.deadline, time(approval.deadline), h("br"), fromNow(approval.deadline, clockOffset)));
    const own = item.requestedBy === this.me;
    const { mine } = item;
    fill(this.notes,
      (item.warnings ?? []).map((warning) => h("p", { class: "complaint" }, warning.detail)),
      approval.needed > 1 && h("p", {}, words.agreed(approval.approvedBy ?? [], approval.needed)),
      own ? h("p", { class: "faint" }, words.own) : OBSTACLES[mine.obstacle] && h("p", { class: "faint" }, words[OBSTACLES[mine.obstacle]]));
    this.form.hidden = mine.mayApprove !== true;
    this.approve.setAttribute("aria-label", words.approveOf(name));
    this.refuse.setAttribute("aria-label", words.refuseOf(name));
  }

  async #decide(approved) {
    const { name, path } = this.item;
    this.approve.disabled = this.refuse.disabled = true;
    this.complaint.textContent = "";
    try {
      await call("POST", path, { body: { approved, comment: this.comment.value } });
      toast(approved ? words.approved(name) : words.refused(name));
      // What had the focus goes away.
      document.getElementById("main").focus({ preventScroll: true });
      await this.refresh();
    } catch (problem) {
      this.complaint.textContent = problem.message;
      say(problem.message);
    }
    this.approve.disabled = this.refuse.disabled = false;
  }
}
