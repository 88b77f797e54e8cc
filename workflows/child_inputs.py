"""The inputs of child workflows, checked against their schemas: only so many in one workflow task."""

import asyncio
from typing import Final

from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedDefinition, ResolvedWorkflow
from studio.contracts.runs import RunError
from studio.engine.children import child_of
from studio.engine.state import RunChild
from studio.schemas.meter import Meter

STEPS_A_TASK: Final = 200_000
"""Of checks, see `studio.schemas.meter`: many children may begin at once, and a task has two seconds."""


class ChildInputs:
    def __init__(self) -> None:
        self._one_by_one = asyncio.Lock()
        self._spent = 0

    async def child_of(
        self, definition: ResolvedDefinition, command: RunChild, depth: int
    ) -> tuple[ResolvedWorkflow, Json] | RunError:
        """As `studio.engine.children.child_of`. After much work it waits, so that the next check is in another task."""
        async with self._one_by_one:
            meter = Meter()
            found = child_of(definition, command, depth, meter)
            self._spent += meter.spent
            if self._spent > STEPS_A_TASK:
                self._spent = 0
                await asyncio.sleep(0.001)
        return found
