"""Beats for an activity that waits: without heartbeats a cancel never arrives, and a lost worker is not noticed."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from temporalio import activity

from studio.contracts.base import Contract
from studio.tasks import end_tasks

INTERVAL_SECONDS = 1.0
"""A cancel must close the provider's connection within two seconds."""


@asynccontextmanager
async def heartbeating(details: Callable[[], Contract]) -> AsyncGenerator[None, None]:
    """`details` is what the next attempt, or the workflow, shall know of this one if it ends without a word."""

    async def beat() -> None:
        while True:
            activity.heartbeat(details())
            await asyncio.sleep(INTERVAL_SECONDS)

    beating = asyncio.create_task(beat(), name="heartbeat")
    try:
        yield
    except Exception:
        activity.heartbeat(details())  # the server keeps the last one for the next attempt
        raise
    finally:
        await end_tasks(beating)
