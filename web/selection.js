// Several accounts at once: grouped, tagged, removed or granted.

import { call, get } from "./api.js";
import { field, h, say } from "./dom.js";
import { grantBounds, grantFields, grantTo } from "./keys.js";
import { ask, toast, trouble } from "./notice.js";
import { t } from "./text.js";

const words = t.accounts;
/** How many are changed at the same time. */
const AT_ONCE = 4;
/** How many are named in a question. */
const MOST_NAMED = 8;

/** Tags as somebody types them. */
const typedTags = (text) => text.split(",").map((tag) => tag.trim()).filter(Boolean);
const same = (a, b) => a.localeCompare(b, undefined, { sensitivity: "base" }) === 0;

export class Selection {
  #chosen = new Set();

  /**
   * `rows` gets those that are shown, `changed` an account as it is now, `gone` one that is no
   * longer in use; `groups` gets the groups that there are.
   */
  constructor({ list, rows, changed, gone, groups }) {
    Object.assign(this, { list, rows, changed, gone, groups });
    this.count = h("strong", { role: "status" });
    const action = (label, key, run, style = "") => h("button", { type: "button", class: style, "data-key": key, click: run }, label);
    this.all = action("", "select-all", () => this.#all());
    this.actions = [
      action(words.groupThese, "group-these", () => this.#group()), action(words.tagThese, "tag-these", () => this.#tag()),
      action(words.grantThese, "grant-these", () => this.#grant()), action(words.removeThese, "remove-these", () => this.#remove(), "danger"),
    ];
    this.element = h("div", { class: "selection", role: "toolbar", "aria-label": words.selection, hidden: true },
      this.count, this.all, this.actions, action(words.endSelection, "end-selection", () => this.end(), "main"));
  }

  get on() {
    return !this.element.hidden;
  }

  begin() {
    if (this.on) return;
    this.element.hidden = false;
    this.list.classList.add("selecting");
    this.show();
  }

  end() {
    if (!this.on) return;
    for (const row of [...this.#chosen]) row.select(false);
    this.#chosen.clear();
    this.element.hidden = true;
    this.list.classList.remove("selecting");
  }

  /** Takes an account into the selection, or out of it. */
  toggle(row, chosen = !this.#chosen.has(row)) {
    this.begin();
    if (chosen) this.#chosen.add(row);
    else this.#chosen.delete(row);
    row.select(chosen);
    this.show();
  }

  /** An account is no longer in the list. */
  drop(row) {
    this.#chosen.delete(row);
    this.show();
  }

  #all() {
    const shown = this.rows();
    const every = shown.every((row) => this.#chosen.has(row));
    for (const row of shown) this.toggle(row, !every);
  }

  show() {
    if (!this.on) return;
    const shown = this.rows();
    this.count.textContent = words.selected(this.#chosen.size);
    this.all.textContent = shown.length > 0 && shown.every((row) => this.#chosen.has(row)) ? words.selectNone : words.selectAll;
    for (const button of this.actions) button.disabled = this.#chosen.size === 0;
  }

  #named() {
    const titles = [...this.#chosen].map((row) => row.title);
    return h("ul", {}, titles.slice(0, MOST_NAMED).map((title) => h("li", {}, h("bdi", {}, title))), titles.length > MOST_NAMED && h("li", {}, words.andMore(titles.length - MOST_NAMED)));
  }

  /**
   * Does the same with each; those with which it is done leave the selection, so that trying again
   * is for the others alone. Throws what went wrong.
   */
  async #each(run, told) {
    const rows = [...this.#chosen];
    const failed = [];
    let at = 0;
    let done = 0;
    const work = async () => {
      while (at < rows.length) {
        const row = rows[at++];
        try {
          await run(row);
          this.#chosen.delete(row);
          row.select(false);
          done += 1;
        } catch (problem) {
          // Nobody is there any more for whom to go on.
          if (problem.status < 0) throw problem;
          failed.push({ row, problem });
        }
        say(words.progress(done + failed.length, rows.length));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    this.show();
    if (failed.length > 0) {
      const [{ problem }] = failed;
      throw Object.assign(new Error(`${words.failedSome(done, failed.length, failed.slice(0, MOST_NAMED).map(({ row }) => row.title).join(", "))} ${problem.message}`), { status: problem.status });
    }
    if (told) toast(told(done));
  }

  #patch(row, body) {
    return call("PATCH", `/api/accounts/${row.account.id}`, { body }).then((account) => this.changed(account));
  }

  #group() {
    return ask({
      title: words.groupTitle(this.#chosen.size),
      body: [
        this.#named(),
        field(words.group, h("input", { name: "group", maxlength: 64, list: "groups", autocomplete: "off" }), words.groupHint),
        h("datalist", { id: "groups" }, this.groups().map((name) => h("option", { value: name }))),
      ],
      yes: words.save,
      run: ({ group }) => this.#each((row) => this.#patch(row, { group: group.trim() || null }), words.changedMany),
    });
  }

  #tag() {
    return ask({
      title: words.tagTitle(this.#chosen.size),
      body: [this.#named(), field(words.addTags, h("input", { name: "more", autocomplete: "off" }), words.tagsHint), field(words.dropTags, h("input", { name: "less", autocomplete: "off" }), words.tagsHint)],
      yes: words.save,
      run: (typed) => {
        const [more, less] = [typedTags(typed.more), typedTags(typed.less)];
        if (more.length + less.length === 0) throw new Error(words.noTags);
        return this.#each((row) => {
          const kept = row.account.tags.filter((tag) => !less.some((name) => same(name, tag)));
          const tags = [...kept, ...more.filter((name) => !kept.some((tag) => same(name, tag)))];
          return this.#patch(row, { tags });
        }, words.changedMany);
      },
    });
  }

  async #grant() {
    let keys;
    try {
      ({ keys } = await get("/api/keys"));
    } catch (problem) {
      trouble(problem);
      return;
    }
    await ask({
      title: words.grantTitle(this.#chosen.size),
      body: [this.#named(), grantFields(keys), grantBounds()],
      yes: words.grantThese,
      run: (typed) => this.#each((row) => grantTo(row.account.id, typed), words.grantedMany),
    });
  }

  #remove() {
    const removed = [];
    const undo = { label: words.undo, run: () => this.#restore(removed) };
    return ask({
      title: words.removeManyTitle(this.#chosen.size),
      body: [this.#named(), h("p", {}, words.removeWhat)],
      yes: words.remove,
      danger: true,
      run: async () => {
        await this.#each(async (row) => {
          await call("DELETE", `/api/accounts/${row.account.id}`);
          removed.push(row.account.id);
          this.gone(row);
        });
        toast(words.removedMany(removed.length), undo);
      },
    });
  }

  async #restore(ids) {
    let back = 0;
    try {
      for (const id of ids) {
        this.changed(await call("POST", `/api/accounts/${id}/restore`));
        back += 1;
      }
      toast(words.restoredMany(back));
    } catch (problem) {
      trouble(problem);
    }
  }
}
