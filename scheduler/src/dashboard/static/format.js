// Values as people read them.

import { h } from "./dom.js";

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A time in the reader's zone; the exact one in UTC is its title. */
export function time(text) {
  return text ? h("time", { datetime: text, title: text }, day.format(new Date(text))) : "";
}

/** A length of time in milliseconds, in the two largest units that matter. */
export function duration(ms) {
  if (ms < 1) return "0 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s.toFixed(s < 10 ? 2 : 1)} s`;
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = Math.round(s);
  const shown = [];
  for (const [unit, size] of parts) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0 || shown.length > 0) shown.push(`${count} ${unit}`);
  }
  return shown.slice(0, 2).join(" ");
}

/** How much of a name is shown where there are many, in characters. */
const MOST_SHOWN = 120;

/** A name that fits into a list; anybody can give one that fills it. */
export function short(text) {
  const characters = [...text.slice(0, 4 * MOST_SHOWN)];
  return characters.length > MOST_SHOWN ? `${characters.slice(0, MOST_SHOWN).join("")}…` : text;
}

/** A payload: indented where it is JSON, else as it is. */
export function payload(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** A payload in a box of its own that can be scrolled by keyboard. */
export function box(label, text) {
  return h("figure", {}, h("figcaption", {}, label), h("pre", { tabindex: "0", "aria-label": label }, payload(text)));
}

/** A status as a colored word. */
export function badge(status) {
  return h("span", { class: `badge ${status.toLowerCase()}` }, status);
}

export const STATUSES = ["PENDING", "RUNNING", "SUSPENDED", "COMPLETED", "FAILED", "TERMINATED", "CANCELED"];
export const ENDED = new Set(["COMPLETED", "FAILED", "TERMINATED", "CANCELED"]);
