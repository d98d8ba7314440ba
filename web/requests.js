// Asking for what one person alone may not do with an account, and using it once it is granted.

import { call, clockOffset, get } from "./api.js";
import { field, fill, h, table } from "./dom.js";
import { decided, duration, fromNow, grouped, said, time, title } from "./format.js";
import { ask, present, toast, trouble } from "./notice.js";
import { copyable, covered, forget, secret } from "./secret.js";
import { t } from "./text.js";

const words = t.requests;
const LIMIT = 50;
const ENDED = new Set(["Done", "Lapsed", "Rejected", "Withdrawn", "Expired", "Kept", "Unavailable", "Failed", "Terminated"]);
/** Units that a request's time is typed in, in seconds, with what is usual. */
const TIMES = { read: [60, 15], export: [60, 60], delete: [86_400, 7] };

/** Asks for one of `kinds` on an account. */
export function request(account, kinds) {
  const kind = h("select", { name: "kind", change: suit }, kinds.map((name) => h("option", { value: name }, words.kinds[name])));
  const what = h("p", { class: "faint" });
  const reads = h("input", { name: "reads", type: "number", min: 1, max: 50, value: 1 });
  const howOften = field(words.reads, reads);
  const span = h("input", { name: "span", type: "number", min: 1, required: true });
  const unit = h("span", {});
  function suit() {
    what.textContent = words.about[kind.value];
    howOften.hidden = kind.value !== "read";
    unit.textContent = words.span[kind.value];
    span.value = TIMES[kind.value][1];
  }
  suit();
  return ask({
    title: words.askTitle(title(account)),
    body: [
      field(words.kind, kind), what, howOften,
      h("label", { class: "field" }, unit, span),
      field(words.reason, h("input", { name: "reason", maxlength: 500, autocomplete: "off" })),
    ],
    yes: words.ask,
    run: async (typed) => {
      const body = { kind: typed.kind, seconds: Number(typed.span) * TIMES[typed.kind][0], reason: typed.reason.trim() || undefined };
      if (typed.kind === "read") body.reads = Number(typed.reads);
      await call("POST", `/api/accounts/${account.id}/requests`, { body });
      toast(words.asked(words.titleOf[typed.kind](title(account))));
    },
  });
}

/** What was asked for: one's own requests, and everybody's for those who decide. */
export function requests(body, { session, refresh }) {
  const list = h("div");
  fill(body, h("p", { class: "faint" }, words.how), list);
  const name = ({ account }) => title(account) || account.id;

  const outcome = ({ approval, until, readsLeft, removalAt, reason, stage }) => [
    reason && said(t.operations.why, reason),
    stage === "Granted" && h("p", {}, words.until(fromNow(until, clockOffset), readsLeft)),
    stage === "Removing" && h("p", {}, words.removal(fromNow(removalAt, clockOffset))),
    stage !== "Withdrawn" && decided(approval.decision),
  ];

  /** Uses what was granted and shows it until the dialog is closed. */
  async function use(item) {
    let got;
    try {
      got = await call("POST", item.usePostUri);
    } catch (problem) {
      trouble(problem);
      void refresh();
      return;
    }
    const until = Date.parse(got.validUntil) - (clockOffset ?? 0);
    const shown = item.kind === "read"
      ? [h("p", {}, secret(grouped(got.token), { tag: "bdi", until, class: "digits", dir: "ltr" })), h("p", { class: "faint" }, words.codeUntil(fromNow(got.validUntil, clockOffset)))]
      : exported(got);
    await present({ title: words.titleOf[item.kind](name(item)), body: shown, yes: words.seen, gone: forget });
    void refresh();
  }

  function exported({ uri, qrSvg, recoveryCodes = [] }) {
    const address = URL.createObjectURL(new Blob([qrSvg], { type: "image/svg+xml" }));
    const revoke = () => URL.revokeObjectURL(address);
    return [
      h("p", {}, words.onlyNow), covered(h("img", { class: "code-picture", src: address, alt: words.image, load: revoke, error: revoke })),
      copyable(uri, { label: words.uri, done: words.copied }),
      recoveryCodes.length > 0 && copyable(recoveryCodes.join("\n"), { label: words.recoveryCodes, done: words.recoveryCodesCopied }),
    ];
  }

  /** The requester withdraws; anyone else rejects. */
  const ending = (item) => (item.requestedBy === session.caller ? words.withdraw : words.reject);

  async function end(item) {
    const { title: asked, yes } = ending(item);
    await ask({
      title: asked(words.titleOf[item.kind](name(item))),
      yes,
      danger: true,
      run: () => call("DELETE", item.statusQueryGetUri),
    });
    void refresh();
  }

  const actions = (item) => [
    item.usePostUri && item.requestedBy === session.caller && h("button", { type: "button", "data-key": `use-${item.id}`, click: () => use(item) }, words.use[item.kind]),
    " ",
    !ENDED.has(item.stage) && h("button", { type: "button", class: "plain", "data-key": `end-${item.id}`, "aria-label": ending(item).of(words.titleOf[item.kind](name(item))), click: () => end(item) }, ending(item).yes),
  ];

  return {
    every: 3000,
    async refresh() {
      const { requests } = await get("/api/requests", { limit: LIMIT });
      const good = (stage) => (["Granted", "Done"].includes(stage) ? "good" : ENDED.has(stage) ? "bad" : "");
      fill(list, requests.length === 0 ? h("p", { class: "faint" }, words.none) : table(t.operations.parts.requests, words.heads, requests.map((item) => [
        time(item.createdAt), h("span", { title: words.what[item.kind](item, duration) }, words.kinds[item.kind]), h("bdi", {}, name(item)), h("bdi", {}, item.requestedBy),
        h("span", { class: `badge ${good(item.stage)}` }, words.stages[item.stage] ?? item.stage), outcome(item), actions(item),
      ])));
    },
  };
}
