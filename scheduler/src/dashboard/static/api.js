// The scheduler's JSON interface.

import { untouched } from "./dom.js";

export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(path, options) {
  let answer;
  try {
    answer = await fetch(`/api${path}`, options);
  } catch {
    throw new Problem(0, "The scheduler is unreachable.");
  }
  const type = answer.headers.get("content-type") ?? "";
  const body = type.startsWith("application/json") ? await answer.json() : { error: await answer.text() };
  if (!answer.ok) throw new Problem(answer.status, body.error || `The scheduler answered ${answer.status}.`);
  return body;
}

/** Reads, and answers when what is shown may be replaced. */
export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined && value !== null));
  const text = query.toString();
  const body = await call(text ? `${path}?${text}` : path, {});
  await untouched();
  return body;
}

/** Changes. */
export function post(path, body) {
  return call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

/** A name as one part of a path; browsers fold dots away, however they are written. */
export const segment = (name) => encodeURIComponent(/^(=|\.\.?$)/.test(name) ? `=${name}` : name);

export const hubPath = (hub) => `/hubs/${segment(hub)}`;
export const instancePath = (hub, id) => `${hubPath(hub)}/instances/${segment(id)}`;
