"use strict";
// Each call of the JavaScript SDK with nothing but what it must be given, for the recorder.

const { Harness, parseConnectionString, sdk } = require("./harness.js");

const { EntityInstanceId, TaskEntity } = sdk;
const counter = new EntityInstanceId("counter", "k");

class Counter extends TaskEntity {
  initializeState() {
    return 0;
  }

  add() {
    this.state += 1;
    this.context.signalEntity(new EntityInstanceId("other", "k"), "add");
    this.context.scheduleNewOrchestration("child");
    return 1;
  }
}

class Other extends TaskEntity {
  initializeState() {
    return 0;
  }

  add() {
    this.state = 1;
  }
}

const orchestrators = {
  async *child() {},
  async *waits(ctx) {
    yield ctx.waitForExternalEvent("go");
  },
  async *fails() {
    throw new Error("asked to fail");
  },
  async *onceMore(ctx, input) {
    if (input === undefined) ctx.continueAsNew(1, false);
  },
  async *everything(ctx) {
    yield ctx.callActivity("act");
    yield ctx.callSubOrchestrator("child");
    yield ctx.createTimer(0.01);
    ctx.sendEvent("nobody", "go");
    ctx.entities.signalEntity(counter, "add");
    yield ctx.entities.callEntity(counter, "add");
    (yield ctx.entities.lockEntities(counter)).release();
  },
};

async function tries(call) {
  try {
    await call();
  } catch (error) {
    console.error(String(error.details || error.message));
  }
}

async function main() {
  const h = new Harness(parseConnectionString(process.env.CONFORMANCE_CONNECTION_STRING));
  const c = h.client;
  const parts = {
    orchestrators,
    activities: { act: () => undefined },
    entities: { counter: () => new Counter(), other: () => new Other() },
  };
  await h.worker(parts, async () => {
    const first = await c.scheduleNewOrchestration("waits");
    await c.waitForOrchestrationStart(first);
    await c.getOrchestrationState(first);
    await c.suspendOrchestration(first);
    await c.resumeOrchestration(first);
    await c.raiseOrchestrationEvent(first, "go");
    await c.waitForOrchestrationCompletion(first);
    for (const name of ["everything", "onceMore"]) {
      await c.waitForOrchestrationCompletion(await c.scheduleNewOrchestration(name));
    }
    await c.getOrchestrationHistory(first);
    await c.listInstanceIds();
    for await (const _ of c.getAllInstances()) break;
    await c.restartOrchestration(first);
    const failed = await c.scheduleNewOrchestration("fails");
    await c.waitForOrchestrationCompletion(failed);
    await tries(() => c.rewindInstance(failed, "why"));
    await c.terminateOrchestration(first);
    await c.signalEntity(counter, "add");
    await c.getEntity(counter);
    for await (const _ of c.getEntities()) break;
    await c.cleanEntityStorage();
    await c.waitForOrchestrationCompletion(first);
    await c.purgeOrchestration(first);
  });
  process.exit(0);
}

main();
