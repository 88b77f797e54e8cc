"""Background tasks: ended for certain, and shared by those who ask for the same."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

AGAIN_SECONDS = 0.5
"""Long enough for a task to clean up undisturbed after a cancel that did reach it."""


FoundT = TypeVar("FoundT")


class Flights(Generic[FoundT]):
    """Who asks for a key while somebody else's call for it is under way gets what that one brings."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[FoundT]] = {}

    async def get(self, key: str, call: Callable[[], Coroutine[Any, Any, FoundT]]) -> FoundT:
        """Raises what the call raises. One who asked and is cancelled leaves the others their call."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(call())
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    def _landed(self, key: str, task: "asyncio.Task[FoundT]") -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # seen, also when all who asked have left

    async def close(self) -> None:
        await end_tasks(*self._tasks.values())


async def end_tasks(*tasks: "asyncio.Task[object]") -> None:
    """Cancel `tasks` and wait until every one is done; what they returned or raised stays with them.

    One cancel is not always enough: up to Python 3.11 `asyncio.wait_for`, through which redis-py connects, drops a
    cancel that arrives in the moment in which its own wait succeeds, and a task that loops would go on for ever. So
    each is cancelled again until it is done. A caller that is cancelled meanwhile is so only after that.
    """
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=AGAIN_SECONDS)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen, so that asyncio does not report it as lost
    if cancelled is not None:
        raise cancelled
