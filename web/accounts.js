// The accounts and their codes.

import { get } from "./api.js";
import * as changes from "./account-changes.js";
import { AccountRow } from "./account-row.js";
import { Codes } from "./codes.js";
import { field, fill, h, mark, say, table } from "./dom.js";
import { Favourites } from "./favourites.js";
import { plain, time, title } from "./format.js";
import { toast } from "./notice.js";
import { preference } from "./preferences.js";
import { prove } from "./proof.js";
import { recovery } from "./recovery.js";
import { request } from "./requests.js";
import { Selection } from "./selection.js";
import { leases } from "./leases.js";
import { hides, hiding } from "./settings.js";
import { typing } from "./shortcuts.js";
import { language, t } from "./text.js";

const words = t.accounts;
const PAGE = 200;
/** How many are asked for first, and how long their codes come before other accounts, in milliseconds. */
const FIRST = 50;
const FIRST_MS = 1000;
/** How far outside of the window an account counts as looked at. */
const MARGIN = "120px";
const SAY_MS = 700;
/** How long changes of several accounts are gathered, in milliseconds. */
const TOGETHER_MS = 50;

const collator = new Intl.Collator(language, { sensitivity: "base", numeric: true });
const by = {
  issuer: (a, b) => collator.compare(a.issuer ?? a.accountName, b.issuer ?? b.accountName) || collator.compare(a.accountName, b.accountName),
  name: (a, b) => collator.compare(a.accountName, b.accountName) || collator.compare(a.issuer ?? "", b.issuer ?? ""),
  group: (a, b) => Number(!a.group) - Number(!b.group) || collator.compare(a.group ?? "", b.group ?? "") || by.issuer(a, b),
  newest: (a, b) => b.createdAt.localeCompare(a.createdAt),
};

/** Up to how many accounts every row is made as a whole at once. */
const FEW = 100;

