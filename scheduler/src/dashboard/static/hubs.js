// All task hubs.

import { get } from "./api.js";
import { fill, h, table } from "./dom.js";
import { STATUSES } from "./format.js";

export function show(main) {
  const place = h("div", {});
  main.append(h("h1", {}, "Task hubs"), place);
  return {
    title: "Task hubs",
    async refresh() {
      const { hubs, trouble } = await get("/hubs");
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
      ));
    },
  };
}

const word = (status) => status[0] + status.slice(1).toLowerCase();
