// One instance: what it is, what it did, and what can be done to it.

import { get, instancePath } from "./api.js";
import { fill, h, table } from "./dom.js";
import { badge, box, duration, time } from "./format.js";
import { tags } from "./instances.js";
import { forkAt, toolbar } from "./operations.js";
import { draw, spans } from "./timeline.js";

/** How many rows of history are drawn before somebody asks for more. */
const ROWS = 200;

export function show(main, { hub, id }, go, update) {
  const heading = h("h1", { class: "id" }, id);
  const about = h("section", { "aria-label": "The instance" });
  const timeline = h("div", { class: "timeline" });
  const chosen = h("section", { id: "chosen", "aria-label": "Selected in the timeline", hidden: true });
  const payloads = h("section", { "aria-label": "Payloads" });
  const family = h("section", { "aria-label": "Parent and children" });
  const history = h("section", { "aria-label": "History" });
  main.append(heading, about, h("h2", {}, "Timeline"), timeline, chosen, payloads, family, history);

  const state = { events: [], next: undefined, execution: undefined, selected: undefined, allSpans: false, rows: ROWS, open: new Set(), last: "" };
  const link = (other) => `#/hubs/${encodeURIComponent(hub)}/instances/${encodeURIComponent(other)}`;

  /** Reads the part of the history that is new; all of it after a new execution began. */
  async function read(instance) {
    if (state.execution !== instance.executionId) Object.assign(state, { events: [], from: 0, complete: 0, execution: instance.executionId, next: undefined });
    // The last stretch is read again: it may have grown.
    state.events.length = state.complete;
    const stretch = await get(`${instancePath(hub, id)}/history`, { from: state.from });
    state.events.push(...stretch.events);
    state.next = stretch.next ?? undefined;
  }

  function further() {
    state.complete = state.events.length;
    state.from = state.next;
    update();
  }

  function drawTimeline(instance) {
    const all = spans(state.events);
    draw(timeline, all, {
      ended: instance.completed ? Date.parse(instance.completed) : undefined,
      selected: state.selected,
      more: state.allSpans,
      choose: (n, more = state.allSpans) => {
        state.selected = n === state.selected && more === state.allSpans ? undefined : n;
        state.allSpans = more;
        drawTimeline(instance);
        if (state.selected !== undefined) chosen.scrollIntoView({ block: "nearest" });
      },
    });
    const span = all[state.selected];
    chosen.hidden = !span;
    if (span) {
      fill(chosen, h("h2", {}, `${span.kind}: ${span.label}`),
        h("p", {}, time(span.events[0].time), span.end !== undefined && span.end !== span.start && ` · ${duration(span.end - span.start)}`, span.state === "failed" && " · failed"),
        span.events.map((event) => details(event, link)));
    }
  }

  function drawHistory(instance) {
    const rows = state.events.slice(0, state.rows).map((event, n) => {
      const more = hasDetails(event);
      return [
        event.id ?? "",
        time(event.time),
        event.kind,
        more
          ? h("details", { open: state.open.has(n), toggle: (change) => (change.target.open ? state.open.add(n) : state.open.delete(n)) },
            h("summary", { "data-key": `event ${n}` }, line(event) || "payload"), details(event, link))
          : line(event),
        forkAt(hub, instance, n, event, (_, answer) => go(link(answer.instanceId))),
      ];
    });
    fill(history, h("h2", {}, "History"),
      state.events.length === 0 ? h("p", { class: "empty" }, "No turn has been completed yet.") : table("History", ["Id", "Time", "Event", "About", "Fork"], rows),
      h("div", { class: "buttons" },
        state.events.length > state.rows && h("button", { type: "button", "data-key": "more rows", click: () => { state.rows *= 4; drawHistory(instance); } }, `Show more of ${state.events.length.toLocaleString()} events`),
        state.next !== undefined && h("button", { type: "button", "data-key": "further", click: further }, "Read the rest of the history")));
  }

  async function refresh() {
    const told = await get(instancePath(hub, id));
    const { instance } = told;
    await read(instance);
    const now = JSON.stringify([told, state.events.length, state.next]);
    if (now === state.last) {
      if (!instance.completed) drawTimeline(instance);
      return;
    }
    state.last = now;
    drawAbout(told);
    drawTimeline(instance);
    drawHistory(instance);
  }

  function drawAbout({ instance, children, moreChildren, waiting }) {
    const facts = [
      ["Status", badge(instance.status)],
      ["Orchestration", instance.version ? `${instance.name} ${instance.version}` : instance.name],
      ["Created", time(instance.created)],
      instance.scheduledStart && ["Start", time(instance.scheduledStart)],
      ["Updated", time(instance.updated)],
      instance.completed && ["Ended", h("span", {}, time(instance.completed), ` after ${duration(Date.parse(instance.completed) - Date.parse(instance.created))}`)],
      ["Execution", h("span", { class: "id" }, instance.executionId ?? "")],
      Object.keys(instance.tags).length > 0 && ["Tags", tags(instance.tags, hub)],
    ].filter(Boolean);
    fill(about,
      h("dl", {}, facts.map(([term, fact]) => h("div", {}, h("dt", {}, term), h("dd", {}, fact)))),
      toolbar(hub, instance, (operation, answer) => {
        if (operation === "purge") go(`#/hubs/${encodeURIComponent(hub)}`);
        else if (answer.instanceId && answer.instanceId !== id) go(link(answer.instanceId));
        else update();
      }));
    fill(payloads,
      instance.failure && failure(instance.failure),
      instance.customStatus != null && box("Custom status", instance.customStatus),
      instance.input != null && box("Input", instance.input),
      instance.output != null && box("Output", instance.output),
      waiting.length > 0 && h("div", {}, h("h2", {}, "Not processed yet"),
        table("Events that wait for a turn", ["Time", "Event", "About"], waiting.map((event) => [time(event.time), event.kind, line(event)]))));
    fill(family,
      instance.parentId && h("p", {}, "Parent: ", h("a", { class: "id", href: link(instance.parentId), "data-key": "parent" }, instance.parentId)),
      children.length > 0 && [
        h("h2", {}, "Children"),
        table("Children", ["Instance", "Orchestration", "Status", "Created"], children.map((child) => [
          h("a", { class: "id", href: link(child.id), "data-key": child.id }, child.id), child.name, badge(child.status), time(child.created)])),
        moreChildren && h("p", {}, "There are more; these are the first."),
      ]);
  }

  return { title: id, refresh };
}

