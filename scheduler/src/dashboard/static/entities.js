// The entities of a hub, and one of them.

import { get, hubPath, segment } from "./api.js";
import { fill, h, say, table } from "./dom.js";
import { box, short, time } from "./format.js";
import { signal } from "./operations.js";

const place = (hub, id) => `#/hubs/${encodeURIComponent(hub)}/entities/${encodeURIComponent(id)}`;

/** The list. */
export function show(main, { hub, query }, go) {
  const prefix = query.get("prefix") ?? "";
  const cursors = query.getAll("page");
  const address = (changed, pages = []) => {
    const next = new URLSearchParams(changed ? { prefix: changed } : {});
    for (const page of pages) next.append("page", page);
    return `#/hubs/${encodeURIComponent(hub)}/entities${next.size > 0 ? `?${next}` : ""}`;
  };
  const form = h("form", {
    role: "search",
    "aria-label": "Filter the list",
    submit: (event) => {
      event.preventDefault();
      go(address(form.elements.prefix.value.trim()));
    },
  },
    h("label", {}, "Id begins with", h("input", { name: "prefix", value: prefix, placeholder: "@name@key", autocomplete: "off", spellcheck: "false" })),
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Show")));
  const list = h("div", {});
  const pager = h("nav", { class: "pager", "aria-label": "Pages" });
  main.append(h("h1", {}, "Entities"), form, list, pager);
  return {
    title: `Entities of ${hub}`,
    async refresh() {
      const { entities, next } = await get(`${hubPath(hub)}/entities`, { prefix, cursor: cursors.at(-1) });
      fill(list, entities.length === 0
        ? h("p", { class: "empty" }, "No entity matches.")
        : table("Entities", ["Entity", "Changed", "Operations that wait", "Locked by"], entities.map((each) => [
          h("a", { class: "id", href: place(hub, each.id), "data-key": each.id }, short(each.id)),
          time(each.modified),
          each.waiting.toLocaleString(),
          holder(hub, each.lockedBy),
        ])));
      fill(pager,
        cursors.length > 0 && h("a", { href: address(prefix, cursors.slice(0, -1)), "data-key": "back" }, "← Back"),
        next && h("a", { href: address(prefix, [...cursors, next]), "data-key": "on" }, "Next →"));
      say(`${entities.length} entities are shown${next ? ", and there are more" : ""}.`);
    },
  };
}

/** One of them. */
export const one = {
  show(main, { hub, id }, go, update) {
    const facts = h("section", { "aria-label": "The entity" });
    main.append(h("h1", { class: "id" }, id), facts);
    return {
      title: id,
      async refresh() {
        const { entity } = await get(`${hubPath(hub)}/entities/${segment(id)}`);
        fill(facts,
          h("dl", {},
            h("div", {}, h("dt", {}, "Changed"), h("dd", {}, time(entity.modified))),
            h("div", {}, h("dt", {}, "Operations that wait"), h("dd", {}, entity.waiting.toLocaleString())),
            h("div", {}, h("dt", {}, "Locked by"), h("dd", {}, holder(hub, entity.lockedBy) ?? "none"))),
          h("div", { class: "buttons" }, signal(hub, id, update)),
          entity.state != null ? box("State", entity.state) : h("p", { class: "empty" }, "It has no state."));
      },
    };
  },
};

function holder(hub, id) {
  return id ? h("a", { class: "id", href: `#/hubs/${encodeURIComponent(hub)}/instances/${encodeURIComponent(id)}` }, id) : undefined;
}
