// Which page is shown, and that it stays up to date.

import { Problem } from "./api.js";
import { fill, h, inTurn, say } from "./dom.js";
import * as entities from "./entities.js";
import * as hubs from "./hubs.js";
import * as instance from "./instance.js";
import * as instances from "./instances.js";
import * as workers from "./workers.js";

const main = document.getElementById("main");
const trouble = h("p", { class: "trouble", role: "alert", hidden: true });
let view;
let shown = 0;

function read(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?");
  const parts = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  const route = { hub: parts[1], id: parts[3], query: new URLSearchParams(query) };
  if (parts[0] !== "hubs" || !route.hub) return { ...route, page: hubs, path: [] };
  const here = `#/hubs/${encodeURIComponent(route.hub)}`;
  const path0 = [[route.hub, here]];
  if (parts[2] === "workers") return { ...route, page: workers, path: [...path0, ["Workers", `${here}/workers`]] };
  if (parts[2] === "entities") {
    const list = ["Entities", `${here}/entities`];
    if (!route.id) return { ...route, page: entities, path: [...path0, list] };
    return { ...route, page: entities.one, path: [...path0, list, [route.id, `${here}/entities/${encodeURIComponent(route.id)}`]] };
  }
  if (parts[2] === "instances" && route.id) return { ...route, page: instance, path: [...path0, [route.id, `${here}/instances/${encodeURIComponent(route.id)}`]] };
  return { ...route, page: instances, path: path0 };
}

function go(hash) {
  if (location.hash === hash) open();
  else location.hash = hash;
}

function open() {
  const route = read(location.hash);
  const first = view === undefined;
  view?.close?.();
  main.replaceChildren();
  fill(trouble);
  trouble.hidden = true;
  view = route.page.show(main, route, go, refresh);
  main.prepend(trouble);
  document.title = view.title;
  navigate(route);
  // A reader who follows a link hears the new page's heading.
  if (!first) {
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
  refresh();
}

function navigate(route) {
  const crumbs = [["Task hubs", "#/"], ...route.path];
  const items = crumbs.map(([text, href], n) => h("li", {}, h("a", { href, "aria-current": n === crumbs.length - 1 && "page" }, text)));
  const here = route.path.length > 0 && `#/hubs/${encodeURIComponent(route.hub)}`;
  fill(document.getElementById("path"),
    h("ol", {}, items),
    here && h("ul", {},
      h("li", {}, h("a", { href: here }, "Instances")),
      h("li", {}, h("a", { href: `${here}/entities` }, "Entities")),
      h("li", {}, h("a", { href: `${here}/workers` }, "Workers"))));
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
    const mine = view;
    try {
      await mine.refresh();
      if (mine === view) trouble.hidden = true;
    } catch (error) {
      if (mine === view) {
        fill(trouble, error instanceof Problem ? error.message : `Something went wrong on this page: ${error.message}`);
        trouble.hidden = false;
        if (!(error instanceof Problem)) console.error(error);
      }
    }
    main.dataset.shown = String(++shown);
    if (mine !== view) again = true;
  } while (again);
  running = false;
}

// Changes are told by the scheduler; where that is not to be had, the page asks itself.
const AGAIN_MS = 15_000;
let poll;
let hush;
let listening = false;

function asks() {
  const live = document.getElementById("live");
  live.textContent = "asking every 5 s";
  live.title = "This page gets no updates from the scheduler at the moment.";
  poll ??= setInterval(() => document.visibilityState === "visible" && refresh(), 5000);
}

function told() {
  const live = document.getElementById("live");
  clearInterval(poll);
  poll = undefined;
  live.textContent = "live";
  live.title = "This page updates itself.";
  refresh();
}

/** Follows a stream of changes until it ends for good, or nobody looks any more. */
function changes() {
  return new Promise((done) => {
    const source = new EventSource("/api/changes");
    hush = () => {
      source.close();
      done();
    };
    source.addEventListener("open", told);
    source.addEventListener("changed", () => document.visibilityState === "visible" && refresh());
    source.addEventListener("error", () => {
      asks();
      if (source.readyState === EventSource.CLOSED) done();
    });
    if (document.visibilityState !== "visible") hush();
  });
}

async function listen() {
  // A browser has few connections to one server: only what somebody sees keeps one, and of
  // many windows only some.
  if (document.visibilityState !== "visible" || listening) return;
  listening = true;
  if (!await inTurn(changes).catch(() => false)) asks();
  listening = false;
  setTimeout(listen, AGAIN_MS);
}

document.getElementById("skip").addEventListener("click", () => main.focus());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") {
    hush?.();
    return;
  }
  refresh();
  listen();
});
window.addEventListener("hashchange", open);
open();
listen();
say("");
