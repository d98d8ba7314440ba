// Renaming an account, and removing it with a way back.

import { call } from "./api.js";
import { field, h } from "./dom.js";
import { title } from "./format.js";
import { ask, toast, trouble } from "./notice.js";
import { t } from "./text.js";

const words = t.accounts;
const path = (id) => `/api/accounts/${id}`;

/** Asks for new names; `changed` gets the account as it is then. */
export function rename({ account }, changed) {
  return ask({
    title: words.renameOf(title(account)),
    body: [
      field(words.issuer, h("input", { name: "issuer", value: account.issuer ?? "", maxlength: 256, autocomplete: "off" })),
      field(words.accountName, h("input", { name: "accountName", value: account.accountName, maxlength: 256, required: true, autocomplete: "off" })),
    ],
    yes: words.save,
    run: async ({ issuer, accountName }) => {
      const body = { issuer: issuer.trim() || null, accountName: accountName.trim() };
      const renamed = await call("PATCH", path(account.id), { body });
      changed(renamed);
      toast(words.renamed(title(renamed)));
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

async function restore(account, name, back) {
  try {
    back(await call("POST", `${path(account.id)}/restore`));
    toast(words.restored(name));
  } catch (problem) {
    trouble(problem);
  }
}
