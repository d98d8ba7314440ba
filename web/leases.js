// What is left of the accounts that were granted to a caller, as leases.

import { clockOffset, get } from "./api.js";
import { fromNow, title } from "./format.js";
import { t } from "./text.js";

const words = t.accounts;

/** What is left of one account, in words: nothing for any number of codes without an end. */
function left(grants) {
  const reads = grants.every(({ readsLeft }) => readsLeft !== undefined) ? grants.reduce((sum, { readsLeft }) => sum + readsLeft, 0) : undefined;
  const until = grants.every((grant) => grant.until) ? grants.map((grant) => grant.until).sort().at(-1) : undefined;
  return [reads !== undefined && words.readsLeft(reads), until && words.leaseEnds(fromNow(until, clockOffset))].filter(Boolean).join(", ");
}

/** What is left by account, and what is over: those accounts' names. */
export async function leases() {
  const { grants } = await get("/api/grants/mine");
  const live = Map.groupBy(grants.filter(({ state }) => state === "active"), ({ account }) => account);
  const over = new Map(grants.filter(({ account }) => !live.has(account)).map((grant) => [grant.account, title(grant)]));
  return { left: new Map([...live].map(([account, granted]) => [account, left(granted)])), over: [...over.values()] };
}
