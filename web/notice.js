// What the page says by itself: short notices, and questions that want an answer.

import { fill, h } from "./dom.js";
import { t } from "./text.js";

const SHOWN_MS = 8000;
let timer;

/** A notice at the edge of the page. With something to do in it, it stays until it is closed. */
export function toast(text, action) {
  clearTimeout(timer);
  const box = document.getElementById("toast");
  const done = () => fill(box);
  const act = action && h("button", { type: "button", class: "plain", "data-key": "toast-action", click: () => {
    done();
    action.run();
  } }, action.label);
  fill(box, h("p", {}, h("span", {}, text), act, h("button", { type: "button", class: "plain close", "aria-label": t.close, click: done }, "×")));
  if (!action) timer = setTimeout(done, SHOWN_MS);
}

/** Dialogs that wait until the one before them is closed. */
const coming = [];
const next = () => coming.length > 0 && open(coming.shift());

/** Shows a dialog once no other is open: one that covers another hides what was begun there. */
export function open(dialog) {
  if (document.querySelector("dialog[open]")) {
    coming.push(dialog);
    return;
  }
  dialog.addEventListener("close", next, { once: true });
  document.body.append(dialog);
  dialog.showModal();
}

/** Takes every dialog and notice away: they are for whoever is shown, and for nobody after. */
export function dismiss() {
  clearTimeout(timer);
  fill(document.getElementById("toast"));
  fill(document.getElementById("said"));
  for (const dialog of coming.splice(0)) dialog.dispatchEvent(new Event("close"));
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.close();
    dialog.remove();
  }
}

/** What went wrong, as a notice. */
export function trouble(problem) {
  // Nobody is there any more who wants to know.
  if (problem.status < 0) return;
  toast(problem.message);
  if (problem.status === undefined) console.error(problem);
}

/**
 * A question in a dialog. `run` gets the form's values and may throw, which is shown in the
 * dialog; answers whether it was run. Without `cancel` there is one button only.
 */
export function ask({ title, body = [], yes, danger = false, cancel = true, run }) {
  return new Promise((settle) => {
    let done = false;
    const complaint = h("p", { class: "complaint", role: "alert", hidden: true });
    const submit = h("button", { class: danger ? "danger" : "main" }, yes);
    let running = Promise.resolve();
    async function work() {
      submit.disabled = true;
      try {
        await run(Object.fromEntries(new FormData(form)));
        done = true;
        dialog.close();
      } catch (problem) {
        complaint.textContent = problem.message;
        complaint.hidden = false;
        if (!dialog.open) trouble(problem);
      }
      submit.disabled = false;
    }
    const form = h("form", { method: "dialog", submit: (event) => {
      event.preventDefault();
      if (!submit.disabled) running = work();
    } },
    h("h2", { id: "question" }, title), body, complaint,
    h("div", { class: "buttons" }, submit, cancel && h("button", { type: "button", click: () => dialog.close() }, t.cancel)));
    const dialog = h("dialog", { "aria-labelledby": "question", close: () => {
      dialog.remove();
      // What was begun ends also if nobody waits for it: a new key would be lost otherwise.
      void running.then(() => settle(done));
    } }, form);
    open(dialog);
  });
}

/**
 * Shows something until it is closed, in no form: browsers remember what is in one. `gone` is
 * called when it is closed.
 */
export function present({ title, body, yes, gone = () => {} }) {
  return new Promise((settle) => {
    const close = h("button", { type: "button", class: "main", click: () => dialog.close() }, yes);
    const dialog = h("dialog", { "aria-labelledby": "presented", close: () => {
      gone(dialog);
      dialog.remove();
      settle();
    } }, h("h2", { id: "presented" }, title), body, h("div", { class: "buttons" }, close));
    open(dialog);
  });
}
