"""The floor of the engine's benchmarks: activities called by a workflow written by hand."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow


@dataclass(frozen=True)
class Calls:
    steps: int
    at_once: int = 1


@activity.defn(name="noop")
async def noop(value: int) -> int:
    return value


@workflow.defn(name="HandWritten")
class HandWritten:
    @workflow.run
    async def run(self, calls: Calls) -> int:
        """As many calls as there are steps, never more open than may be."""
        window = asyncio.Semaphore(calls.at_once)

        async def call(value: int) -> int:
            async with window:
                return await workflow.execute_activity(noop, value, start_to_close_timeout=timedelta(seconds=30))

        if calls.at_once > 1:
            return sum(await asyncio.gather(*(call(number) for number in range(calls.steps))))
        value = 1
        for _ in range(calls.steps):
            value = await workflow.execute_activity(noop, value, start_to_close_timeout=timedelta(seconds=30))
        return value
