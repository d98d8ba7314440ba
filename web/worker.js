// Keeps the page's own files, so that it opens without its server. Nothing of the API is
// ever kept: no account, no code, no answer.

const SHELL = "shell";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request;
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== self.location.origin) return;
  if (mode === "navigate") event.respondWith(file("/"));
  else if (/^\/[a-z-]+\.(js|css|svg|webmanifest)$/.test(pathname)) event.respondWith(file(pathname));
});

/** The server's file, so that a newer server has a newer page; the kept one only without it. */
async function file(path) {
  const shell = await caches.open(SHELL);
  try {
    // By its path alone: an address that somebody opened can have a token after its #.
    const answer = await fetch(path, { cache: "no-cache", credentials: "omit" });
    if (answer.ok) await shell.put(path, answer.clone());
    return answer;
  } catch (error) {
    const kept = await shell.match(path);
    if (kept) return kept;
    throw error;
  }
}
