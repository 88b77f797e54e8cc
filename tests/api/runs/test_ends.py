"""Runs that are ended from outside: terminated over REST, and terminated or cancelled in Temporal behind our back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from activities.worker import open_worker
from studio.contracts.base import JsonObject
from studio.db.tables import RunRow
from tests.api.conftest import Live
from tests.support.scripted_upstream import Reply
from tests.support.services import serving_api

ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}
ASK: JsonObject = {"id": "ask", "agent": {"message": "question"}}
ENDLESS = Reply(tokens=["x"], endless=True, token_delay=0.01)
SEEN_WITHIN_SECONDS = 5


async def events(live: Live, run_id: str) -> list[JsonObject]:
    """Those so far."""
    answer = await live.api.request("GET", f"/runs/{run_id}/events", headers={"Accept": "application/json"})
    return answer.ok()["items"]


async def streaming(live: Live, *steps: JsonObject, **fields: Any) -> str:
    """A run whose last step is at its model call, which streams until it is stopped."""
    live.upstream.default = ENDLESS
    await live.workflow(*(steps or (ECHO, ASK)), **fields)
    run_id = await live.start()
    await live.upstream.wait_for_calls(1, "open")
    return run_id


async def recorded(live: Live, run_id: str) -> Any:
    """What the row says of the steps."""
    async with live.engine.database.read() as session:
        return await session.scalar(select(RunRow.progress).where(RunRow.id == run_id))


def states(run: JsonObject) -> list[tuple[str, str]]:
    return [(step["id"], step["status"]) for step in run["steps"]]


class TestTerminate:
    async def test_at_once_with_its_children_and_nothing_is_told_after_it(self, live: Live) -> None:
        await live.workflow(ASK, name="child")
        run_id = await streaming(live, ECHO, {"id": "sub", "workflow": "child"})
        reading = asyncio.create_task(live.api.finished(run_id))
        actor = {"X-Studio-Actor": "ada"}
        run = (await live.api.request("POST", f"/runs/{run_id}/terminate", headers=actor)).ok(202)
        assert (run["status"], run["error"]["message"]) == (
            "terminated",
            "The run was terminated: by ada, over the API",
        )
        assert states(run) == [("echo", "succeeded"), ("sub", "cancelled"), ("sub/ask", "cancelled")]
        assert (await reading)["status"] == "terminated"
        await live.upstream.wait_for_calls(1, "abandoned")  # until then its tokens came
        told = await events(live, run_id)
        assert [event["type"] for event in told if event["type"].startswith("run.")] == [
            "run.started",
            "run.terminated",
        ]
        assert told[-1]["type"] == "run.terminated"
        child = await live.engine.client.get_workflow_handle(f"{run_id}/sub").describe()
        assert child.status is not None
        assert child.status.name == "TERMINATED"
        problem = (await live.api.post(f"/runs/{run_id}/terminate")).problem(409, "conflict")
        assert problem["run_status"] == "terminated"

    async def test_refused(self, lite: Live) -> None:
        (await lite.api.post("/runs/run_nope/terminate")).problem(404, "not-found")
        await lite.workflow(ECHO)
        run = (await lite.api.post("/workflows/test/runs", {}, wait=30)).ok(200)
        assert (await lite.api.post(f"/runs/{run['id']}/terminate")).problem(409, "conflict")["run_status"] == (
            "succeeded"
        )

    async def test_temporal_away(self, idle: Live, tmp_path: Path) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        away = idle.api.settings.model_copy(update={"temporal_address": "127.0.0.1:1"})
        async with serving_api(away, migrated=False) as api:
            (await api.post(f"/runs/{run_id}/terminate")).problem(503, "dependency-unavailable")
            assert (await api.get(f"/runs/{run_id}")).ok()["status"] == "queued"

    async def test_what_its_steps_did_is_asked_again_when_no_worker_answered(self, idle: Live) -> None:
        await idle.workflow(ECHO, {"id": "hold", "wait": {"signal": "go"}})
        async with open_worker(idle.engine.settings) as worker, worker:
            run_id = await idle.start()
            await idle.api.until(f"/runs/{run_id}", lambda run: run["status"] == "waiting")
        run = (await idle.api.post(f"/runs/{run_id}/terminate")).ok(202)
        assert (run["status"], run["steps"]) == ("terminated", [])
        assert await recorded(idle, run_id) is None
        async with open_worker(idle.engine.settings) as worker, worker:
            run = (await idle.api.get(f"/runs/{run_id}")).ok()
        assert states(run) == [("echo", "succeeded"), ("hold", "cancelled")]
        assert (await idle.api.get(f"/runs/{run_id}")).ok()["steps"] == run["steps"]

    async def test_one_that_no_worker_took_up_did_nothing(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        run = (await idle.api.post(f"/runs/{run_id}/terminate")).ok(202)
        assert (run["status"], run["steps"]) == ("terminated", [])
        assert (await recorded(idle, run_id))["steps"] == []


class TestEndedInTemporal:
    @pytest.mark.parametrize("end", ["terminate", "cancel"])
    async def test_is_seen_within_seconds(self, lite: Live, end: str) -> None:
        run_id = await streaming(lite)
        await lite.api.until(f"/runs/{run_id}", lambda run: len(run["steps"]) == 2)
        await self.end(lite, run_id, end)
        run = await lite.api.until(f"/runs/{run_id}", lambda run: run["ended_at"] is not None, SEEN_WITHIN_SECONDS)
        assert run["status"] == ("terminated" if end == "terminate" else "cancelled")
        assert states(run) == [("echo", "succeeded"), ("ask", "cancelled")]
        assert (await events(lite, run_id))[-1]["type"] == f"run.{run['status']}"

    async def test_a_stream_that_is_watched_closes(self, lite: Live) -> None:
        run_id = await streaming(lite)
        async with lite.api.http.get(f"/api/v1/runs/{run_id}/events") as watching:
            await watching.content.readany()
            await self.end(lite, run_id, "terminate")
            told = await watching.read()
        assert b"\nevent: run.terminated\n" in told
        assert b"by hand" in told

    @staticmethod
    async def end(live: Live, run_id: str, how: str) -> None:
        handle = live.engine.client.get_workflow_handle(run_id)
        await (handle.terminate(reason="by hand") if how == "terminate" else handle.cancel())
