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

/** What went wrong, as a notice. */
export function trouble(problem) {
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
    const form = h("form", { method: "dialog", submit: async (event) => {
      event.preventDefault();
      submit.disabled = true;
      try {
        await run(Object.fromEntries(new FormData(form)));
        done = true;
        dialog.close();
      } catch (problem) {
        complaint.textContent = problem.message;
        complaint.hidden = false;
      }
      submit.disabled = false;
    } },
    h("h2", { id: "question" }, title), body, complaint,
    h("div", { class: "buttons" }, submit, cancel && h("button", { type: "button", click: () => dialog.close() }, t.cancel)));
    const dialog = h("dialog", { "aria-labelledby": "question", close: () => {
      dialog.remove();
      settle(done);
    } }, form);
    document.body.append(dialog);
    dialog.showModal();
  });
}
