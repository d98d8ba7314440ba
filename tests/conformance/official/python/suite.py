"""The official Python packages against a scheduler: one function per feature."""

import json
import logging
import threading
import time

from durabletask import client, entities, task, worker
from durabletask.entities import DurableEntity, EntityInstanceId
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.scheduled import (
    ScheduleCreationOptions, ScheduledTaskClient, ScheduleQuery, ScheduleStatus)

from harness import (
    DEADLINE, AzureManaged, Harness, Skip, Status, equal, feature, fresh, main, now, raises,
    seconds, until)


def greet(_ctx, name):
    return f"Hello, {name}!"


def echo(_ctx, value):
    return value


@feature("chaining")
def chaining(h: Harness):
    def sequence(ctx, start):
        value = start
        for _ in range(5):
            value = yield ctx.call_activity(add_one, input=value)
        return value

    def add_one(_ctx, value):
        return value + 1

    with h.worker([sequence], [add_one]):
        equal(h.output(sequence, input=10), 15)


@feature("fan-out")
def fan_out(h: Harness):
    def spread(ctx, count):
        values = yield task.when_all([ctx.call_activity(square, input=n) for n in range(count)])
        first = yield task.when_any([ctx.call_activity(square, input=n) for n in (2, 3)])
        return [sum(values), first.get_result() in (4, 9)]

    def square(_ctx, value):
        return value * value

    with h.worker([spread], [square]):
        equal(h.output(spread, input=50), [sum(n * n for n in range(50)), True])


@feature("timers")
def timers(h: Harness):
    def sleeper(ctx, delay):
        before = ctx.current_utc_datetime
        yield ctx.create_timer(seconds(delay))
        return (ctx.current_utc_datetime - before).total_seconds()

    def zero(ctx, _):
        yield ctx.create_timer(ctx.current_utc_datetime)
        return "due at once"

    with h.worker([sleeper, zero]):
        slept = h.output(sleeper, input=1.5)
        assert 1.5 <= slept < DEADLINE, slept
        equal(h.output(zero), "due at once")


@feature("external-events")
def external_events(h: Harness):
    def collect(ctx, count):
        got = []
        for _ in range(count):
            got.append((yield ctx.wait_for_external_event("Item")))
        return got

    def impatient(ctx, _):
        event = ctx.wait_for_external_event("never")
        winner = yield task.when_any([event, ctx.create_timer(seconds(0.5))])
        return "event" if winner is event else "timeout"

    with h.worker([collect, impatient]):
        instance = h.start(collect, input=3)
        for n in range(3):
            # Names of events are compared without regard to case.
            h.client.raise_orchestration_event(instance, "item", data={"n": n})
        equal(h.end(instance).get_output(), [{"n": 0}, {"n": 1}, {"n": 2}])
        equal(h.output(impatient), "timeout")
    # An event that is raised before the instance has run is kept for it.
    early = h.start(collect, input=1)
    h.client.raise_orchestration_event(early, "Item", data="early")
    with h.worker([collect, impatient]):
        equal(h.end(early).get_output(), ["early"])


@feature("send-event")
def send_event(h: Harness):
    def receiver(ctx, _):
        return (yield ctx.wait_for_external_event("ping"))

    def sender(ctx, target):
        ctx.send_event(target, "ping", data={"from": ctx.instance_id})
        return "sent"

    with h.worker([receiver, sender]):
        waiting = h.start(receiver)
        h.client.wait_for_orchestration_start(waiting, timeout=DEADLINE)
        sent_by = fresh("sender")
        equal(h.output(sender, input=waiting, instance_id=sent_by), "sent")
        equal(h.end(waiting).get_output(), {"from": sent_by})


@feature("sub-orchestrations")
def sub_orchestrations(h: Harness):
    def parent(ctx, names):
        together = yield task.when_all(
            [ctx.call_sub_orchestrator(child, input=name) for name in names])
        named = yield ctx.call_sub_orchestrator(
            child, input="named", instance_id=f"{ctx.instance_id}-child")
        try:
            yield ctx.call_sub_orchestrator(broken)
        except task.TaskFailedError as error:
            return together + [named, error.details.message]

    def child(ctx, name):
        greeting = yield ctx.call_activity(greet, input=name)
        return [greeting, ctx.parent_instance_id]

    def broken(ctx, _):
        raise ValueError("this child fails")

    with h.worker([parent, child, broken], [greet]):
        instance = fresh("parent")
        got = h.output(parent, input=["a", "b"], instance_id=instance)
        equal(got[:3], [[f"Hello, {name}!", instance] for name in ("a", "b", "named")])
        assert "this child fails" in got[3], got[3]
        named = h.client.get_orchestration_state(f"{instance}-child")
        equal(named.runtime_status, Status.COMPLETED)


