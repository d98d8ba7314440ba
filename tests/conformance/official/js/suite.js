"use strict";
// The official JavaScript SDK against a scheduler: one function per feature.

const assert = require("node:assert/strict");
const {
  DEADLINE, Harness, Status, feature, fresh, main, outputOf, sdk, sleep, until,
} = require("./harness.js");

const { EntityInstanceId, RetryPolicy, TaskEntity, terminateOptions, whenAll, whenAny } = sdk;
const { VersionFailureStrategy, VersionMatchStrategy } = sdk;

const greet = (_ctx, name) => `Hello, ${name}!`;
const echo = (_ctx, value) => value;

async function* waiter(ctx) {
  return yield ctx.waitForExternalEvent("go");
}

async function* quick(_ctx, input) {
  if (input === "fail") throw new Error("asked to fail");
  return input;
}

/** A chain of sub-orchestrations whose last one waits for an event. */
async function* family(ctx, depth) {
  if (depth === 0) {
    yield ctx.waitForExternalEvent("go");
    return;
  }
  yield ctx.callSubOrchestrator("family", depth - 1, { instanceId: `${ctx.instanceId}+` });
}

feature("chaining", async (h) => {
  const orchestrators = {
    async *sequence(ctx, start) {
      let value = start;
      for (let n = 0; n < 5; n += 1) value = yield ctx.callActivity("addOne", value);
      return value;
    },
  };
  const activities = { addOne: (_ctx, value) => value + 1 };
  await h.worker({ orchestrators, activities }, async () => {
    assert.equal(await h.output("sequence", 10), 15);
  });
});

feature("fan-out", async (h) => {
  const orchestrators = {
    async *spread(ctx, count) {
      const each = Array.from({ length: count }, (_, n) => ctx.callActivity("square", n));
      const values = yield whenAll(each);
      const first = yield whenAny([ctx.callActivity("square", 2), ctx.callActivity("square", 3)]);
      return [values.reduce((a, b) => a + b, 0), [4, 9].includes(first.getResult())];
    },
  };
  const activities = { square: (_ctx, value) => value * value };
  await h.worker({ orchestrators, activities }, async () => {
    assert.deepEqual(await h.output("spread", 50), [40425, true]);
  });
});

feature("timers", async (h) => {
  const orchestrators = {
    async *sleeper(ctx, seconds) {
      const before = ctx.currentUtcDateTime.getTime();
      yield ctx.createTimer(seconds);
      return ctx.currentUtcDateTime.getTime() - before;
    },
    async *atOnce(ctx) {
      yield ctx.createTimer(ctx.currentUtcDateTime);
      return "due at once";
    },
  };
  await h.worker({ orchestrators }, async () => {
    const slept = await h.output("sleeper", 1.5);
    assert.ok(slept >= 1500 && slept < DEADLINE * 1000, `slept ${slept} ms`);
    assert.equal(await h.output("atOnce"), "due at once");
  });
});

feature("external-events", async (h) => {
  const orchestrators = {
    async *collect(ctx, count) {
      const got = [];
      while (got.length < count) got.push(yield ctx.waitForExternalEvent("Item"));
      return got;
    },
    async *impatient(ctx) {
      const event = ctx.waitForExternalEvent("never");
      const winner = yield whenAny([event, ctx.createTimer(0.5)]);
      return winner === event ? "event" : "timeout";
    },
  };
  await h.worker({ orchestrators }, async () => {
    const instance = await h.start("collect", 3);
    for (let n = 0; n < 3; n += 1) {
      // Names of events are compared without regard to case.
      await h.client.raiseOrchestrationEvent(instance, "item", { n });
    }
    assert.deepEqual(outputOf(await h.end(instance)), [{ n: 0 }, { n: 1 }, { n: 2 }]);
    assert.equal(await h.output("impatient"), "timeout");
  });
  // An event that is raised before the instance has run is kept for it.
  const early = await h.start("collect", 1);
  await h.client.raiseOrchestrationEvent(early, "Item", "early");
  await h.worker({ orchestrators }, async () => {
    assert.deepEqual(outputOf(await h.end(early)), ["early"]);
  });
});

feature("send-event", async (h) => {
  const orchestrators = {
    waiter,
    async *sender(ctx, target) {
      ctx.sendEvent(target, "go", { from: ctx.instanceId });
      return "sent";
    },
  };
  await h.worker({ orchestrators }, async () => {
    const waiting = await h.start("waiter");
    await h.started(waiting);
    const instanceId = fresh("sender");
    assert.equal(await h.output("sender", waiting, { instanceId }), "sent");
    assert.deepEqual(outputOf(await h.end(waiting)), { from: instanceId });
  });
});

