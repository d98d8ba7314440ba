// What accounts are called, by their ids: for what names them by these alone.

import { get } from "./api.js";
import { plain, title } from "./format.js";

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
    await this.#load();
    // A key, or an account that is gone for good.
    for (const id of missing) if (!this.#names.has(id)) this.#unknown.add(id);
  }

  async #load() {
    for (const found of [await accounts({ removed: true }), await accounts()]) {
      for (const account of found.values()) this.#names.set(account.id, title(account));
    }
  }

  /** The id of the only account that is called so, or whose name has this in it; otherwise the text itself. */
  async id(text) {
    if (text === "" || this.#names.has(text)) return text;
    await this.#load();
    const sought = plain(text);
    const named = [...this.#names].map(([id, name]) => [id, plain(name)]);
    const exact = named.filter(([, name]) => name === sought);
    const found = exact.length > 0 ? exact : named.filter(([, name]) => name.includes(sought));
    return found.length === 1 ? found[0][0] : text;
  }

  of(id) {
    return this.#names.get(id);
  }
}
