"""Beats for an activity that waits: without heartbeats a cancel never arrives, and a lost worker is not noticed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from temporalio import activity

from studio.tasks import end_tasks

INTERVAL_SECONDS = 1.0
"""A cancel must close the provider's connection within two seconds."""


@asynccontextmanager
async def heartbeating() -> AsyncGenerator[None, None]:
    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(INTERVAL_SECONDS)

    beating = asyncio.create_task(beat(), name="heartbeat")
    try:
        yield
    finally:
        await end_tasks(beating)