feature("sub-orchestrations", async (h) => {
  const orchestrators = {
    async *parent(ctx, names) {
      const all = yield whenAll(names.map((name) => ctx.callSubOrchestrator("child", name)));
      const options = { instanceId: `${ctx.instanceId}-child` };
      const named = yield ctx.callSubOrchestrator("child", "named", options);
      try {
        yield ctx.callSubOrchestrator("broken");
      } catch (error) {
        return [...all, named, error.details.message];
      }
      return "the broken child did not fail";
    },
    async *child(ctx, name) {
      return [yield ctx.callActivity("greet", name), ctx.parent.instanceId];
    },
    async *broken() {
      throw new Error("this child fails");
    },
  };
  await h.worker({ orchestrators, activities: { greet } }, async () => {
    const instanceId = fresh("parent");
    const got = await h.output("parent", ["a", "b"], { instanceId });
    assert.deepEqual(got.slice(0, 3), ["a", "b", "named"].map((n) => [`Hello, ${n}!`, instanceId]));
    assert.match(got[3], /this child fails/);
    const named = await h.client.getOrchestrationState(`${instanceId}-child`);
    assert.equal(named.runtimeStatus, Status.COMPLETED);
  });
});

feature("continue-as-new", async (h) => {
  const orchestrators = {
    async *counter(ctx, { n }) {
      yield ctx.callActivity("echo", n);
      if (n < 20) {
        ctx.continueAsNew({ n: n + 1 }, false);
        return undefined;
      }
      return n;
    },
  };
  await h.worker({ orchestrators, activities: { echo } }, async () => {
    assert.equal(await h.output("counter", { n: 1 }), 20);
  });
});

feature("continue-as-new-events", async (h) => {
  const orchestrators = {
    async *gatherer(ctx, got) {
      const next = [...got, yield ctx.waitForExternalEvent("item")];
      if (next.length < 5) {
        ctx.continueAsNew(next, true);
        return undefined;
      }
      return next;
    },
  };
  await h.worker({ orchestrators }, async () => {
    const instance = await h.start("gatherer", []);
    for (let n = 0; n < 5; n += 1) await h.client.raiseOrchestrationEvent(instance, "item", n);
    // All five arrive, also those that were there when a generation ended.
    assert.deepEqual(outputOf(await h.end(instance)), [0, 1, 2, 3, 4]);
  });
});

feature("custom-status", async (h) => {
  const orchestrators = {
    async *reporter(ctx) {
      ctx.setCustomStatus({ step: 1 });
      yield ctx.waitForExternalEvent("go");
      ctx.setCustomStatus({ step: 2 });
    },
  };
  await h.worker({ orchestrators }, async () => {
    const instance = await h.start("reporter");
    await until(
      () => h.client.getOrchestrationState(instance),
      (state) => state.serializedCustomStatus === '{"step":1}',
    );
    await h.client.raiseOrchestrationEvent(instance, "go");
    assert.equal((await h.end(instance)).serializedCustomStatus, '{"step":2}');
  });
});

feature("retries", async (h) => {
  const retry = new RetryPolicy({
    maxNumberOfAttempts: 3, firstRetryIntervalInMilliseconds: 100, backoffCoefficient: 2,
  });
  const calls = {};
  const flaky = (key) => {
    calls[key] = (calls[key] ?? 0) + 1;
    if (key === "never" || calls[key] < 3) throw new Error(`attempt ${calls[key]}`);
    return calls[key];
  };
  const orchestrators = {
    async *caller(ctx, key) {
      return yield ctx.callActivity("flaky", key, { retry });
    },
    async *parent(ctx, key) {
      return yield ctx.callSubOrchestrator("flakyChild", key, { retry });
    },
    async *flakyChild(_ctx, key) {
      return flaky(key);
    },
  };
  const activities = { flaky: (_ctx, key) => flaky(key) };
  await h.worker({ orchestrators, activities }, async () => {
    assert.equal(await h.output("caller", "third"), 3);
    assert.equal(await h.output("parent", "child"), 3);
    const state = await h.run("caller", "never");
    assert.equal(state.runtimeStatus, Status.FAILED);
    assert.match(state.failureDetails.message, /attempt 3/);
    assert.deepEqual(calls, { third: 3, child: 3, never: 3 });
  });
});

