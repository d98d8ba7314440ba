// API keys, and which accounts may be read with those that read granted ones only.

import { call, clockOffset, get } from "./api.js";
import { field, fill, h, table } from "./dom.js";
import { fromNow, time, title } from "./format.js";
import { accounts } from "./names.js";
import { ask, present } from "./notice.js";
import { copyable, forget } from "./secret.js";
import { t } from "./text.js";

const words = t.keys;
const ROLES = ["reader", "enroller", "approver", "admin"];
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

/** So many units from now by the server's clock; nothing if none are given. */
const later = (count, unit) => (count ? new Date(Date.now() + clockOffset + Number(count) * unit).toISOString() : undefined);
const split = (text) => text.split(",").map((name) => name.trim()).filter(Boolean);

function state(key) {
  if (key.revokedAt) return words.revoked(fromNow(key.revokedAt, clockOffset));
  if (!key.expiresAt) return words.active;
  const left = fromNow(key.expiresAt, clockOffset);
  return Date.parse(key.expiresAt) <= Date.now() + clockOffset ? words.expired(left) : words.expires(left);
}

export function keys(body, { refresh }) {
  const list = h("div");
  fill(body, h("p", {}, words.how), h("div", { class: "buttons" }, h("button", { type: "button", class: "main", click: make }, words.make)), list);

  async function make() {
    const limited = h("input", { type: "checkbox", name: "grantedOnly" });
    const role = h("select", { name: "role", change: suit }, ROLES.map((name) => h("option", { value: name }, words.roles[name])));
    const only = h("label", { class: "check" }, limited, h("span", {}, words.grantedOnly));
    function suit() {
      only.hidden = role.value !== "reader";
      if (only.hidden) limited.checked = false;
    }
    let made;
    await ask({
      title: words.makeTitle,
      body: [
        field(words.name, h("input", { name: "name", required: true, maxlength: 64, pattern: "[A-Za-z0-9._@\\-]+", autocomplete: "off" }), words.nameHint),
        field(words.role, role), only,
        field(words.groups, h("input", { name: "groups", autocomplete: "off" }), words.groupsHint),
        field(words.days, h("input", { name: "days", type: "number", min: 1, max: 3650 }), words.daysHint),
      ],
      yes: words.make,
      run: async (typed) => {
        made = await call("POST", "/api/keys", { body: {
          name: typed.name, role: typed.role, groups: split(typed.groups), grantedOnly: limited.checked, expiresAt: later(typed.days, DAY_MS),
        } });
      },
    });
    if (made) await once(made);
    void refresh();
  }

  /** Shows a new key, which nobody can be shown again. */
  function once({ name, key }) {
    const body = [h("p", {}, words.once), copyable(key, { label: words.key, done: words.copied })];
    return present({ title: words.madeTitle(name), body, yes: words.kept, gone: forget });
  }

  const revoke = async (key) => {
    await ask({
      title: words.revokeTitle(key.name),
      body: h("p", {}, words.revokeWhat),
      yes: words.revoke,
      danger: true,
      run: () => call("DELETE", `/api/keys/${encodeURIComponent(key.name)}`),
    });
    void refresh();
  };

  return {
    every: 30_000,
    async refresh() {
      const { keys } = await get("/api/keys");
      fill(list, keys.length === 0 ? h("p", { class: "faint" }, words.none) : table(t.operations.parts.keys, words.heads, keys.map((key) => [
        h("bdi", {}, key.name), key.grantedOnly ? words.granted(words.roles[key.role]) : words.roles[key.role], h("bdi", {}, key.groups.join(", ")), time(key.createdAt), key.lastUsedAt ? time(key.lastUsedAt) : words.never, state(key),
        !key.revokedAt && h("button", { type: "button", class: "plain", "data-key": `revoke-${key.name}`, "aria-label": words.revokeOf(key.name), click: () => revoke(key) }, words.revoke),
      ])));
    },
  };
}

/** What a grant is made of, as fields of a form; `keys` are those that there are. */
export const grantFields = (keys) => [
  field(words.to, h("select", { name: "kind" }, h("option", { value: "caller" }, words.caller), h("option", { value: "group" }, words.group))),
  field(words.toName, h("input", { name: "to", required: true, list: "limited", autocomplete: "off" })),
  h("datalist", { id: "limited" }, keys.filter((key) => key.grantedOnly && !key.revokedAt).map((key) => h("option", { value: key.name }))),
];
export const grantBounds = () => [
  field(words.hours, h("input", { name: "hours", type: "number", min: 1, max: 87600 }), words.hoursHint),
  field(words.reads, h("input", { name: "reads", type: "number", min: 1, max: 1_000_000 }), words.readsHint),
];

/** Grants an account as such a form says. */
export const grantTo = (account, { kind, to, hours, reads }) => call("POST", "/api/grants", { body: {
  [kind]: to.trim(), account, until: later(hours, HOUR_MS), reads: reads ? Number(reads) : undefined,
} });

export function grants(body, { refresh }) {
  const list = h("div");
  let known = new Map();
  fill(body, h("p", {}, words.grantsHow), h("div", { class: "buttons" }, h("button", { type: "button", class: "main", click: add }, words.grant)), list);

  const name = (id) => (known.has(id) ? title(known.get(id)) : id);
  const whom = (grant) => (grant.group ? words.groupOf(grant.group) : grant.caller);

  async function add() {
    const { keys } = await get("/api/keys");
    known = await accounts();
    const account = h("select", { name: "account", required: true }, [...known.values()].map((each) => h("option", { value: each.id }, title(each))));
    await ask({
      title: words.grantTitle,
      body: [grantFields(keys), field(words.account, account), grantBounds()],
      yes: words.grant,
      run: (typed) => grantTo(typed.account, typed),
    });
    void refresh();
  }

  const withdraw = async (grant) => {
    await ask({
      title: words.withdrawTitle(name(grant.account), whom(grant)),
      yes: words.withdraw,
      danger: true,
      run: () => call("DELETE", "/api/grants", { query: { account: grant.account, caller: grant.caller, group: grant.group } }),
    });
    void refresh();
  };

  return {
    every: 30_000,
    async refresh() {
      const { grants } = await get("/api/grants");
      if (grants.some((grant) => !known.has(grant.account))) known = await accounts();
      fill(list, grants.length === 0 ? h("p", { class: "faint" }, words.noGrants) : table(t.operations.parts.grants, words.grantHeads, grants.map((grant) => [
        h("bdi", {}, whom(grant)), h("bdi", {}, name(grant.account)), grant.until ? time(grant.until, fromNow(grant.until, clockOffset)) : words.forEver, grant.readsLeft === undefined ? words.asMany : String(grant.readsLeft),
        h("button", { type: "button", class: "plain", "data-key": `withdraw-${whom(grant)}-${grant.account}`, "aria-label": words.withdrawOf(name(grant.account), whom(grant)), click: () => withdraw(grant) }, words.withdraw),
      ])));
    },
  };
}
