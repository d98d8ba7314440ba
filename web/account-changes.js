// Changing what an account is called and where it belongs, and removing it with a way back.

import { call } from "./api.js";
import { field, h } from "./dom.js";
import { title } from "./format.js";
import { ask, toast, trouble } from "./notice.js";
import { t } from "./text.js";

const words = t.accounts;
const path = (id) => `/api/accounts/${id}`;

/** Tags as somebody types them. */
const typedTags = (text) => text.split(",").map((tag) => tag.trim()).filter(Boolean);

/** Asks for names, group and tags; `groups` are those that there are, and `changed` gets the account as it is then. */
export function edit({ account }, groups, changed) {
  return ask({
    title: words.editOf(title(account)),
    body: [
      field(words.issuer, h("input", { name: "issuer", value: account.issuer ?? "", maxlength: 256, autocomplete: "off" })),
      field(words.accountName, h("input", { name: "accountName", value: account.accountName, maxlength: 256, required: true, autocomplete: "off" })),
      field(words.group, h("input", { name: "group", value: account.group ?? "", maxlength: 64, list: "groups", autocomplete: "off" })),
      h("datalist", { id: "groups" }, groups.map((name) => h("option", { value: name }))),
      field(words.tags, h("input", { name: "tags", value: account.tags.join(", "), autocomplete: "off" }), words.tagsHint),
      h("label", { class: "check" }, h("input", { type: "checkbox", name: "readApproval", checked: account.readApproval === true }), h("span", {}, words.guard)),
    ],
    yes: words.save,
    run: async ({ issuer, accountName, group, tags, readApproval }) => {
      const now = { issuer: issuer.trim() || null, accountName: accountName.trim(), group: group.trim() || null, tags: typedTags(tags), readApproval: readApproval === "on" };
      const was = { ...account, issuer: account.issuer ?? null, group: account.group ?? null, readApproval: account.readApproval === true };
      // Only what was changed, so that the record says what was.
      const body = Object.fromEntries(Object.entries(now).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(was[name])));
      const saved = await call("PATCH", path(account.id), { body });
      changed(saved);
      toast(words.saved(title(saved)));
    },
  });
}

/** Asks, takes the account out of use, and offers to bring it back; `gone` and `back` are told. */
export async function remove({ account }, { gone, back }) {
  const name = title(account);
  await ask({
    title: words.removeTitle(name),
    body: h("p", {}, words.removeWhat),
    yes: words.remove,
    danger: true,
    run: async () => {
      await call("DELETE", path(account.id));
      gone();
      toast(words.removed(name), { label: words.undo, run: () => restore(account, name, back) });
    },
  });
}

/** Brings an account back into use. */
export async function restore(account, name, back) {
  try {
    back(await call("POST", `${path(account.id)}/restore`));
    toast(words.restored(name));
  } catch (problem) {
    trouble(problem);
  }
}
