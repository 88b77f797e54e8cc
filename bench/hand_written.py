"""The floor of the engine's benchmark: ten activities, one after the other, written by hand."""

from datetime import timedelta

from temporalio import activity, workflow

STEPS = 10


@activity.defn(name="noop")
async def noop(value: int) -> int:
    return value


@workflow.defn(name="HandWritten")
class HandWritten:
    @workflow.run
    async def run(self, value: int) -> int:
        for _ in range(STEPS):
            value = await workflow.execute_activity(noop, value, start_to_close_timeout=timedelta(seconds=30))
        return value
