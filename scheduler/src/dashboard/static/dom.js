// Builds elements. Text is always text: nothing here makes markup of a string.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (functions become listeners) and children. */
export function h(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** The same for the shapes of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), attributes, children);
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : harmless(String(child)));
  }
}

/**
 * Text that says what it seems to say: characters that turn the direction of what is around
 * them could show a name or a reason as another.
 */
export const harmless = (text) => text.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

/**
 * Gives an element a class, or takes it away. Only `true` gives it: a member that an answer
 * leaves out is undefined, and `classList.toggle` would turn the class over.
 */
export function mark(element, name, on) {
  element.classList.toggle(name, on === true);
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

/** How many streams all tabs of a browser keep open: it has six connections to one server. */
const STREAMS = 3;

/**
 * Runs `open` while this tab has one of the few places for streams, and answers whether there
 * was one. Without one, and where tabs cannot know of each other, the page has to ask.
 */
export async function inTurn(open) {
  for (let place = 0; place < STREAMS; place += 1) {
    const had = await navigator.locks?.request(`stream-${place}`, { ifAvailable: true }, async (lock) => {
      if (!lock) return false;
      await open();
      return true;
    });
    if (had) return true;
  }
  return false;
}

/** Tells something to those who listen to the page; others see it for themselves. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** A label with its control. */
export function field(label, control, hint) {
  return h("label", { class: "field" }, h("span", {}, label), control, hint && h("small", {}, hint));
}

/**
 * A table. Cells are labelled for narrow screens, where rows become cards. A head is a text, or
 * `{ label, cell }` with a cell of its own.
 */
export function table(caption, heads, rows) {
  const plain = (head) => typeof head === "string";
  const labelled = (cell, head) => {
    const made = h("td", { "data-label": plain(head) ? head : head.label }, cell);
    // Where there are cards instead of columns, nothing is not labelled.
    if (made.textContent.trim() === "" && !made.querySelector("a, button, img, input, svg")) made.replaceChildren();
    return made;
  };
  return h("table", {},
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, heads.map((head) => (plain(head) ? h("th", { scope: "col" }, head) : head.cell)))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, n) => labelled(cell, heads[n]))))));
}