feature("failures", async (h) => {
  const orchestrators = {
    async *fails(ctx) {
      yield ctx.callActivity("thrower");
    },
    async *unknown(ctx) {
      yield ctx.callActivity("nobody registered this");
    },
  };
  const activities = {
    thrower: () => {
      throw new TypeError("no such thing");
    },
  };
  await h.worker({ orchestrators, activities }, async () => {
    const state = await h.run("fails");
    assert.equal(state.runtimeStatus, Status.FAILED);
    assert.match(state.failureDetails.message, /no such thing/);
    assert.ok(state.failureDetails.stackTrace, "no stack trace");
    assert.throws(() => state.raiseIfFailed());
    assert.equal((await h.run("unknown")).runtimeStatus, Status.FAILED);
    assert.equal((await h.run("nobody registered this either")).runtimeStatus, Status.FAILED);
  });
});

feature("suspend-resume", async (h) => {
  await h.worker({ orchestrators: { waiter } }, async () => {
    const instance = await h.start("waiter");
    await h.started(instance);
    await h.client.suspendOrchestration(instance);
    await h.untilStatus(instance, Status.SUSPENDED);
    await h.client.suspendOrchestration(instance);
    await h.client.raiseOrchestrationEvent(instance, "go", 7);
    await assert.rejects(h.client.waitForOrchestrationCompletion(instance, true, 1.5));
    const state = await h.client.getOrchestrationState(instance);
    assert.equal(state.runtimeStatus, Status.SUSPENDED);
    await h.client.resumeOrchestration(instance);
    assert.equal(outputOf(await h.end(instance)), 7);
  });
});

feature("terminate", async (h) => {
  await h.worker({ orchestrators: { waiter } }, async () => {
    const instance = await h.start("waiter");
    await h.started(instance);
    await h.client.terminateOrchestration(instance, { why: "enough" });
    const state = await h.end(instance);
    assert.equal(state.runtimeStatus, Status.TERMINATED);
    assert.equal(state.serializedOutput, '{"why":"enough"}');
  });
});

feature("terminate-suspended", async (h) => {
  await h.worker({ orchestrators: { waiter } }, async () => {
    const suspended = await h.start("waiter");
    await h.started(suspended);
    await h.client.suspendOrchestration(suspended);
    await h.untilStatus(suspended, Status.SUSPENDED);
    await h.client.terminateOrchestration(suspended);
    assert.equal((await h.end(suspended)).runtimeStatus, Status.TERMINATED);
  });
});

feature("untaken", async (h) => {
  const instance = await h.start("nobody has this");
  const status = async () => (await h.client.getOrchestrationState(instance)).runtimeStatus;
  for (let n = 0; n < 2; n += 1) {
    await h.client.suspendOrchestration(instance);
    assert.equal(await status(), Status.SUSPENDED);
    await h.client.resumeOrchestration(instance);
    assert.equal(await status(), Status.PENDING);
  }
  await h.client.terminateOrchestration(instance, "enough");
  const state = await h.end(instance);
  assert.equal(state.runtimeStatus, Status.TERMINATED);
  assert.equal(state.serializedOutput, '"enough"');
  assert.equal((await h.client.purgeOrchestration(instance)).deletedInstanceCount, 1);
});

feature("loop-commands", async (h) => {
  const orchestrators = {
    async *gatherer(ctx, got) {
      const next = [...got, yield ctx.waitForExternalEvent("item")];
      if (next.length < 3) {
        ctx.continueAsNew(next, true);
        return undefined;
      }
      return next;
    },
    async *busy(ctx, count) {
      yield ctx.waitForExternalEvent("item");
      ctx.continueAsNew(count + 1, true);
    },
  };
  const instance = await h.worker({ orchestrators }, async () => {
    const id = await h.start("gatherer", []);
    await h.started(id);
    return id;
  });
  await h.client.raiseOrchestrationEvent(instance, "item", 1);
  await h.client.suspendOrchestration(instance);
  for (const n of [2, 3]) await h.client.raiseOrchestrationEvent(instance, "item", n);
  await h.worker({ orchestrators }, async () => {
    await until(
      () => h.client.getOrchestrationState(instance),
      (state) => state?.serializedInput === "[1]",
    );
    const state = await h.client.getOrchestrationState(instance);
    assert.equal(state.runtimeStatus, Status.SUSPENDED);
    await h.client.resumeOrchestration(instance);
    assert.deepEqual(outputOf(await h.end(instance)), [1, 2, 3]);

    const loops = [];
    for (let n = 0; n < 10; n += 1) loops.push(await h.start("busy", 0));
    for (const id of loops) {
      for (let n = 0; n < 10; n += 1) await h.client.raiseOrchestrationEvent(id, "item", n);
      await h.client.terminateOrchestration(id, "enough");
      for (let n = 0; n < 3; n += 1) await h.client.raiseOrchestrationEvent(id, "item", n);
    }
    for (const id of loops) {
      const end = await h.end(id);
      assert.equal(end.runtimeStatus, Status.TERMINATED);
      assert.equal(end.serializedOutput, '"enough"');
    }
  });
});

