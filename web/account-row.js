// One account: its names, its code with the time that is left, and what can be done to it.

import { fill, h, mark, say, svg } from "./dom.js";
import { grouped, parameters, plain, title } from "./format.js";
import { glyph } from "./glyphs.js";
import { Tile } from "./icons.js";
import { toast } from "./notice.js";
import { copyCode } from "./secret.js";
import { t } from "./text.js";

const words = t.accounts;
/** When the code that comes next is shown, in milliseconds before the end. */
const NEXT_MS = 6000;
/** When those who cannot see the ring are told, in milliseconds before the end. */
const SOON_MS = 10000;
const COPIED_MS = 1500;
const RADIUS = 15;
const ROUND = 2 * Math.PI * RADIUS;

export class AccountRow {
  #code;
  #said = 0;
  #revealed = 0;
  #shown = "";

  /**
   * `changes` has the functions `edit` and `remove`, or is undefined for who may do neither;
   * `prove` is for accounts that wait to be proved, `request` for what takes an approval,
   * `recovery` for recovery codes, `pick` gets a group or tag, `favour` and `choose` this row
   * when it is to be a favourite or selected, or no longer, and `read` whenever it shows another code.
   */
  constructor(account, { codes, hidden, changes, prove, request, recovery, pick, favour, choose, read }) {
    Object.assign(this, { codes, hidden, changes, prove, request, recovery, pick, favour, choose, read });
    this.account = account;
    this.near = false;
    this.favourite = false;
    this.digits = h("bdi", { class: "digits", dir: "ltr" });
    this.label = h("span", { class: "unseen" });
    this.next = h("span", { class: "next", "aria-hidden": "true" });
    this.left = h("span", { class: "left", "aria-hidden": "true" });
    this.ring = h("span", { class: "ring", "aria-hidden": "true" }, this.left);
    this.tile = new Tile();
    this.text = h("span", { class: "text" });
    this.lease = h("bdi", { class: "name lease" });
    this.button = h("button", { type: "button", class: "code", click: () => this.touch() }, this.label, " ", this.digits);
    this.filed = h("span", { class: "filed" });
    this.chips = [];
    this.fixed = [];
    this.secret = h("span", { class: "secret" }, this.button, this.next, this.ring);
    this.element = h("li", { class: "account", "data-id": account.id },
      h("span", { class: "names" }, this.tile.element, this.text), this.filed, this.secret);
    this.update(account);
    this.active(false);
    this.#paint(undefined, 0);
  }

  /** Everything that a row has beside its text: made once somebody comes near it. */
  furnish() {
    if (this.arc) return;
    const id = this.account.id;
    this.arc = svg("circle", { class: "arc", cx: 18, cy: 18, r: RADIUS, "stroke-dasharray": ROUND, transform: "rotate(-90 18 18)" });
    this.ring.prepend(svg("svg", { viewBox: "0 0 36 36" }, svg("circle", { class: "track", cx: 18, cy: 18, r: RADIUS }), this.arc));
    const action = (label, key, run) => h("button", { type: "button", class: "plain action", title: label, "data-key": `${key}-${id}`, click: () => run(this) }, glyph(key), h("span", { class: "word" }, label));
    this.editing = this.changes && action(words.edit, "edit", this.changes.edit);
    this.asking = action(words.ask, "ask", this.request);
    this.recovering = action(t.recovery.ask, "recovery", this.recovery);
    this.removing = this.changes && action(words.remove, "remove", this.changes.remove);
    this.star = h("button", { type: "button", class: "plain favour", "data-key": `favour-${id}`, "aria-pressed": "false", click: () => this.favour(this) }, glyph("star"));
    // Where there is no room for what can be done, one button shows it; it copies nothing.
    this.more = h("button", { type: "button", class: "plain more", "aria-expanded": "false", click: () => this.#open(!this.isOpen) }, glyph("more"));
    if (this.changes) {
      this.box = h("input", { type: "checkbox", class: "pick", "data-key": `select-${id}`, change: () => this.choose(this, this.box.checked) });
      this.element.prepend(this.box);
    }
    this.element.append(this.star, this.more, h("span", { class: "changes" }, this.editing, this.asking, this.recovering, this.removing));
    this.fixed = [this.star, this.more, this.editing, this.asking, this.recovering, this.removing].filter(Boolean);
    this.tile.show();
    this.#label();
  }

  /** What the buttons are called, which names the account. */
  #label() {
    if (!this.arc) return;
    this.editing?.setAttribute("aria-label", words.editOf(this.title));
    this.removing?.setAttribute("aria-label", words.removeOf(this.title));
    this.recovering.setAttribute("aria-label", t.recovery.askOf(this.title));
    this.asking.setAttribute("aria-label", words.askOf(this.title));
    this.more.setAttribute("aria-label", words.moreOf(this.title));
    this.star.setAttribute("aria-label", words.favourite(this.title));
    this.star.setAttribute("aria-pressed", String(this.favourite));
    this.box?.setAttribute("aria-label", words.selectOf(this.title));
    this.buttons = [this.button, ...this.chips, ...this.fixed];
    this.active(this.isActive);
  }

  /** Whether it is one of the reader's favourites. */
  favoured(favourite) {
    this.favourite = favourite;
    mark(this.element, "favourite", favourite);
    this.#label();
  }

  /** What is left of it for this caller, if that is not all. */
  leased(left) {
    if (this.lease.textContent !== left) this.lease.textContent = left;
  }

  /** Whether it is one of those that are selected. */
  select(selected) {
    this.furnish();
    this.box.checked = selected;
    mark(this.element, "selected", selected);
  }

  update(account) {
    this.account = account;
    this.pending = account.state === "pending";
    this.guarded = account.readApproval === true;
    this.closed = this.pending || this.guarded;
    this.title = title(account);
    this.sought = plain([account.issuer, account.accountName, account.group, ...account.tags].filter(Boolean).join(" "));
    const first = account.issuer ?? account.accountName;
    this.tile.name(first);
    fill(this.text, h("strong", {}, h("bdi", {}, first)), h("bdi", { class: "name", title: parameters(account) }, account.issuer ? account.accountName : ""), this.lease);
    const chip = (kind, name) => h("button", { type: "button", class: `chip ${kind}`, tabindex: -1, title: words.only[kind](name), "data-key": `${kind}-${name}-${account.id}`, click: () => this.pick(`${kind}:${name}`) }, h("bdi", {}, name));
    this.chips = [account.group && chip("group", account.group), ...account.tags.map((tag) => chip("tag", tag))].filter(Boolean);
    fill(this.filed, this.chips);
    this.buttons = [this.button, ...this.chips, ...this.fixed];
    this.#label();
    this.active(this.isActive);
    this.#shown = "";
    this.#follow();
    this.#paint(this.#code, performance.now());
  }

  #open(open) {
    this.isOpen = open;
    mark(this.element, "open", open);
    this.more.setAttribute("aria-expanded", String(open));
  }

