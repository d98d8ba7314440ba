"""Each call of the Python SDK with nothing but what it must be given, for the recorder."""

import logging
import os
import sys

import grpc

from durabletask.entities import DurableEntity, EntityInstanceId
from harness import AzureManaged, Harness, Plain, parse_connection_string


class Counter(DurableEntity):
    def add(self, _=None):
        self.set_state(self.get_state(int, 0) + 1)
        self.signal_entity(EntityInstanceId("Other", "k"), "add")
        self.schedule_new_orchestration("child")
        return 1


class Other(DurableEntity):
    def add(self, _=None):
        self.set_state(1)


def act(_ctx, _):
    return None


def child(_ctx, _):
    return None


def waits(ctx, _):
    yield ctx.wait_for_external_event("go")


def fails(_ctx, _):
    raise RuntimeError("asked to fail")


def everything(ctx, _):
    counter = EntityInstanceId("Counter", "k")
    yield ctx.call_activity("act")
    yield ctx.call_sub_orchestrator("child")
    yield ctx.create_timer(ctx.current_utc_datetime)
    ctx.send_event("nobody", "go")
    ctx.signal_entity(counter, "add")
    yield ctx.call_entity(counter, "add")
    with (yield ctx.lock_entities([counter])):
        pass
    return None


def once_more(ctx, value):
    if value is None:
        ctx.continue_as_new(1)
    return None
    yield


def tries(call):
    try:
        call()
    except grpc.RpcError as error:
        print(f"{error.code()}: {error.details()}", file=sys.stderr)


def main(package):
    h = Harness(package)
    c, counter = h.client, EntityInstanceId("Counter", "k")
    with h.worker([child, waits, fails, everything, once_more], [act], [Counter, Other]):
        first = c.schedule_new_orchestration("waits")
        c.wait_for_orchestration_start(first)
        c.get_orchestration_state(first)
        c.suspend_orchestration(first)
        c.resume_orchestration(first)
        c.raise_orchestration_event(first, "go")
        c.wait_for_orchestration_completion(first)
        for name in ("everything", "once_more"):
            h.end(c.schedule_new_orchestration(name))
        c.get_orchestration_history(first)
        c.list_instance_ids()
        c.get_all_orchestration_states()
        c.restart_orchestration(first)
        failed = c.schedule_new_orchestration("fails")
        h.end(failed)
        tries(lambda: c.rewind_orchestration(failed))
        c.terminate_orchestration(first)
        c.signal_entity(counter, "add")
        c.get_entity(counter)
        c.get_all_entities()
        c.clean_entity_storage()
        h.end(first)
        c.purge_orchestration(first)


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    connection = parse_connection_string(os.environ["CONFORMANCE_CONNECTION_STRING"])
    main({"python": Plain, "python-azuremanaged": AzureManaged}[sys.argv[1]](connection))