feature("terminate-recursive", async (h) => {
  await h.worker({ orchestrators: { family } }, async () => {
    let root = fresh("family");
    await h.start("family", 2, { instanceId: root });
    await h.untilStatus(`${root}++`, Status.RUNNING);
    await h.client.terminateOrchestration(root, terminateOptions({ recursive: true }));
    for (const instance of [root, `${root}+`, `${root}++`]) {
      assert.equal((await h.end(instance)).runtimeStatus, Status.TERMINATED);
    }
    root = fresh("family");
    await h.start("family", 1, { instanceId: root });
    await h.untilStatus(`${root}+`, Status.RUNNING);
    await h.client.terminateOrchestration(root, terminateOptions({ recursive: false }));
    assert.equal((await h.end(root)).runtimeStatus, Status.TERMINATED);
    const child = await h.client.getOrchestrationState(`${root}+`);
    assert.equal(child.runtimeStatus, Status.RUNNING);
    await h.client.raiseOrchestrationEvent(`${root}+`, "go");
    assert.equal((await h.end(`${root}+`)).runtimeStatus, Status.COMPLETED);
  });
});

feature("purge", async (h) => {
  await h.worker({ orchestrators: { waiter } }, async () => {
    const instance = await h.start("waiter");
    await h.started(instance);
    const running = await h.client.purgeOrchestration(instance);
    assert.equal(running.deletedInstanceCount, 0, "it is running");
    await h.client.raiseOrchestrationEvent(instance, "go");
    await h.end(instance);
    assert.equal((await h.client.purgeOrchestration(instance)).deletedInstanceCount, 1);
    assert.equal(await h.client.getOrchestrationState(instance), undefined);
    assert.equal((await h.client.purgeOrchestration(instance)).deletedInstanceCount, 0, "it is gone");
  });
});

feature("purge-filter", async (h) => {
  await h.worker({ orchestrators: { quick } }, async () => {
    const begun = new Date();
    const good = await Promise.all([1, 2, 3].map((n) => h.start("quick", n)));
    const bad = await Promise.all([1, 2].map(() => h.start("quick", "fail")));
    for (const instance of [...good, ...bad]) await h.end(instance);
    const criteria = new sdk.PurgeInstanceCriteria();
    criteria.setCreatedTimeFrom(begun);
    criteria.setCreatedTimeTo(new Date(Date.now() + 1000));
    criteria.setRuntimeStatusList([Status.FAILED]);
    assert.equal((await h.client.purgeOrchestration(criteria)).deletedInstanceCount, 2);
    for (const instance of bad) {
      assert.equal(await h.client.getOrchestrationState(instance), undefined);
    }
    for (const instance of good) assert.ok(await h.client.getOrchestrationState(instance));
    criteria.setRuntimeStatusList([]);
    assert.equal((await h.client.purgeOrchestration(criteria)).deletedInstanceCount, 3);
  });
});

feature("purge-recursive", async (h) => {
  await h.worker({ orchestrators: { family } }, async () => {
    for (const recursive of [true, false]) {
      const root = fresh("family");
      await h.start("family", 1, { instanceId: root });
      await h.untilStatus(`${root}+`, Status.RUNNING);
      await h.client.raiseOrchestrationEvent(`${root}+`, "go");
      await h.end(root);
      const purged = await h.client.purgeOrchestration(root, { recursive });
      assert.equal(purged.deletedInstanceCount, recursive ? 2 : 1);
      const child = await h.client.getOrchestrationState(`${root}+`);
      assert.equal(child === undefined, recursive);
    }
  });
});

feature("query", async (h) => {
  await h.worker({ orchestrators: { quick } }, async () => {
    const prefix = fresh("query");
    const begun = new Date();
    const names = ["0", "1", "2", "3", "4", "5", "6", "bad"];
    for (const name of names) {
      const input = name === "bad" ? "fail" : `v${name}`;
      await h.start("quick", input, { instanceId: `${prefix}-${name}` });
    }
    for (const name of names) await h.end(`${prefix}-${name}`);
    const found = async (options) => {
      const ids = [];
      for await (const state of h.client.getAllInstances({ instanceIdPrefix: prefix, ...options })) {
        ids.push(state.instanceId.slice(prefix.length + 1));
      }
      return ids.sort();
    };
    assert.deepEqual(await found({}), names);
    assert.deepEqual(await found({ pageSize: 2 }), names, "in pages of two");
    assert.deepEqual(await found({ statuses: [Status.FAILED] }), ["bad"]);
    const until = new Date(Date.now() + 1000);
    assert.deepEqual(await found({ createdFrom: begun, createdTo: until }), names);
    assert.deepEqual(await found({ createdTo: begun }), []);
    const one = { instanceIdPrefix: `${prefix}-3`, fetchInputsAndOutputs: true };
    for await (const state of h.client.getAllInstances(one)) {
      assert.equal(state.serializedOutput, '"v3"');
    }
  });
});

