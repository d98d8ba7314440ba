// The page: enroll, follow, approve, show codes. Everything it shows comes from the API.

const $ = (id) => document.getElementById(id);
const ENDED = ["Enrolled", "Invalid", "Rejected", "Expired", "Failed", "Terminated"];
const WORDS = {
  Pending: "Waiting for a worker…",
  Decoding: "Reading the picture…",
  Validating: "Checking the link…",
  AwaitingApproval: "Waiting for somebody to approve it.",
  Storing: "Storing the secret…",
  Enrolled: "Account added.",
  Rejected: "Refused by the approver.",
  Expired: "Nobody decided in time. Add it again.",
  Failed: "The server could not store it. Try again later.",
  Terminated: "Ended by an operator.",
};
let role = "";
let next = null;
const rows = new Map(); // account id → {code, left, copy, until, loading}

class Problem extends Error {
  constructor(status, body) {
    super([body.detail || body.title || `The server answered ${status}.`, body.nextStep].filter(Boolean).join(" "));
    this.status = status;
  }
}

async function api(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    throw new Problem(0, { detail: "The server cannot be reached. Is it running?" });
  }
  const body = await response.json().catch(() => ({}));
  if (response.status === 401) showLogin();
  if (!response.ok) throw new Problem(response.status, body);
  return body;
}

const json = (method, body) => ({ method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

function say(text) {
  $("progress").textContent = text;
  $("progress").hidden = !text;
}

function complain(problem) {
  $("error").textContent = problem ? problem.message : "";
  $("error").hidden = !problem;
  if (problem) say("");
}

// Logging in

function showLogin() {
  for (const id of ["enroll", "waiting", "accounts", "caller"]) $(id).hidden = true;
  $("login").hidden = false;
}

async function logIn(token) {
  complain(null);
  await api("/api/session", { method: "POST", headers: { authorization: `Bearer ${token}` } });
  await open();
}

async function open() {
  const session = await api("/api/session");
  role = session.role;
  $("caller-name").textContent = `${session.caller} (${role})`;
  $("caller").hidden = session.caller === "anonymous";
  $("login").hidden = true;
  const may = (...roles) => role === "admin" || roles.includes(role);
  $("enroll").hidden = !may("enroller");
  $("accounts").hidden = !may("reader");
  await Promise.all([may("reader") && loadAccounts(true), may("approver") && loadWaiting()]);
}

// Enrolling

async function enroll(body, headers) {
  complain(null);
  say("Sending…");
  try {
    const query = $("ask").checked ? "?approval=required" : "";
    const started = await api(`/api/enrollments${query}`, {
      method: "POST",
      body,
      headers: { ...headers, "idempotency-key": crypto.randomUUID?.() ?? String(Math.random()).slice(2) },
    });
    await follow(started.id);
  } catch (problem) {
    complain(problem);
  }
}

/** What is odd about an account, as sentences. */
function warnings(enrollment) {
  return (enrollment.warnings ?? []).map((warning) => warning.detail);
}

async function follow(id) {
  let stage = "Pending";
  say(WORDS[stage]);
  for (;;) {
    const state = await api(`/api/enrollments/${id}?wait=30&since=${stage}`);
    if (state.stage === "AwaitingApproval" && stage !== state.stage) void loadWaiting();
    stage = state.stage;
    const name = state.preview ? ` ${state.preview.issuer ?? ""} ${state.preview.accountName}`.trimEnd() : "";
    if (stage === "Invalid") throw new Problem(422, state.problem ?? {});
    if (ENDED.includes(stage) && stage !== "Enrolled") throw new Problem(200, { detail: WORDS[stage] });
    say([WORDS[stage] + name, ...warnings(state)].join(" "));
    if (stage === "Enrolled") {
      if (!$("accounts").hidden) await loadAccounts(true);
      return;
    }
  }
}

function enrollPicture(file) {
  if (file) void enroll(file, { "content-type": file.type.startsWith("image/") ? file.type : "application/octet-stream" });
}

// Approving

async function loadWaiting() {
  if (role !== "admin" && role !== "approver") return;
  const page = await api("/api/enrollments?stage=AwaitingApproval&limit=50");
  $("waiting-list").replaceChildren(...page.enrollments.map(waitingRow));
  $("waiting").hidden = page.enrollments.length === 0;
}

function waitingRow(enrollment) {
  const row = $("waiting-row").content.cloneNode(true).firstElementChild;
  const preview = enrollment.preview ?? {};
  row.querySelector(".issuer").textContent = preview.issuer ?? "No issuer";
  row.querySelector(".name").textContent = preview.accountName ?? "";
  row.querySelector(".facts").textContent =
    [
      `${preview.digits} digits every ${preview.period} s, ${preview.algorithm}; asked for by ${enrollment.requestedBy}.`,
      ...warnings(enrollment),
    ].join(" ");
  const decide = async (approved) => {
    complain(null);
    for (const button of row.querySelectorAll("button")) button.disabled = true;
    try {
      await api(`/api/enrollments/${enrollment.id}/approval`, json("POST", { approved }));
    } catch (problem) {
      complain(problem);
    }
    await loadWaiting().catch(complain);
    if (!$("accounts").hidden) await loadAccounts(true);
  };
  row.querySelector(".approve").addEventListener("click", () => decide(true));
  row.querySelector(".reject").addEventListener("click", () => decide(false));
  return row;
}

// Accounts and codes

async function loadAccounts(fromStart) {
  const search = encodeURIComponent($("search").value.trim());
  const cursor = fromStart || !next ? "" : `&cursor=${encodeURIComponent(next)}`;
  const page = await api(`/api/accounts?limit=50&search=${search}${cursor}`);
  if (fromStart) {
    rows.clear();
    $("account-list").replaceChildren();
  }
  $("account-list").append(...page.accounts.map(accountRow));
  next = page.next ?? null;
  $("more").hidden = !next;
  $("no-accounts").hidden = rows.size > 0;
  tick();
}

function accountRow(account) {
  const row = $("account-row").content.cloneNode(true).firstElementChild;
  const issuer = account.issuer ?? account.accountName;
  row.querySelector(".avatar").textContent = [...issuer][0]?.toUpperCase() ?? "?";
  row.querySelector(".issuer").textContent = issuer;
  row.querySelector(".name").textContent = account.issuer ? account.accountName : "";
  const entry = { code: row.querySelector(".code"), left: row.querySelector(".left"), copy: row.querySelector(".copy"), token: "", until: 0, loading: false };
  entry.copy.setAttribute("aria-label", `Copy the code of ${issuer} ${account.accountName}`);
  entry.copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(entry.token);
      say(`Code of ${issuer} copied.`);
    } catch {
      complain(new Problem(0, { detail: "The browser does not allow copying here. Select the code instead." }));
    }
  });
  rows.set(account.id, entry);
  return row;
}