@feature("continue-as-new")
def continue_as_new(h: Harness):
    def counter(ctx, state):
        yield ctx.call_activity(echo, input=state["n"])
        if state["n"] < 20:
            ctx.continue_as_new({"n": state["n"] + 1})
            return None
        return state["n"]

    with h.worker([counter], [echo]):
        equal(h.output(counter, input={"n": 1}), 20)


@feature("continue-as-new-events")
def continue_as_new_events(h: Harness):
    def gatherer(ctx, got):
        got.append((yield ctx.wait_for_external_event("item")))
        if len(got) < 5:
            ctx.continue_as_new(got, save_events=True)
            return None
        return got

    with h.worker([gatherer]):
        instance = h.start(gatherer, input=[])
        for n in range(5):
            h.client.raise_orchestration_event(instance, "item", data=n)
        # All five arrive, also those that were there when a generation ended.
        equal(h.end(instance).get_output(), [0, 1, 2, 3, 4])


@feature("custom-status")
def custom_status(h: Harness):
    def reporter(ctx, _):
        ctx.set_custom_status({"step": 1})
        yield ctx.wait_for_external_event("go")
        ctx.set_custom_status({"step": 2})
        return None

    with h.worker([reporter]):
        instance = h.start(reporter)
        until(lambda: h.client.get_orchestration_state(instance).get_custom_status(),
              lambda status: status == {"step": 1})
        h.client.raise_orchestration_event(instance, "go")
        equal(h.end(instance).get_custom_status(), {"step": 2})


@feature("retries")
def retries(h: Harness):
    policy = task.RetryPolicy(
        first_retry_interval=seconds(0.1), max_number_of_attempts=3, backoff_coefficient=2)
    calls = {}

    def flaky(_ctx, key):
        calls[key] = calls.get(key, 0) + 1
        if key == "never" or calls[key] < 3:
            raise RuntimeError(f"attempt {calls[key]}")
        return calls[key]

    def flaky_child(ctx, key):
        return flaky(None, key)

    def caller(ctx, key):
        return (yield ctx.call_activity(flaky, input=key, retry_policy=policy))

    def parent(ctx, key):
        return (yield ctx.call_sub_orchestrator(flaky_child, input=key, retry_policy=policy))

    with h.worker([caller, parent, flaky_child], [flaky]):
        equal(h.output(caller, input="third"), 3)
        equal(h.output(parent, input="child"), 3)
        state = h.run(caller, input="never")
        equal(state.runtime_status, Status.FAILED)
        assert "attempt 3" in state.failure_details.message, state.failure_details
        equal(calls, {"third": 3, "child": 3, "never": 3})


@feature("failures")
def failures(h: Harness):
    def thrower(_ctx, _):
        raise KeyError("no such thing")

    def fails(ctx, _):
        yield ctx.call_activity(thrower)

    def unknown(ctx, _):
        yield ctx.call_activity("nobody registered this")

    with h.worker([fails, unknown], [thrower]):
        state = h.run(fails)
        equal(state.runtime_status, Status.FAILED)
        assert "no such thing" in state.failure_details.message, state.failure_details
        assert state.failure_details.stack_trace, "no stack trace"
        error = raises(state.raise_if_failed)
        assert isinstance(error, client.OrchestrationFailedError), error
        equal(h.run(unknown).runtime_status, Status.FAILED)
        equal(h.run("nobody registered this either").runtime_status, Status.FAILED)


@feature("suspend-resume")
def suspend_resume(h: Harness):
    def waiter(ctx, _):
        return (yield ctx.wait_for_external_event("go"))

    with h.worker([waiter]):
        instance = h.start(waiter)
        h.client.wait_for_orchestration_start(instance, timeout=DEADLINE)
        h.client.suspend_orchestration(instance, reason="hold on")
        h.until_status(instance, Status.SUSPENDED)
        h.client.suspend_orchestration(instance)
        h.client.raise_orchestration_event(instance, "go", data=7)
        error = raises(lambda: h.client.wait_for_orchestration_completion(instance, timeout=1.5))
        assert isinstance(error, TimeoutError), error
        equal(h.client.get_orchestration_state(instance).runtime_status, Status.SUSPENDED)
        h.client.resume_orchestration(instance)
        equal(h.end(instance).get_output(), 7)


