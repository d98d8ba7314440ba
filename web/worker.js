// Keeps the page's own files, so that it opens without its server. Nothing of the API is
// ever kept: no account, no code, no answer. Every other address is the network's.

const SHELL = "shell-3";
/** How long the server may take before what is kept is shown, in milliseconds. */
const PATIENCE_MS = 3000;
/** For how long after that it is not waited for again, in milliseconds: one page is many files. */
const HANGS_MS = 10_000;
let hung = -Infinity;

/** The addresses that show the page. */
const PAGES = new Set(["/", "/login"]);
const FILE = /^\/[a-z-]+\.(js|css|svg|webmanifest)$/;
const TYPES = { js: "text/javascript", css: "text/css", svg: "image/svg+xml", webmanifest: "application/manifest+json" };

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil((async () => {
  for (const name of await caches.keys()) if (name !== SHELL) await caches.delete(name);
  await self.clients.claim();
})()));

self.addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request;
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== self.location.origin) return;
  if (mode === "navigate" ? PAGES.has(pathname) : FILE.test(pathname)) event.respondWith(file(mode === "navigate" ? "/" : pathname));
});

/** The server's file, so that a newer server has a newer page; the kept one only without it. */
async function file(path) {
  const shell = await caches.open(SHELL);
  const kept = await shell.match(path, { ignoreVary: true });
  // By its path alone: an address that somebody opened can have a code after its #.
  const asked = fetch(path, { cache: "no-cache", credentials: "omit" }).then(async (answer) => {
    hung = -Infinity;
    if (isOurs(path, answer)) await shell.put(path, answer.clone());
    return answer;
  });
  if (!kept) return asked;
  // It may fail long after what is kept was shown.
  asked.catch(() => {});
  if (performance.now() - hung < HANGS_MS) return kept;
  const late = new Promise((done) => setTimeout(done, PATIENCE_MS));
  try {
    const answer = await Promise.race([asked, late]);
    if (!answer) hung = performance.now();
    return answer && (isOurs(path, answer) || elsewhere(path, answer)) ? answer : kept;
  } catch {
    return kept;
  }
}

/** Whether an answer is a file of this page: of its type, and under its policy. */
function isOurs(path, answer) {
  const type = (answer.headers.get("content-type") ?? "").split(";")[0].trim();
  const policy = answer.headers.get("content-security-policy") ?? "";
  const expected = path === "/" ? "text/html" : TYPES[path.split(".").pop()];
  return answer.status === 200 && !answer.redirected && type === expected && policy.includes("trusted-types countersign");
}

/** Another program answers at this address by now; whoever opens it should see that. */
function elsewhere(path, answer) {
  return path === "/" && answer.status < 400;
}
