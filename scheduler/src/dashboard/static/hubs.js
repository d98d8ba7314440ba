// All task hubs.

import { get } from "./api.js";
import { fill, h, table } from "./dom.js";
import { STATUSES, time } from "./format.js";

export function show(main) {
  const place = h("div", {});
  main.append(h("h1", {}, "Task hubs"), place);
  return {
    title: "Task hubs",
    async refresh() {
      const { nodes, terms } = await get("/nodes");
      const { hubs, trouble } = await get("/hubs").catch((problem) => {
        // A node that answers for no task hub still knows the others.
        if (nodes.length === 0) throw problem;
        return { hubs: [], trouble: problem.message };
      });
      const statuses = STATUSES.filter((status) => hubs.some((hub) => hub.instances[status]));
      fill(place, trouble && h("p", { class: "trouble", role: "alert" }, trouble), table(
        "Task hubs",
        ["Task hub", "Instances", ...statuses.map(word), "Workers"],
        hubs.map((hub) => {
          const link = `#/hubs/${encodeURIComponent(hub.name)}`;
          const all = Object.values(hub.instances).reduce((sum, count) => sum + count, 0);
          return [
            h("a", { href: link, "data-key": hub.name }, hub.name),
            all.toLocaleString(),
            ...statuses.map((status) => hub.instances[status]
              ? h("a", { href: `${link}?status=${status}`, "data-key": `${hub.name} ${status}` }, hub.instances[status].toLocaleString())
              : "0"),
            h("a", { href: `${link}/workers`, "data-key": `${hub.name} workers` }, hub.workers.toLocaleString()),
          ];
        }),
      ), nodes.length > 0 && members(nodes, terms));
    },
  };
}

/** The nodes that share a database, which one owns the task hubs, and since when, and why. */
function members(nodes, terms) {
  return [
    h("h2", {}, "Nodes"),
    table("Nodes", ["Node", "State", "Version", "Address for other nodes", "Started", "Last heard"],
      nodes.map((node) => [
        h("span", { class: "id" }, node.name, node.here && " (this one)"),
        state(node),
        node.version,
        node.address ?? "none",
        time(node.startedAt),
        time(node.seenAt),
      ])),
    h("h2", {}, "Owners"),
    table("Owners of the task hubs", ["Since", "Node", "Why", "Term"],
      terms.map((term) => [time(term.beganAt), h("span", { class: "id" }, term.node), term.reason, String(term.number)])),
  ];
}

function state({ live, owns }) {
  if (owns) return live ? "owns the task hubs" : "owns the task hubs, silent";
  return live ? "stands by" : "gone";
}

const word = (status) => status[0] + status.slice(1).toLowerCase();
