// One thing that is being added: what it is, how far it is, and how it ended.

import { call, get, newKey, pause } from "./api.js";
import { fill, h, say } from "./dom.js";
import { follow, unbroken } from "./follow.js";
import { decided, fromNow, title } from "./format.js";
import { picks } from "./picks.js";
import { picture } from "./picture.js";
import { Proof } from "./proof.js";
import { t } from "./text.js";

const words = t.add;
const STEPS = ["sending", "Decoding", "Validating", "AwaitingApproval", "Storing", "Proving"];
/** What a picture turns out to be when it has more than one account can be made of. */
const MANY = new Set(["several-accounts", "codes-unread", "google-export", "export-parts-missing"]);
const PASSWORD = new Set(["import-password-missing", "import-password-wrong"]);
/** How often an import's progress is asked for. */
const ASK_MS = 700;

export class Work {
  #ending = new AbortController();
  #stage;
  #name;
  #asSteam;

  #proof;

  /** `approval` is whether somebody else is asked, `proof` whether the account has to be proved, `steam` whether it gives Steam's codes. */
  constructor(name, { approval, proof, steam = false, added, mayRemove }) {
    this.mayRemove = mayRemove;
    this.steam = steam;
    this.approval = approval;
    this.proof = proof;
    this.added = added;
    this.status = h("p", { class: "stage" });
    this.steps = h("ol", { class: "steps", hidden: true });
    this.body = h("div");
    this.element = h("li", { class: "card work" },
      h("div", { class: "head" }, h("h2", {}, name), h("button", { type: "button", class: "plain", click: () => this.#close() }, t.close)),
      this.steps, this.status, this.body);
  }

  #close() {
    this.stop();
    this.element.remove();
  }

  stop() {
    this.#ending.abort();
    this.#proof?.stop();
  }

  #say(text) {
    if (this.status.textContent === text) return;
    this.status.textContent = text;
    say(text);
  }

  #step(stage) {
    if (stage === "Pending") stage = "Decoding";
    const at = stage === "Enrolled" ? STEPS.length : STEPS.indexOf(stage);
    if (at < 0) {
      this.steps.hidden = true;
      return;
    }
    const shown = STEPS.filter((step) => this.skipped !== step && (step !== "AwaitingApproval" || this.approval) && (step !== "Proving" || this.proof));
    this.steps.hidden = false;
    fill(this.steps, shown.map((step) => h("li", {
      class: STEPS.indexOf(step) < at && "done",
      "aria-current": STEPS.indexOf(step) === at && "step",
    }, words.steps[step])));
  }

  /** Does something; what goes wrong is told in words. */
  async #try(run) {
    try {
      await run();
    } catch (problem) {
      if (this.#ending.signal.aborted) return;
      if (problem.status === undefined) console.error(problem);
      this.#wrong(problem.body?.detail ? problem.body : { detail: problem.message });
    }
  }

