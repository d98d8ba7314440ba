// What an operator does to an instance: a dialog says what will happen and asks for a yes.

import { hubPath, instancePath, post, segment } from "./api.js";
import { h, say } from "./dom.js";
import { ENDED } from "./format.js";

const field = (name, label, attributes = {}) => h("label", {}, label, h(attributes.rows ? "textarea" : "input", { name, autocomplete: "off", spellcheck: "false", ...attributes }));
const check = (name, label) => h("label", { class: "check" }, h("input", { type: "checkbox", name }), label);

/** JSON from a field, or nothing where it is empty. Throws a sentence for people. */
function json(text, what) {
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${what} is not JSON: ${error.message}`);
  }
}

const OPERATIONS = [
  {
    name: "raise-event", label: "Raise event", done: "The event was raised.",
    when: (status) => !ENDED.has(status),
    about: "The orchestration gets this event; if it waits for one of that name, it continues.",
    fields: () => [field("name", "Name", { required: true }), field("payload", "Payload, JSON (empty for none)", { rows: "6" })],
    body: (form) => ({ name: form.name.value.trim(), payload: json(form.payload.value, "The payload") }),
  },
  {
    name: "suspend", label: "Suspend", done: "It is being suspended.",
    when: (status) => status === "RUNNING" || status === "PENDING",
    about: "Events and results are kept until it is resumed; running activities finish.",
    fields: () => [field("reason", "Reason")],
    body: (form) => ({ reason: form.reason.value }),
  },
  {
    name: "resume", label: "Resume", done: "It is being resumed.",
    when: (status) => status === "SUSPENDED",
    about: "It continues with what arrived while it was suspended.",
    fields: () => [field("reason", "Reason")],
    body: (form) => ({ reason: form.reason.value }),
  },
  {
    name: "reschedule", label: "Reschedule", done: "It has a new start time.",
    when: (status, instance) => status === "PENDING" && instance.scheduledStart !== null && Date.parse(instance.scheduledStart) > Date.now(),
    about: "It waits for its scheduled start. Give it another time, or none to start it now; terminate it to cancel the start.",
    fields: () => [field("at", "Start at (empty for now)", { type: "datetime-local", step: "1" })],
    body: (form) => ({ at: form.at.value ? new Date(form.at.value).toISOString() : undefined }),
  },
  {
    name: "terminate", label: "Terminate", done: "It is being terminated.", danger: true,
    when: (status) => !ENDED.has(status),
    about: "It ends immediately, without a chance to clean up. Running activities finish, and their results are dropped.",
    fields: () => [field("payload", "Output, JSON (empty for none)", { rows: "3" }), check("recursive", "its sub-orchestrations too")],
    body: (form) => ({ payload: json(form.payload.value, "The output"), recursive: form.recursive.checked }),
  },
  {
    name: "restart", label: "Restart", done: "It was started again.",
    when: (status) => ENDED.has(status),
    about: "It starts again from the beginning with the same input. Under its old id the new run replaces this one.",
    fields: () => [check("newId", "as another instance with an id of its own")],
    body: (form) => ({ newId: form.newId.checked }),
  },
  {
    name: "rewind", label: "Rewind", done: "It is being rewound.",
    when: (status) => status === "FAILED",
    about: "Failed steps run again; results of successful steps are kept.",
    fields: () => [field("reason", "Reason")],
    body: (form) => ({ reason: form.reason.value }),
  },
  {
    name: "purge", label: "Purge", done: "It was purged.", danger: true,
    when: (status) => ENDED.has(status),
    about: "Everything that is stored about it is deleted, including its history. This cannot be undone.",
    fields: () => [check("recursive", "its ended sub-orchestrations too")],
    body: (form) => ({ recursive: form.recursive.checked }),
  },
];

/** The buttons that fit an instance. `then` is told what was done and what was answered. */
export function toolbar(hub, instance, then) {
  return h("div", { class: "buttons", role: "group", "aria-label": "Operations" }, OPERATIONS
    .filter((operation) => operation.when(instance.status, instance))
    .map((operation) => h("button", {
      type: "button",
      class: operation.danger ? "danger" : "",
      "data-key": `operation ${operation.name}`,
      click: () => ask(`${instancePath(hub, instance.id)}/${operation.name}`, instance.id, operation, then),
    }, operation.label)));
}

/** The button that forks an instance at an event of its history: the `n`th of this execution. */
export function forkAt(hub, instance, n, event, then) {
  const fork = {
    name: "fork", label: "Fork", done: "The fork was started.",
    about: `Another instance is started with this history up to the event ${n} (${event.kind}). It goes on from there with the code that the workers have now; this one stays as it is. Activities, timers and sub-orchestrations that were under way at the event run again in the fork. Events that come later are not shared.`,
    fields: () => [field("instanceId", "Id of the new instance (empty for a generated one)", { maxlength: "100" })],
    body: (form) => ({ event: n, executionId: instance.executionId ?? undefined, instanceId: form.instanceId.value.trim() }),
  };
  return h("button", {
    type: "button",
    class: "small",
    "data-key": `fork ${n}`,
    "aria-label": `Fork at event ${n}, ${event.kind}`,
    click: () => ask(`${instancePath(hub, instance.id)}/fork`, instance.id, fork, then),
  }, "Fork");
}

const SIGNAL = {
  name: "signal", label: "Signal", done: "The entity was signalled.",
  about: "The entity executes the operation once a worker has room for it; no one waits for its result.",
  fields: () => [field("name", "Operation", { required: true }), field("payload", "Input, JSON (empty for none)", { rows: "4" })],
  body: (form) => ({ name: form.name.value.trim(), payload: json(form.payload.value, "The input") }),
};

/** The button that signals an entity. */
export function signal(hub, id, then) {
  const path = `${hubPath(hub)}/entities/${segment(id)}/signal`;
  return h("button", { type: "button", "data-key": "operation signal", click: () => ask(path, id, SIGNAL, then) }, SIGNAL.label);
}

function ask(path, id, operation, then) {
  const trouble = h("p", { class: "trouble", role: "alert", hidden: true });
  const yes = h("button", { type: "submit", class: operation.danger ? "danger" : "main" }, operation.label);
  const form = h("form", {
    submit: async (event) => {
      event.preventDefault();
      yes.disabled = true;
      try {
        const answer = await post(path, operation.body(form.elements));
        dialog.close();
        say(operation.done);
        then(operation.name, answer);
      } catch (error) {
        trouble.textContent = error.message;
        trouble.hidden = false;
      } finally {
        yes.disabled = false;
      }
    },
  },
    h("h2", { id: "asked" }, `${operation.label}?`),
    h("p", { class: "id" }, id),
    h("p", {}, operation.about),
    operation.fields(),
    trouble,
    h("div", { class: "buttons" }, yes, h("button", { type: "button", click: () => dialog.close() }, "Cancel")));
  const dialog = h("dialog", { "aria-labelledby": "asked", close: () => dialog.remove() }, form);
  document.body.append(dialog);
  dialog.showModal();
}
