import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update
from temporalio.client import WorkflowFailureError

from activities.worker import open_worker
from studio.contracts.base import JsonObject, utc_now
from studio.db.tables import IdempotencyRow, RunRow
from tests.api.conftest import Live
from tests.support.databases import sqlite_database
from tests.support.scripted_upstream import Reply
from tests.support.services import RunningApi, api_settings, serving_api

ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}
ASK: JsonObject = {"id": "ask", "agent": {"message": "question"}}


class TestStart:
    async def test_answers_at_once_and_runs(self, live: Live) -> None:
        workflow = await live.workflow({"id": "ask", "agent": {"message": "{{ topic }}"}}, project_id="p1")
        answer = await live.api.post(
            "/workflows/test/runs",
            {"input": {"topic": "rivers"}, "session_id": "s1", "user_id": "u1", "metadata": {"team": "red"}},
            project_id="p1",
        )
        run = answer.ok(202)
        assert answer.headers["location"] == f"/api/v1/runs/{run['id']}"
        assert (run["status"], run["kind"], run["project_id"]) == ("queued", "workflow", "p1")
        assert run["workflow"] == {"id": workflow["id"], "name": "test", "version": 1}
        assert run["temporal"]["workflow_id"] == run["id"]
        assert run["temporal"]["ui_url"] == f"http://ui/namespaces/default/workflows/{run['id']}"

        done = await live.api.finished(run["id"])
        assert (done["status"], done["output"]) == ("succeeded", "Hello from the script.")
        assert [(step["id"], step["status"]) for step in done["steps"]] == [("ask", "succeeded")]
        assert (done["session_id"], done["user_id"], done["metadata"]) == ("s1", "u1", {"team": "red"})
        assert done["usage"]["llm_calls"] == 1
        assert float(done["cost_usd"]) > 0
        assert done["started_at"] <= done["ended_at"]
        assert done["temporal"] == run["temporal"] | {"run_id": done["temporal"]["run_id"]}
        spans = await live.engine.spans.wait_for(3)
        assert {(span.trace_id, span.session_id, span.project_id) for span in spans} == {(run["trace_id"], "s1", "p1")}

    async def test_wait_gives_the_finished_run(self, live: Live) -> None:
        await live.workflow(ECHO)
        run = (await live.api.post("/workflows/test/runs", {"input": [1, None]}, wait=30)).ok(200)
        assert (run["status"], run["output"]) == ("succeeded", [1, None])

    async def test_wait_is_over_first(self, live: Live) -> None:
        await live.workflow(ASK)
        live.upstream.default = Reply(text="a b", hold_after=1)
        run = (await live.api.post("/workflows/test/runs", {}, wait=0.3)).ok(202)
        assert run["status"] in {"queued", "running"}
        live.upstream.release()
        assert (await live.api.finished(run["id"]))["output"] == "a b"

    async def test_agent_alone(self, live: Live) -> None:
        agent = (await live.api.post("/agents", {"name": "poet", "message": "On {{ input }}"})).ok(201)
        live.upstream.when("On spring", Reply(text="Green."))
        run = (await live.api.post("/agents/poet/runs", {"input": "spring"}, wait=30)).ok(200)
        assert (run["kind"], run["pattern"], run["output"]) == ("agent", None, "Green.")
        assert run["workflow"] == {"id": agent["id"], "name": "poet", "version": 1}

    async def test_stored_agent_at_its_newest_version_and_workflow_at_the_one_asked_for(self, live: Live) -> None:
        (await live.api.post("/agents", {"name": "poet", "message": "first"})).ok(201)
        await live.workflow({"id": "ask", "agent": "poet"})
        (await live.api.request("PATCH", "/agents/poet", {"message": "second"})).ok()
        (await live.api.request("PATCH", "/workflows/test", {"steps": [ECHO]})).ok()
        run = (await live.api.post("/workflows/test/runs", {"version": 1}, wait=30)).ok(200)
        assert run["workflow"]["version"] == 1
        assert [call.text for call in live.upstream.calls] == ["second"]

    async def test_continues_the_callers_trace(self, live: Live) -> None:
        await live.workflow(ECHO)
        trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
        headers = {"traceparent": f"00-{trace}-{span}-01", "X-Session-Id": "s9"}
        run = (await live.api.request("POST", "/workflows/test/runs", {}, headers=headers)).ok(202)
        assert (run["trace_id"], run["session_id"]) == (trace, "s9")
        await live.api.finished(run["id"])
        root = next(found for found in await live.engine.spans.wait_for(2) if found.kind == "workflow")
        assert (root.trace_id, root.parent_span_id) == (trace, span)

    async def test_input_against_the_schema(self, live: Live) -> None:
        schema: JsonObject = {
            "type": "object",
            "required": ["topic"],
            "properties": {"topic": {"type": "string"}, "tags": {"items": {"$ref": "#/$defs/tag"}}},
            "$defs": {"tag": {"maxLength": 3}},
        }
        await live.workflow(ECHO, input_schema=schema)
        answer = await live.api.post("/workflows/test/runs", {"input": {"topic": 1, "tags": ["abc", "abcd"]}})
        assert answer.places() == [["body", "input", "topic"], ["body", "input", "tags", 1]]
        assert (await live.api.post("/workflows/test/runs", {})).places() == [["body", "input"]]
        assert (await live.api.get("/runs")).ok()["items"] == []

    async def test_refused(self, live: Live) -> None:
        (await live.api.post("/workflows/nope/runs", {})).problem(404, "not-found")
        await live.workflow(ECHO)
        post = live.api.post
        assert (await post("/workflows/test/runs", {"version": 7})).places() == [["body", "version"]]
        assert (await post("/workflows/test/runs", {"inptu": 1})).places() == [["body", "inptu"]]
        assert (await post("/workflows/test/runs", {}, wait=61)).places() == [["query", "wait"]]


