// The page's own signs.

import { svg } from "./dom.js";

const SHAPES = {
  accounts: "M4 6h.01M4 12h.01M4 18h.01M9 6h11M9 12h11M9 18h11",
  add: "M12 5v14M5 12h14",
  approvals: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM8 12.5l3 3 5-6",
  ask: "M4 5h16v11h-9l-5 4v-4H4z",
  download: "M12 4v11M7 10l5 5 5-5M4 20h16",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  operations: "M3 12h4l3-8 4 16 3-8h4",
  recovery: "M8 16a4 4 0 1 1 3.4-6H21v4h-3v3h-3v-3h-3.6A4 4 0 0 1 8 16zM8 12h.01",
  remove: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 9.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM9 19.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z",
  star: "M12 3.5l2.6 5.4 5.9.8-4.3 4.1 1.05 5.9L12 16.9l-5.25 2.8 1.05-5.9L3.5 9.7l5.9-.8z",
};

/** One of them; it says nothing to those who do not see it. */
export const glyph = (name) => svg("svg", { class: "glyph", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: SHAPES[name] }));
