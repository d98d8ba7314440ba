// Recovery codes of an account: how many are left, and one at a time for whoever needs it.

import { call, get } from "./api.js";
import { fill, h } from "./dom.js";
import { title } from "./format.js";
import { present, trouble } from "./notice.js";
import { copyable, forget } from "./secret.js";
import { t } from "./text.js";

const words = t.recovery;

/** Shows how many codes are left, and gives one out when that is asked for. */
export async function recovery({ account }) {
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
    body: [left, h("p", { class: "faint" }, words.once), code, complaint, h("div", { class: "buttons" }, take)],
    yes: t.close,
    gone: forget,
  });
}
