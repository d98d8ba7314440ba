// Values as people read them.

import { h } from "./dom.js";
import { language, t } from "./text.js";

const moment = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const second = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
const distance = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

/** A code in groups of three; no digit stands alone. */
export function grouped(code) {
  if (code.length < 6) return code;
  const groups = code.match(/.{1,3}/g);
  if (groups.at(-1).length === 1) groups.splice(-2, 2, groups.slice(-2).join(""));
  return groups.join("\u00a0");
}

/** How far away a time is, in its largest unit, by the server's clock. */
export function fromNow(text, offset = 0) {
  const seconds = (Date.parse(text) - Date.now() - offset) / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  return distance.format(Math.round(seconds / size), unit);
}

/** How long a number of seconds is, in its largest unit. */
export function duration(seconds) {
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? UNITS.at(-1);
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long", maximumFractionDigits: 1 }).format(seconds / size);
}

/** A time in the reader's zone; the exact one in UTC is its title. */
export function time(text, shown) {
  return text ? h("time", { datetime: text, title: text }, shown ?? moment.format(new Date(text))) : "";
}

/** The same to the second. */
export const exactly = (text) => time(text, text && second.format(new Date(text)));

/** A time in the reader's zone as a table has it: sortable, and with the zone. */
export function stamp(text) {
  const at = new Date(text);
  const two = (number) => String(number).padStart(2, "0");
  const zone = -at.getTimezoneOffset();
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())} ${zone < 0 ? "-" : "+"}${two(Math.floor(Math.abs(zone) / 60))}:${two(Math.abs(zone) % 60)}`;
}

/** What somebody wrote, apart from all that the page says itself and in no other's direction. */
export const said = (label, text) => h("p", { class: "said" }, h("span", { class: "faint" }, label), " ", h("bdi", {}, text));

/** Who decided how, and what they wrote; nothing before that. */
export const decided = (decision) => decision && [
  h("p", {}, decision.approved ? t.operations.approvedBy : t.operations.refusedBy, " ", h("bdi", {}, decision.by)),
  decision.comment && said(t.operations.comment, decision.comment),
];

/** A text with commands between backticks, as elements. */
export const coded = (text) => text.split("`").map((part, n) => (n % 2 === 1 ? h("code", {}, part) : part));

/** What an account is called, in one line. */
export function title({ issuer, accountName } = {}) {
  return issuer ? `${issuer} ${accountName}` : (accountName ?? "");
}

/** How an account's codes are made, in words. */
export const parameters = ({ digits, period, algorithm }) => t.parameters(digits, period, algorithm);

/** Text as it is searched: without case and accents. */
export const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
