"""The Python half of the mixed fleets. Arguments: endpoint and task hub, and, for large payloads
in blobs, the connection string of the blob service.

Says `ready` once it runs, and runs until it is killed or its standard input ends.
"""

import logging
import sys

from durabletask import task
from durabletask.azuremanaged.worker import DurableTaskSchedulerWorker


def py_echo(_ctx, parcel):
    return parcel


def py_fail(_ctx, why):
    raise ValueError(f"a Python activity failed: {why}")


def py_child(ctx, parcel):
    return (yield ctx.call_activity(py_echo, input=parcel))


def py_outer(ctx, parcel):
    echoed = yield ctx.call_activity("rust_echo", input=parcel)
    from_child = yield ctx.call_sub_orchestrator("rust_child", input=parcel)
    from_event = yield ctx.wait_for_external_event("parcel")
    try:
        yield ctx.call_activity("rust_fail", input="from python")
    except task.TaskFailedError as error:
        return [echoed, from_child, from_event, error.details.message]


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    endpoint, hub, *blobs = sys.argv[1:]
    store = None
    if blobs:
        from durabletask.extensions.azure_blob_payloads import BlobPayloadStore, BlobPayloadStoreOptions
        store = BlobPayloadStore(BlobPayloadStoreOptions(connection_string=blobs[0]))
    worker = DurableTaskSchedulerWorker(
        host_address=endpoint, taskhub=hub, token_credential=None,
        secure_channel=endpoint.startswith("https://"), payload_store=store)
    for activity in (py_echo, py_fail):
        worker.add_activity(activity)
    for orchestrator in (py_child, py_outer):
        worker.add_orchestrator(orchestrator)
    # Each worker of a mixed fleet takes only what it has.
    worker.use_work_item_filters()
    with worker:
        worker.start()
        print("ready", flush=True)
        sys.stdin.read()
