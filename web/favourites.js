// Which accounts somebody has as favourites: kept in this browser by their ids, for each caller.

import { preference } from "./preferences.js";

const NAME = "favourites";

function all() {
  try {
    const kept = JSON.parse(preference.get(NAME, "{}"));
    return kept !== null && typeof kept === "object" && !Array.isArray(kept) ? kept : {};
  } catch {
    // Something else has written there.
    return {};
  }
}

export class Favourites {
  #ids;

  constructor(caller) {
    this.caller = caller;
    const mine = all()[caller];
    this.#ids = new Set(Array.isArray(mine) ? mine.filter((id) => typeof id === "string") : []);
  }

  get size() {
    return this.#ids.size;
  }

  has(id) {
    return this.#ids.has(id);
  }

  /** Makes an account a favourite, or no longer; answers whether it is one now. */
  toggle(id) {
    if (!this.#ids.delete(id)) this.#ids.add(id);
    this.#keep();
    return this.#ids.has(id);
  }

  forget() {
    this.#ids.clear();
    this.#keep();
  }

  #keep() {
    const { [this.caller]: _, ...others } = all();
    const kept = this.#ids.size > 0 ? { ...others, [this.caller]: [...this.#ids] } : others;
    preference.set(NAME, Object.keys(kept).length > 0 ? JSON.stringify(kept) : undefined);
  }
}
