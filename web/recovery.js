// Recovery codes of an account: how many are left, one at a time for whoever needs it, and others
// in their place.

import { call, get, newKey } from "./api.js";
import { fill, h } from "./dom.js";
import { title } from "./format.js";
import { present, toast, trouble } from "./notice.js";
import { copyable, forget } from "./secret.js";
import { t } from "./text.js";

const words = t.recovery;

/** The most codes that an account can have, and the longest file that may hold them. */
const MOST = 64;
const LONGEST = 16_384;

/** Shows how many codes are left, and gives one out when that is asked for; with `set`, takes others. */
export async function recovery({ account }, { set }) {
  let count;
  try {
    count = await get(`/api/accounts/${account.id}/recovery-codes`);
  } catch (problem) {
    trouble(problem);
    return;
  }
  const left = h("p", { role: "status" });
  const code = h("div", {});
  const complaint = h("p", { class: "complaint", role: "alert" });
  const take = h("button", { type: "button", "data-key": "take-recovery", click: async () => {
    take.disabled = true;
    complaint.textContent = "";
    try {
      const taken = await call("POST", `/api/accounts/${account.id}/recovery-code`);
      forget(code);
      fill(code, copyable(taken.code, { label: words.code, done: words.copied }));
      tell(taken.left);
    } catch (problem) {
      complaint.textContent = problem.message;
      take.disabled = false;
    }
  } }, words.take);
  const tell = (number) => {
    left.textContent = count.total === 0 ? words.none : words.left(number, count.total);
    take.disabled = number === 0;
  };
  tell(count.left);
  await present({
    title: words.titleOf(title(account)),
    body: [left, h("p", { class: "faint" }, words.once), code, complaint, h("div", { class: "buttons" }, take), set && setting(account, count.total)],
    yes: t.close,
    gone: forget,
  });
}

/**
 * Takes codes out of a file or the clipboard, one in a line. Through no field: browsers remember
 * what is in one.
 */
function setting(account, total) {
  let codes = [];
  const complaint = h("p", { class: "complaint", role: "alert" });
  const read = h("p", { role: "status" });
  const submit = h("button", { type: "button", class: "main", disabled: true, "data-key": "set-recovery", click: async () => {
    submit.disabled = true;
    complaint.textContent = "";
    try {
      await call("PUT", `/api/accounts/${account.id}/recovery-codes`, { body: { codes }, headers: { "idempotency-key": newKey() } });
      toast(t.requests.asked(t.requests.titleOf.recoveryCodes(title(account))));
      codes = [];
      section.closest("dialog")?.close();
    } catch (problem) {
      complaint.textContent = problem.message;
      submit.disabled = false;
    }
  } }, words.set);
  function took(text) {
    codes = text.slice(0, LONGEST).split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
    const usable = codes.length > 0 && codes.length <= MOST;
    complaint.textContent = usable ? "" : words.unusable(MOST);
    read.textContent = usable ? words.read(codes.length) : "";
    submit.disabled = !usable;
  }
  const file = h("input", { type: "file", accept: ".txt,text/plain", name: "recovery-codes", change: async () => {
    if (file.files[0]) took(await file.files[0].slice(0, LONGEST).text());
    file.value = "";
  } });
  const section = h("section", { class: "setting", tabindex: "0", "aria-label": words.setTitle, paste: (event) => {
    event.preventDefault();
    took(event.clipboardData.getData("text"));
  } }, h("h3", {}, words.setTitle), h("p", { class: "faint" }, words.setHow, total > 0 && ` ${words.replaces}`),
  complaint, read, h("div", { class: "buttons" }, h("label", { class: "button" }, words.choose, file), submit));
  return section;
}
