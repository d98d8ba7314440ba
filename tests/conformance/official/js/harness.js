"use strict";
// What every feature of the JavaScript suite needs: a connection, a worker, and a verdict.

const { randomUUID } = require("node:crypto");
const assert = require("node:assert/strict");
const grpc = require("@grpc/grpc-js");
const sdk = require("@microsoft/durabletask-js");

const Status = sdk.OrchestrationStatus;

// How long anything may take before the feature counts as broken, in seconds.
const DEADLINE = 60;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** An id that nothing else uses. */
const fresh = (prefix) => `${prefix}-${randomUUID().slice(0, 13)}`;

function parseConnectionString(text) {
  const parts = text.split(";").filter(Boolean).map((part) => {
    const at = part.indexOf("=");
    return [part.slice(0, at).toLowerCase(), part.slice(at + 1)];
  });
  return Object.fromEntries(parts);
}

/** One feature's client, and workers that register what they are given. */
class Harness {
  constructor(connection, hub = connection.taskhub) {
    const endpoint = new URL(connection.endpoint);
    this.connection = connection;
    this.options = {
      hostAddress: endpoint.host,
      useTLS: endpoint.protocol === "https:",
      logger: new sdk.NoOpLogger(),
      metadataGenerator: async () => {
        const metadata = new grpc.Metadata();
        metadata.set("taskhub", hub);
        return metadata;
      },
    };
    this.client = new sdk.TaskHubGrpcClient(this.options);
  }

  /** Runs `body` while a worker runs that knows `parts`, each by its name. */
  async worker({ orchestrators = {}, activities = {}, entities = {}, ...options }, body) {
    const worker = new sdk.TaskHubGrpcWorker({ ...this.options, ...options });
    for (const [name, run] of Object.entries(orchestrators)) worker.addNamedOrchestrator(name, run);
    for (const [name, run] of Object.entries(activities)) worker.addNamedActivity(name, run);
    for (const [name, make] of Object.entries(entities)) worker.addNamedEntity(name, make);
    await worker.start();
    try {
      return await body();
    } finally {
      await worker.stop();
    }
  }

  start(name, input, options) {
    return this.client.scheduleNewOrchestration(name, input, options);
  }

  started(instance) {
    return this.client.waitForOrchestrationStart(instance, false, DEADLINE);
  }

  /** The state of an instance once it has ended. */
  end(instance) {
    return this.client.waitForOrchestrationCompletion(instance, true, DEADLINE);
  }

  async run(name, input, options) {
    return this.end(await this.start(name, input, options));
  }

  /** Runs an orchestration that has to complete, and gives its output. */
  async output(name, input, options) {
    return outputOf(await this.run(name, input, options));
  }

  untilStatus(instance, status) {
    return until(
      () => this.client.getOrchestrationState(instance),
      (state) => state?.runtimeStatus === status,
    );
  }
}

/** The output of an instance that has to have completed. */
function outputOf(state) {
  assert.equal(state.runtimeStatus, Status.COMPLETED, state.failureDetails?.message);
  return state.serializedOutput ? JSON.parse(state.serializedOutput) : undefined;
}

/** Asks again until `holds` or the deadline, and gives what was asked for. */
async function until(get, holds) {
  const end = Date.now() + DEADLINE * 1000;
  for (;;) {
    const value = await get();
    if (holds(value)) return value;
    if (Date.now() > end) {
      throw new Error(`still not so after ${DEADLINE} s: ${JSON.stringify(value)}`);
    }
    await sleep(50);
  }
}

const features = new Map();

/** Registers a function as the check of one row of features.tsv. */
function feature(name, check) {
  features.set(name, check);
}

/** Runs the features, one verdict a line: SDK, feature, pass or fail, detail. */
async function main(only) {
  const connection = parseConnectionString(process.env.CONFORMANCE_CONNECTION_STRING);
  for (const [name, check] of features) {
    if (only.length && !only.includes(name)) continue;
    const begun = Date.now();
    const harness = new Harness(connection);
    let verdict;
    try {
      await check(harness);
      verdict = ["pass", `${((Date.now() - begun) / 1000).toFixed(1)}s`];
    } catch (error) {
      console.error(error);
      verdict = ["fail", String(error.details || error.message).replace(/\s+/g, " ").slice(0, 200)];
    }
    await harness.client.stop();
    console.log(["RESULT", "js", name, ...verdict].join("\t"));
  }
  // Some calls that were given up on are still open; they are nobody's concern.
  process.exit(0);
}

module.exports = {
  DEADLINE, Harness, Status, feature, fresh, main, outputOf, parseConnectionString, sdk, sleep, until,
};
