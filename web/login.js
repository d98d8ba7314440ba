// Logging in with a token or key.

import { call } from "./api.js";
import { field, fill, h } from "./dom.js";
import { t } from "./text.js";

/** A cookie for whoever has this token. */
export const logIn = (token) => call("POST", "/api/session", { headers: { authorization: `Bearer ${token}` }, refusals: { signedOut: true } });

export function show(main, { entered }) {
  const credential = h("input", { type: "password", name: "credential", autocomplete: "current-password", required: true });
  const complaint = h("p", { class: "complaint", role: "alert", hidden: true });
  const form = h("form", { class: "card narrow", submit: async (event) => {
    event.preventDefault();
    const token = credential.value.trim();
    credential.value = "";
    complaint.hidden = true;
    try {
      entered(await logIn(token));
    } catch (problem) {
      complaint.textContent = problem.message;
      complaint.hidden = false;
      credential.focus();
    }
  } },
  h("h1", {}, t.login.title), h("p", {}, t.login.how), field(t.login.label, credential), complaint,
  h("div", { class: "buttons" }, h("button", { class: "main" }, t.login.submit)));
  fill(main, form);
  credential.focus();
  return { title: t.login.title };
}
