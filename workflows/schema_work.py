"""Checks against schemas that the core does not make itself: only so many in one workflow task."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from studio.schemas.meter import Meter

STEPS_A_TASK: Final = 100_000
"""See `studio.schemas.meter`: many children may begin at once, many answers may come at once, and a task that computes
for long is taken for a deadlock.
"""


class SchemaWork:
    def __init__(self) -> None:
        self._one_by_one = asyncio.Lock()
        self._spent = 0

    @asynccontextmanager
    async def meter(self) -> AsyncGenerator[Meter]:
        """For one check. It waits when there was much work before, so that the check is in another task."""
        async with self._one_by_one:
            if self._spent > STEPS_A_TASK:
                self._spent = 0
                await asyncio.sleep(0.001)
            meter = Meter()
            try:
                yield meter
            finally:
                self._spent += meter.spent