export function show(main, { session, may, refresh, path: [wanted] }) {
  const codes = new Codes();
  const rows = new Map();
  const favourites = new Favourites(session.caller);
  let led = wanted;
  let order = [];
  let active;
  let closed = false;
  let saying;
  let arranging;
  let looking;
  const hidden = () => hide.checked;
  const kinds = may("admin") ? ["read", "export", "delete"] : ["read"];

  const search = h("input", { type: "search", id: "search", placeholder: words.search, autocomplete: "off", spellcheck: "false", "aria-keyshortcuts": "/", input: () => filter() });
  const sort = h("select", { id: "sort", change: () => {
    preference.set("sort", sort.value);
    arrange();
  } }, Object.entries(words.sorts).map(([key, label]) => h("option", { value: key }, label)));
  sort.value = preference.get("sort", "issuer");
  // Whoever may read a code only so many times does not spend them by opening the page.
  const hide = h("input", { type: "checkbox", id: "hide", checked: hides(session), change: () => {
    preference.set(hiding(session), String(hide.checked));
    for (const row of rows.values()) row.hide(hide.checked);
  } });
  // All accounts, or those of one group, with one tag, or that wait to be proved.
  const only = h("select", { id: "only", change: () => {
    filter();
    if (showsRemoved()) void refresh();
  } });
  // Those that were removed and can come back, for administrators.
  const removed = h("div", { hidden: true });
  const showsRemoved = () => only.value === "removed";
  const count = h("p", { class: "faint", id: "count" });
  const list = h("ul", { class: "accounts", "aria-label": words.list, keydown: keys });
  const none = h("p", { class: "faint", hidden: true });
  const over = h("p", { class: "faint", id: "leases-over", hidden: true });
  const selection = may("admin") && new Selection({
    list,
    rows: () => visible(),
    groups: () => names("group"),
    changed: (account) => {
      put(account);
      arrangeTogether();
    },
    gone: (row) => {
      drop(row.account.id);
      arrangeTogether();
    },
  });
  // Where there is little room, only the search is there until more is asked for.
  const more = h("button", { type: "button", class: "unfold", "data-key": "filters", "aria-expanded": "false", "aria-controls": "filters", click: () => {
    const open = more.getAttribute("aria-expanded") !== "true";
    more.setAttribute("aria-expanded", String(open));
    mark(bar, "open", open);
  } }, words.filters(false));
  const bar = h("form", { class: "bar folds", role: "search", submit: (event) => {
    event.preventDefault();
    focus(visible()[0]);
  } },
  field(words.search, search), more,
  h("div", { class: "filters", id: "filters" }, field(words.show, only), field(words.sort, sort), h("label", { class: "check" }, hide, h("span", {}, words.hide))),
  selection && h("button", { type: "button", "data-key": "select", click: () => (selection.on ? selection.end() : selection.begin()) }, words.select));
  fill(main,
    h("h1", {}, words.title),
    bar,
    selection && selection.element,
    count, none, list, over, removed, h("p", { class: "faint keys" }, words.keys));

  const watch = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) rows.get(target.dataset.id)?.inView(isIntersecting);
  }, { rootMargin: MARGIN });

  const change = may("admin") ? {
    edit: (row) => changes.edit(row, names("group"), (account) => {
      row.update(account);
      arrange();
    }),
    remove: (row) => changes.remove(row, {
      gone: () => leave(row),
      back: (account) => {
        put(account);
        arrange();
        focus(rows.get(account.id));
      },
    }),
  } : undefined;

  /** Shows what was removed, as it is now, with a way back for each. */
  async function lookAtRemoved() {
    const gone = [];
    let cursor;
    do {
      const page = await get("/api/accounts", { removed: true, limit: PAGE, cursor });
      gone.push(...page.accounts);
      cursor = page.next;
    } while (cursor);
    if (closed || !showsRemoved()) return;
    const back = (account) => h("button", { type: "button", "data-key": `restore-${account.id}`, "aria-label": words.restoreOf(title(account)), click: () => changes.restore(account, title(account), (restored) => {
      put(restored);
      arrange();
      void refresh();
    }) }, words.restore);
    fill(removed, gone.length === 0 ? h("p", { class: "faint" }, words.noneRemoved) : table(words.removedOnes, words.removedHeads, gone.map((account) => [
      h("bdi", {}, title(account)), time(account.removedAt), h("span", { class: "id" }, account.id), back(account),
    ])));
  }

  function leave(row) {
    const shown = visible();
    const next = shown[shown.indexOf(row) + 1] ?? shown[shown.indexOf(row) - 1];
    drop(row.account.id);
    arrange();
    if (next) focus(next);
    else search.focus();
  }

  function proving(row) {
    const { pendingFor } = row.account;
    if (!may("admin") && !(may("enroller") && pendingFor === session.caller)) {
      toast(words.provedBy(pendingFor));
      return;
    }
    prove(row.account, {
      proved: (account) => {
        row.update(account);
        toast(words.proved(row.title));
        arrange();
      },
      gone: () => {
        toast(words.removed(row.title));
        leave(row);
      },
    });
  }

  /** Makes an account a favourite, or no longer. */
  function favour(row) {
    const now = favourites.toggle(row.account.id);
    row.favoured(now);
    arrange();
    say((now ? words.favoured : words.unfavoured)(row.title));
  }

  /** Shows the accounts of a group or tag only, or all again. */
  function pick(value) {
    only.value = only.value === value ? "" : value;
    filter();
  }

  /** The groups or tags that there are. */
  function names(kind) {
    const found = new Map();
    for (const { account } of rows.values()) {
      for (const name of kind === "group" ? [account.group].filter(Boolean) : account.tags) {
        if (!found.has(plain(name))) found.set(plain(name), name);
      }
    }
    return [...found.values()].sort(collator.compare);
  }

  /** Offers what there is to choose from. */
  function offer() {
    const chosen = only.value;
    const options = (kind) => names(kind).map((name) => h("option", { value: `${kind}:${name}` }, name));
    const groups = options("group");
    const tags = options("tag");
    const pending = [...rows.values()].some((row) => row.pending);
    const starred = [...rows.values()].some((row) => row.favourite);
    const offered = ["", starred && "favourites", ...[...groups, ...tags].map((option) => option.value), pending && "pending", may("admin") && "removed"].join("\n");
    if (only.dataset.offered === offered) return;
    only.dataset.offered = offered;
    fill(only, h("option", { value: "" }, words.all),
      starred && h("option", { value: "favourites" }, words.favourites),
      groups.length > 0 && h("optgroup", { label: words.groups }, groups),
      tags.length > 0 && h("optgroup", { label: words.tags }, tags),
      pending && h("option", { value: "pending" }, words.pending),
      may("admin") && h("option", { value: "removed" }, words.removedOnes));
    only.value = [...only.options].some((option) => option.value === chosen) ? chosen : "";
  }

  /** Whether an account is among those that are to be shown. */
  function chosen({ account, pending, favourite }) {
    const [kind, ...rest] = only.value.split(":");
    const name = plain(rest.join(":"));
    if (kind === "removed") return false;
    if (kind === "favourites") return favourite;
    if (kind === "group") return plain(account.group ?? "") === name;
    if (kind === "tag") return account.tags.some((tag) => plain(tag) === name);
    return kind !== "pending" || pending;
  }

  function put(account) {
    const known = rows.get(account.id);
    if (known) {
      if (JSON.stringify(known.account) !== JSON.stringify(account)) known.update(account);
      return;
    }
    const row = new AccountRow(account, { codes, hidden: hidden(), changes: change, prove: proving, request: (row) => request(row.account, kinds), recovery: (row) => recovery(row, { set: may("admin") }), pick, favour, choose: (row, on) => selection.toggle(row, on), read: lookAtLeases });
    rows.set(account.id, row);
    row.favoured(favourites.has(account.id));
    if (rows.size <= FEW) row.furnish();
  }

  /** Shows what is left of what was granted, soon, since many codes are read together. */
  function lookAtLeases() {
    if (!session.grantedOnly) return;
    looking ??= setTimeout(async () => {
      looking = undefined;
      const found = await leases().catch(() => undefined);
      if (closed || !found) return;
      for (const [id, row] of rows) row.leased(found.left.get(id) ?? "");
      over.hidden = found.over.length === 0;
      over.textContent = words.leasesOver(found.over);
    }, TOGETHER_MS);
  }

  function drop(id) {
    const row = rows.get(id);
    watch.unobserve(row.element);
    row.inView(false);
    row.element.remove();
    rows.delete(id);
    if (selection) selection.drop(row);
    if (active === row) active = undefined;
  }

  /** Puts the rows in order; those that stand right are not touched. */
  function arrange() {
    offer();
    const compare = by[sort.value] ?? by.issuer;
    order = [...rows.values()].sort((a, b) => Number(b.favourite) - Number(a.favourite) || compare(a.account, b.account) || a.account.id.localeCompare(b.account.id));
    let at = list.firstElementChild;
    for (const row of order) {
      if (row.element === at) at = at.nextElementSibling;
      else {
        const focused = row.element.contains(document.activeElement) ? document.activeElement : undefined;
        list.insertBefore(row.element, at);
        focused?.focus({ preventScroll: true });
      }
      watch.observe(row.element);
    }
    filter();
  }

  /** The same for many changes that come one after the other. */
  function arrangeTogether() {
    arranging ??= setTimeout(() => {
      arranging = undefined;
      arrange();
    }, TOGETHER_MS);
  }

  function filter() {
    const sought = plain(search.value).split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of order) {
      const found = chosen(row) && sought.every((word) => row.sought.includes(word));
      if (row.element.hidden === found) row.element.hidden = !found;
      if (found) shown += 1;
    }
    count.textContent = showsRemoved() ? "" : words.shown(shown, rows.size);
    more.textContent = words.filters(only.value !== "");
    removed.hidden = !showsRemoved();
    fill(none, rows.size === 0 ? empty() : words.noneFound);
    none.hidden = shown > 0 || showsRemoved();
    if (!active || active.element.hidden) activate(visible()[0]);
    if (selection) selection.show();
    clearTimeout(saying);
    if (sought.length > 0) saying = setTimeout(() => say(count.textContent), SAY_MS);
  }

  /** Why there is nothing to see, which is not the same for everybody. */
  function empty() {
    if (session.grantedOnly) return words.noneGranted;
    return [words.none, " ", may("enroller") && h("a", { href: "#/add" }, words.add)];
  }

  const visible = () => order.filter((row) => !row.element.hidden);

  function activate(row) {
    active?.active(false);
    active = row;
    active?.active(true);
  }

  function focus(row) {
    if (!row) return;
    activate(row);
    row.button.focus();
    row.element.scrollIntoView({ block: "nearest" });
  }

  function keys(event) {
    const row = rows.get(event.target.closest("li")?.dataset.id);
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const shown = visible();
    const at = shown.indexOf(row);
    const across = getComputedStyle(list).direction === "rtl" ? -1 : 1;
    // Some are shown only where there is room for them.
    const buttons = row.buttons.filter((button) => button.offsetParent !== null);
    const beside = (step) => buttons[(buttons.indexOf(event.target) + step + buttons.length) % buttons.length]?.focus();
    const ways = {
      ArrowDown: () => focus(shown[at + 1]),
      ArrowUp: () => (at > 0 ? focus(shown[at - 1]) : search.focus()),
      Home: () => focus(shown[0]),
      End: () => focus(shown.at(-1)),
      PageDown: () => focus(shown[Math.min(at + 10, shown.length - 1)]),
      PageUp: () => focus(shown[Math.max(at - 10, 0)]),
      ArrowRight: () => beside(across),
      ArrowLeft: () => beside(-across),
      f: () => favour(row),
      x: () => selection && selection.toggle(row),
      F2: () => row.changes?.edit(row),
      Delete: () => row.changes?.remove(row),
    };
    const way = ways[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!way) return;
    event.preventDefault();
    way();
  }

  list.addEventListener("focusin", (event) => {
    const row = rows.get(event.target.closest("li")?.dataset.id);
    if (row && row !== active) activate(row);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      focus(visible()[0]);
    } else if (event.key === "Escape" && search.value) {
      event.preventDefault();
      search.value = "";
      filter();
    }
  });
  const slash = (event) => {
    if (event.key === "Escape" && selection && !document.querySelector("dialog") && event.target !== search) selection.end();
    if (event.key !== "/" || typing(event)) return;
    event.preventDefault();
    search.focus();
  };
  document.addEventListener("keydown", slash);

  return {
    title: words.title,
    every: 60_000,
    async refresh() {
      const there = new Set();
      let cursor;
      do {
        const page = await get("/api/accounts", { limit: cursor ? PAGE : FIRST, cursor });
        if (closed) return;
        for (const account of page.accounts) {
          there.add(account.id);
          put(account);
        }
        cursor = page.next;
        // The first page is shown, with its codes, before the others are asked for.
        if (cursor && order.length === 0) {
          arrange();
          if (!hidden()) await Promise.race([codes.answered, new Promise((resolve) => setTimeout(resolve, FIRST_MS))]);
        }
      } while (cursor);
      for (const id of [...rows.keys()]) if (!there.has(id)) drop(id);
      arrange();
      lookAtLeases();
      // An account that somebody was led to; only once, since they may have gone on since.
      if (led) focus(rows.get(led));
      led = undefined;
      if (showsRemoved()) await lookAtRemoved();
    },
    close() {
      closed = true;
      codes.stop();
      watch.disconnect();
      clearTimeout(saying);
      clearTimeout(arranging);
      clearTimeout(looking);
      document.removeEventListener("keydown", slash);
    },
  };
}
