"""Hello-cities with the official Python SDK, and how long it took: what rust/hello_cities.rs does.

Arguments: how many instances, and the address of a scheduler that runs already. Prints the seconds
from the first start to the last completion, and nothing else. Never fails on time.
"""

import asyncio
import logging
import sys
import time

from durabletask.client import AsyncTaskHubGrpcClient, OrchestrationStatus
from durabletask.worker import TaskHubGrpcWorker

CITIES = ["Tokyo", "Seattle", "London", "Amsterdam", "Nairobi"]
WARM_UP = 20
# The package's own backend has ten threads for all calls, and a wait keeps one.
IN_FLIGHT = 4
PATIENCE = 3600


def say_hello(_ctx, city):
    return f"Hello, {city}!"


def hello_cities(ctx, _input):
    greetings = []
    for city in CITIES:
        greetings.append((yield ctx.call_activity(say_hello, input=city)))
    return greetings


async def bounded(calls):
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(call):
        async with gate:
            return await call

    return await asyncio.gather(*(one(call) for call in calls))


async def expect_greetings(client, instance_id):
    state = await client.wait_for_orchestration_completion(instance_id, timeout=PATIENCE)
    assert state is not None and state.runtime_status == OrchestrationStatus.COMPLETED, state
    assert state.get_output() == [f"Hello, {city}!" for city in CITIES], state


async def run(client, instances):
    started = await bounded(client.schedule_new_orchestration(hello_cities) for _ in range(instances))
    assert len(set(started)) == instances
    await bounded(expect_greetings(client, instance_id) for instance_id in started)


async def measure(instances, address):
    async with AsyncTaskHubGrpcClient(host_address=address) as client:
        await run(client, WARM_UP)
        begun = time.perf_counter()
        await run(client, instances)
        print(f"{time.perf_counter() - begun:.3f}")


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    count, host = int(sys.argv[1]), sys.argv[2]
    worker = TaskHubGrpcWorker(host_address=host)
    worker.add_orchestrator(hello_cities)
    worker.add_activity(say_hello)
    with worker:
        worker.start()
        asyncio.run(measure(count, host))
