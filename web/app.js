// Who is here, which view is shown, and that it stays up to date.

import * as accounts from "./accounts.js";
import * as add from "./add.js";
import { PATIENCE, Problem, call, link, pause, shows } from "./api.js";
import * as approvals from "./approvals.js";
import { fill, h, say } from "./dom.js";
import { glyph } from "./glyphs.js";
import * as login from "./login.js";
import { dismiss, toast } from "./notice.js";
import * as operations from "./operations.js";
import { forget } from "./secret.js";
import { palette } from "./palette.js";
import * as settings from "./settings.js";
import * as shortcuts from "./shortcuts.js";
import { direction, language, languages, t } from "./text.js";

/** Each view with its address and the roles that have it; an administrator has all. */
const VIEWS = [
  { name: "accounts", module: accounts, roles: ["reader"] },
  { name: "add", module: add, roles: ["enroller"] },
  { name: "approvals", module: approvals, roles: ["approver"] },
  { name: "operations", module: operations, roles: ["reader", "enroller", "approver"] },
  { name: "settings", module: settings, roles: ["reader", "enroller", "approver"], aside: true },
];
/** How often the number of what waits for approval is looked up, in milliseconds. */
const COUNT_MS = 15_000;

const SESSION = "/api/session";
/** Says who is logged in, or that nobody is: browsers put refusals into the console. */
const CURRENT = "/api/session/current";

/** Tells the other tabs that somebody has logged in or out. */
const tabs = "BroadcastChannel" in window ? new BroadcastChannel("session") : undefined;
const main = document.getElementById("main");
const banner = document.getElementById("link");
const trouble = h("p", { class: "complaint", role: "alert", hidden: true });
let session;
let view;
let timer;
let waiting = "";

const may = (...roles) => session.roles.includes("admin") || roles.some((role) => session.roles.includes(role));
const mine = () => VIEWS.filter((each) => may(...each.roles));

function go(hash) {
  if (location.hash === hash) void (view.again ? view.again() : open());
  else location.hash = hash;
}

/** A part of the address; what is no such part stays as it is. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Shows the view that the address names, or the form to log in, with what there is to be said. */
function open(said) {
  const first = view === undefined;
  view?.close?.();
  clearTimeout(timer);
  if (!session) {
    view = login.show(main, { entered, said });
    document.title = `${view.title} · ${t.name}`;
    header();
    return;
  }
  const [name, ...path] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const named = mine().find((each) => each.name === name);
  const chosen = named ?? mine()[0];
  fill(main);
  trouble.hidden = true;
  view = chosen.module.show(main, { session, may, go, path, refresh, counted });
  main.prepend(trouble);
  document.title = `${view.title} · ${t.name}`;
  header(chosen);
  // A link that someone with other roles has sent.
  const lacksPart = named?.module === operations && path[0] && !operations.parts(may).includes(path[0]);
  if (name && (!named || lacksPart)) toast(t.notYours);
  // A reader who follows a link hears the new view's name.
  if (!first) {
    main.focus({ preventScroll: true });
    say(view.title);
    window.scrollTo(0, 0);
  }
  void refresh();
}

function header(chosen) {
  const link = (each, content) => h("a", { href: `#/${each.name}`, "data-key": `to-${each.name}`, "aria-current": each === chosen && "page" }, glyph(each.name), content);
  const aside = session && mine().filter((each) => each.aside);
  fill(document.getElementById("header"),
    h("a", { class: "brand", href: "#/" }, h("img", { src: "/icon.svg", alt: "" }), h("span", {}, t.name)),
    session && h("nav", { "aria-label": t.navigation }, h("ul", {}, mine().filter((each) => !each.aside).map((each) => h("li", {},
      link(each, [h("span", {}, t.views[each.name]), each.module === approvals && h("span", { id: "waiting" })]))))),
    session && h("div", { class: "aside" },
      h("button", { type: "button", class: "plain", title: `${t.palette.open} (${t.shortcuts.names.Ctrl}+K)`, "data-key": "palette", click: commands }, glyph("search"), h("span", { class: "word" }, t.palette.open)),
      aside.map((each) => link(each, h("span", { class: "word" }, t.views[each.name]))),
      h("p", { class: "caller" }, h("span", {}, t.who(session.displayName, session.roles)), " ",
        session.caller !== "anonymous" && h("button", { type: "button", class: "plain", click: logOut }, t.logOut))));
  counted(waiting);
}

/** Everything that this caller can do from anywhere, to be found by typing. */
function commands() {
  if (!session) return;
  const to = (label, hash) => ({ label: t.palette.goTo(label), run: () => go(hash) });
  palette({
    commands: [
      ...mine().map((each) => to(t.views[each.name], `#/${each.name}`)),
      ...operations.parts(may).map((part) => to(`${t.views.operations}: ${t.operations.parts[part]}`, `#/operations/${part}`)),
      ...Object.entries(t.settings.themes).map(([name, label]) => ({ label: t.palette.theme(label), run: () => settings.theme(name) })),
      ...Object.entries(languages).map(([code, { language }]) => ({ label: t.palette.language(language.name), run: () => settings.speak(code) })),
      { label: t.palette.keys, run: help },
      ...(session.caller === "anonymous" ? [] : [{ label: t.logOut, run: logOut }]),
    ],
    account: may("reader") ? ({ id }) => go(`#/accounts/${encodeURIComponent(id)}`) : undefined,
  });
}

function help() {
  if (session) void shortcuts.help({ may });
}

