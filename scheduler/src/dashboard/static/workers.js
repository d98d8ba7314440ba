// The workers that are connected to a hub, and what waits for them.

import { get, hubPath } from "./api.js";
import { fill, h, table } from "./dom.js";
import { duration, time } from "./format.js";

export function show(main, { hub }) {
  const place = h("div", {});
  main.append(h("h1", {}, "Workers"), place);
  return {
    title: `Workers of ${hub}`,
    async refresh() {
      const { workers, queues, untaken, now } = await get(`${hubPath(hub)}/workers`);
      fill(place,
        queues.length > 0 && table("Queues", ["Kind", "Waiting", "With workers"],
          queues.map((queue) => [queue.kind, queue.queued.toLocaleString(), queue.held.toLocaleString()])),
        untaken.length > 0 && [
          h("h2", {}, "Accepted by no worker"),
          table("Work that no worker accepts", ["Kind", "Name", "Version", "Waiting", "Since", "Why"],
            untaken.map((one) => [
              one.kind, one.name, one.version ?? "", one.count.toLocaleString(),
              h("span", {}, time(one.since), ` (${duration(new Date(now) - new Date(one.since))})`),
              one.reason,
            ])),
        ],
        h("h2", {}, "Connected"),
        workers.length === 0
          ? h("p", { class: "empty" }, "No worker is connected to this task hub.")
          : table("Connected workers", ["Worker", "Software", "Connected", "Orchestrations", "Activities", "Entities", "Accepts"],
            workers.map((worker) => [
              h("span", { class: "id" }, worker.worker ?? "gives no name"),
              worker.agent ?? "",
              h("span", {}, time(worker.since), ` (${duration(new Date(now) - new Date(worker.since))})`),
              `${worker.orchestrations.held} of ${worker.orchestrations.window}`,
              `${worker.activities.held} of ${worker.activities.window}`,
              `${worker.entities.held} of ${worker.entities.window}`,
              takes(worker),
            ])));
    },
  };
}

function takes({ orchestrations, activities, entities }) {
  if (!orchestrations.names && !activities.names && !entities.names) return "everything";
  const all = [...(orchestrations.names ?? ["any orchestration"]), ...(activities.names ?? ["any activity"]), ...(entities.names ?? ["any entity"])];
  return all.length > 0 ? all.join(", ") : "nothing";
}
