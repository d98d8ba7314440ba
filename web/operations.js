// What runs and has run: enrollments, who did what, keys and grants, and how the server is.

import { call, clockOffset, get } from "./api.js";
import { field, fill, h, table } from "./dom.js";
import { ENDED } from "./follow.js";
import { decided, time, title } from "./format.js";
import { grants, keys } from "./keys.js";
import { ask, trouble } from "./notice.js";
import { pages } from "./pages.js";
import { record } from "./record.js";
import { requests } from "./requests.js";
import { t } from "./text.js";

const words = t.operations;
const LIMIT = 50;
/** A browser whose clock is off by more than this is told so, in milliseconds. */
const CLOCK_MS = 5000;

const PARTS = { enrollments, requests, record, keys, grants, health };
/** The roles that have a part; administrators have all. */
const ROLES = { enrollments: ["enroller", "approver"], requests: ["reader", "enroller", "approver"] };

/** The parts that a caller has, by their names. */
export const parts = (may) => Object.keys(PARTS).filter((name) => may(...(ROLES[name] ?? [])));

export function show(main, context) {
  const mine = parts(context.may);
  const part = mine.includes(context.path[0]) ? context.path[0] : mine[0];
  const body = h("div");
  fill(main, h("h1", {}, words.title),
    mine.length > 1 && h("nav", { class: "tabs", "aria-label": words.title }, h("ul", {}, mine.map((name) => h("li", {},
      h("a", { href: `#/operations/${name}`, "aria-current": name === part && "page" }, words.parts[name]))))),
    body);
  // On a phone there are more than fit.
  main.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  return { title: `${words.parts[part]} · ${words.title}`, ...PARTS[part](body, context) };
}

/** A link to the scheduler's dashboard; `system` says where that is and how it lets browsers in. */
function toDashboard(system, href, instance, label) {
  return h("a", { href, target: "_blank", rel: "noreferrer", "data-key": `dashboard-${instance ?? ""}`, click: (event) => {
    if (!system.dashboardTickets) return;
    event.preventDefault();
    // By the click itself: no answer that comes later may open a tab.
    const tab = window.open("", "_blank");
    call("POST", "/api/dashboard/tickets", { query: { instance } }).then(({ url }) => {
      if (!tab) return location.assign(url);
      tab.opener = null;
      tab.location.replace(url);
    }).catch((problem) => {
      tab?.close();
      trouble(problem);
    });
  } }, label);
}

function badge(stage) {
  const kind = stage === "Enrolled" ? "good" : ENDED.has(stage) ? "bad" : "";
  return h("span", { class: `badge ${kind}` }, words.stages[stage] ?? stage);
}

function enrollments(body, { session, may, refresh }) {
  let system;
  const stage = h("select", { change: () => {
    paging.reset();
    void refresh();
  } }, h("option", { value: "" }, words.any), Object.entries(words.stages).map(([value, label]) => h("option", { value }, label)));
  const paging = pages(refresh);
  const list = h("div");
  fill(body, h("div", { class: "bar" }, field(words.stage, stage)), list, paging.element);

  /** The account; while none is known, that, with the id for who looks for it in the log. */
  const account = ({ id, preview, stage }) => title(preview)
    ? h("bdi", {}, title(preview))
    : [h("span", { class: "faint" }, ENDED.has(stage) ? words.noAccount : words.noAccountYet), " ", h("span", { class: "id short", title: id }, id)];

  const outcome = ({ approval, problem }) => [problem?.detail && h("p", {}, problem.detail), decided(approval.decision)];

  function actions(enrollment) {
    const own = may("admin") || enrollment.requestedBy === session.caller;
    return [
      system?.instanceLink && toDashboard(system, system.instanceLink.replace("{id}", encodeURIComponent(enrollment.id)), enrollment.id, words.instance),
      " ",
      own && may("enroller") && !ENDED.has(enrollment.stage) && h("button", { type: "button", class: "plain", "data-key": `end-${enrollment.id}`, click: () => end(enrollment) }, words.end),
    ];
  }

  async function end(enrollment) {
    await ask({
      title: words.endTitle(title(enrollment.preview)),
      yes: words.end,
      danger: true,
      run: () => call("DELETE", `/api/enrollments/${enrollment.id}`),
    });
    void refresh();
  }

  return {
    every: 3000,
    async refresh() {
      if (system === undefined && may("admin")) system = await get("/api/system");
      const page = await get("/api/enrollments", { stage: stage.value, cursor: paging.cursor(), limit: LIMIT });
      paging.shown(page.next);
      fill(list, page.enrollments.length === 0 ? h("p", { class: "faint" }, words.none) : table(words.parts.enrollments, words.enrollmentHeads, page.enrollments.map((each) => [
        time(each.createdAt), account(each), h("bdi", {}, each.requestedBy), badge(each.stage), outcome(each), actions(each),
      ])));
    },
  };
}

function health(body) {
  return {
    every: 5000,
    async refresh() {
      const begun = performance.now();
      const [ready, system] = await Promise.all([call("GET", "/readyz", { refusals: { except: 503 } }), get("/api/system")]);
      const took = performance.now() - begun;
      const fact = (label, ...values) => h("div", {}, h("dt", {}, label), h("dd", {}, values));
      const word = (state) => h("span", { class: `badge ${state === "ok" ? "good" : "bad"}` }, words.health[state] ?? state);
      const off = -clockOffset / 1000;
      fill(body, h("section", { class: "card" }, h("dl", {},
        fact(words.hub, word(ready.hub), " ", system.taskHub),
        fact(words.vault, word(ready.vault)),
        fact(words.answersIn, words.milliseconds(Math.round(took))),
        fact(words.version, system.version),
        fact(words.serverTime, time(system.serverTime)),
        fact(words.clock, words.offset(off)),
        fact(words.dashboard, system.instanceLink ? toDashboard(system, system.instanceLink.split("/instances/")[0], undefined, words.open) : words.noDashboard)),
      Math.abs(clockOffset) > CLOCK_MS && h("p", { class: "complaint" }, words.clockWrong)));
    },
  };
}