  #wrong(problem, file) {
    this.steps.hidden = true;
    this.#say(words.stages.Invalid);
    fill(this.body, complaint(problem), picture(file, problem.regions));
  }

  /** One picture: read by the server; if it has several accounts, they are shown to pick from. */
  picture(file) {
    return this.#enroll({ body: file, headers: { "content-type": file.type } }, (problem) => {
      if (!MANY.has(problem.code)) return this.#wrong(problem, file);
      return this.files([file]);
    });
  }

  /** An otpauth URI. */
  uri(uri) {
    this.skipped = "Decoding";
    return this.#enroll({ body: { uri } }, (problem) => this.#wrong(problem));
  }

  #enroll({ body, headers, steam = this.steam }, invalid) {
    this.#asSteam = steam ? undefined : () => this.#enroll({ body, headers, steam: true }, invalid);
    return this.#try(async () => {
      this.#step("sending");
      this.#say(words.stages.sending);
      const query = { approval: this.approval ? "required" : "", proof: this.proof ? "required" : "", kind: steam ? "steam" : "" };
      const sending = { body, headers: { ...headers, "idempotency-key": newKey() }, query };
      const started = await unbroken(() => call("POST", "/api/enrollments", sending), this.#ending.signal);
      const ended = await follow(started.id, (state) => this.#told(state), this.#ending.signal);
      if (ended?.stage === "Invalid") await invalid(ended.problem ?? {});
    });
  }

  #told(state) {
    this.approval ||= state.approval.required;
    this.proof ||= state.proofRequired;
    const stage = state.stage === "Enrolled" && this.proof ? "Proving" : state.stage;
    if (this.#stage !== stage) {
      this.#stage = stage;
      this.#step(stage);
    }
    if (state.preview) this.#name = title(state.preview);
    this.#tell(stage);
    if (state.stage === "Invalid") return;
    const { deadline, decision } = state.approval;
    const waits = state.stage === "AwaitingApproval";
    fill(this.body,
      (state.warnings ?? []).map((warning) => (warning.warning === "duplicate" ? this.#duplicate(warning, state) : h("p", { class: "faint" }, warning.detail))),
      waits && deadline && h("p", { class: "faint" }, words.until(fromNow(deadline))),
      state.stage === "Enrolled" && this.#asSteam && (state.warnings ?? []).some(({ warning }) => warning === "maybeSteam") &&
        h("button", { type: "button", "data-key": "as-steam", click: () => this.#asSteam() }, t.add.asSteam),
      state.stage === "Rejected" && decided(decision),
      waits && h("button", { type: "button", "data-key": "end", click: () => this.#try(() => call("DELETE", `/api/enrollments/${state.id}`)) }, words.end),
      stage === "Enrolled" && seeCode(state.id));
    if (stage === "Proving") this.#prove(state.id);
    if (state.stage === "Enrolled") this.added();
  }

  /** The same account is there already: what to do about it, with both ways at hand. */
  #duplicate({ accounts = [] }, { id, stage }) {
    return h("div", { class: "notice" }, h("p", {}, words.duplicate), accounts.length === 0 && h("p", { class: "faint" }, words.hidden),
      h("div", { class: "buttons" }, seeThere(accounts),
        stage === "Enrolled" && this.mayRemove && h("button", { type: "button", "data-key": `remove-new-${id}`, click: () => this.#try(async () => {
          await call("DELETE", `/api/accounts/${id}`);
          this.#say(t.accounts.removed(this.#name));
          fill(this.body);
        }) }, words.removeNew)));
  }

  #tell(stage) {
    this.#say([this.#name, words.stages[stage] ?? stage].filter(Boolean).join(": "));
  }

  #prove(id) {
    const end = (stage) => () => {
      this.#step(stage);
      this.#tell(stage);
      fill(this.body, stage === "Enrolled" && seeCode(id));
    };
    this.#proof = new Proof(id, { proved: end("Enrolled"), gone: end("Unproved") });
    this.body.append(this.#proof.element);
  }

  /** Files with any number of accounts: first read, then those that were picked are added. */
  files(files, password) {
    return this.#try(async () => {
      this.steps.hidden = true;
      this.#say(words.imports.Reading);
      fill(this.body);
      let plan;
      try {
        plan = await this.#import(files, password, { dryRun: true });
      } catch (problem) {
        if (!PASSWORD.has(problem.body?.code)) throw problem;
        this.#say(words.stages.Invalid);
        fill(this.body, complaint(problem.body), passwordForm((given) => this.files(files, given)));
        this.body.querySelector("input").focus();
        return;
      }
      if (!plan) return;
      const problems = this.#problems(plan, files);
      if (plan.accounts.length === 0) {
        this.#say(words.stages.Invalid);
        fill(this.body, problems);
        return;
      }
      const fresh = plan.accounts.filter((account) => account.result === "new");
      this.#say(fresh.length > 0 ? words.pick : words.nothingNew);
      fill(this.body, problems, picks(plan.accounts, (pick) => this.#pick(files, password, pick)));
      this.body.querySelector("input:not(:disabled)")?.focus();
    });
  }

  #pick(files, password, pick) {
    return this.#try(async () => {
      const outcome = await this.#import(files, password, { pick: pick.join(","), approval: this.approval ? "required" : "" });
      if (!outcome) return;
      const count = outcome.accounts.filter((account) => account.result === "enrolled").length;
      this.#say(words.done(count));
      fill(this.body, this.#problems(outcome, files), picks(outcome.accounts),
        count > 0 && h("p", {}, h("a", { href: "#/accounts" }, words.seeCode)));
      this.added();
    });
  }

  /** Sends files and waits for the end; nothing if this work was closed meanwhile. */
  async #import(files, password, query) {
    const form = new FormData();
    for (const file of files) form.append("file", file);
    if (password) form.append("password", password);
    const sending = { query, body: form, headers: { "idempotency-key": newKey() } };
    const { signal } = this.#ending;
    let state = await unbroken(() => call("POST", "/api/imports", sending), signal);
    const bar = h("progress", { "aria-label": words.imports.Importing });
    fill(this.body, bar);
    while (!["Done", "Failed", "Terminated"].includes(state.stage)) {
      this.#say(words.imports[state.stage] ?? state.stage);
      if (state.progress) {
        bar.max = state.progress.total;
        bar.value = state.progress.ended;
        this.#say(words.progress(state.progress.ended, state.progress.total));
      }
      await pause(state.progress ? ASK_MS : 0);
      state = await unbroken(() => get(`/api/imports/${state.id}`, { wait: 1 }), signal);
      if (signal.aborted) return undefined;
    }
    if (state.stage === "Done") return state;
    fill(this.body);
    this.#say(words.imports[state.stage]);
    return undefined;
  }

  #problems(outcome, files) {
    return (outcome.problems ?? []).map((problem) => {
      const file = files[(problem.source ?? 0) - 1];
      return h("section", {}, file && (files.length > 1 || problem.name) && h("h3", {}, words.inFile([file.name, problem.name].filter(Boolean).join(", "))), complaint(problem), picture(file, problem.regions));
    });
  }
}

const seeCode = (id) => h("p", {}, h("a", { href: `#/accounts/${encodeURIComponent(id)}` }, words.seeCode));

/** A link to each account that is there already. */
const seeThere = (accounts) => accounts.map((id) => h("a", { class: "button", href: `#/accounts/${encodeURIComponent(id)}` }, words.seeThere));

function complaint(problem) {
  if (problem.code === "account-there") return h("div", { class: "notice" }, h("p", {}, words.duplicateRefused), h("div", { class: "buttons" }, seeThere(problem.accounts ?? [])));
  return h("p", { class: "complaint" }, h("strong", {}, problem.detail ?? problem.title), " ", problem.nextStep);
}

function passwordForm(open) {
  const input = h("input", { type: "password", name: "export-password", autocomplete: "off", required: true });
  return h("form", { class: "row", submit: (event) => {
    event.preventDefault();
    void open(input.value);
  } }, h("label", { class: "field" }, h("span", {}, words.password), input), h("button", { class: "main" }, words.open));
}