  /** Whether its buttons are reached with the tabulator: those of one row are. */
  active(active) {
    this.isActive = active === true;
    if (this.isActive) this.furnish();
    for (const button of this.buttons) button.tabIndex = this.isActive ? 0 : -1;
  }

  /** Whether it is in view: only what is gets codes, since each reading is recorded. */
  inView(near) {
    this.near = near;
    if (near) this.furnish();
    this.#follow();
  }

  hide(hidden) {
    this.hidden = hidden;
    this.#revealed = 0;
    this.#follow();
  }

  #follow() {
    if (this.near && !this.closed && (!this.hidden || this.#revealed)) {
      this.codes.want(this.account.id, (code, now) => this.#told(code, now), this.hidden);
    } else {
      this.codes.leave(this.account.id);
      this.#told(undefined, performance.now());
    }
  }

  #told(code, now) {
    // Shown for one step: looking again takes another touch.
    if (this.hidden && this.#revealed && now >= this.#revealed) {
      this.#revealed = 0;
      this.#follow();
      return;
    }
    if (this.hidden && this.#revealed === Infinity && code?.token) this.#revealed = code.until;
    const another = code?.token ?? code?.problem;
    if (another !== undefined && another !== (this.#code?.token ?? this.#code?.problem)) this.read();
    this.#code = code;
    this.#paint(code, now);
  }

  #paint(code, now) {
    // Why there is no code, where asking again does not help.
    this.gone = words.gone[code?.problem];
    const covered = this.hidden && !this.#revealed && !this.closed;
    const token = code?.token;
    const left = token ? Math.max(0, code.until - now) : 0;
    const shown = this.pending ? words.pending : this.guarded ? words.guarded : this.gone ? this.gone.short : covered ? "\u2022\u2022\u2022\u00a0\u2022\u2022\u2022" : token ? grouped(token) : "\u2013\u00a0\u2013\u00a0\u2013";
    if (shown !== this.#shown) {
      this.#shown = shown;
      this.digits.textContent = shown;
      this.label.textContent = this.pending ? words.proveOf(this.title) : this.guarded ? words.askOf(this.title) : covered ? words.reveal(this.title) : words.copy(this.title);
      mark(this.button, "covered", covered);
      mark(this.button, "pending", this.closed || this.gone !== undefined);
      this.button.title = code?.stale === undefined ? "" : words.stale;
    }
    const seconds = token && !covered ? String(Math.max(1, Math.ceil(left / 1000))) : "";
    if (this.left.textContent !== seconds) this.left.textContent = seconds;
    mark(this.ring, "idle", !seconds);
    if (seconds) this.arc?.setAttribute("stroke-dashoffset", String(ROUND * (1 - Math.min(1, left / code.period))));
    const next = token && !covered && code.next && left <= NEXT_MS && code.period > NEXT_MS ? words.next(grouped(code.next)) : "";
    if (this.next.textContent !== next) this.next.textContent = next;
    mark(this.element, "soon", seconds !== "" && left <= NEXT_MS);
    this.#tell(code, left, covered);
  }

  /** Once a step, ten seconds before its end, for the account that has the focus. */
  #tell(code, left, covered) {
    if (!code?.token || covered || left > SOON_MS || left < SOON_MS - 2000 || this.#said === code.until) return;
    if (!this.element.contains(document.activeElement)) return;
    this.#said = code.until;
    say(words.soonOver(this.title));
  }

  /** Proves an account that waits for it, asks for one that takes an approval, shows a covered code, copies one that is shown. */
  touch() {
    if (this.pending) {
      this.prove(this);
      return;
    }
    if (this.guarded) {
      this.request(this);
      return;
    }
    if (this.gone) {
      toast(this.gone.long);
      return;
    }
    if (this.hidden && !this.#revealed) {
      this.#revealed = Infinity;
      this.#follow();
      return;
    }
    void this.copy();
  }

  async copy() {
    if (!this.#code?.token) {
      toast(words.noCode);
      return;
    }
    if (!await copyCode(this.#code.token, this.#code.until - performance.now())) {
      // Not allowed, or not to be had where the page came without TLS.
      getSelection().selectAllChildren(this.digits);
      toast(words.cannotCopy);
      return;
    }
    this.element.classList.add("copied");
    this.button.dataset.copied = words.copiedShort;
    setTimeout(() => this.element.classList.remove("copied"), COPIED_MS);
    toast(words.copied(this.title));
  }
}
