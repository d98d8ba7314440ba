// Pages that were gone through, so that one can go back.

import { h } from "./dom.js";
import { t } from "./text.js";

const words = t.operations;

/** `refresh` is called when another page is to be shown. */
export function pages(refresh) {
  const behind = [];
  let cursor = "";
  let next;
  const move = (run) => () => {
    run();
    void refresh();
  };
  const back = h("button", { type: "button", "data-key": "back", click: move(() => (cursor = behind.pop())) }, words.back);
  const on = h("button", { type: "button", "data-key": "on", click: move(() => {
    behind.push(cursor);
    cursor = next;
  }) }, words.on);
  return {
    element: h("div", { class: "buttons" }, back, on),
    cursor: () => cursor,
    first: () => behind.length === 0,
    reset() {
      behind.length = 0;
      cursor = "";
    },
    shown(following) {
      next = following;
      back.hidden = behind.length === 0;
      on.hidden = !following;
    },
  };
}