feature("list-ids", async (h) => {
  await h.worker({ orchestrators: { quick } }, async () => {
    const completedTimeFrom = new Date();
    const started = await Promise.all([1, 2, 3, 4, 5].map((n) => h.start("quick", n)));
    for (const instance of started) await h.end(instance);
    const listed = [];
    let lastInstanceKey;
    do {
      const page = await h.client.listInstanceIds({
        runtimeStatus: [Status.COMPLETED], completedTimeFrom, pageSize: 2, lastInstanceKey,
      });
      assert.ok(page.values.length <= 2, "a page of more than two");
      listed.push(...page.values);
      lastInstanceKey = page.continuationToken;
    } while (lastInstanceKey);
    assert.deepEqual(listed.sort(), started.sort());
  });
});

feature("history", async (h) => {
  const orchestrators = {
    async *oneCall(ctx, name) {
      return yield ctx.callActivity("greet", name);
    },
  };
  await h.worker({ orchestrators, activities: { greet } }, async () => {
    const instance = await h.start("oneCall", "history");
    await h.end(instance);
    const events = await h.client.getOrchestrationHistory(instance);
    const types = events.map((event) => event.type).filter((type) => type !== "OrchestratorStarted");
    assert.deepEqual(types, [
      "ExecutionStarted", "TaskScheduled", "TaskCompleted", "ExecutionCompleted",
    ]);
    assert.deepEqual(await h.client.getOrchestrationHistory(fresh("nobody")), []);
  });
});

feature("scheduled-start", async (h) => {
  await h.worker({ orchestrators: { quick } }, async () => {
    const startAt = new Date(Date.now() + 2000);
    const instance = await h.start("quick", "ran", { startAt });
    const state = await h.client.getOrchestrationState(instance);
    assert.equal(state.runtimeStatus, Status.PENDING);
    const ended = await h.end(instance);
    assert.equal(outputOf(ended), "ran");
    assert.ok(ended.lastUpdatedAt >= startAt, "it ran too early");
  });
});

feature("restart", async (h) => {
  const orchestrators = {
    waiter,
    async *doubled(_ctx, value) {
      return value * 2;
    },
  };
  await h.worker({ orchestrators }, async () => {
    const instance = await h.start("doubled", 21);
    await h.end(instance);
    const again = await h.client.restartOrchestration(instance, true);
    assert.notEqual(again, instance);
    assert.equal(outputOf(await h.end(again)), 42);
    assert.equal(await h.client.restartOrchestration(instance), instance);
    assert.equal(outputOf(await h.end(instance)), 42);
    await assert.rejects(h.client.restartOrchestration(fresh("nobody")), /not found/);
    const running = await h.start("waiter");
    await h.started(running);
    await assert.rejects(h.client.restartOrchestration(running));
    await h.client.terminateOrchestration(running);
  });
});

feature("rewind", async (h) => {
  const calls = { good: 0, bad: 0 };
  let broken = true;
  const activities = {
    good: () => {
      calls.good += 1;
      return "good";
    },
    bad: () => {
      calls.bad += 1;
      if (broken) throw new Error("not yet");
      return "bad no more";
    },
  };
  const orchestrators = {
    async *both(ctx) {
      return [yield ctx.callActivity("good"), yield ctx.callActivity("bad")];
    },
    async *parent(ctx) {
      return yield ctx.callSubOrchestrator("both");
    },
  };
  await h.worker({ orchestrators, activities }, async () => {
    const instances = [await h.start("both"), await h.start("parent")];
    for (const instance of instances) {
      assert.equal((await h.end(instance)).runtimeStatus, Status.FAILED);
    }
    broken = false;
    for (const instance of instances) {
      await h.client.rewindInstance(instance, "repaired");
      assert.deepEqual(outputOf(await h.end(instance)), ["good", "bad no more"]);
    }
    assert.deepEqual(calls, { good: 2, bad: 4 }, "what had succeeded must not run again");
    await assert.rejects(h.client.rewindInstance(instances[0], "ended well"));
    await assert.rejects(h.client.rewindInstance(fresh("nobody"), "missing"), /not found/);
  });
});

