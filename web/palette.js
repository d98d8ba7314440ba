// Everything that can be done, found by typing: commands, and accounts to go to.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { plain, title } from "./format.js";
import { Tile } from "./icons.js";
import { open } from "./notice.js";
import { t } from "./text.js";

const words = t.palette;
/** How many accounts are offered. */
const ACCOUNTS = 8;
/** How long somebody may pause while typing before accounts are looked for, in milliseconds. */
const PAUSE_MS = 150;

/**
 * Opens it. `commands` have a `label` and `run`; with `account`, accounts are looked for too, and
 * it gets the one that was chosen.
 */
export function palette({ commands, account }) {
  let found = [];
  let options = [];
  let at = 0;
  let looking;
  let asked = 0;
  const list = h("ul", { id: "palette-list", class: "options", role: "listbox", "aria-label": words.list });
  const none = h("p", { class: "faint", role: "status" });
  const input = h("input", {
    type: "text", role: "combobox", "aria-label": words.label, placeholder: words.label, "aria-expanded": "true", "aria-controls": "palette-list", "aria-autocomplete": "list",
    autocomplete: "off", spellcheck: "false", input: typed, keydown: keys,
  });
  const dialog = h("dialog", { class: "palette", "aria-label": words.title, click: (event) => event.target === dialog && dialog.close(), close: () => {
    clearTimeout(looking);
    asked += 1;
    dialog.remove();
  } }, input, list, none);

  function choose(option) {
    dialog.close();
    option.run();
  }

  function typed() {
    clearTimeout(looking);
    asked += 1;
    found = [];
    if (account && input.value.trim()) looking = setTimeout(look, PAUSE_MS);
    at = 0;
    show();
  }

  async function look() {
    const mine = asked;
    // Without an answer there are only commands to choose from, and the banner says why.
    const page = await get("/api/accounts", { search: input.value.trim(), limit: ACCOUNTS }).catch(() => ({ accounts: [] }));
    if (mine !== asked) return;
    found = page.accounts;
    show();
  }

  function show() {
    const sought = plain(input.value).split(/\s+/).filter(Boolean);
    const matching = commands.filter(({ label }) => sought.every((word) => plain(label).includes(word)));
    options = [
      ...matching.map((command) => ({ label: command.label, kind: words.command, run: command.run })),
      ...found.map((each) => ({ label: title(each), kind: words.account, tile: each.issuer ?? each.accountName, run: () => account(each) })),
    ];
    at = Math.min(at, Math.max(0, options.length - 1));
    fill(list, options.map((option, n) => {
      const tile = option.tile && new Tile();
      tile?.name(option.tile);
      tile?.show();
      return h("li", { id: `option-${n}`, role: "option", "aria-selected": String(n === at), click: () => choose(option) },
        tile?.element, h("bdi", {}, option.label), h("small", {}, option.kind));
    }));
    list.hidden = options.length === 0;
    none.textContent = options.length === 0 ? words.none : "";
    mark();
  }

  function mark() {
    [...list.children].forEach((option, n) => option.setAttribute("aria-selected", String(n === at)));
    if (options.length > 0) input.setAttribute("aria-activedescendant", `option-${at}`);
    else input.removeAttribute("aria-activedescendant");
    list.children[at]?.scrollIntoView({ block: "nearest" });
  }

  function keys(event) {
    const ways = {
      ArrowDown: () => (at = (at + 1) % Math.max(1, options.length)),
      ArrowUp: () => (at = (at - 1 + options.length) % Math.max(1, options.length)),
      Enter: () => options[at] && choose(options[at]),
    };
    if (!ways[event.key] || event.isComposing) return;
    event.preventDefault();
    ways[event.key]();
    if (event.key !== "Enter") mark();
  }

  open(dialog);
  show();
}
