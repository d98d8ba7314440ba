// The instances of a hub: narrowed, sorted, a page at a time. What is chosen stands in
// the address, so that it can be sent to somebody and the back button works.

import { get, hubPath } from "./api.js";
import { fill, h, say, table } from "./dom.js";
import { STATUSES, badge, short, time } from "./format.js";

const FIELDS = ["status", "name", "prefix", "tag", "from", "to"];

export function show(main, route, go) {
  const { hub, query } = route;
  const chosen = Object.fromEntries([...FIELDS, "sort"].map((field) => [field, query.get(field) ?? ""]));
  // The cursors of the pages before this one; the last is this page's.
  const cursors = query.getAll("page");

  const address = (changes, pages = []) => {
    const next = new URLSearchParams(Object.entries({ ...chosen, ...changes }).filter(([, value]) => value !== ""));
    for (const page of pages) next.append("page", page);
    const text = next.toString();
    return `#/hubs/${encodeURIComponent(hub)}${text ? `?${text}` : ""}`;
  };

  const names = h("datalist", { id: "names" });
  const field = (name, label, attributes) => h("label", {}, label, h("input", { name, value: chosen[name], ...attributes }));
  const form = h("form", {
    role: "search",
    "aria-label": "Filter the list",
    submit: (event) => {
      event.preventDefault();
      const asked = new FormData(form);
      const changes = Object.fromEntries(FIELDS.map((each) => [each, String(asked.get(each) ?? "").trim()]));
      for (const each of ["from", "to"]) {
        if (changes[each]) changes[each] = new Date(changes[each]).toISOString();
      }
      go(address(changes));
    },
  },
    h("label", {}, "Status", h("select", { name: "status", change: () => form.requestSubmit() },
      h("option", { value: "" }, "any"),
      h("option", { value: "PENDING,RUNNING,SUSPENDED" }, "not ended"),
      STATUSES.map((status) => h("option", { value: status }, status.toLowerCase())))),
    field("name", "Orchestration", { list: "names", autocomplete: "off" }), names,
    field("prefix", "Id begins with", { autocomplete: "off", spellcheck: "false" }),
    field("tag", "Tag", { placeholder: "key or key=value", autocomplete: "off", spellcheck: "false" }),
    field("from", "Created from", { type: "datetime-local", step: "1", value: local(chosen.from) }),
    field("to", "Created before", { type: "datetime-local", step: "1", value: local(chosen.to) }),
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Show"), h("a", { href: `#/hubs/${encodeURIComponent(hub)}` }, "Show all")),
  );
  form.elements.status.value = chosen.status;
  const place = h("div", {});
  const pager = h("nav", { class: "pager", "aria-label": "Pages" });
  main.append(h("h1", {}, "Instances"), form, place, pager);
  get(`${hubPath(hub)}/names`).then((answer) => fill(names, answer.names.map((name) => h("option", { value: name }))), () => {});

  const head = (key, label) => {
    const sort = chosen.sort || "-created";
    const now = sort === key ? "ascending" : sort === `-${key}` ? "descending" : undefined;
    const next = now === "ascending" ? `-${key}` : now === "descending" ? key : key === "created" ? "-created" : key;
    const arrow = { ascending: " ▲", descending: " ▼" }[now] ?? "";
    return { label, cell: h("th", { scope: "col", "aria-sort": now }, h("a", { href: address({ sort: next }), "data-key": `sort ${key}` }, label, h("span", { "aria-hidden": "true" }, arrow))) };
  };

  return {
    title: `Instances of ${hub}`,
    async refresh() {
      const { instances, next } = await get(`${hubPath(hub)}/instances`, { ...chosen, cursor: cursors.at(-1) });
      fill(place, instances.length === 0
        ? h("p", { class: "empty" }, "No instance matches.")
        : table("Instances", [head("id", "Instance"), head("name", "Orchestration"), "Status", head("created", "Created"), "Updated", "Tags"],
          instances.map((each) => [
            h("a", { class: "id", href: `#/hubs/${encodeURIComponent(hub)}/instances/${encodeURIComponent(each.id)}`, "data-key": each.id }, short(each.id)),
            short(each.version ? `${each.name} ${each.version}` : each.name),
            badge(each.status),
            time(each.created),
            time(each.updated),
            tags(each.tags, hub),
          ])));
      fill(pager,
        cursors.length > 0 && h("a", { href: address({}, cursors.slice(0, -1)), "data-key": "back" }, "← Back"),
        next && h("a", { href: address({}, [...cursors, next]), "data-key": "on" }, "Next →"));
      say(`${instances.length} instances are shown${next ? ", and there are more" : ""}.`);
    },
  };
}

/** The tags of an instance; each leads to the others that have it. */
export function tags(all, hub) {
  return h("span", { class: "tags" }, Object.entries(all).sort().map(([key, value]) => {
    const tag = `${key}=${value}`;
    return h("a", { class: "tag", href: `#/hubs/${encodeURIComponent(hub)}?${new URLSearchParams({ tag })}`, "data-key": `tag ${tag}` }, short(tag));
  }));
}

/** RFC 3339 as the field for local times has it. */
function local(text) {
  if (!text) return "";
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}