feature("tags", async (h) => {
  const orchestrators = {
    async *tagged(ctx) {
      return yield ctx.callActivity("echo", "tagged", { tags: { step: "one" } });
    },
  };
  await h.worker({ orchestrators, activities: { echo } }, async () => {
    const tags = { team: "a", "ünï": "cödé" };
    const instance = await h.start("tagged", null, { tags });
    const state = await h.end(instance);
    assert.equal(outputOf(state), "tagged");
    assert.deepEqual(state.tags, tags);
    const events = await h.client.getOrchestrationHistory(instance);
    const scheduled = events.find((event) => event.type === "TaskScheduled");
    assert.deepEqual(scheduled.tags, { step: "one" });
  });
});

feature("versioning", async (h) => {
  const orchestrators = {
    async *versioned(ctx) {
      return ctx.version;
    },
  };
  const use = (version, matchStrategy, failureStrategy = VersionFailureStrategy.Fail) => ({
    orchestrators, versioning: { version, matchStrategy, failureStrategy },
  });
  const { CurrentOrOlder, Strict } = VersionMatchStrategy;
  await h.worker(use("1.2.0", CurrentOrOlder), async () => {
    assert.equal(await h.output("versioned", null, { version: "1.2.0" }), "1.2.0");
    assert.equal(await h.output("versioned", null, { version: "1.1.0" }), "1.1.0");
    const state = await h.run("versioned", null, { version: "1.3.0" });
    assert.equal(state.runtimeStatus, Status.FAILED);
    assert.equal(state.failureDetails.errorType, "VersionMismatch");
  });
  await h.worker(use("1.2.0", Strict), async () => {
    const state = await h.run("versioned", null, { version: "1.1.0" });
    assert.equal(state.runtimeStatus, Status.FAILED);
  });
  // A worker that rejects gives the work back, and one of the right version takes it.
  let instance;
  await h.worker(use("1.0.0", Strict, VersionFailureStrategy.Reject), async () => {
    instance = await h.start("versioned", null, { version: "2.0.0" });
    await assert.rejects(h.client.waitForOrchestrationCompletion(instance, true, 1.5));
  });
  await h.worker(use("2.0.0", Strict), async () => {
    assert.equal(outputOf(await h.end(instance)), "2.0.0");
  });
});

feature("filters", async (h) => {
  const orchestrators = {
    async *left(ctx) {
      return yield ctx.callActivity("onTheRight");
    },
  };
  const workItemFilters = "auto";
  await h.worker({ orchestrators, workItemFilters }, async () => {
    const instance = await h.start("left");
    const other = await h.start("of nobody here");
    await h.started(instance);
    await assert.rejects(h.client.waitForOrchestrationCompletion(instance, true, 1.5));
    const activities = { onTheRight: () => "right" };
    await h.worker({ activities, workItemFilters }, async () => {
      assert.equal(outputOf(await h.end(instance)), "right");
    });
    // What no worker asked for stays pending.
    const state = await h.client.getOrchestrationState(other);
    assert.equal(state.runtimeStatus, Status.PENDING);
    await h.client.terminateOrchestration(other);
  });
});

feature("large-payloads", async (h) => {
  const orchestrators = {
    async *carry(ctx, value) {
      return yield ctx.callActivity("echo", value);
    },
  };
  await h.worker({ orchestrators, activities: { echo } }, async () => {
    const big = "x".repeat(1_000_000);
    assert.ok((await h.output("carry", big)) === big, "the payload changed on the way");
  });
});

feature("too-large", async (h) => {
  const orchestrators = {
    async *grows(ctx) {
      for (let n = 0; n < 8; n += 1) yield ctx.callActivity("seven");
    },
    async *length(_ctx, value) {
      return value.length;
    },
  };
  const activities = { seven: () => "x".repeat(700_000) };
  await h.worker({ orchestrators, activities }, async () => {
    // More than a client takes by default: it ends with its reason, and others go on.
    const large = await h.start("grows");
    for (let n = 0; n < 20; n += 1) assert.equal(await h.output("length", "small"), 5);
    const state = await h.end(large);
    assert.equal(state.runtimeStatus, Status.FAILED);
    assert.equal(state.failureDetails.errorType, "WorkItemTooLarge");
    const most = 4 * 1024 * 1024 - 128 * 1024;
    const instance = await h.start("length", "x".repeat(most - 2));
    const ended = await h.client.waitForOrchestrationCompletion(instance, false, DEADLINE);
    assert.equal(ended.runtimeStatus, Status.COMPLETED);
    await assert.rejects(h.start("length", "x".repeat(most)), /INVALID_ARGUMENT/);
    // Pages hold no more than a client takes, however many instances it asks for.
    const prefix = fresh("page");
    for (let n = 0; n < 6; n += 1) {
      await h.start("length", "x".repeat(1_000_000), { instanceId: `${prefix}-${n}` });
    }
    let found = 0;
    const query = { instanceIdPrefix: prefix, fetchInputsAndOutputs: true };
    for await (const each of h.client.getAllInstances(query)) {
      found += Number(each.instanceId.startsWith(prefix));
    }
    assert.equal(found, 6);
  });
});

