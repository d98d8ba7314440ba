// Secrets on the screen: in no form, where a browser would remember them, only while somebody
// looks, and no longer than they are worth something.

import { h } from "./dom.js";
import { toast } from "./notice.js";
import { t } from "./text.js";

const BLANK = "\u2022\u2022\u2022\u00a0\u2022\u2022\u2022";
/** What is shown: for each element, what shows or covers it. */
const shown = new Map();
const seen = () => document.visibilityState === "visible";

/** An element that shows a secret; `until` is when it is worth nothing, in this browser's time. */
export function secret(text, { tag = "code", until, ...attributes } = {}) {
  const element = h(tag, attributes);
  watch(element, (visible) => (element.textContent = visible ? text : BLANK));
  if (until !== undefined) setTimeout(() => wipe(element), Math.max(0, until - Date.now()));
  return element;
}

/** Shows an element, such as a picture, only while somebody looks. */
export function covered(element) {
  watch(element, (visible) => (element.hidden = !visible));
  return element;
}

function watch(element, paint) {
  shown.set(element, paint);
  paint(seen());
}

function wipe(element) {
  shown.get(element)?.(false);
  shown.delete(element);
}

/** Forgets the secrets in an element; without one, all of them. */
export function forget(within) {
  for (const element of [...shown.keys()]) if (!within || within.contains(element)) wipe(element);
  if (!within) void clear();
}

// A tab that nobody sees shows nothing, not even to what makes pictures of it.
document.addEventListener("visibilitychange", () => {
  for (const paint of shown.values()) paint(seen());
});

/** A code that was copied and is still in the clipboard, as far as is known. */
let copied;

/** Copies a secret; whether the browser let it be. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    return false;
  }
  copied = undefined;
  return true;
}

/** The same for a code, which is taken out of the clipboard again when its time is over. */
export async function copyCode(text, leftMs) {
  if (!await copy(text)) return false;
  const mine = { text, over: false };
  copied = mine;
  setTimeout(() => {
    mine.over = true;
    if (copied === mine) void clear();
  }, leftMs);
  return true;
}

/**
 * Empties the clipboard if the code is still there. Only where the browser lets the page look
 * without asking: what somebody has copied since is none of its business.
 */
async function clear() {
  const mine = copied;
  if (!mine) return;
  try {
    const { state } = await navigator.permissions.query({ name: "clipboard-read" });
    if (state !== "granted") {
      copied = undefined;
      return;
    }
    const now = await navigator.clipboard.readText();
    if (now === mine.text) await navigator.clipboard.writeText("");
    if (copied === mine) copied = undefined;
  } catch {
    // Browsers let a page do so only while it has the focus: then is the time.
    mine.over = true;
  }
}
window.addEventListener("focus", () => copied?.over && void clear());

/** A secret with a button that copies it. */
export function copyable(text, { label, done }) {
  const element = secret(text, { class: "id secret-text" });
  const button = h("button", { type: "button", click: async () => {
    if (await copy(text)) {
      toast(done);
      return;
    }
    getSelection().selectAllChildren(element);
    toast(t.accounts.cannotCopy);
  } }, t.keys.copy);
  return h("div", { class: "field" }, h("span", {}, label), element, h("div", { class: "buttons" }, button));
}
