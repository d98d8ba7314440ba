// Under which name a service's icon is kept, and on which shelf. The page and what makes the
// pack of icons use the same.

/** How many shelves there are. An address names a shelf, never a service. */
export const SHELVES = 256;

/** A service's name without case, accents, spaces and punctuation. */
export const key = (name) => name.normalize("NFD").toLowerCase().replace(/[^\p{L}\p{N}+]/gu, "");

/** FNV-1a of a key's characters. */
export function shelf(key) {
  let hash = 0x811c9dc5;
  for (const character of key) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193) >>> 0;
  return hash % SHELVES;
}
