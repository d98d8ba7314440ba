// From a history to bars: what was waited for, from when to when.

import { fill, h } from "./dom.js";
import { duration } from "./format.js";

const MOST = 200;

/**
 * The spans of a history in order of their beginning: `{kind, label, start, end, state, events}`.
 * Times are milliseconds since 1970; without an `end` it goes on still; `end === start` is a moment.
 */
export function spans(events) {
  const all = [];
  const open = new Map();
  const begin = (key, kind, label, event) => {
    const span = { kind, label, start: at(event), end: undefined, state: "open", events: [event] };
    all.push(span);
    open.set(key, span);
    return span;
  };
  const end = (key, event, state) => {
    const span = open.get(key);
    if (!span) return;
    open.delete(key);
    span.end = at(event);
    span.state = state;
    span.events.push(event);
  };
  const moment = (kind, label, event, state = "done") => {
    all.push({ kind, label, start: at(event), end: at(event), state, events: [event] });
  };
  for (const event of events) {
    switch (event.kind) {
      case "ExecutionStarted": moment("orchestration", "started", event); break;
      case "TaskScheduled": begin(event.id, "activity", event.name, event); break;
      case "TaskCompleted": end(event.answers, event, "done"); break;
      case "TaskFailed": end(event.answers, event, "failed"); break;
      case "SubOrchestrationInstanceCreated": begin(event.id, "sub-orchestration", event.name, event); break;
      case "SubOrchestrationInstanceCompleted": end(event.answers, event, "done"); break;
      case "SubOrchestrationInstanceFailed": end(event.answers, event, "failed"); break;
      case "TimerCreated": begin(event.id, "timer", "timer", event); break;
      case "TimerFired": end(event.answers, event, "done"); break;
      case "EventRaised": moment("event", event.name, event); break;
      case "EventSent": moment("event", `${event.name} →`, event); break;
      case "EntityOperationSignaled": moment("entity", `${event.name} →`, event); break;
      case "EntityOperationCalled": begin(`entity ${event.request}`, "entity", event.name, event); break;
      case "EntityOperationCompleted": end(`entity ${event.request}`, event, "done"); break;
      case "EntityOperationFailed": end(`entity ${event.request}`, event, "failed"); break;
      case "EntityLockRequested": begin(`lock ${event.request}`, "entity", `lock ${event.name}`, event); break;
      case "EntityLockGranted": end(`lock ${event.request}`, event, "done"); break;
      case "ExecutionSuspended": begin("suspended", "orchestration", "suspended", event); break;
      case "ExecutionResumed": end("suspended", event, "done"); break;
      case "ExecutionTerminated": moment("orchestration", "terminated", event, "failed"); break;
      case "ExecutionRewound": moment("orchestration", "rewound", event); break;
      case "ExecutionCompleted":
        moment("orchestration", event.status === "COMPLETED" ? "completed" : event.status.toLowerCase(), event, event.failure ? "failed" : "done");
        break;
      default: break;
    }
  }
  return all;
}

const at = (event) => (event.time ? Date.parse(event.time) : 0);

/** Draws spans as bars that can be clicked; `choose` is told which one was. */
export function draw(place, all, { ended, selected, choose, more }) {
  if (all.length === 0) {
    fill(place, h("p", { class: "empty" }, "Nothing has happened yet."));
    return;
  }
  const shown = all.slice(0, more ? all.length : MOST);
  const first = Math.min(...shown.map((span) => span.start));
  const last = Math.max(...shown.map((span) => span.end ?? span.start), ended ?? (shown.some((span) => span.end === undefined) ? Date.now() : 0));
  const whole = Math.max(last - first, 1);
  const percent = (time) => ((Math.min(Math.max(time, first), last) - first) / whole) * 100;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => h("span", {}, duration(whole * part)));
  const rows = shown.map((span, n) => {
    const moment = span.end === span.start;
    const length = moment ? "" : span.end === undefined ? (ended ? "never answered" : `${duration(Date.now() - span.start)} so far`) : duration(span.end - span.start);
    const words = [span.kind, span.label, length, span.state === "failed" ? "failed" : ""].filter(Boolean).join(", ");
    const bar = h("span", { class: `bar ${span.kind} ${span.state}${moment ? " moment" : ""}` });
    // Set through the object model: the policy allows no style in markup.
    bar.style.left = `${percent(span.start)}%`;
    if (!moment) bar.style.width = `${Math.max(percent(span.end ?? last) - percent(span.start), 0.2)}%`;
    return h("li", {}, h("button", {
      type: "button",
      class: "span",
      "data-key": `span ${n}`,
      "aria-pressed": String(n === selected),
      "aria-label": words,
      click: () => choose(n),
    }, h("span", { class: "what" }, span.label), h("span", { class: "track" }, bar), h("span", { class: "length" }, length)));
  });
  fill(place,
    h("div", { class: "ticks", "aria-hidden": "true" }, ticks),
    h("ol", { class: "spans" }, rows),
    shown.length < all.length && h("button", { type: "button", "data-key": "more spans", click: () => choose(selected, true) }, `Show the other ${(all.length - shown.length).toLocaleString()}`));
}
