// The icons of services, out of the pack in the program; a letter stands in for any other.

import { shelfOf } from "./api.js";
import { fill, h, svg } from "./dom.js";
import { key, shelf } from "./icon-key.js";

const TINTS = 6;
/** What was asked for: each shelf once, and a failure again with the next page. */
const shelves = new Map();

/** The names under which a service may have its icon: its own, or a domain's second part. */
function keys(name) {
  const domain = name.trim().match(/(?:^|\.)([a-z0-9-]+)\.[a-z]{2,}$/i);
  return [key(name), domain && key(domain[1])].filter(Boolean);
}

async function icon(name) {
  for (const each of keys(name)) {
    const number = shelf(each);
    if (!shelves.has(number)) shelves.set(number, shelfOf(number).catch(() => ({})));
    const there = await shelves.get(number);
    if (Object.hasOwn(there, each)) return there[each];
  }
  return undefined;
}

/** Whether what stands on a colour is to be black: by its luminance, as WCAG has it. */
function bright(hex) {
  const [red, green, blue] = [0, 2, 4].map((at) => {
    const part = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.4;
}

/** A tile with the letter of a service; `show` puts its icon there, if it has one. */
export class Tile {
  #name;

  constructor() {
    this.element = h("span", { class: "tile", "aria-hidden": "true" });
  }

  /** Shows another service's letter. */
  name(name) {
    if (name === this.#name) return;
    this.#name = name;
    this.element.className = `tile tint-${shelf(key(name)) % TINTS}`;
    fill(this.element, [...name][0]?.toUpperCase() ?? "?");
    if (this.shown) void this.#look();
  }

  /** From now on, with an icon: asked for once somebody sees the tile. */
  show() {
    if (this.shown) return;
    this.shown = true;
    void this.#look();
  }

  async #look() {
    const name = this.#name;
    const found = await icon(name);
    if (!found || name !== this.#name) return;
    const [hex, drawing] = found;
    this.element.className = "tile icon";
    fill(this.element, svg("svg", { viewBox: "0 0 24 24" },
      svg("rect", { width: 24, height: 24, fill: `#${hex}` }),
      svg("path", { d: drawing, fill: bright(hex) ? "#000" : "#fff", transform: "translate(5 5) scale(.58333)" })));
  }
}
