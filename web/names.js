// What accounts are called, by their ids: for what names them by these alone.

import { get } from "./api.js";
import { title } from "./format.js";

const PAGE = 200;

/** Every account there is, by its id; with `removed`, those that can come back instead. */
export async function accounts({ removed } = {}) {
  const found = new Map();
  let cursor;
  do {
    const page = await get("/api/accounts", { removed: removed || undefined, limit: PAGE, cursor });
    for (const account of page.accounts) found.set(account.id, account);
    cursor = page.next;
  } while (cursor);
  return found;
}

/** The names of accounts, removed ones too; asked for once for each view, and again for one that is not known. */
export class Names {
  #names = new Map();
  #unknown = new Set();

  /** Finds out what those of these ids are called that are accounts. */
  async learn(ids) {
    const missing = ids.filter((id) => id && !this.#names.has(id) && !this.#unknown.has(id));
    if (missing.length === 0) return;
    for (const found of [await accounts({ removed: true }), await accounts()]) {
      for (const account of found.values()) this.#names.set(account.id, title(account));
    }
    // A key, or an account that is gone for good.
    for (const id of missing) if (!this.#names.has(id)) this.#unknown.add(id);
  }

  of(id) {
    return this.#names.get(id);
  }
}