@feature("terminate")
def terminate(h: Harness):
    def waiter(ctx, _):
        yield ctx.wait_for_external_event("never")

    with h.worker([waiter]):
        instance = h.start(waiter)
        h.client.wait_for_orchestration_start(instance, timeout=DEADLINE)
        h.client.terminate_orchestration(instance, output={"why": "enough"})
        state = h.end(instance)
        equal(state.runtime_status, Status.TERMINATED)
        equal(state.get_output(), {"why": "enough"})


@feature("terminate-suspended")
def terminate_suspended(h: Harness):
    def waiter(ctx, _):
        yield ctx.wait_for_external_event("never")

    with h.worker([waiter]):
        suspended = h.start(waiter)
        h.client.wait_for_orchestration_start(suspended, timeout=DEADLINE)
        h.client.suspend_orchestration(suspended)
        h.until_status(suspended, Status.SUSPENDED)
        h.client.terminate_orchestration(suspended)
        equal(h.end(suspended).runtime_status, Status.TERMINATED)


@feature("untaken")
def untaken(h: Harness):
    instance = h.start("nobody has this")
    for _ in range(2):
        h.client.suspend_orchestration(instance)
        equal(h.client.get_orchestration_state(instance).runtime_status, Status.SUSPENDED)
        h.client.resume_orchestration(instance)
        equal(h.client.get_orchestration_state(instance).runtime_status, Status.PENDING)
    h.client.terminate_orchestration(instance, output="enough")
    state = h.client.get_orchestration_state(instance)
    equal(state.runtime_status, Status.TERMINATED)
    equal(state.get_output(), "enough")
    equal(h.client.purge_orchestration(instance).deleted_instance_count, 1)


@feature("loop-commands")
def loop_commands(h: Harness):
    def gatherer(ctx, got):
        got.append((yield ctx.wait_for_external_event("item")))
        if len(got) < 3:
            ctx.continue_as_new(got, save_events=True)
            return None
        return got

    def busy(ctx, count):
        yield ctx.wait_for_external_event("item")
        ctx.continue_as_new(count + 1, save_events=True)

    with h.worker([gatherer]):
        instance = h.start(gatherer, input=[])
        h.client.wait_for_orchestration_start(instance, timeout=DEADLINE)
    h.client.raise_orchestration_event(instance, "item", data=1)
    h.client.suspend_orchestration(instance)
    for n in (2, 3):
        h.client.raise_orchestration_event(instance, "item", data=n)
    with h.worker([gatherer, busy]):
        until(lambda: h.client.get_orchestration_state(instance),
              lambda state: state.serialized_input == "[1]")
        equal(h.client.get_orchestration_state(instance).runtime_status, Status.SUSPENDED)
        h.client.resume_orchestration(instance)
        equal(h.end(instance).get_output(), [1, 2, 3])

        loops = [h.start(busy, input=0) for _ in range(10)]
        for instance in loops:
            for n in range(10):
                h.client.raise_orchestration_event(instance, "item", data=n)
            h.client.terminate_orchestration(instance, output="enough")
            for n in range(3):
                h.client.raise_orchestration_event(instance, "item", data=n)
        for instance in loops:
            state = h.end(instance)
            equal(state.runtime_status, Status.TERMINATED)
            equal(state.get_output(), "enough")


def family(ctx, depth):
    """A chain of sub-orchestrations whose last one waits for an event."""
    if depth == 0:
        yield ctx.wait_for_external_event("go")
        return
    yield ctx.call_sub_orchestrator(
        family, input=depth - 1, instance_id=f"{ctx.instance_id}+")


@feature("terminate-recursive")
def terminate_recursive(h: Harness):
    with h.worker([family]):
        root = fresh("family")
        h.start(family, input=2, instance_id=root)
        h.until_status(f"{root}++", Status.RUNNING)
        h.client.terminate_orchestration(root, recursive=True)
        for instance in (root, f"{root}+", f"{root}++"):
            equal(h.end(instance).runtime_status, Status.TERMINATED)
        root = fresh("family")
        h.start(family, input=1, instance_id=root)
        h.until_status(f"{root}+", Status.RUNNING)
        h.client.terminate_orchestration(root, recursive=False)
        equal(h.end(root).runtime_status, Status.TERMINATED)
        equal(h.client.get_orchestration_state(f"{root}+").runtime_status, Status.RUNNING)
        h.client.raise_orchestration_event(f"{root}+", "go")
        equal(h.end(f"{root}+").runtime_status, Status.COMPLETED)