async function refresh(id, entry) {
  entry.loading = true;
  try {
    const asked = performance.now();
    const code = await api(`/api/accounts/${id}/token`);
    // Anchored to the server's step: the browser's clock may be wrong, and the answer
    // is as old as the request took.
    entry.until = asked + (Date.parse(code.validUntil) - Date.parse(code.serverTime));
    entry.token = code.token;
    const half = Math.ceil(code.token.length / 2);
    entry.code.textContent = `${code.token.slice(0, half)} ${code.token.slice(half)}`;
  } catch (problem) {
    entry.until = performance.now() + 5000;
    entry.token = "";
    entry.code.textContent = "– – –";
    if (problem.status !== 404) complain(problem);
  } finally {
    entry.loading = false;
  }
}

function tick() {
  if (document.hidden) return;
  const now = performance.now();
  for (const [id, entry] of rows) {
    if (now >= entry.until && !entry.loading) void refresh(id, entry);
    const seconds = Math.max(1, Math.ceil((entry.until - now) / 1000));
    entry.left.textContent = entry.token && now < entry.until ? `${seconds} seconds` : "";
    entry.copy.disabled = !entry.token;
  }
}

// What the page listens to

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  logIn($("credential").value.trim()).catch(complain);
  $("credential").value = "";
});
$("log-out").addEventListener("click", async () => {
  await fetch("/api/session", { method: "DELETE" });
  rows.clear();
  $("account-list").replaceChildren();
  showLogin();
});
$("uri-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const { body, headers } = json("POST", { uri: $("uri").value.trim() });
  $("uri").value = "";
  void enroll(body, headers);
});
$("picture").addEventListener("change", (event) => {
  enrollPicture(event.target.files[0]);
  event.target.value = "";
});
$("drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  enrollPicture(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  if ($("enroll").hidden) return;
  const file = [...event.clipboardData.files][0];
  const text = event.clipboardData.getData("text").trim();
  if (file) enrollPicture(file);
  else if (text.toLowerCase().startsWith("otpauth") && event.target.tagName !== "INPUT") {
    const { body, headers } = json("POST", { uri: text });
    void enroll(body, headers);
  }
});
let typing;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => loadAccounts(true).catch(complain), 200);
});
$("more").addEventListener("click", () => loadAccounts(false).catch(complain));
document.addEventListener("visibilitychange", tick);
setInterval(tick, 250);
setInterval(() => document.hidden || loadWaiting().catch(() => {}), 15000);

const link = location.hash.match(/^#token=(.+)$/);
// The token leaves the address bar and the history before anything else happens.
if (location.pathname !== "/" || link) history.replaceState(null, "", "/");
(link ? logIn(decodeURIComponent(link[1])) : open()).catch((problem) => {
  if (problem.status !== 401 || link) complain(problem);
});
