"""Hello-cities on DBOS: workflows of five steps, one after the other, in PostgreSQL.

Arguments: how many workflows, and the URL of an empty database. Prints the seconds from the first start to
the last result, and nothing else. Never fails on time.
"""

import asyncio
import logging
import sys
import time

from dbos import DBOS, DBOSConfig

CITIES = ["Tokyo", "Seattle", "London", "Amsterdam", "Nairobi"]
WARM_UP = 20
# Workflows under way at once, and connections: what was found to be its best on two cores.
IN_FLIGHT = 64
CONNECTIONS = 20


@DBOS.step()
async def say_hello(city):
    return f"Hello, {city}!"


@DBOS.workflow()
async def hello_cities():
    return [await say_hello(city) for city in CITIES]


async def run(instances):
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one():
        async with gate:
            handle = await DBOS.start_workflow_async(hello_cities)
            greetings = await handle.get_result()
            assert greetings == [f"Hello, {city}!" for city in CITIES], greetings
            return handle.workflow_id

    ids = await asyncio.gather(*(one() for _ in range(instances)))
    assert len(set(ids)) == instances


async def measure(instances):
    await run(WARM_UP)
    begun = time.perf_counter()
    await run(instances)
    print(f"{time.perf_counter() - begun:.3f}")


def main():
    instances, url = int(sys.argv[1]), sys.argv[2]
    logging.disable(logging.WARNING)
    config: DBOSConfig = {
        "name": "hello-cities",
        "system_database_url": url,
        "sys_db_pool_size": CONNECTIONS,
        "run_admin_server": False,
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        asyncio.run(measure(instances))
    finally:
        DBOS.destroy()


main()
