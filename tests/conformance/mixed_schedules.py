"""The Python half of shared schedules. Arguments: endpoint and task hub, and `worker` for a worker
that keeps schedules.

Says `ready`, then answers each line of its standard input, a JSON array of an operation and its
arguments, with a line of JSON, until the input ends:

    ["create", id, orchestration, seconds, input]   ["update", id, seconds]
    ["pause", id]   ["resume", id]   ["delete", id]   -> null
    ["describe", id]   -> null, or status, orchestration, seconds and input
    ["list"]           -> the ids
"""

import json
import logging
import sys
from datetime import timedelta

from durabletask.azuremanaged.client import DurableTaskSchedulerClient
from durabletask.azuremanaged.worker import DurableTaskSchedulerWorker
from durabletask.scheduled import (ScheduleCreationOptions, ScheduledTaskClient,
                                   ScheduleUpdateOptions)


def answer(client, operation, *arguments):
    if operation == "list":
        return sorted(schedule.schedule_id for schedule in client.list_schedules())
    if operation == "describe":
        found = client.get_schedule(*arguments)
        return found and [found.status.value, found.orchestration_name,
                          found.interval.total_seconds(), found.orchestration_input]
    if operation == "create":
        key, name, seconds, value = arguments
        client.create_schedule(ScheduleCreationOptions(
            schedule_id=key, orchestration_name=name, interval=timedelta(seconds=seconds),
            orchestration_input=value))
        return None
    key, *rest = arguments
    schedule = client.get_schedule_client(key)
    if operation == "update":
        schedule.update(ScheduleUpdateOptions(interval=timedelta(seconds=rest[0])))
    else:
        {"pause": schedule.pause, "resume": schedule.resume, "delete": schedule.delete}[operation]()
    return None


def serve(client):
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(client, *json.loads(line))), flush=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    endpoint, hub, *role = sys.argv[1:]
    options = dict(host_address=endpoint, taskhub=hub, token_credential=None,
                   secure_channel=endpoint.startswith("https://"))
    client = ScheduledTaskClient(DurableTaskSchedulerClient(**options))
    if role:
        worker = DurableTaskSchedulerWorker(**options)
        worker.configure_scheduled_tasks()
        worker.use_work_item_filters()
        with worker:
            worker.start()
            serve(client)
    else:
        serve(client)
