"""Many runs started at once, over the real Temporal server."""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from activities import starts
from activities.worker import open_worker
from studio.contracts.base import Json, JsonObject, utc_now
from studio.db.tables import RunRow
from tests.api.conftest import Live
from tests.support.databases import sqlite_database
from tests.support.platform import worker_process
from tests.support.sandbox import replay_in_sandbox
from tests.support.scripted_upstream import Reply
from tests.support.services import Answer, RunningApi, api_settings, serving_api
from workflows.batch import BatchWorkflow

ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}
ASK: JsonObject = {"id": "ask", "agent": {"message": "{{ input }}"}}
PATH = "/workflows/test/runs:batch"


def items(*inputs: Json) -> JsonObject:
    return {"items": [{"input": one} for one in inputs]}


async def ended(live: Live, batch_id: str) -> JsonObject:
    return await live.api.until(f"/batches/{batch_id}", lambda batch: batch["ended"])


class TestStart:
    async def test_each_input_its_own_run(self, live: Live) -> None:
        workflow = await live.workflow(ASK)
        live.upstream.when("two", Reply(status=400))
        body: JsonObject = {
            "items": [{"input": "one", "session_id": "s1"}, {"input": "two", "metadata": {"team": "blue"}}],
            "metadata": {"team": "red", "from": "csv"},
        }
        answer = await live.api.request("POST", PATH, body, headers={"X-Session-Id": "s9", "X-User-Id": "u9"})
        batch = answer.ok(202)
        assert answer.headers["location"] == f"/api/v1/batches/{batch['id']}"
        assert batch["id"].startswith("bat_")
        assert (batch["total"], batch["kind"], sum(batch["counts"].values())) == (2, "workflow", 2)
        assert batch["workflow"] == {"id": workflow["id"], "name": "test", "version": 1}

        done = await ended(live, batch["id"])
        assert {status: count for status, count in done["counts"].items() if count} == {"succeeded": 1, "failed": 1}
        assert float(done["cost_usd"]) > 0
        assert done["started_at"] <= done["ended_at"]
        second, first = (await live.api.get("/runs", batch=batch["id"])).ok()["items"]
        assert (first["input"], first["status"], first["session_id"]) == ("one", "succeeded", "s1")
        assert (second["input"], second["status"], second["session_id"]) == ("two", "failed", "s9")
        assert (first["user_id"], first["batch_id"]) == ("u9", batch["id"])
        assert [run["metadata"]["team"] for run in (first, second)] == ["red", "blue"]
        assert (await live.api.get("/batches")).ok()["items"] == [done]

    async def test_an_agent_and_a_version(self, live: Live) -> None:
        (await live.api.post("/agents", {"name": "poet", "message": "first {{ input }}"})).ok(201)
        (await live.api.request("PATCH", "/agents/poet", {"message": "second"})).ok()
        batch = (await live.api.post("/agents/poet/runs:batch", items(1, 2) | {"version": 1})).ok(202)
        assert (batch["kind"], batch["workflow"]["version"]) == ("agent", 1)
        await ended(live, batch["id"])
        assert sorted(call.text for call in live.upstream.calls) == ["first 1", "first 2"]
        await replay_in_sandbox(live.engine.client, batch["id"], BatchWorkflow)

    async def test_one_wrong_input_and_none_starts(self, live: Live) -> None:
        await live.workflow(ECHO, input_schema={"type": "integer"})
        answer = await live.api.post(PATH, items(1, "two", 3, "four"))
        assert answer.places() == [["body", "items", 1, "input"], ["body", "items", 3, "input"]]
        assert len((await live.api.post(PATH, items(*["x"] * 1000))).places()) == 20
        assert (await live.api.post(PATH, items(*range(1001)))).places() == [["body", "items"]]
        assert (await live.api.post(PATH, items())).places() == [["body", "items"]]
        assert (await live.api.post(PATH, {"items": [{"inptu": 1}]})).places() == [["body", "items", 0, "inptu"]]
        assert (await live.api.post(PATH, items(1) | {"version": 7})).places() == [["body", "version"]]
        (await live.api.post("/workflows/nope/runs:batch", items(1))).problem(404, "not-found")
        (await live.api.get("/batches/bat_x")).problem(404, "not-found")
        assert (await live.api.get("/runs")).ok()["items"] == []
        assert (await live.api.get("/batches")).ok()["items"] == []

    async def test_ten_with_the_same_key_are_one_batch(self, live: Live) -> None:
        await live.workflow(ECHO)

        async def start(*inputs: Json) -> Answer:
            return await live.api.request("POST", PATH, items(*inputs), headers={"Idempotency-Key": "k"})

        answers = await asyncio.gather(*(start(1, 2) for _ in range(10)))
        (batch_id,) = {answer.ok(202)["id"] for answer in answers}
        await ended(live, batch_id)
        assert (await start(1, 2)).ok(202)["id"] == batch_id
        assert batch_id in (await start(3)).problem(409, "conflict")["detail"]
        assert len((await live.api.get("/runs")).ok()["items"]) == 2