@feature("purge")
def purge(h: Harness):
    def waiter(ctx, _):
        yield ctx.wait_for_external_event("go")

    with h.worker([waiter]):
        instance = h.start(waiter)
        h.client.wait_for_orchestration_start(instance, timeout=DEADLINE)
        equal(h.client.purge_orchestration(instance).deleted_instance_count, 0, "it is running")
        h.client.raise_orchestration_event(instance, "go")
        h.end(instance)
        equal(h.client.purge_orchestration(instance).deleted_instance_count, 1)
        equal(h.client.get_orchestration_state(instance), None)
        equal(h.client.purge_orchestration(instance).deleted_instance_count, 0, "it is gone")


@feature("purge-filter")
def purge_filter(h: Harness):
    def quick(ctx, fail):
        if fail:
            raise ValueError("asked to fail")

    with h.worker([quick]):
        begun = now()
        good = [h.start(quick, input=False) for _ in range(3)]
        bad = [h.start(quick, input=True) for _ in range(2)]
        for instance in good + bad:
            h.end(instance)
        result = h.client.purge_orchestrations_by(
            created_time_from=begun, created_time_to=now(), runtime_status=[Status.FAILED])
        equal(result.deleted_instance_count, 2)
        for instance in bad:
            equal(h.client.get_orchestration_state(instance), None)
        for instance in good:
            assert h.client.get_orchestration_state(instance) is not None
        result = h.client.purge_orchestrations_by(created_time_from=begun)
        equal(result.deleted_instance_count, 3)


@feature("purge-recursive")
def purge_recursive(h: Harness):
    with h.worker([family]):
        for recursive, left in ((True, False), (False, True)):
            root = fresh("family")
            h.start(family, input=1, instance_id=root)
            h.until_status(f"{root}+", Status.RUNNING)
            h.client.raise_orchestration_event(f"{root}+", "go")
            h.end(root)
            count = h.client.purge_orchestration(root, recursive=recursive).deleted_instance_count
            equal(count, 2 if recursive else 1)
            equal(h.client.get_orchestration_state(f"{root}+") is not None, left)


@feature("query")
def query(h: Harness):
    def quick(ctx, value):
        if value == "fail":
            raise ValueError("asked to fail")
        return value

    prefix = fresh("query")
    with h.worker([quick]):
        begun = now()
        for n in range(7):
            h.start(quick, input=f"v{n}", instance_id=f"{prefix}-{n}")
        h.start(quick, input="fail", instance_id=f"{prefix}-bad")
        for n in range(7):
            h.end(f"{prefix}-{n}")
        h.end(f"{prefix}-bad")

        def found(**options):
            states = h.client.get_all_orchestration_states(
                client.OrchestrationQuery(instance_id_prefix=prefix, **options))
            return sorted(state.instance_id.removeprefix(f"{prefix}-") for state in states)

        everything = [str(n) for n in range(7)] + ["bad"]
        equal(found(), everything)
        equal(found(max_instance_count=2), everything, "in pages of two")
        equal(found(runtime_status=[Status.FAILED]), ["bad"])
        equal(found(created_time_from=begun, created_time_to=now()), everything)
        equal(found(created_time_to=begun), [])
        states = h.client.get_all_orchestration_states(client.OrchestrationQuery(
            instance_id_prefix=f"{prefix}-3", fetch_inputs_and_outputs=True))
        equal([state.get_output() for state in states], ["v3"])


@feature("list-ids")
def list_ids(h: Harness):
    def quick(ctx, _):
        return None

    with h.worker([quick]):
        begun = now()
        started = [h.start(quick) for _ in range(5)]
        for instance in started:
            h.end(instance)
        listed, token = [], None
        while True:
            page = h.client.list_instance_ids(
                runtime_status=[Status.COMPLETED], completed_time_from=begun,
                page_size=2, continuation_token=token)
            assert len(page.items) <= 2, page
            listed += page.items
            token = page.continuation_token
            if not token:
                break
        equal(sorted(listed), sorted(started))


@feature("history")
def history(h: Harness):
    def one_call(ctx, name):
        return (yield ctx.call_activity(greet, input=name))

    with h.worker([one_call], [greet]):
        instance = h.start(one_call, input="history")
        h.end(instance)
        events = [type(event).__name__ for event in h.client.get_orchestration_history(instance)]
        expected = ["ExecutionStartedEvent", "TaskScheduledEvent", "TaskCompletedEvent",
                    "ExecutionCompletedEvent"]
        equal([name for name in events if name in expected], expected, events)


