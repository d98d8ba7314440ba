#!/usr/bin/env node
// Makes pack.bin and pack.json from the npm package simple-icons: `node web/icons/make.mjs`.
// Needs npm and the network. README.md says what is in the pack and what is left out.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

import { SHELVES, key, shelf } from "../icon-key.js";

const PACKAGE = "simple-icons";
const VERSION = "16.37.0";
/** The longest drawing that is kept, in characters: what is longer is a picture, not a sign. */
const LONGEST = 4000;

const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "icons-"));
try {
  execFileSync("npm", ["install", "--silent", "--no-save", "--no-audit", "--no-fund", "--prefix", folder, `${PACKAGE}@${VERSION}`], { stdio: "inherit" });
  make(join(folder, "node_modules", PACKAGE), await import(pathToFileURL(join(folder, "node_modules", PACKAGE, "sdk.mjs"))));
} finally {
  rmSync(folder, { recursive: true });
}

function make(root, { titleToSlug }) {
  const { version, license } = JSON.parse(readFileSync(join(root, "package.json")));
  const icons = JSON.parse(readFileSync(join(root, "data", "simple-icons.json")));
  const shelves = Array.from({ length: SHELVES }, () => ({}));
  const leftOut = { long: 0, licence: 0 };
  const kept = [];
  for (const icon of icons) {
    const drawing = readFileSync(join(root, "icons", `${icon.slug ?? titleToSlug(icon.title)}.svg`), "utf8").match(/ d="([^"]+)"/)[1];
    if (icon.license && icon.license.type !== "CC0-1.0") leftOut.licence += 1;
    else if (drawing.length > LONGEST) leftOut.long += 1;
    else kept.push({ ...icon, drawing });
  }
  let names = 0;
  const put = (name, { hex, drawing }) => {
    const found = key(name);
    const there = shelves[shelf(found)];
    if (found === "" || there[found]) return;
    there[found] = [hex, drawing];
    names += 1;
  };
  // A title goes before what something else is also called.
  for (const icon of kept) put(icon.title, icon);
  for (const icon of kept) {
    const { aka = [], loc = {}, old = [] } = icon.aliases ?? {};
    for (const name of [...aka, ...Object.values(loc), ...old]) put(name, icon);
  }
  const parts = shelves.map((each) => gzipSync(JSON.stringify(each), { level: 9 }));
  const table = Buffer.alloc(4 * (SHELVES + 1));
  let at = table.length;
  parts.forEach((part, n) => {
    table.writeUInt32LE(at, 4 * n);
    at += part.length;
  });
  table.writeUInt32LE(at, 4 * SHELVES);
  writeFileSync(join(here, "pack.bin"), Buffer.concat([table, ...parts]));
  const about = { package: PACKAGE, version, license, icons: kept.length, names, leftOut, shelves: SHELVES, bytes: at };
  writeFileSync(join(here, "pack.json"), `${JSON.stringify(about, null, 2)}\n`);
  console.log(about);
}
