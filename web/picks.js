// The accounts of files: to pick from, or what became of them.

import { h } from "./dom.js";
import { title } from "./format.js";
import { t } from "./text.js";

const words = t.add;

/** A list of an import's accounts. With `add`, the new ones can be picked. */
export function picks(accounts, add) {
  const fresh = add ? accounts.filter((account) => account.result === "new") : [];
  const boxes = new Map(fresh.map((account) => [account.position, h("input", { type: "checkbox", checked: true, change: count })]));
  const all = h("input", { type: "checkbox", checked: true, change: () => {
    for (const box of boxes.values()) box.checked = all.checked;
    count();
  } });
  const submit = h("button", { class: "main" });

  const picked = () => [...boxes].filter(([, box]) => box.checked).map(([position]) => position);
  function count() {
    const chosen = picked().length;
    submit.textContent = words.addThese(chosen);
    submit.disabled = chosen === 0;
    all.checked = chosen === boxes.size;
    all.indeterminate = chosen > 0 && chosen < boxes.size;
  }
  count();

  const row = (account) => {
    const box = boxes.get(account.position);
    const name = h("strong", {}, h("bdi", {}, account.preview ? title(account.preview) : account.name));
    const about = [
      !box && words.results[account.result],
      account.recoveryCodes > 0 && words.withRecoveryCodes(account.recoveryCodes),
      account.problem?.detail,
      account.problem?.nextStep,
      ...(account.warnings ?? []).map((warning) => (warning.warning === "duplicate" ? words.duplicatePick : warning.detail)),
    ].filter(Boolean).join(" · ");
    return h("li", {}, h(box ? "label" : "p", { class: "check" }, box, h("span", {}, name, about && h("small", {}, " ", about))));
  };

  return h("form", { submit: (event) => {
    event.preventDefault();
    submit.disabled = true;
    void add(picked());
  } },
  boxes.size > 1 && h("label", { class: "check" }, all, h("span", {}, words.pickAll)),
  h("ul", { class: "picks", tabindex: "0", role: "list", "aria-label": words.pick }, accounts.map(row)),
  boxes.size > 0 && h("div", { class: "buttons" }, submit));
}