@feature("scheduled-start")
def scheduled_start(h: Harness):
    def quick(ctx, _):
        return "ran"

    with h.worker([quick]):
        due = now() + seconds(2)
        instance = h.start(quick, start_at=due)
        equal(h.client.get_orchestration_state(instance).runtime_status, Status.PENDING)
        state = h.end(instance)
        equal(state.get_output(), "ran")
        assert state.last_updated_at.replace(tzinfo=due.tzinfo) >= due, (state, due)


@feature("id-reuse")
def id_reuse(h: Harness):
    def waiter(ctx, value):
        yield ctx.wait_for_external_event("go")
        return value

    def policy(*statuses):
        return pb.OrchestrationIdReusePolicy(replaceableStatus=[s.value for s in statuses])

    with h.worker([waiter]):
        instance = h.start(waiter, input=1)
        h.client.wait_for_orchestration_start(instance, timeout=DEADLINE)
        raises(lambda: h.start(waiter, input=2, instance_id=instance), containing="ALREADY_EXISTS")
        h.start(waiter, input=3, instance_id=instance,
                reuse_id_policy=policy(Status.RUNNING, Status.PENDING, Status.TERMINATED))
        until(lambda: h.client.get_orchestration_state(instance).get_input(), lambda v: v == 3)
        h.client.raise_orchestration_event(instance, "go")
        equal(h.end(instance).get_output(), 3)
        raises(lambda: h.start(waiter, input=4, instance_id=instance,
                               reuse_id_policy=policy(Status.FAILED)), containing="ALREADY_EXISTS")
        h.start(waiter, input=5, instance_id=instance, reuse_id_policy=policy(Status.COMPLETED))
        h.client.raise_orchestration_event(instance, "go")
        equal(h.end(instance).get_output(), 5)


@feature("restart")
def restart(h: Harness):
    def doubled(ctx, value):
        return value * 2

    def waiter(ctx, _):
        yield ctx.wait_for_external_event("go")

    with h.worker([doubled, waiter]):
        instance = h.start(doubled, input=21)
        h.end(instance)
        again = h.client.restart_orchestration(instance, restart_with_new_instance_id=True)
        assert again != instance, again
        equal(h.end(again).get_output(), 42)
        h.client.purge_orchestration(again)
        equal(h.client.restart_orchestration(instance), instance)
        equal(h.end(instance).get_output(), 42)
        raises(lambda: h.client.restart_orchestration(fresh("nobody")), containing="NOT_FOUND")
        running = h.start(waiter)
        h.client.wait_for_orchestration_start(running, timeout=DEADLINE)
        raises(lambda: h.client.restart_orchestration(running))
        h.client.terminate_orchestration(running)


@feature("rewind")
def rewind(h: Harness):
    calls = {"good": 0, "bad": 0}
    broken = threading.Event()
    broken.set()

    def good(_ctx, _):
        calls["good"] += 1
        return "good"

    def bad(_ctx, _):
        calls["bad"] += 1
        if broken.is_set():
            raise RuntimeError("not yet")
        return "bad no more"

    def both(ctx, _):
        first = yield ctx.call_activity(good)
        second = yield ctx.call_activity(bad)
        return [first, second]

    def parent(ctx, _):
        return (yield ctx.call_sub_orchestrator(both))

    with h.worker([both, parent], [good, bad]):
        direct, nested = h.start(both), h.start(parent)
        equal(h.end(direct).runtime_status, Status.FAILED)
        equal(h.end(nested).runtime_status, Status.FAILED)
        broken.clear()
        for instance in (direct, nested):
            h.client.rewind_orchestration(instance, reason="repaired")
            state = h.end(instance)
            equal(state.runtime_status, Status.COMPLETED, state.failure_details)
            equal(state.get_output(), ["good", "bad no more"])
        equal(calls, {"good": 2, "bad": 4}, "what had succeeded must not run again")
        raises(lambda: h.client.rewind_orchestration(direct), containing="FAILED_PRECONDITION")
        raises(lambda: h.client.rewind_orchestration(fresh("nobody")), containing="NOT_FOUND")


