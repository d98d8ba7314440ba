// What somebody prefers in this browser: how the page looks, never what the server says.

/** The preferences that there are; nothing else is kept. */
export const NAMES = ["theme", "language", "sort", "hide", "hide-granted", "favourites"];

// A browser may refuse to keep anything; then what was chosen lasts as long as the page.
const unkept = new Map();

export const preference = {
  get(name, otherwise) {
    try {
      return localStorage.getItem(name) ?? unkept.get(name) ?? otherwise;
    } catch {
      return unkept.get(name) ?? otherwise;
    }
  },
  /** Keeps a preference; without a value, forgets it. */
  set(name, value) {
    unkept.delete(name);
    try {
      if (value === undefined) localStorage.removeItem(name);
      else localStorage.setItem(name, value);
    } catch {
      if (value !== undefined) unkept.set(name, value);
    }
  },
};