feature("purged-entity", async (h) => {
  class Slow extends TaskEntity {
    initializeState() {
      return 0;
    }

    async run() {
      await sleep(1000);
    }
  }
  const orchestrators = {
    async *caller(ctx, key) {
      try {
        yield ctx.entities.callEntity(new EntityInstanceId("slow", key), "run");
      } catch (error) {
        return error.message;
      }
      return "answered";
    },
  };
  await h.worker({ orchestrators, entities: { slow: () => new Slow() } }, async () => {
    const key = fresh("purged");
    const callers = [];
    for (let n = 0; n < 3; n += 1) callers.push(await h.start("caller", key));
    // The first call runs and the others wait.
    await sleep(500);
    const purged = await h.client.purgeOrchestration(`@slow@${key}`);
    assert.equal(purged.deletedInstanceCount, 1);
    for (const instance of callers) assert.match(outputOf(await h.end(instance)), /was purged/);
  });
});

feature("rejected", async (h) => {
  const versioning = {
    version: "1",
    defaultVersion: "1",
    matchStrategy: VersionMatchStrategy.Strict,
    failureStrategy: VersionFailureStrategy.Reject,
  };
  const orchestrators = { async *versioned() {} };
  await h.worker({ orchestrators, versioning }, async () => {
    const others = [];
    for (let n = 0; n < 20; n += 1) {
      others.push(await h.start("versioned", undefined, { version: "2" }));
    }
    // What is given back again and again keeps nothing else waiting.
    const begun = Date.now();
    for (let n = 0; n < 50; n += 1) {
      const state = await h.run("versioned", undefined, { version: "1" });
      assert.equal(state.runtimeStatus, Status.COMPLETED);
    }
    assert.ok(Date.now() - begun < 10_000, `${Date.now() - begun} ms`);
    for (const instance of others) {
      const state = await h.client.getOrchestrationState(instance);
      assert.equal(state.runtimeStatus, Status.PENDING);
      await h.client.terminateOrchestration(instance);
      assert.equal((await h.end(instance)).runtimeStatus, Status.TERMINATED);
    }
  });
});

feature("backlog", async (h) => {
  const orchestrators = {
    async *eats(ctx, left) {
      yield ctx.waitForExternalEvent("item");
      if (left > 1) ctx.continueAsNew(left - 1, true);
    },
  };
  const workOff = async (count) => {
    const instance = await h.start("eats", count);
    for (let n = 0; n < count; n += 1) await h.client.raiseOrchestrationEvent(instance, "item", n);
    const begun = Date.now();
    await h.worker({ orchestrators }, async () => {
      assert.equal((await h.end(instance)).runtimeStatus, Status.COMPLETED);
    });
    return Date.now() - begun;
  };
  await workOff(10);
  const few = await workOff(100);
  const many = await workOff(400);
  // Four times as many events: four times the cost, with room for a busy machine.
  assert.ok(many < 8 * few + 1000, `${few} and ${many} ms`);
});

feature("long-history", async (h) => {
  const orchestrators = {
    async *many(ctx, count) {
      let total = 0;
      for (let n = 0; n < count; n += 1) total += yield ctx.callActivity("echo", n);
      return total;
    },
  };
  await h.worker({ orchestrators, activities: { echo } }, async () => {
    assert.equal(await h.output("many", 300), 44850);
  });
});

/** Adds up what it is sent. */
class Counter extends TaskEntity {
  initializeState() {
    return 0;
  }

  add(value) {
    this.state += value;
    return this.state;
  }

  get() {
    return this.state;
  }

  fail() {
    this.state = -1;
    throw new Error("an operation that fails");
  }

  forward(key) {
    this.context.signalEntity(new EntityInstanceId("counter", key), "add", 100);
  }

  begin(instanceId) {
    return this.context.scheduleNewOrchestration("quick", "from an entity", { instanceId });
  }
}

const entities = { counter: () => new Counter() };
const counter = (key) => new EntityInstanceId("counter", key);
const stateOf = async (h, id) => (await h.client.getEntity(id))?.state;