@feature("tags")
def tags(h: Harness):
    def quick(ctx, _):
        return (yield ctx.call_activity(echo, input="tagged", tags={"step": "one"}))

    with h.worker([quick], [echo]):
        instance = h.start(quick, tags={"team": "a", "ünï": "cödé"})
        equal(h.end(instance).get_output(), "tagged")
        events = h.client.get_orchestration_history(instance)
        started = next(e for e in events if type(e).__name__ == "ExecutionStartedEvent")
        equal(dict(started.tags), {"team": "a", "ünï": "cödé"})
        scheduled = next(e for e in events if type(e).__name__ == "TaskScheduledEvent")
        equal(dict(scheduled.tags), {"step": "one"})


@feature("versioning")
def versioning(h: Harness):
    def versioned(ctx, _):
        return ctx.version

    def use(version, match, failure=worker.VersionFailureStrategy.FAIL):
        return lambda w: w.use_versioning(worker.VersioningOptions(
            version=version, default_version=version, match_strategy=match,
            failure_strategy=failure))

    strict = worker.VersionMatchStrategy.STRICT
    older = worker.VersionMatchStrategy.CURRENT_OR_OLDER
    with h.worker([versioned], setup=use("1.2.0", older)):
        equal(h.output(versioned, version="1.2.0"), "1.2.0")
        equal(h.output(versioned, version="1.1.0"), "1.1.0")
        state = h.run(versioned, version="1.3.0")
        equal(state.runtime_status, Status.FAILED)
        equal(state.failure_details.error_type, "VersionMismatch")
    with h.worker([versioned], setup=use("1.2.0", strict)):
        equal(h.run(versioned, version="1.1.0").runtime_status, Status.FAILED)
    # A worker that rejects gives the work back, and one of the right version takes it.
    with h.worker([versioned], setup=use("1", strict, worker.VersionFailureStrategy.REJECT)):
        instance = h.start(versioned, version="2")
        raises(lambda: h.client.wait_for_orchestration_completion(instance, timeout=1.5))
    with h.worker([versioned], setup=use("2", strict)):
        equal(h.end(instance).get_output(), "2")


@feature("filters")
def filters(h: Harness):
    def left(ctx, _):
        return (yield ctx.call_activity(on_the_right))

    def on_the_right(_ctx, _):
        return "right"

    def auto(w):
        w.use_work_item_filters()

    with h.worker([left], setup=auto):
        instance = h.start(left)
        other = h.start("of nobody here")
        h.client.wait_for_orchestration_start(instance, timeout=DEADLINE)
        raises(lambda: h.client.wait_for_orchestration_completion(instance, timeout=1.5))
        with h.worker([], [on_the_right], setup=auto):
            equal(h.end(instance).get_output(), "right")
        # What no worker asked for stays pending.
        equal(h.client.get_orchestration_state(other).runtime_status, Status.PENDING)
        h.client.terminate_orchestration(other)


@feature("large-payloads")
def large_payloads(h: Harness):
    big = "x" * 1_000_000

    def carry(ctx, value):
        return (yield ctx.call_activity(echo, input=value))

    with h.worker([carry], [echo]):
        equal(h.output(carry, input=big) == big, True)


@feature("too-large")
def too_large(h: Harness):
    def seven(_ctx, _):
        return "x" * 700_000

    def grows(ctx, _):
        for _ in range(8):
            yield ctx.call_activity(seven)

    def quick(ctx, value):
        return len(value)

    with h.worker([grows, quick], [seven]):
        # More than a client takes by default: it ends with its reason, and others go on.
        large = h.start(grows)
        for _ in range(20):
            equal(h.output(quick, input="small"), 5)
        state = h.end(large)
        equal(state.runtime_status, Status.FAILED)
        equal(state.failure_details.error_type, "WorkItemTooLarge")
        most = 4 * 1024 * 1024 - 128 * 1024
        equal(h.output(quick, input="x" * (most - 2)), most - 2)
        raises(lambda: h.start(quick, input="x" * most), containing="INVALID_ARGUMENT")
        # Pages hold no more than a client takes, however many instances it asks for.
        prefix = fresh("page")
        for n in range(6):
            h.start(quick, input="x" * 1_000_000, instance_id=f"{prefix}-{n}")
        found = h.client.get_all_orchestration_states(client.OrchestrationQuery(
            fetch_inputs_and_outputs=True))
        equal(sum(state.instance_id.startswith(prefix) for state in found), 6)