class TestIdempotency:
    async def start(self, live: Live, key: str, body: JsonObject) -> Any:
        return await live.api.request("POST", "/workflows/test/runs", body, headers={"Idempotency-Key": key})

    async def test_same_key_and_body_is_the_same_run(self, live: Live) -> None:
        await live.workflow(ECHO)
        first = (await self.start(live, "k", {"input": {"a": 1, "b": 2}})).ok(202)
        await live.api.finished(first["id"])
        again = (await self.start(live, "k", {"input": {"b": 2, "a": 1}})).ok(202)
        assert (again["id"], again["status"]) == (first["id"], "succeeded")
        assert first["id"] in (await self.start(live, "k", {"input": 3})).problem(409, "conflict")["detail"]
        assert (await self.start(live, "other", {"input": {"a": 1, "b": 2}})).ok(202)["id"] != first["id"]

    async def test_a_run_that_temporal_ended_before_its_row_knew_is_not_started_anew(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = (await self.start(idle, "k", {"input": 1})).ok(202)["id"]
        await idle.engine.client.get_workflow_handle(run_id).terminate()
        assert (await idle.api.get(f"/runs/{run_id}")).ok()["status"] == "terminated"
        assert (await self.start(idle, "k", {"input": 1})).ok(202)["id"] == run_id

    async def test_twenty_at_once_are_one_run_of_each(self, live: Live) -> None:
        """Of a workflow and of an agent, under the same key."""
        await live.workflow(ASK)
        (await live.api.post("/agents", {"name": "test"})).ok(201)
        headers, body = {"Idempotency-Key": "k"}, {"input": "hi"}
        paths = ["/workflows/test/runs", "/agents/test/runs"] * 20
        answers = await asyncio.gather(
            *(live.api.request("POST", path, body, headers=headers, wait=30) for path in paths)
        )
        runs = {run["id"]: run for run in (answer.ok(200) for answer in answers)}
        assert sorted((run["kind"], run["status"]) for run in runs.values()) == [
            ("agent", "succeeded"),
            ("workflow", "succeeded"),
        ]
        assert len(live.upstream.calls) == 2

    async def test_a_start_that_was_cut_off_is_taken_up_again(self, live: Live) -> None:
        """The process died between writing the row and asking Temporal."""
        await live.workflow(ECHO)
        first = (await self.start(live, "k", {"input": 1})).ok(202)
        await live.api.finished(first["id"])
        lost = first["id"][:-4] + "zzzz"
        async with live.engine.database.write() as session:
            values = {"id": lost, "status": "queued", "temporal_run_id": None, "output": None, "progress": None}
            await session.execute(update(RunRow).values(**values))
            await session.execute(update(IdempotencyRow).values(run_id=lost))
        assert (await self.start(live, "k", {"input": 1})).ok(202)["id"] == lost
        assert (await live.api.finished(lost))["status"] == "succeeded"


class TestTemporalAway:
    async def test_nothing_is_left_behind(self, api: RunningApi) -> None:
        (await api.post("/workflows", {"name": "test", "pattern": "sequential", "steps": [ECHO]})).ok(201)
        problem = (await api.post("/workflows/test/runs", {})).problem(503, "dependency-unavailable")
        assert problem["dependency"] == "temporal"
        assert (await api.get("/runs")).ok()["items"] == []

    async def test_with_a_key_the_run_waits_for_the_repeat(
        self, tmp_path: Path, temporal_address: str, redis_url: str
    ) -> None:
        shared: dict[str, Any] = {"database_url": sqlite_database(tmp_path), "temporal_task_queue": "nobody"}
        headers = {"Idempotency-Key": "k"}
        async with serving_api(api_settings(tmp_path, **shared)) as api:
            (await api.post("/workflows", {"name": "test", "pattern": "sequential", "steps": [ECHO]})).ok(201)
            path = "/workflows/test/runs"
            (await api.request("POST", path, {}, headers=headers)).problem(503, "dependency-unavailable")
            (waiting,) = (await api.get("/runs")).ok()["items"]
        async with serving_api(api_settings(tmp_path, temporal_address=temporal_address, **shared)) as api:
            run = (await api.request("POST", path, {}, headers=headers)).ok(202)
            assert run["id"] == waiting["id"]
            (await api.post(f"/runs/{run['id']}/cancel")).ok(202)

    async def test_a_run_that_was_given_up_does_nothing_if_it_had_started(self, idle: Live) -> None:
        """The answer of Temporal was lost: the API forgot the run, Temporal did not."""
        await idle.workflow(ASK)
        run_id = await idle.start()
        async with idle.engine.database.write() as session:
            await session.execute(delete(RunRow))
        settings = idle.engine.settings
        async with open_worker(settings) as worker, worker:
            with pytest.raises(WorkflowFailureError, match="failed"):
                await idle.engine.client.get_workflow_handle(run_id).result()
        assert idle.upstream.calls == []

    async def test_one_that_never_started_is_closed_when_read(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        lost = run_id[:-4] + "zzzz"
        long_ago = utc_now() - timedelta(minutes=5)
        async with idle.engine.database.write() as session:
            await session.execute(update(RunRow).values(id=lost, created_at=long_ago))
        run = (await idle.api.get(f"/runs/{lost}")).ok()
        assert (run["status"], run["error"]["type"]) == ("failed", "dependency_unavailable")
        events = (await idle.api.request("GET", f"/runs/{lost}/events", headers={"Accept": "application/json"})).ok()
        assert events["items"][-1]["type"] == "run.failed"

    async def test_one_that_a_schedule_prepared_waits_for_a_worker_to_start_it(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        prepared = run_id[:-4] + "zzzz"
        long_ago = utc_now() - timedelta(minutes=5)
        async with idle.engine.database.write() as session:
            values = {"id": prepared, "schedule_id": "sch_a", "created_at": long_ago}
            await session.execute(update(RunRow).values(values))
        assert (await idle.api.get(f"/runs/{prepared}")).ok()["status"] == "queued"


class TestGet:
    async def test_steps_of_a_run_that_goes_on(self, live: Live) -> None:
        await live.workflow(ECHO, ASK)
        live.upstream.default = Reply(text="a b", hold_after=1)
        run_id = await live.start()
        await live.upstream.wait_for_calls(1, "held")
        run = (await live.api.get(f"/runs/{run_id}")).ok()
        assert run["status"] == "running"
        assert [(step["id"], step["status"]) for step in run["steps"]] == [("echo", "succeeded"), ("ask", "running")]
        live.upstream.release()
        await live.api.finished(run_id)

    async def test_without_a_worker(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        run = (await idle.api.get(f"/runs/{run_id}")).ok()
        assert (run["status"], run["steps"]) == ("queued", [])

    async def test_unknown(self, api: RunningApi) -> None:
        (await api.get("/runs/run_nope")).problem(404, "not-found")

    async def test_terminated_in_the_temporal_ui(self, live: Live) -> None:
        await live.workflow(ECHO, ASK)
        live.upstream.default = Reply(text="a b", hold_after=1)
        run_id = await live.start()
        await live.upstream.wait_for_calls(1, "held")
        await live.engine.client.get_workflow_handle(run_id).terminate("by hand")
        run = (await live.api.get(f"/runs/{run_id}")).ok()
        assert run["status"] == "terminated"
        assert run["ended_at"] is not None
        assert [(step["id"], step["status"]) for step in run["steps"]] == [("echo", "succeeded"), ("ask", "cancelled")]
        (listed,) = (await live.api.get("/runs", status="terminated")).ok()["items"]
        assert listed["id"] == run_id

    async def test_ended_without_having_been_recorded(self, live: Live) -> None:
        """A restored database knows less than Temporal."""
        await live.workflow(ECHO)
        run_id = await live.start(input=5)
        await live.api.finished(run_id)
        forgotten = {"status": "running", "output": None, "progress": None, "ended_at": None}
        async with live.engine.database.write() as session:
            await session.execute(update(RunRow).values(**forgotten))
        run = (await live.api.get(f"/runs/{run_id}")).ok()
        assert (run["status"], run["output"]) == ("succeeded", 5)
        assert [step["id"] for step in run["steps"]] == ["echo"]

    async def test_failed_without_having_been_recorded(self, live: Live) -> None:
        await live.workflow({"id": "bad", "transform": "${{ input.missing }}"})
        run_id = await live.start(input={})
        first = await live.api.finished(run_id)
        async with live.engine.database.write() as session:
            await session.execute(update(RunRow).values(status="running", error=None, progress=None, ended_at=None))
        run = (await live.api.get(f"/runs/{run_id}")).ok()
        assert (run["status"], run["error"]) == ("failed", first["error"])


class TestCancel:
    async def test_running(self, live: Live) -> None:
        await live.workflow(ASK)
        live.upstream.default = Reply(tokens=["x"], endless=True, token_delay=0.01)
        run_id = await live.start()
        await live.upstream.wait_for_calls(1, "open")
        assert (await live.api.post(f"/runs/{run_id}/cancel")).ok(202)["id"] == run_id
        run = await live.api.finished(run_id)
        assert (run["status"], run["steps"][0]["status"]) == ("cancelled", "cancelled")
        problem = (await live.api.post(f"/runs/{run_id}/cancel")).problem(409, "conflict")
        assert "cancelled" in problem["detail"]

    async def test_unknown(self, api: RunningApi) -> None:
        (await api.post("/runs/run_nope/cancel")).problem(404, "not-found")

    async def test_temporal_away(self, api: RunningApi, tmp_path: Path) -> None:
        async with serving_api(api.settings) as again:
            (await again.post("/workflows", {"name": "test", "pattern": "sequential", "steps": [ECHO]})).ok(201)
            headers = {"Idempotency-Key": "k"}
            (await again.request("POST", "/workflows/test/runs", {}, headers=headers)).problem(
                503, "dependency-unavailable"
            )
            (run,) = (await again.get("/runs")).ok()["items"]
            (await again.post(f"/runs/{run['id']}/cancel")).problem(503, "dependency-unavailable")
            assert (await again.get(f"/runs/{run['id']}")).ok()["status"] == "queued"


class TestList:
    async def test_filters(self, live: Live) -> None:
        await live.workflow(ECHO)
        (await live.api.post("/agents", {"name": "test"})).ok(201)
        key = 'a."b'
        first = await live.start(session_id="s1", user_id="u1", metadata={"team": "red", key: "x"})
        second = await live.start(session_id="s2", metadata={"team": "blue"})
        agent = (await live.api.post("/agents/test/runs", {"input": "hi"})).ok(202)["id"]
        for run_id in (first, second, agent):
            await live.api.finished(run_id)
        middle = (await live.api.get(f"/runs/{second}")).ok()["created_at"]

        async def found(**query: Any) -> list[str]:
            return [run["id"] for run in (await live.api.get("/runs", **query)).ok()["items"]]

        assert await found() == [agent, second, first]
        assert await found(workflow="test") == [second, first]
        assert await found(agent="test") == [agent]
        assert await found(session_id="s1") == [first]
        assert await found(user_id="u1") == [first]
        assert await found(status=["succeeded", "failed"]) == [agent, second, first]
        assert await found(status="queued") == []
        assert await found(project_id="other") == []
        assert await found(created_after=middle) == [agent]
        assert await found(created_before=middle) == [first]
        assert await found(**{"metadata.team": "red"}) == [first]
        assert await found(**{f"metadata.{key}": "x"}) == [first]
        assert await found(**{"metadata.team": "blue", "metadata.none": "x"}) == []

    async def test_pages_stay_stable_while_runs_are_added(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        started = [await idle.start() for _ in range(5)]
        seen: list[str] = []
        cursor: str | None = None
        while True:
            query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await idle.api.get("/runs", **query)).ok()
            seen += [run["id"] for run in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            await idle.start()
        assert seen == started[::-1]

    @pytest.mark.parametrize(
        "query",
        [
            {"status": "done"},
            {"created_after": "yesterday"},
            {"limit": 500},
            {"cursor": "?"},
            {"session_id": "x" * 300},
        ],
    )
    async def test_wrong_query(self, api: RunningApi, query: dict[str, Any]) -> None:
        (place, *_) = (await api.get("/runs", **query)).places()
        assert place[:2] == ["query", next(iter(query))]


class TestMany:
    async def test_fifty_starts_at_once(self, live: Live) -> None:
        await live.workflow(ECHO)
        runs = await asyncio.gather(*(live.start(input=number) for number in range(50)))
        done = await asyncio.gather(*(live.api.finished(run_id) for run_id in runs))
        assert [run["output"] for run in done] == list(range(50))
        async with live.engine.database.read() as session:
            assert await session.scalar(select(func.count()).select_from(RunRow)) == 50
