// The keys that work everywhere, and the dialog that tells all of them.

import { h } from "./dom.js";
import { present } from "./notice.js";
import { t } from "./text.js";

const words = t.shortcuts;

/** Each key or combination, and what it does. */
const EVERYWHERE = [[["?"], "help"], [["Ctrl", "K"], "palette"], [["/"], "search"], [["Escape"], "escape"]];
const ACCOUNTS = [
  [["↑", "↓"], "move"], [["←", "→"], "sideways"], [["Home", "End"], "ends"], [["Enter"], "copy"], [["F"], "favourite"],
  [["F2"], "edit"], [["Delete"], "remove"], [["X"], "select"],
];

/** Whether what has the focus takes text, or a dialog is open. */
export const typing = ({ target }) => Boolean(target.closest?.("input:not([type=checkbox]), textarea, select") || document.querySelector("dialog"));

/** Shows the keys; those of the list where there is one for this caller, and only what may be done. */
export function help({ may }) {
  const list = (heading, keys) => [h("h3", {}, heading), h("dl", { class: "shortcuts" }, keys.map(([names, what]) => h("div", {},
    h("dt", {}, names.map((name, n) => [n > 0 && " ", h("kbd", {}, words.names[name] ?? name)])), h("dd", {}, words[what]))))];
  const changes = new Set(["edit", "remove", "select"]);
  return present({
    title: words.title,
    body: [list(words.everywhere, EVERYWHERE), may("reader") && list(words.accounts, ACCOUNTS.filter(([, what]) => may("admin") || !changes.has(what)))],
    yes: t.close,
  });
}

/** Listens for good: `help` and `palette` are called for their keys. */
export function listen({ help, palette }) {
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (!document.querySelector("dialog")) palette();
    } else if (event.key === "?" && !event.ctrlKey && !event.metaKey && !event.altKey && !typing(event)) {
      event.preventDefault();
      help();
    }
  });
}