@feature("purged-entity")
def purged_entity(h: Harness):
    class Slow(DurableEntity):
        def run(self, _=None):
            time.sleep(1)

    def caller(ctx, key):
        try:
            yield ctx.call_entity(EntityInstanceId("Slow", key), "run")
        except Exception as error:
            return str(error)
        return "answered"

    with h.worker([caller], entities=[Slow]):
        key = fresh("purged")
        callers = [h.start(caller, input=key) for _ in range(3)]
        # The first call runs and the others wait.
        time.sleep(0.5)
        equal(h.client.purge_orchestration(f"@slow@{key}").deleted_instance_count, 1)
        for instance in callers:
            assert "was purged" in h.end(instance).get_output(), h.end(instance)


@feature("rejected")
def rejected(h: Harness):
    def versioned(ctx, _):
        return None

    options = worker.VersioningOptions(
        version="1", default_version="1", match_strategy=worker.VersionMatchStrategy.STRICT,
        failure_strategy=worker.VersionFailureStrategy.REJECT)
    with h.worker([versioned], setup=lambda w: w.use_versioning(options)):
        others = [h.start(versioned, version="2") for _ in range(20)]
        # What is given back again and again keeps nothing else waiting.
        begun = time.monotonic()
        for _ in range(50):
            equal(h.run(versioned, version="1").runtime_status, Status.COMPLETED)
        assert time.monotonic() - begun < 10, time.monotonic() - begun
        for instance in others:
            equal(h.client.get_orchestration_state(instance).runtime_status, Status.PENDING)
            h.client.terminate_orchestration(instance)
            equal(h.end(instance).runtime_status, Status.TERMINATED)


@feature("backlog")
def backlog(h: Harness):
    def eats(ctx, left):
        yield ctx.wait_for_external_event("item")
        if left > 1:
            ctx.continue_as_new(left - 1, save_events=True)

    def work_off(count):
        instance = h.start(eats, input=count)
        for n in range(count):
            h.client.raise_orchestration_event(instance, "item", data=n)
        begun = time.monotonic()
        with h.worker([eats]):
            equal(h.end(instance).runtime_status, Status.COMPLETED)
            return time.monotonic() - begun

    work_off(10)
    few, many = work_off(100), work_off(400)
    # Four times as many events: four times the cost, with room for a busy machine.
    assert many < 8 * few + 1, (few, many)


@feature("long-history")
def long_history(h: Harness):
    def many(ctx, count):
        total = 0
        for n in range(count):
            total += yield ctx.call_activity(echo, input=n)
        return total

    with h.worker([many], [echo]):
        equal(h.output(many, input=300), sum(range(300)))


class Counter(DurableEntity):
    """Adds up what it is sent."""

    def add(self, value):
        self.set_state(self.get_state(int, 0) + value)
        return self.get_state(int, 0)

    def get(self, _=None):
        return self.get_state(int, 0)

    def fail(self, _=None):
        self.set_state(-1)
        raise ValueError("an operation that fails")

    def forward(self, key):
        self.signal_entity(EntityInstanceId("Counter", key), "add", 100)

    def begin(self, instance):
        return self.schedule_new_orchestration("begun_by_entity", input="from", instance_id=instance)


def state_of(h, entity):
    found = h.client.get_entity(entity)
    return None if found is None else found.get_typed_state(int)


@feature("entity-signal")
def entity_signal(h: Harness):
    def begun_by_entity(ctx, value):
        return value

    with h.worker([begun_by_entity], entities=[Counter]):
        one, two = (EntityInstanceId("Counter", fresh(key)) for key in ("one", "two"))
        for n in range(1, 5):
            h.client.signal_entity(one, "add", n)
        until(lambda: state_of(h, one), lambda state: state == 10)
        h.client.signal_entity(one, "forward", two.key)
        until(lambda: state_of(h, two), lambda state: state == 100)
        # A failed operation is rolled back and leaves the others alone.
        h.client.signal_entity(one, "fail")
        h.client.signal_entity(one, "add", 1)
        until(lambda: state_of(h, one), lambda state: state == 11)
        begun = fresh("begun")
        h.client.signal_entity(one, "begin", begun)
        until(lambda: h.client.get_orchestration_state(begun),
              lambda state: state is not None and state.runtime_status == Status.COMPLETED)


@feature("entity-delayed-signal")
def entity_delayed_signal(h: Harness):
    with h.worker(entities=[Counter]):
        counter = EntityInstanceId("Counter", fresh("later"))
        due = now() + seconds(2)
        h.client.signal_entity(counter, "add", 5, signal_time=due)
        until(lambda: state_of(h, counter), lambda state: state == 5)
        assert now() >= due, "it came early"


