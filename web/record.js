// The record of who did what, with the names of accounts, to look through and to download.

import { get } from "./api.js";
import { field, fill, h, table } from "./dom.js";
import { glyph } from "./glyphs.js";
import { exactly, said, stamp } from "./format.js";
import { Names } from "./names.js";
import { toast, trouble } from "./notice.js";
import { pages } from "./pages.js";
import { t } from "./text.js";

const words = t.operations;
const LIMIT = 100;
/** The most entries at a time that the server gives, and that one file gets. */
const PART = 200;
const MOST = 10_000;
/** How long a browser may take to begin with a file, in milliseconds. */
const BEGIN_MS = 60_000;

/** The beginning of a day here, as the server takes it; of the next one with `after`. */
function day(text, after = false) {
  if (!text) return "";
  const [year, month, date] = text.split("-").map(Number);
  return new Date(year, month - 1, date + (after ? 1 : 0)).toISOString();
}

export function record(body, { refresh }) {
  const paging = pages(refresh);
  const names = new Names();
  const caller = h("input", { name: "caller", autocomplete: "off" });
  const subject = h("input", { name: "subject", autocomplete: "off" });
  const action = h("select", { name: "action" }, h("option", { value: "" }, words.any), Object.entries(words.actions).map(([value, label]) => h("option", { value }, label)));
  const since = h("input", { type: "date", name: "since" });
  const until = h("input", { type: "date", name: "until" });
  const list = h("div");
  const progress = h("p", { class: "faint", role: "status", hidden: true });
  const downloads = Object.entries(words.downloads).map(([kind, label]) => h("button", { type: "button", "data-key": `download-${kind}`, click: () => download(kind) }, glyph("download"), label));
  fill(body, h("form", { class: "bar", role: "search", submit: (event) => {
    event.preventDefault();
    paging.reset();
    void refresh();
  } }, field(words.caller, caller), field(words.subject, subject), field(words.action, action), field(words.from, since), field(words.to, until), h("button", { class: "main" }, words.find)),
  h("div", { class: "buttons", role: "group", "aria-label": words.download }, h("span", { class: "faint" }, words.download), downloads), progress, list, paging.element);

  const asked = async () => ({ order: "newest", caller: caller.value.trim(), subject: await names.id(subject.value.trim()), action: action.value, since: day(since.value), until: day(until.value, true) });

  const who = (name) => (Object.hasOwn(words.whoAre, name) ? h("span", { class: "faint" }, words.whoAre[name]) : h("bdi", {}, name));
  /** What it was done to: by its name where there is one, and always by its id. */
  const what = ({ subject: id }) => {
    if (!id) return "";
    const name = names.of(id);
    return name ? [h("bdi", {}, name), h("span", { class: "id short", title: id }, id)] : h("span", { class: "id" }, id);
  };

  /** Everything that is asked for, newest first, up to what one file gets. */
  async function* entries() {
    const query = await asked();
    let cursor;
    let count = 0;
    do {
      const page = await get("/api/audit", { ...query, cursor, limit: PART });
      yield page.entries.slice(0, MOST - count);
      count += page.entries.length;
      cursor = page.next;
    } while (cursor && count < MOST);
  }

  async function download(kind) {
    for (const button of downloads) button.disabled = true;
    progress.hidden = false;
    try {
      const found = [];
      for await (const part of entries()) {
        found.push(...part);
        progress.textContent = words.downloading(found.length);
      }
      await names.learn(found.map((entry) => entry.subject));
      save(kind === "csv" ? csv(found, names) : found.map((entry) => `${JSON.stringify(entry)}\n`).join(""), kind);
      toast(found.length < MOST ? words.downloaded(found.length) : words.downloadedMost(found.length));
    } catch (problem) {
      trouble(problem);
    }
    progress.hidden = true;
    for (const button of downloads) button.disabled = false;
  }

  return {
    async refresh() {
      const page = await get("/api/audit", { ...await asked(), cursor: paging.cursor(), limit: LIMIT });
      await names.learn(page.entries.map((entry) => entry.subject));
      paging.shown(page.next);
      fill(list, page.entries.length === 0 ? h("p", { class: "faint" }, words.none) : table(words.parts.record, words.recordHeads, page.entries.map((entry) => [
        String(entry.sequence), exactly(entry.at), who(entry.caller), [words.actions[entry.action] ?? entry.action, changes(entry)], what(entry),
        h("span", { class: `badge ${entry.outcome === "done" ? "good" : "bad"}` }, words.outcomes[entry.outcome] ?? entry.outcome),
        [entry.reason && said(words.why, entry.reason), entry.repeats > 0 && h("p", { class: "faint" }, words.repeats(entry.repeats)),
          h("p", {}, [entry.problem, entry.from].filter(Boolean).join(" · "))],
      ])));
    },
  };
}

/** What an entry of the record says was changed: each thing with its value before and after. */
function changes({ changes = [] }) {
  const value = (text) => h("bdi", {}, text ?? words.noValue);
  return changes.length > 0 && h("ul", { class: "faint" }, changes.map(({ field, from, to }) => h("li", {}, h("bdi", {}, field), ": ", value(from), " → ", value(to))));
}

/** A table for spreadsheets, where a text that begins like a formula is none. */
function csv(entries, names) {
  const cell = (value = "") => `"${String(value).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
  const rows = entries.map((entry) => [
    entry.sequence, entry.at, stamp(entry.at), entry.caller, entry.action, entry.subject, names.of(entry.subject), entry.outcome, entry.reason, entry.problem, entry.from, entry.repeats, entry.hash,
  ]);
  // A mark at the beginning, without which some spreadsheets take it for another encoding.
  return `\ufeff${[words.columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** Hands a text to the reader as a file of its own. */
function save(text, kind) {
  const address = URL.createObjectURL(new Blob([text], { type: kind === "csv" ? "text/csv" : "application/x-ndjson" }));
  const link = h("a", { href: address, download: `countersign-record-${new Date().toISOString().slice(0, 10)}.${kind}` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), BEGIN_MS);
}