class TestDurability:
    async def test_a_worker_killed_among_the_starts(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        batch = (await idle.api.post(PATH, items(*range(150)))).ok(202)
        async with worker_process(idle.engine.settings) as first:
            await idle.api.until(f"/batches/{batch['id']}", lambda found: found["counts"]["succeeded"] > 0)
            await first.stop(signal.SIGKILL)
        before = (await idle.api.get(f"/batches/{batch['id']}")).ok()["counts"]
        assert before["queued"] > 0
        async with open_worker(idle.engine.settings) as second, second:
            done = await ended(idle, batch["id"])
        assert done["counts"]["succeeded"] == 150

    async def test_rows_are_left_alone_while_it_starts_them(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        batch = (await idle.api.post(PATH, items(1))).ok(202)
        (run,) = (await idle.api.get("/runs")).ok()["items"]
        async with idle.engine.database.write() as session:
            await session.execute(update(RunRow).values(created_at=utc_now() - timedelta(minutes=5)))
        assert (await idle.api.get(f"/runs/{run['id']}")).ok()["status"] == "queued"
        await idle.engine.client.get_workflow_handle(batch["id"]).terminate()
        assert (await idle.api.get(f"/runs/{run['id']}")).ok()["status"] == "failed"

    async def test_temporal_away(self, api: RunningApi) -> None:
        (await api.post("/workflows", {"name": "test", "pattern": "sequential", "steps": [ECHO]})).ok(201)
        (await api.post(PATH, items(1, 2))).problem(503, "dependency-unavailable")
        assert (await api.get("/runs")).ok()["items"] == []
        assert (await api.get("/batches")).ok()["items"] == []

    async def test_with_a_key_it_waits_for_the_repeat(
        self, tmp_path: Path, temporal_address: str, redis_url: str
    ) -> None:
        shared: dict[str, Any] = {"database_url": sqlite_database(tmp_path), "temporal_task_queue": "nobody"}
        headers = {"Idempotency-Key": "k"}
        async with serving_api(api_settings(tmp_path, **shared)) as api:
            (await api.post("/workflows", {"name": "test", "pattern": "sequential", "steps": [ECHO]})).ok(201)
            (await api.request("POST", PATH, items(1), headers=headers)).problem(503, "dependency-unavailable")
            (waiting,) = (await api.get("/batches")).ok()["items"]
        async with serving_api(api_settings(tmp_path, temporal_address=temporal_address, **shared)) as api:
            batch = (await api.request("POST", PATH, items(1), headers=headers)).ok(202)
            assert batch["id"] == waiting["id"]
            (await api.post(f"/batches/{batch['id']}/cancel")).ok(202)


class TestCancel:
    async def test_those_that_run_and_those_that_have_not_begun(
        self, live: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(starts, "PAGE", 1)
        await live.workflow(ASK)
        live.upstream.default = Reply(text="a b", hold_after=0)
        live.upstream.when("done", Reply(text="quick"))
        batch = (await live.api.post(PATH, items("done", *range(100)))).ok(202)
        await live.upstream.wait_for_calls(2, "held")
        await live.api.until(f"/batches/{batch['id']}", lambda found: found["counts"]["succeeded"] == 1)
        (await live.api.post(f"/batches/{batch['id']}/cancel")).ok(202)
        done = await ended(live, batch["id"])
        assert (done["counts"]["cancelled"], done["counts"]["succeeded"]) == (100, 1)
        again = (await live.api.post(f"/batches/{batch['id']}/cancel")).ok(202)
        assert again["counts"] == done["counts"]

    async def test_before_any_worker_came(self, idle: Live) -> None:
        await idle.workflow(ASK)
        batch = (await idle.api.post(PATH, items(1, 2, 3))).ok(202)
        cancelled = (await idle.api.post(f"/batches/{batch['id']}/cancel")).ok(202)
        assert (cancelled["counts"]["cancelled"], cancelled["ended"]) == (3, True)
        (run, *_) = (await idle.api.get("/runs")).ok()["items"]
        assert "before this run began" in (await idle.api.finished(run["id"]))["error"]["message"]
        async with open_worker(idle.engine.settings) as worker, worker:
            await idle.engine.client.get_workflow_handle(batch["id"]).result()
        assert idle.upstream.calls == []
