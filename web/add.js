// Adding accounts: by pasting, dropping, choosing or photographing, or by hand.

import { field, fill, h } from "./dom.js";
import { title } from "./format.js";
import { ask } from "./notice.js";
import { t } from "./text.js";
import { Work } from "./work.js";

const words = t.add;
/** What files can be; anything else is refused by the server, in words. */
const ACCEPT = "image/*,.json,.txt,.csv,.aegis,.2fas,text/plain,application/json";
const LINK = /otpauth(-migration)?(:|%)|^\s*steam:\/\//i;

/** How many accounts are named in a question. */
const MOST_NAMED = 10;

/** What was pasted or dropped on another view, for the one that is shown next. */
let waiting;

/** Takes what somebody pastes or drops anywhere; whether it is something for this view. */
export function offer(transfer) {
  const files = [...(transfer?.files ?? [])];
  const text = transfer?.getData("text") ?? "";
  if (files.length === 0 && !LINK.test(text)) return false;
  waiting = { files, text };
  return true;
}

/** Whatever was brought and not looked at yet goes with whoever brought it. */
export function forget() {
  waiting = undefined;
}

export function show(main, { may }) {
  const works = new Set();
  const list = h("ul", { class: "works", "aria-label": words.works });
  const approval = h("input", { type: "checkbox", name: "approval" });
  const proof = h("input", { type: "checkbox", name: "proof" });
  const steam = h("input", { type: "checkbox", name: "steam" });

  function begin(name, run) {
    const work = new Work(name, { approval: approval.checked, proof: proof.checked, steam: steam.checked, added: () => {}, mayRemove: may("admin") });
    works.add(work);
    list.prepend(work.element);
    void run(work);
  }

  function take({ files, text }) {
    if (files.length === 1 && files[0].type.startsWith("image/")) begin(words.files([files[0].name]), (work) => work.picture(files[0]));
    else if (files.length > 0) begin(words.files(files.map((file) => file.name)), (work) => work.files(files));
    else if (LINK.test(text)) void asked(text);
  }

  /** Text that was pasted or dropped may be anybody's: it is added once somebody has seen what. */
  function asked(text) {
    const links = text.split(/\s+/).filter((word) => LINK.test(word));
    return ask({
      title: words.askTitle(links.length),
      body: h("ul", {}, links.slice(0, MOST_NAMED).map((word) => h("li", {}, h("bdi", {}, named(word)))), links.length > MOST_NAMED && h("li", {}, "…")),
      yes: words.submit,
      run: () => link(text, words.pasted),
    });
  }

  /** One URI becomes an enrollment; a list of them, or an export, is read first. */
  function link(text, name) {
    const trimmed = text.trim();
    if (/\s/.test(trimmed) || /otpauth-migration/i.test(trimmed)) begin(name, (work) => work.files([new File([trimmed], name, { type: "text/plain" })]));
    else begin(name, (work) => work.uri(trimmed));
  }

  const choose = (label, attributes, style) => {
    const input = h("input", { type: "file", ...attributes, change: () => {
      take({ files: [...input.files], text: "" });
      input.value = "";
    } });
    return h("label", { class: `button ${style}` }, label, input);
  };

  const drop = h("section", { class: "card drop", "aria-label": words.drop },
    h("p", {}, words.drop),
    h("div", { class: "buttons" },
      choose(words.choose, { accept: ACCEPT, multiple: true, name: "files" }, "main"),
      choose(words.camera, { accept: "image/*", capture: "environment", name: "photo" }, "camera")),
    h("p", { class: "faint" }, words.what));

  fill(main, h("h1", {}, words.title),
    drop, h("fieldset", {}, h("legend", {}, words.options),
    h("label", { class: "check" }, approval, h("span", {}, words.approval)),
    h("label", { class: "check" }, proof, h("span", {}, words.proof, " ", h("small", {}, words.proofHint))),
    h("label", { class: "check" }, steam, h("span", {}, words.steam, " ", h("small", {}, words.steamHint)))),
    byHand(link), list);

  const over = (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    drop.classList.add("over");
  };
  const left = () => drop.classList.remove("over");
  document.addEventListener("dragover", over);
  document.addEventListener("dragleave", left);
  document.addEventListener("drop", left);

  function again() {
    if (waiting) take(waiting);
    waiting = undefined;
  }
  return {
    title: words.title,
    takesJunk: true,
    refresh: again,
    // What is under way stays when more is brought.
    again,
    close() {
      document.removeEventListener("dragover", over);
      document.removeEventListener("dragleave", left);
      document.removeEventListener("drop", left);
      for (const work of works) work.stop();
    },
  };
}

/** What the account of a link is called, without anything else that is in it. */
function named(link) {
  try {
    const { pathname, searchParams } = new URL(link);
    const [first, ...rest] = decodeURIComponent(pathname.replace(/^\//, "")).split(":");
    const accountName = (rest.length > 0 ? rest.join(":") : first).trim();
    const issuer = searchParams.get("issuer") ?? (rest.length > 0 ? first : undefined);
    if (/^otpauth:/i.test(link)) return title({ issuer, accountName }) || words.unnamed;
  } catch {
    // The server says what is wrong with it.
  }
  return words.unnamed;
}

/** A form for a link, or for a secret with what belongs to it. */
function byHand(link) {
  const complaint = h("p", { class: "complaint", role: "alert" });
  const text = h("input", { type: "password", name: "link", autocomplete: "off", spellcheck: "false", required: true, input: () => {
    rest.hidden = text.value === "" || LINK.test(text.value);
  } });
  const choice = (name, values) => h("select", { name }, values.map((value) => h("option", { value }, value)));
  const rest = h("div", { class: "grid", hidden: true },
    field(words.issuer, h("input", { name: "issuer", autocomplete: "off", maxlength: 256 })),
    field(words.accountName, h("input", { name: "account", autocomplete: "off", maxlength: 256 })),
    field(words.digits, choice("digits", [6, 7, 8])),
    field(words.period, h("input", { name: "period", type: "number", min: 1, max: 86400, value: 30 })),
    field(words.algorithm, choice("algorithm", ["SHA1", "SHA256", "SHA512"])));
  const form = h("form", { submit: (event) => {
    event.preventDefault();
    const typed = Object.fromEntries(new FormData(form));
    complaint.textContent = "";
    if (!LINK.test(typed.link) && !typed.account.trim()) {
      complaint.textContent = words.nameless;
      form.elements.account.focus();
      return;
    }
    link(LINK.test(typed.link) ? typed.link : uri(typed), words.typed);
    form.reset();
    rest.hidden = true;
  } }, field(words.link, text, words.linkHint), rest, complaint, h("div", { class: "buttons" }, h("button", { class: "main" }, words.submit)));
  return h("details", { class: "card" }, h("summary", {}, words.byHand), form);
}

function uri({ link, issuer, account, digits, period, algorithm }) {
  const query = Object.entries({ secret: link.replace(/[\s-]/g, ""), issuer: issuer.trim(), digits, period, algorithm })
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return `otpauth://totp/${encodeURIComponent(account.trim())}?${query.join("&")}`;
}
