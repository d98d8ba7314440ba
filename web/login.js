// Logging in with a token or key.

import { call } from "./api.js";
import { field, fill, h } from "./dom.js";
import { coded } from "./format.js";
import { ask as question } from "./notice.js";
import { t } from "./text.js";

const PATH = "/api/session";
const quietly = { refusals: { signedOut: true } };

/**
 * A session for whoever has this token or key, or the `code` of a link. Asks before it takes the
 * place of another caller's; nobody is answered if that is not wanted.
 */
export async function logIn({ token, code }, again = true) {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const ask = (replace) => call("POST", PATH, { headers, body: { code, replace }, ...quietly });
  try {
    return await ask();
  } catch (problem) {
    // What another program had put beside our cookie is taken away with this answer.
    if (problem.body?.code === "session-ambiguous" && again) return logIn({ token, code }, false);
    if (problem.body?.code !== "session-of-another") throw problem;
  }
  const former = await call("GET", PATH, quietly);
  return await replaces(former) ? ask(former.caller) : undefined;
}

const replaces = (former) => question({
  title: t.login.replaceTitle(former.displayName),
  body: h("p", {}, t.login.replace(former.displayName)),
  yes: t.login.replaceYes,
  danger: true,
  run: () => {},
});

export function show(main, { entered, said }) {
  const credential = h("input", { type: "password", name: "credential", autocomplete: "current-password", required: true });
  const complaint = h("p", { class: "complaint", role: "alert", hidden: true });
  const form = h("form", { class: "card narrow", submit: async (event) => {
    event.preventDefault();
    const token = credential.value.trim();
    credential.value = "";
    complaint.hidden = true;
    try {
      const who = await logIn({ token });
      if (who) entered(who);
    } catch (problem) {
      complaint.textContent = problem.message;
      complaint.hidden = false;
      credential.focus();
    }
  } },
  h("h1", {}, t.login.title), h("p", {}, coded(t.login.how)), field(t.login.label, credential), complaint,
  h("div", { class: "buttons" }, h("button", { class: "main" }, t.login.submit)));
  if (said) {
    fill(complaint, coded(said));
    complaint.hidden = false;
  }
  fill(main, form);
  credential.focus();
  return { title: t.login.title };
}
