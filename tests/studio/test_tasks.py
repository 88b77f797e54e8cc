import asyncio
import time

import pytest

from studio.tasks import AGAIN_SECONDS, end_tasks


class Loop:
    """Works on until it is cancelled, and loses the first `deaf` cancels."""

    def __init__(self, deaf: int) -> None:
        self._deaf = deaf
        self.working = asyncio.Event()

    async def run(self) -> None:
        while True:
            try:
                self.working.set()
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self._deaf -= 1
                if self._deaf < 0:
                    raise

    async def start(self) -> "asyncio.Task[None]":
        task = asyncio.create_task(self.run())
        await self.working.wait()
        return task


class TestEndTasks:
    async def test_a_task_that_loses_its_first_cancel_is_ended(self) -> None:
        deaf, other = await Loop(deaf=1).start(), await Loop(deaf=0).start()
        async with asyncio.timeout(10):
            await end_tasks(deaf, other)
        assert deaf.cancelled()
        assert other.cancelled()

    async def test_a_task_may_clean_up_undisturbed(self) -> None:
        cleaned = asyncio.Event()

        async def work() -> None:
            try:
                working.set()
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(AGAIN_SECONDS / 10)
                cleaned.set()

        working = asyncio.Event()
        task = asyncio.create_task(work())
        await working.wait()
        await end_tasks(task)
        assert cleaned.is_set()

    async def test_it_returns_as_soon_as_all_are_done(self) -> None:
        task = await Loop(deaf=0).start()
        began = time.monotonic()
        await end_tasks(task)
        assert time.monotonic() - began < AGAIN_SECONDS

    async def test_what_a_task_raised_stays_with_it(self) -> None:
        async def fail() -> None:
            raise ValueError("gone wrong")

        task = asyncio.create_task(fail())
        await asyncio.wait([task])
        await end_tasks(task)
        with pytest.raises(ValueError, match="gone wrong"):
            task.result()

    async def test_a_cancelled_caller_leaves_no_task_behind(self) -> None:
        deaf = await Loop(deaf=2).start()
        ending = asyncio.create_task(end_tasks(deaf))
        await asyncio.sleep(0)  # it has cancelled once, and waits
        ending.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait([ending])
        assert ending.cancelled()
        assert deaf.cancelled()

    async def test_of_nothing_is_done_at_once(self) -> None:
        await end_tasks()