/** Shows how many enrollments wait for approval, beside that view's name. */
function counted(text) {
  waiting = text;
  const place = document.getElementById("waiting");
  if (place) fill(place, text && [h("span", { class: "count", "aria-hidden": "true" }, text), h("span", { class: "unseen" }, ` ${t.waiting(text)}`)]);
}

async function count() {
  if (!session || !may("approver") || document.visibilityState !== "visible") return;
  await approvals.count().then(counted, () => {});
}

/** Shows what is true now. One at a time, so that no older answer is shown after a newer one. */
let running = false;
let again = false;
async function refresh() {
  if (running) {
    again = true;
    return;
  }
  running = true;
  do {
    again = false;
    const shown = view;
    try {
      await shown.refresh?.();
      if (shown === view) trouble.hidden = true;
    } catch (error) {
      if (shown === view) complain(error);
    }
    if (shown !== view) again = true;
  } while (again);
  running = false;
  clearTimeout(timer);
  if (view.every) timer = setTimeout(() => document.visibilityState === "visible" && refresh(), view.every);
}

function complain(error) {
  // The banner says so already, and that this is looked after; or nobody is there any more.
  if (error.status <= 0) return;
  trouble.textContent = error instanceof Problem ? error.message : t.failed(error.message);
  trouble.hidden = false;
  if (!(error instanceof Problem)) console.error(error);
}

/** Somebody has logged in, here; whatever there was is the former one's. */
function entered(who) {
  clean();
  session = who;
  shows(who.caller);
  open();
  void count();
  tabs?.postMessage("changed");
}

async function logOut() {
  await call("DELETE", SESSION).catch(complain);
  leave();
  tabs?.postMessage("changed");
}

/** Nobody is here any more: nothing that was shown, asked for or begun stays. */
function leave(problem) {
  if (!session && view) return;
  clean();
  open(problem?.body.code === "unauthenticated" ? undefined : problem?.message);
}

function clean() {
  view?.close?.();
  view = view && {};
  session = undefined;
  waiting = "";
  shows(undefined);
  add.forget();
  dismiss();
  forget();
  fill(main);
}

// The server may be restarted at any time; the page waits for it.
let lost = false;
link.addEventListener("lost", async () => {
  if (lost) return;
  lost = true;
  banner.textContent = session ? t.lost : `${t.lost} ${t.offline}`;
  banner.hidden = false;
  for (let wait = 250; lost; wait = Math.min(wait * 2, 4000)) {
    await pause(wait);
    await call("GET", "/healthz", { patience: PATIENCE }).catch(() => {});
  }
});
link.addEventListener("back", () => {
  if (!lost) return;
  lost = false;
  banner.hidden = true;
  say(t.back);
  if (session) void refresh();
  else void begin();
});
link.addEventListener("signed-out", ({ detail }) => leave(detail));
tabs?.addEventListener("message", () => {
  // A refusal says that it is somebody else by now; who is not logged in may be.
  if (session) void call("GET", CURRENT).then((now) => now.session || leave()).catch(() => {});
  else void begin();
});

/** Who is logged in; then, with a link, whoever it is for. */
async function begin(offer) {
  let said;
  try {
    const { session: who } = await call("GET", CURRENT, { refusals: { signedOut: true }, patience: PATIENCE });
    if (who) {
      if (session?.caller !== who.caller) clean();
      session = who;
      shows(who.caller);
    }
  } catch (problem) {
    if (problem.body?.code === "session-ambiguous") said = problem.message;
  }
  if (!offer || session) open(said);
  if (offer) await follow(offer);
  void count();
}

/** Logs in by the code of a link. */
async function follow({ kind, text }) {
  let said = t.login.noToken;
  if (kind === "code") {
    try {
      const who = await login.logIn({ code: text });
      if (who) return entered(who);
      said = undefined;
    } catch (problem) {
      said = problem.message;
    }
  }
  if (session) toast(said ?? t.login.kept);
  else open(said);
  return undefined;
}

/** What a link brought in the address, which it leaves before anything else happens. */
function brought() {
  const found = location.hash.match(/^#(code|token)=(.*)$/s);
  if (found || location.pathname !== "/") history.replaceState(null, "", "/");
  return found ? { kind: found[1], text: found[2] } : undefined;
}

document.documentElement.lang = language;
document.documentElement.dir = direction;
shortcuts.listen({ help, palette: commands });
const skip = document.getElementById("skip");
skip.textContent = t.skip;
skip.addEventListener("click", () => main.focus());
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && session && refresh());
window.addEventListener("hashchange", () => {
  const offer = brought();
  if (offer) void follow(offer);
  else open();
});

setInterval(count, COUNT_MS);

// A picture that is pasted or dropped anywhere is for adding.
function offered(event, transfer) {
  if (!session || !may("enroller") || event.target.closest?.("dialog, input, textarea")) return;
  if (!add.offer(transfer)) {
    // Text that somebody selected and moved about is no try to add something.
    if (event.type === "paste" || view.takesJunk) toast(t.add.junk);
    return;
  }
  event.preventDefault();
  go("#/add");
}
document.addEventListener("paste", (event) => offered(event, event.clipboardData));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  offered(event, event.dataTransfer);
});

void begin(brought());

if ("serviceWorker" in navigator) {
  const worker = "/worker.js";
  const policy = window.trustedTypes?.createPolicy("countersign", { createScriptURL: (url) => {
    if (url !== worker) throw new TypeError(url);
    return url;
  } });
  navigator.serviceWorker.register(policy?.createScriptURL(worker) ?? worker).catch(() => {
    // Without it the page works all the same, but not without its server.
  });
}
