"""A run whose workflow task fails each time that it is tried says so, and can be ended."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities import worker
from studio.contracts.base import Json, JsonObject
from studio.temporal import connect_temporal
from tests.api.conftest import Live

SECRET = "sk-canary"
SECONDS = 15


class Broken:
    """What the worker's code does; it is mended when the test says so."""

    how = "raises"


@workflow.defn(name="SequentialWorkflow", sandboxed=False)
class BrokenWorkflow:
    @workflow.run
    async def run(self, _request: Json, _definition: Json, _carried: Json) -> JsonObject:
        match Broken.how:
            case "raises":
                raise RuntimeError(f"no such thing: {SECRET}")
            case "hangs":
                time.sleep(3)  # noqa: ASYNC251 - a bug that blocks the workflow's thread
            case _:
                pass
        return {"carried": "on"}


@asynccontextmanager
async def broken_worker(live: Live, how: str) -> AsyncGenerator[None]:
    Broken.how = how
    settings = live.engine.settings
    client = await connect_temporal(settings, live.engine.database, lazy=False)
    queue = settings.temporal_task_queue
    runner = UnsandboxedWorkflowRunner()
    async with Worker(client, task_queue=queue, workflows=[BrokenWorkflow], workflow_runner=runner):
        yield


@workflow.defn(name="SequentialWorkflow", sandboxed=False)
class SlowWorkflow:
    """Computes for longer than the SDK allows by itself."""

    @workflow.run
    async def run(self, _request: Json, _definition: Json, _carried: Json) -> None:
        time.sleep(3)  # noqa: ASYNC251 - as a check does while others use the interpreter


async def test_a_busy_worker_is_no_deadlock(idle: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "WORKFLOWS", [SlowWorkflow])
    settings = idle.engine.settings
    client = await connect_temporal(settings, idle.engine.database, lazy=False)
    async with worker.build_worker(client, settings, [_unused]):
        await idle.workflow({"id": "a", "transform": 1})
        handle = client.get_workflow_handle(await idle.start())
        await handle.result()
    history = await handle.fetch_history()
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    assert not [event for event in history.events if event.event_type == failed]


@activity.defn
async def _unused() -> None:
    """A worker that has activities polls for both."""


async def stalled_run(live: Live) -> tuple[str, JsonObject]:
    await live.workflow({"id": "a", "transform": 1})
    run_id = await live.start()
    run = await live.api.until(f"/runs/{run_id}", lambda run: run["stalled"] is not None, seconds=SECONDS)
    return run_id, run


@pytest.mark.parametrize(("how", "why"), [("raises", "RuntimeError"), ("hangs", "it computes for too long")])
async def test_the_run_and_its_events_say_so(idle: Live, how: str, why: str) -> None:
    async with broken_worker(idle, how):
        run_id, run = await stalled_run(idle)
        assert run["status"] == "queued"
        stalled = run["stalled"]
        assert stalled["attempts"] >= 2
        assert f"({why})" in stalled["message"]
        assert SECRET not in str(run)
        events = (await idle.api.request("GET", f"/runs/{run_id}/events", headers={"Accept": "application/json"})).ok()
        (event,) = [event for event in events["items"] if event["type"] == "run.stalled"]
        assert event["data"] == {"since": stalled["since"], "message": stalled["message"]}
        Broken.how = "works"


async def test_who_watches_hears_of_it_without_asking(idle: Live) -> None:
    async with broken_worker(idle, "raises"):
        await idle.workflow({"id": "a", "transform": 1})
        run_id = await idle.start()
        async with asyncio.timeout(SECONDS), idle.api.http.get(f"/api/v1/runs/{run_id}/events") as answer:
            async for line in answer.content:
                if line == b"event: run.stalled\n":
                    break
        Broken.how = "works"


async def test_it_goes_on_once_the_worker_is_mended(idle: Live) -> None:
    async with broken_worker(idle, "raises"):
        run_id, _ = await stalled_run(idle)
        Broken.how = "works"
        run = await idle.api.finished(run_id)
    assert (run["status"], run["stalled"]) == ("succeeded", None)


async def test_a_cancel_ends_it(idle: Live) -> None:
    async with broken_worker(idle, "raises"):
        run_id, _ = await stalled_run(idle)
        run = (await idle.api.post(f"/runs/{run_id}/cancel")).ok(202)
    assert (run["status"], run["stalled"], run["error"]["type"]) == ("terminated", None, "cancelled")
    assert "asked to stop" in run["error"]["message"]
    assert run["ended_at"] is not None


async def test_no_worker_is_no_fault_of_the_run(idle: Live) -> None:
    await idle.workflow({"id": "a", "transform": 1})
    run_id = await idle.start()
    assert (await idle.api.get(f"/runs/{run_id}")).ok()["stalled"] is None