@feature("entity-call")
def entity_call(h: Harness):
    def caller(ctx, key):
        counter = EntityInstanceId("Counter", key)
        ctx.signal_entity(counter, "add", 1)
        yield ctx.call_entity(counter, "add", 2)
        total = yield ctx.call_entity(counter, "get")
        try:
            yield ctx.call_entity(counter, "fail")
        except Exception as error:
            after = yield ctx.call_entity(counter, "get")
            return [total, after, str(error)]

    with h.worker([caller], entities=[Counter]):
        total, after, error = h.output(caller, input=fresh("called"))
        equal([total, after], [3, 3])
        assert "an operation that fails" in error, error


@feature("entity-locks")
def entity_locks(h: Harness):
    def transfer(ctx, keys):
        pair = [EntityInstanceId("Counter", key) for key in keys]
        with (yield ctx.lock_entities(pair)):
            first = yield ctx.call_entity(pair[0], "get")
            yield ctx.create_timer(seconds(0.1))
            yield ctx.call_entity(pair[0], "add", 1)
            second = yield ctx.call_entity(pair[0], "get")
            yield ctx.call_entity(pair[1], "add", 1)
        return second - first

    with h.worker([transfer], entities=[Counter]):
        keys = [fresh("left"), fresh("right")]
        # Opposite orders would deadlock if locks were not taken in one order.
        runs = [h.start(transfer, input=keys if n % 2 else keys[::-1]) for n in range(6)]
        equal([h.end(run).get_output() for run in runs], [1] * 6)
        for key in keys:
            equal(state_of(h, EntityInstanceId("Counter", key)), 6)


@feature("entity-query")
def entity_query(h: Harness):
    with h.worker(entities=[Counter]):
        prefix = fresh("q")
        ids = [EntityInstanceId("Counter", f"{prefix}-{n}") for n in range(5)]
        for n, entity in enumerate(ids):
            h.client.signal_entity(entity, "add", n)
        for n, entity in enumerate(ids):
            until(lambda: state_of(h, entity), lambda state: state == n)
        for page in (None, 2):
            found = h.client.get_all_entities(client.EntityQuery(
                instance_id_starts_with=f"@counter@{prefix}", page_size=page))
            equal(sorted(str(e.id) for e in found), sorted(str(e) for e in ids))
            equal(sorted(e.get_typed_state(int) for e in found), [0, 1, 2, 3, 4])
        orchestrations = h.client.get_all_orchestration_states()
        equal([s.instance_id for s in orchestrations if s.instance_id.startswith("@")], [])
        h.client.signal_entity(ids[0], "delete")
        until(lambda: h.client.get_entity(ids[0]), lambda found: found is None)
        h.client.clean_entity_storage()


@feature("schedules")
def schedules(h: Harness):
    ran = []

    def tick(ctx, value):
        if not ctx.is_replaying:
            ran.append(value)

    with h.worker([tick], setup=lambda w: w.configure_scheduled_tasks()):
        scheduled = ScheduledTaskClient(h.client)
        name = fresh("schedule")
        schedule = scheduled.create_schedule(ScheduleCreationOptions(
            schedule_id=name, orchestration_name="tick", interval=seconds(1),
            orchestration_input="tock", start_at=now(), start_immediately_if_late=True))
        until(lambda: list(ran), lambda got: got[:2] == ["tock", "tock"])
        equal(schedule.describe().status, ScheduleStatus.ACTIVE)
        assert name in [s.schedule_id for s in scheduled.list_schedules(ScheduleQuery())]
        schedule.pause()
        until(lambda: schedule.describe().status, lambda s: s == ScheduleStatus.PAUSED)
        schedule.delete()


@feature("task-hubs")
def task_hubs(h: Harness):
    if not isinstance(h.package, AzureManaged):
        raise Skip

    def where(ctx, hub):
        return hub

    instance, hubs = fresh("same-id"), [fresh("hub-a"), fresh("hub-b")]
    for hub in hubs:
        w = h.package.worker(hub=hub)
        w.add_orchestrator(where)
        with w:
            w.start()
            c = h.package.client(hub=hub)
            c.schedule_new_orchestration(where, input=hub, instance_id=instance)
            state = c.wait_for_orchestration_completion(instance, timeout=DEADLINE)
            equal(state.get_output(), hub)
            equal([s.instance_id for s in c.get_all_orchestration_states()], [instance])
    equal(h.client.get_orchestration_state(instance), None)


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    main()