feature("entity-signal", async (h) => {
  await h.worker({ orchestrators: { quick }, entities }, async () => {
    const [one, two] = [counter(fresh("one")), counter(fresh("two"))];
    for (let n = 1; n < 5; n += 1) await h.client.signalEntity(one, "add", n);
    await until(() => stateOf(h, one), (state) => state === 10);
    await h.client.signalEntity(one, "forward", two.key);
    await until(() => stateOf(h, two), (state) => state === 100);
    // A failed operation is rolled back and leaves the others alone.
    await h.client.signalEntity(one, "fail");
    await h.client.signalEntity(one, "add", 1);
    await until(() => stateOf(h, one), (state) => state === 11);
    const begun = fresh("begun");
    await h.client.signalEntity(one, "begin", begun);
    await h.untilStatus(begun, Status.COMPLETED);
  });
});

feature("entity-delayed-signal", async (h) => {
  await h.worker({ entities }, async () => {
    const later = counter(fresh("later"));
    const signalTime = new Date(Date.now() + 2000);
    await h.client.signalEntity(later, "add", 5, { signalTime });
    await until(() => stateOf(h, later), (state) => state === 5);
    assert.ok(new Date() >= signalTime, "it came early");
  });
});

feature("entity-call", async (h) => {
  const orchestrators = {
    async *caller(ctx, key) {
      ctx.entities.signalEntity(counter(key), "add", 1);
      yield ctx.entities.callEntity(counter(key), "add", 2);
      const total = yield ctx.entities.callEntity(counter(key), "get");
      try {
        yield ctx.entities.callEntity(counter(key), "fail");
      } catch (error) {
        return [total, yield ctx.entities.callEntity(counter(key), "get"), error.message];
      }
      return "the operation did not fail";
    },
  };
  await h.worker({ orchestrators, entities }, async () => {
    const [total, after, message] = await h.output("caller", fresh("called"));
    assert.deepEqual([total, after], [3, 3]);
    assert.match(message, /an operation that fails/);
  });
});

feature("entity-locks", async (h) => {
  const orchestrators = {
    async *transfer(ctx, keys) {
      const [left, right] = keys.map(counter);
      const lock = yield ctx.entities.lockEntities(left, right);
      try {
        const first = yield ctx.entities.callEntity(left, "get");
        yield ctx.createTimer(0.1);
        yield ctx.entities.callEntity(left, "add", 1);
        const second = yield ctx.entities.callEntity(left, "get");
        yield ctx.entities.callEntity(right, "add", 1);
        return second - first;
      } finally {
        lock.release();
      }
    },
  };
  await h.worker({ orchestrators, entities }, async () => {
    const keys = [fresh("left"), fresh("right")];
    // Opposite orders would deadlock if locks were not taken in one order.
    const orders = [keys, [...keys].reverse()];
    const runs = [];
    for (let n = 0; n < 6; n += 1) runs.push(await h.start("transfer", orders[n % 2]));
    for (const run of runs) assert.equal(outputOf(await h.end(run)), 1);
    for (const key of keys) assert.equal(await stateOf(h, counter(key)), 6);
  });
});

feature("entity-query", async (h) => {
  await h.worker({ entities }, async () => {
    const prefix = fresh("q");
    const ids = [0, 1, 2, 3, 4].map((n) => counter(`${prefix}-${n}`));
    for (const [n, id] of ids.entries()) await h.client.signalEntity(id, "add", n);
    for (const [n, id] of ids.entries()) {
      await until(() => stateOf(h, id), (state) => state === n);
    }
    for (const pageSize of [undefined, 2]) {
      const found = [];
      const query = { instanceIdStartsWith: `@counter@${prefix}`, includeState: true, pageSize };
      for await (const entity of h.client.getEntities(query)) {
        found.push([entity.id.toString(), entity.state]);
      }
      assert.deepEqual(found.sort(), ids.map((id, n) => [id.toString(), n]));
    }
    await h.client.signalEntity(ids[0], "delete");
    await until(() => h.client.getEntity(ids[0]), (entity) => entity === undefined);
    await h.client.cleanEntityStorage();
  });
});

feature("task-hubs", async (h) => {
  const instanceId = fresh("same-id");
  const orchestrators = { quick };
  for (const name of [fresh("hub-a"), fresh("hub-b")]) {
    const hub = new Harness(h.connection, name);
    await hub.worker({ orchestrators }, async () => {
      assert.equal(await hub.output("quick", name, { instanceId }), name);
      const seen = [];
      for await (const state of hub.client.getAllInstances()) seen.push(state.instanceId);
      assert.deepEqual(seen, [instanceId]);
    });
    await hub.client.stop();
  }
  assert.equal(await h.client.getOrchestrationState(instanceId), undefined);
});

main(process.argv.slice(2));
