// What waits for a decision, and deciding it.

import { call, clockOffset, get } from "./api.js";
import { field, fill, h, say } from "./dom.js";
import { fromNow, parameters, time, title } from "./format.js";
import { toast } from "./notice.js";
import { t } from "./text.js";

const words = t.approvals;
/** How many are shown at a time. */
const LIMIT = 50;
const MAX_COMMENT = 500;

/** How many wait, as the navigation shows it. */
export async function count() {
  const { enrollments, next } = await get("/api/enrollments", { stage: "AwaitingApproval", limit: LIMIT });
  return next ? `${LIMIT}+` : String(enrollments.length || "");
}

export function show(main, { session, refresh, counted }) {
  const cards = new Map();
  const list = h("ul", { class: "works", "aria-label": words.list });
  const none = h("p", { class: "faint", hidden: true }, words.none);
  const more = h("p", { class: "faint", hidden: true }, words.more);
  fill(main, h("h1", {}, words.title), none, list, more);

  function put(enrollment) {
    let card = cards.get(enrollment.id);
    if (!card) {
      card = new Card(session.caller, refresh);
      cards.set(enrollment.id, card);
      list.append(card.element);
    }
    card.update(enrollment);
  }

  return {
    title: words.title,
    every: 2000,
    async refresh() {
      const page = await get("/api/enrollments", { stage: "AwaitingApproval", limit: LIMIT });
      const there = new Set(page.enrollments.map((enrollment) => enrollment.id));
      for (const [id, card] of cards) {
        if (there.has(id)) continue;
        card.element.remove();
        cards.delete(id);
      }
      // Oldest first: it expires first.
      for (const enrollment of page.enrollments.reverse()) put(enrollment);
      none.hidden = cards.size > 0;
      more.hidden = !page.next;
      counted(page.next ? `${LIMIT}+` : String(cards.size || ""));
    },
  };
}

/** One enrollment. Its comment and focus stay while what is around them is brought up to date. */
class Card {
  #told = "";

  constructor(me, refresh) {
    this.me = me;
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

  update(enrollment) {
    this.enrollment = enrollment;
    const { approval, preview = {} } = enrollment;
    const told = JSON.stringify([enrollment, fromNow(approval.deadline ?? enrollment.createdAt, clockOffset)]);
    if (told === this.#told) return;
    this.#told = told;
    const name = title(preview);
    const fact = (label, ...values) => h("div", {}, h("dt", {}, label), h("dd", {}, values));
    fill(this.heading, h("bdi", {}, name));
    fill(this.facts,
      fact(words.issuer, h("bdi", {}, preview.issuer ?? words.noIssuer)),
      fact(words.account, h("bdi", {}, preview.accountName)),
      fact(words.codes, parameters(preview)),
      fact(words.askedBy, h("bdi", {}, enrollment.requestedBy)),
      fact(words.askedAt, time(enrollment.createdAt)),
      approval.deadline && fact(words.deadline, time(approval.deadline), h("br"), fromNow(approval.deadline, clockOffset)));
    const own = enrollment.requestedBy === this.me;
    const voted = (approval.approvedBy ?? []).includes(this.me);
    fill(this.notes,
      (enrollment.warnings ?? []).map((warning) => h("p", { class: "complaint" }, warning.detail)),
      approval.needed && h("p", {}, words.agreed(approval.approvedBy ?? [], approval.needed)),
      own && h("p", { class: "faint" }, words.own),
      voted && h("p", { class: "faint" }, words.voted));
    this.form.hidden = own || voted;
    this.approve.setAttribute("aria-label", words.approveOf(name));
    this.refuse.setAttribute("aria-label", words.refuseOf(name));
  }

  async #decide(approved) {
    const name = title(this.enrollment.preview);
    this.approve.disabled = this.refuse.disabled = true;
    this.complaint.textContent = "";
    try {
      await call("POST", `/api/enrollments/${this.enrollment.id}/approval`, { body: { approved, comment: this.comment.value } });
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
