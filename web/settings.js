// What somebody prefers, and who is logged in.

import { field, fill, h, say } from "./dom.js";
import { Favourites } from "./favourites.js";
import { toast } from "./notice.js";
import { preference } from "./preferences.js";
import { languages, t } from "./text.js";

const words = t.settings;
const SYSTEM = "system";

/** Shows the page light or dark from now on, or as the system is. */
export function theme(name) {
  const chosen = name === "light" || name === "dark" ? name : undefined;
  preference.set("theme", chosen);
  if (chosen) document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
}

/** Speaks another language, which takes a new page. */
export function speak(code) {
  preference.set("language", Object.hasOwn(languages, code) ? code : undefined);
  location.reload();
}

/** Under which name it is kept whether codes are covered: who has few reads starts with that. */
export const hiding = (session) => (session.grantedOnly ? "hide-granted" : "hide");
export const hides = (session) => preference.get(hiding(session), String(session.grantedOnly)) === "true";

function choice(name, values, chosen, changed) {
  const select = h("select", { id: name, change: () => changed(select.value) }, Object.entries(values).map(([value, label]) => h("option", { value }, label)));
  select.value = chosen;
  return select;
}

export function show(main, { session }) {
  const saved = () => say(words.saved);
  const names = Object.fromEntries(Object.entries(languages).map(([code, { language }]) => [code, language.name]));
  const hide = h("input", { type: "checkbox", id: "setting-hide", checked: hides(session), change: () => {
    preference.set(hiding(session), String(hide.checked));
    saved();
  } });
  const favourites = new Favourites(session.caller);
  const forget = h("button", { type: "button", disabled: favourites.size === 0, click: () => {
    favourites.forget();
    forget.disabled = true;
    toast(words.forgotten);
  } }, words.forgetFavourites);
  const fact = (label, text) => h("div", {}, h("dt", {}, label), h("dd", {}, h("bdi", {}, text)));
  fill(main, h("h1", {}, words.title), h("p", { class: "faint" }, words.how),
    h("section", { class: "card" }, h("h2", {}, words.look),
      h("div", { class: "grid wide" },
        field(words.theme, choice("theme", words.themes, preference.get("theme", SYSTEM), (name) => {
          theme(name);
          saved();
        })),
        field(words.language, choice("language", { [SYSTEM]: words.system, ...names }, preference.get("language", SYSTEM), speak))),
      h("p", { class: "faint" }, words.server)),
    h("section", { class: "card" }, h("h2", {}, words.codes),
      h("div", { class: "grid" }, field(t.accounts.sort, choice("setting-sort", t.accounts.sorts, preference.get("sort", "issuer"), (name) => {
        preference.set("sort", name);
        saved();
      }))),
      h("label", { class: "check" }, hide, h("span", {}, t.accounts.hide)),
      h("div", { class: "buttons" }, forget)),
    h("section", { class: "card" }, h("h2", {}, words.you),
      h("dl", {},
        fact(words.caller, session.displayName), fact(words.roles, session.roles.map((role) => t.keys.roles[role] ?? role).join(", ")),
        fact(words.groups, session.groups.join(", ") || words.noGroups), fact(words.limits, session.grantedOnly ? words.grantedOnly : words.all))),
    h("section", { class: "card" }, h("h2", {}, words.help), h("p", {}, h("a", { href: "/docs" }, words.reference))));
  return { title: words.title };
}
