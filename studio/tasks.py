"""Ends background tasks for certain."""

import asyncio

AGAIN_SECONDS = 0.5
"""Long enough for a task to clean up undisturbed after a cancel that did reach it."""


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
