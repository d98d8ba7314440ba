// Shows the API's description. Every text becomes a text node, never markup.

const METHODS = ["get", "post", "put", "patch", "delete"];
/** How deep schemas are shown inside of each other. */
const DEEPEST = 6;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== undefined && child !== ""));
  return made;
}

const code = (text) => element("code", {}, text);

/** Text in which parts between backticks are code. */
function prose(text = "") {
  return text.split("`").map((part, at) => (at % 2 ? code(part) : part));
}

function follow(api, node) {
  if (!node?.$ref) return node;
  const { $ref, ...own } = node;
  const found = $ref.slice(2).split("/").reduce((inner, name) => inner?.[name], api);
  return { ...found, ...own };
}

/** A schema in a few lines, members indented below each other. */
function shape(api, schema, depth = 0) {
  const it = follow(api, schema);
  const pad = "  ".repeat(depth);
  if (!it || depth > DEEPEST) return "…";
  const parts = it.allOf ?? it.oneOf ?? it.anyOf;
  if (parts) return parts.map((part) => shape(api, part, depth)).join(it.allOf ? " and " : " or ");
  if (it.properties) {
    const required = new Set(it.required);
    const lines = Object.entries(it.properties).map(([name, member]) => {
      const about = follow(api, member).description?.split("\n")[0];
      const mark = required.has(name) ? "" : "?";
      return `${pad}  ${name}${mark}: ${shape(api, member, depth + 1)}${about ? `  — ${about}` : ""}`;
    });
    return `{\n${lines.join("\n")}\n${pad}}`;
  }
  if (it.type === "array") return `list of ${shape(api, it.items, depth)}`;
  if (it.enum) return it.enum.map((value) => JSON.stringify(value)).join(" | ");
  return [it.type ?? "anything", it.format && `(${it.format})`].flat().filter(Boolean).join(" ");
}

function limits(schema) {
  const words = [];
  if (schema.minimum !== undefined || schema.maximum !== undefined) {
    words.push(`${schema.minimum ?? 0} to ${schema.maximum ?? "any"}`);
  }
  if (schema.default !== undefined) words.push(`${schema.default} unless given`);
  if (schema.enum) words.push(schema.enum.join(", "));
  return words.join("; ");
}

function contents(api, content = {}) {
  return Object.entries(content).flatMap(([kind, { schema }]) => [
    element("p", {}, code(kind)),
    ...(schema ? [element("pre", {}, shape(api, schema))] : []),
  ]);
}

function parameters(api, list = []) {
  if (!list.length) return [];
  const rows = list.map((parameter) => {
    const schema = follow(api, parameter.schema) ?? {};
    return element(
      "tr",
      {},
      element("td", {}, code(parameter.name), element("div", { class: "quiet" }, parameter.required ? `${parameter.in}, required` : parameter.in)),
      element("td", {}, ...prose(parameter.description), element("div", { class: "quiet" }, limits(schema))),
    );
  });
  return [element("h3", {}, "Parameters"), element("table", {}, element("tbody", {}, ...rows))];
}

function responses(api, all) {
  const rows = Object.entries(all).map(([status, response]) => {
    const problem = response["x-problems"] !== undefined;
    const headers = Object.keys(response.headers ?? {}).join(", ");
    return element(
      "tr",
      {},
      element("td", {}, code(status)),
      element(
        "td",
        {},
        ...prose(response.description),
        element("div", { class: "quiet" }, headers && `Headers: ${headers}`),
        ...(problem ? [] : contents(api, response.content)),
      ),
    );
  });
  return [element("h3", {}, "Answers"), element("table", {}, element("tbody", {}, ...rows))];
}

function operation(api, path, method, it) {
  const roles = it.security?.flatMap((scheme) => Object.values(scheme))[0];
  const body = it.requestBody;
  const made = element(
    "details",
    { id: it.operationId },
    element(
      "summary",
      {},
      element("span", { class: "method" }, method.toUpperCase()),
      code(path),
      " ",
      element("span", { class: "title" }, it.summary ?? ""),
    ),
    element(
      "div",
      {},
      element("p", {}, ...prose(it.description)),
      element("p", {}, roles ? `Callers: ${roles.join(", ")}` : "No caller is needed."),
      ...parameters(api, it.parameters),
      ...(body ? [element("h3", {}, "Body"), element("p", {}, ...prose(body.description)), ...contents(api, body.content)] : []),
      ...responses(api, it.responses),
    ),
  );
  made.dataset.words = `${method} ${path} ${it.summary} ${it.operationId}`.toLowerCase();
  return made;
}

function show(api) {
  const all = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => [item[method].tags?.[0], operation(api, path, method, item[method])]),
  );
  const groups = api.tags.map(({ name, description }) => {
    const own = all.filter(([tag]) => tag === name).map(([, made]) => made);
    return element("section", {}, element("h2", {}, name), element("p", { class: "quiet" }, description ?? ""), ...own);
  });
  document.getElementById("about").replaceChildren(...prose(`${api.info.description} Version ${api.info.version}.`));
  document.getElementById("operations").replaceChildren(...groups);
  document.getElementById("find").addEventListener("input", ({ target }) => {
    const wanted = target.value.trim().toLowerCase();
    for (const [, made] of all) made.hidden = !made.dataset.words.includes(wanted);
    for (const group of groups) group.hidden = !group.querySelector("details:not([hidden])");
  });
  const linked = document.getElementById(location.hash.slice(1));
  if (linked instanceof HTMLDetailsElement) {
    linked.open = true;
    linked.scrollIntoView();
  }
}

try {
  const answer = await fetch("/api/openapi.json");
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  show(await answer.json());
} catch (error) {
  document.getElementById("operations").replaceChildren(`The description cannot be read: ${error.message}`);
}
