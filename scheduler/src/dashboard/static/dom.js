// Builds elements. Text is always text: nothing here makes markup of a string.

/** An element with attributes (functions become listeners) and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Puts new children in the place of the old ones; what has the focus keeps it by `data-key`. */
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren();
  append(element, children);
  if (focused !== undefined) {
    for (const candidate of element.querySelectorAll("[data-key]")) {
      if (candidate.dataset.key === focused) {
        candidate.focus({ preventScroll: true });
        break;
      }
    }
  }
}

// A button pressed and let go makes a click only where both happen on the same element.
let release;
let held = Promise.resolve();
document.addEventListener("pointerdown", () => {
  if (release === undefined) held = new Promise((done) => (release = done));
}, true);
for (const end of ["pointerup", "pointercancel"]) {
  // After the click that follows it.
  document.addEventListener(end, () => setTimeout(() => {
    release?.();
    release = undefined;
  }), true);
}

/** Waits until nothing is pressed, so that what is under the pointer can be replaced. */
export function untouched() {
  return held;
}

/** Tells something to everybody, those who listen to the page too. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** A table. Cells are labelled for narrow screens, where rows become cards. */
export function table(caption, heads, rows) {
  const labels = heads.map((head) => (typeof head === "string" ? head : head.label));
  return h("table", {},
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, heads.map((head) => (typeof head === "string" ? h("th", { scope: "col" }, head) : head.cell)))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, n) => h("td", { "data-label": labels[n] }, cell))))),
  );
}