/** One line that tells an event from its neighbors. */
function line(event) {
  const parts = [event.name, event.status, event.instance, event.answers !== undefined && `answers ${event.answers}`, event.due && `due ${event.due}`, event.failure && `${event.failure.type}: ${event.failure.message}`];
  return parts.filter(Boolean).join(" · ");
}

const hasDetails = (event) => event.input !== undefined || event.output !== undefined || event.failure !== undefined || event.instance !== undefined || (event.tags && Object.keys(event.tags).length > 0);

/** Everything that an event brought. */
function details(event, link) {
  return h("div", { class: "details" },
    h("p", { class: "id" }, `${event.kind}${event.id === undefined ? "" : ` ${event.id}`}`),
    event.instance && !event.instance.startsWith("@") && h("p", {}, h("a", { class: "id", href: link(event.instance) }, event.instance)),
    event.due && h("p", {}, "due ", time(event.due)),
    event.tags && Object.keys(event.tags).length > 0 && h("p", {}, Object.entries(event.tags).map(([key, value]) => `${key}=${value}`).join(", ")),
    event.failure && failure(event.failure),
    event.input !== undefined && box("Input", event.input),
    event.output !== undefined && box("Output", event.output));
}

function failure(told) {
  const part = ({ type, message, stack }, label) => [
    h("p", {}, h("strong", {}, `${label}${type}`), `: ${message}`),
    stack && h("pre", { tabindex: "0", "aria-label": "Stack" }, stack),
  ];
  return h("div", { class: "failure" }, part(told, ""), told.causes.map((cause) => part(cause, "caused by ")));
}
