"""Runs whose stored values somebody removed: each ends, and says what is gone and whose it was."""

import asyncio
import gc
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import WorkflowExecutionStatus

from activities.worker import open_worker
from studio.contracts.base import JsonObject
from tests.api.conftest import Live, open_live
from tests.support.databases import sqlite_database
from tests.support.noise import noise
from tests.support.scripted_upstream import Reply

# The SDK leaves the coroutines of a workflow whose task fails before its first step.
pytestmark = pytest.mark.filterwarnings(
    "ignore:coroutine ._WorkflowInstanceImpl.* was never awaited:RuntimeWarning",
    "ignore:Exception ignored in. <coroutine object _WorkflowInstanceImpl:pytest.PytestUnraisableExceptionWarning",
)
WITHIN_SECONDS = 15.0
"""It takes up to three and a half; the machine may be busy. A failed call that is tried again takes minutes."""
GONE = re.compile(r"The stored payload [0-9a-f]{64} is gone")


LARGE = noise(200_000)
HALF = noise(60_000, 2), noise(60_000, 3)


@pytest.fixture
async def live(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Live]:
    """Each test starts its own worker."""
    url = sqlite_database(tmp_path)
    async with open_live(tmp_path, temporal_address, redis_url, url, worker=False) as running:
        yield running
    gc.collect()  # while its warnings are still this module's


@asynccontextmanager
async def working(live: Live) -> AsyncGenerator[None]:
    async with open_worker(live.engine.settings) as worker, worker:
        yield


async def lose_blobs(live: Live) -> None:
    """Those that are there, and those to come."""
    async with live.engine.database.write() as session:
        await session.execute(text("DELETE FROM blobs"))
        await session.execute(
            text("CREATE TRIGGER lost AFTER INSERT ON blobs BEGIN DELETE FROM blobs WHERE digest = new.digest; END")
        )


def ask(step_id: str, message: str, **fields: object) -> JsonObject:
    return {"id": step_id, "agent": {"message": message}, **fields}


async def failed_soon(live: Live, run_id: str, *step_ids: str | None) -> JsonObject:
    since = time.monotonic()
    run = await live.api.finished(run_id)
    assert time.monotonic() - since < WITHIN_SECONDS
    assert run["status"] == "failed", run
    assert run["error"]["type"] == "payload_missing"
    assert run["error"]["step_id"] in step_ids
    assert GONE.search(run["error"]["message"])
    return run


class TestFirstReading:
    """A blob that was never there when it was read: the step fails, and the run may go on."""

    async def test_an_activitys_argument(self, live: Live) -> None:
        given: list[JsonObject] = [
            {"id": "before", "wait": {"signal": "go"}},
            ask("big", "say", input={"a": HALF[0], "b": HALF[1]}),
        ]
        await live.workflow(*given)
        run_id = await live.start()
        async with working(live):
            await live.api.until(f"/runs/{run_id}", lambda run: run["status"] == "waiting")
            await lose_blobs(live)
            (await live.api.post(f"/runs/{run_id}/signals/go")).ok(202)
            await failed_soon(live, run_id, "big")
        assert live.upstream.calls == []

    async def test_an_activitys_result_and_what_catches_it(self, live: Live) -> None:
        live.upstream.default = Reply(text=LARGE, hold_after=0)
        caught: JsonObject = {"catch": ["payload_missing"], "steps": [{"id": "other", "transform": "instead"}]}
        await live.workflow(ask("big", "say", on_error=[caught]), {"id": "last", "transform": "${{ prev.output }}"})
        run_id = await live.start()
        async with working(live):
            await live.upstream.wait_for_calls(1, "held")
            await lose_blobs(live)
            live.upstream.release()
            run = await live.api.finished(run_id)
        assert (run["status"], run["output"]) == ("succeeded", "instead")
        assert run["steps"][0]["error"]["type"] == "payload_missing"
        assert GONE.search(run["steps"][0]["error"]["message"])

    async def test_a_child_workflows_result(self, live: Live) -> None:
        live.upstream.when("half 0", Reply(text=HALF[0], hold_after=0))
        live.upstream.when("half 1", Reply(text=HALF[1]))
        inner = [ask("one", "half 0"), ask("two", "half 1")]
        await live.workflow(*inner, name="inner", output=["${{ steps.one.output }}", "${{ steps.two.output }}"])
        await live.workflow({"id": "c", "workflow": "inner"})
        run_id = await live.start()
        async with working(live):
            await live.upstream.wait_for_calls(1, "held")
            await lose_blobs(live)
            live.upstream.release()
            await failed_soon(live, run_id, "c")

    async def test_the_runs_own_arguments(self, live: Live) -> None:
        await live.workflow({"id": "a", "transform": "${{ size(input) }}"})
        run_id = await live.start(input=LARGE)
        await lose_blobs(live)
        async with working(live):
            await failed_soon(live, run_id, None)


class TestReplay:
    """A blob that was there the first time: its run cannot be carried on, so it is ended, and its children with it."""

    async def rest(self, live: Live, run_id: str) -> None:
        async with working(live):
            await live.api.until(f"/runs/{run_id}", lambda run: run["status"] == "waiting")

    async def ended(self, live: Live, run_id: str, *step_ids: str | None, child: str = "") -> None:
        await lose_blobs(live)
        async with working(live):
            handle = live.engine.client.get_workflow_handle(run_id + child)
            await handle.signal("go", 1)
            await failed_soon(live, run_id, *step_ids)
            while (await handle.describe()).status == WorkflowExecutionStatus.RUNNING:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)

    async def test_an_activitys_result(self, live: Live) -> None:
        live.upstream.default = Reply(text=LARGE)
        await live.workflow(ask("big", "say"), {"id": "w", "wait": {"signal": "go"}})
        run_id = await live.start()
        await self.rest(live, run_id)
        await self.ended(live, run_id, "big")

    async def test_the_runs_own_arguments(self, live: Live) -> None:
        await live.workflow({"id": "w", "wait": {"signal": "go"}})
        run_id = await live.start(input=LARGE)
        await self.rest(live, run_id)
        await self.ended(live, run_id, None)

    async def test_a_child_workflows_arguments(self, live: Live) -> None:
        await live.workflow({"id": "w", "wait": {"signal": "go"}}, name="inner")
        await live.workflow({"id": "c", "workflow": "inner", "input": "${{ [input.a, input.b] }}"})
        run_id = await live.start(input={"a": HALF[0], "b": HALF[1]})
        await self.rest(live, run_id)
        # The run's own arguments are gone, too: whichever is noticed first ends it.
        await self.ended(live, run_id, "c", None, child="/c")
