"""Runs that begin once more: `POST /runs/{id}/retry` and `/replay`."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from activities.worker import open_worker
from api.runs.executions import Executions, StartRefused
from studio.contracts.base import JsonObject, utc_now
from studio.contracts.reruns import RetryRun
from studio.db.tables import RunRow
from studio.errors import DependencyUnavailable
from studio.store.idempotency import body_hash, keep_key, retry_scope
from studio.store.runs import get_run, requeue_run
from tests.api.conftest import Live
from tests.support.scripted_upstream import Reply
from tests.support.services import RunningApi, serving_api

REFUSED = Reply(status=404, error={"error": {"message": "no such model", "type": "invalid_request_error"}})
PLAN: JsonObject = {"id": "plan", "agent": {"message": "plan {{ input }}"}, "input": "${{ input }}"}
WRITE: JsonObject = {"id": "write", "agent": {"message": "write {{ input }}"}, "input": "${{ steps.plan.output }}"}
ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}


async def failed(live: Live, *then: Reply, **fields: Any) -> JsonObject:
    """A run of `plan` and `write` whose second step was refused, and gets these replies when it runs again."""
    live.upstream.when("plan", Reply(text="the plan"))
    live.upstream.when("write", REFUSED, *(then or [Reply(text="written")]))
    await live.workflow(PLAN, WRITE, **fields)
    run = (await live.api.post("/workflows/test/runs", {"input": "sea"}, wait=30)).ok(200)
    assert run["status"] == "failed"
    return run


async def ended(live: Live, run_id: str) -> JsonObject:
    return await live.api.until(f"/runs/{run_id}", lambda run: run["ended_at"] is not None)


async def forgotten_by_temporal(live: Live, run_id: str) -> str:
    """The run under another id, of which Temporal knows nothing, as after its retention."""
    unknown = run_id[:-4] + "zzzz"
    async with live.engine.database.write() as session:
        await session.execute(update(RunRow).where(RunRow.id == run_id).values(id=unknown))
    return unknown


def asked(live: Live) -> list[str]:
    return [call.text for call in live.upstream.calls]


async def told(live: Live, run_id: str) -> list[tuple[str, int]]:
    """The run's own events so far."""
    headers = {"Accept": "application/json"}
    events = (await live.api.request("GET", f"/runs/{run_id}/events", headers=headers)).ok()["items"]
    return [(event["type"], event["attempt"]) for event in events if event["type"].startswith("run.")]


class TestAnotherVersion:
    """What is kept of it: tests/field/steps/test_mended_definitions.py."""

    BROKEN: JsonObject = {"id": "last", "transform": "${{ steps.plan.output + 1 }}"}
    MENDED: JsonObject = {"id": "last", "transform": "${{ steps.plan.output + '!' }}"}

    async def begun(self, live: Live) -> JsonObject:
        live.upstream.when("plan", Reply(text="the plan"))
        await live.workflow(PLAN, self.BROKEN)
        run = (await live.api.post("/workflows/test/runs", {"input": "sea"}, wait=30)).ok(200)
        assert run["status"] == "failed"
        document = {"name": "test", "pattern": "sequential", "steps": [PLAN, self.MENDED]}
        (await live.api.request("PUT", "/workflows/test", document)).ok(200)
        return run

    async def test_a_retry_goes_on_with_the_mended_definition(self, lite: Live) -> None:
        first = await self.begun(lite)
        path = f"/runs/{first['id']}/retry"
        plan = (await lite.api.post(path, {"version": "latest", "plan_only": True})).ok(200)
        assert [(step["step_id"], step["why"]) for step in plan["again"]] == [("last", "its definition is another one")]
        assert (plan["kept"], plan["dropped"]) == (["plan"], [])
        assert (await lite.api.post(path, {"version": 2})).ok(202)["workflow"]["version"] == 2
        run = await ended(lite, first["id"])
        assert (run["status"], run["output"], run["workflow"]["version"]) == ("succeeded", "the plan!", 2)
        assert asked(lite) == ["plan sea"]

    async def test_a_replay_keeps_what_comes_before_from_step(self, lite: Live) -> None:
        first = await self.begun(lite)
        body = {"version": "latest", "from_step": "last"}
        run = (await lite.api.post(f"/runs/{first['id']}/replay", body, wait=30)).ok(200)
        assert (run["status"], run["output"], run["workflow"]["version"]) == ("succeeded", "the plan!", 2)
        assert asked(lite) == ["plan sea"]

    @pytest.mark.parametrize("version", [99, 0, "newest", 1.5])
    async def test_a_version_that_there_is_not_is_refused(self, lite: Live, version: object) -> None:
        first = await self.begun(lite)
        for verb in ("retry", "replay"):
            problem = (await lite.api.post(f"/runs/{first['id']}/{verb}", {"version": version})).problem(
                422, "invalid-input"
            )
            assert problem["errors"][0]["loc"] == ["body", "version"]


class TestRetry:
    async def test_only_what_failed_is_done_and_paid_again(self, live: Live) -> None:
        first = await failed(live)
        answer = (await live.api.post(f"/runs/{first['id']}/retry")).ok(202)
        assert (answer["id"], answer["status"], answer["retry_count"]) == (first["id"], "queued", 1)
        assert (answer["error"], answer["ended_at"], answer["steps"]) == (None, None, first["steps"])
        run = await ended(live, first["id"])
        assert (run["status"], run["output"], run["retry_count"]) == ("succeeded", "written", 1)
        assert [(step["id"], step["status"], step["attempt"]) for step in run["steps"]] == [
            ("plan", "succeeded", 1),
            ("write", "succeeded", 2),
        ]
        assert asked(live) == ["plan sea", "write the plan", "write the plan"]
        assert run["steps"][0] == first["steps"][0]
        assert run["usage"]["llm_calls"] == 3
        assert float(run["cost_usd"]) > float(first["cost_usd"]) > 0
        assert await told(live, run["id"]) == [
            ("run.started", 1),
            ("run.failed", 1),
            ("run.retried", 2),
            ("run.succeeded", 2),
        ]

    async def test_its_trace_is_one(self, lite: Live) -> None:
        first = await failed(lite)
        await lite.engine.spans.wait_for(5)  # the run, two steps, two calls
        (await lite.api.post(f"/runs/{first['id']}/retry")).ok(202)
        run = await ended(lite, first["id"])
        spans = await lite.engine.spans.wait_for(9)
        newest = {span.span_id: span for span in spans}
        assert {span.trace_id for span in spans} == {run["trace_id"]}
        assert sorted((span.kind, span.status) for span in newest.values()) == [
            *[("agent", "ok")] * 2,
            ("llm", "error"),
            *[("llm", "ok")] * 2,
            ("workflow", "ok"),
        ]
        root = next(span for span in newest.values() if span.kind == "workflow")
        assert all(span.started_at >= root.started_at for span in newest.values())

    async def test_the_plan_changes_nothing(self, lite: Live) -> None:
        first = await failed(lite)
        path = f"/runs/{first['id']}/retry"
        plan = (await lite.api.post(path, {"plan_only": True})).ok(200)
        (write,) = plan["again"]
        assert (write["step_id"], write["kind"], write["status"], plan["kept"]) == (
            "write",
            "agent",
            "failed",
            ["plan"],
        )
        assert write["why"]
        further = (await lite.api.post(path, {"plan_only": True, "from_step": "plan"})).ok(200)
        assert ([step["step_id"] for step in further["again"]], further["kept"]) == (["plan", "write"], [])
        assert (await lite.api.get(f"/runs/{first['id']}")).ok() == first

    async def test_further_back_with_a_repaired_input_and_other_limits(self, lite: Live) -> None:
        first = await failed(lite, limits={"max_steps": 2})
        body = {"inputs": {"plan": "lake"}, "limits": {"max_steps": 9, "on_exceeded": "fail"}}
        (await lite.api.post(f"/runs/{first['id']}/retry", body)).ok(202)
        run = await ended(lite, first["id"])
        assert run["status"] == "succeeded"
        assert asked(lite)[2:] == ["plan lake", "write the plan"]

    async def test_what_names_no_step(self, lite: Live) -> None:
        first = await failed(lite)
        path = f"/runs/{first['id']}"
        places = (await lite.api.post(f"{path}/retry", {"from_step": "wirte"})).places()
        assert places == [["body", "from_step"]]
        places = (await lite.api.post(f"{path}/retry", {"inputs": {"plan": 1, "paln": 1}})).places()
        assert places == [["body", "inputs", "paln"]]
        places = (await lite.api.post(f"{path}/replay", {"overrides": {"paln": 1}})).places()
        assert places == [["body", "overrides", "paln"]]
        assert (await lite.api.get(path)).ok() == first

    async def test_of_two_at_once_one_begins(self, live: Live) -> None:
        first = await failed(live, Reply(text="written", hold_after=0))
        answers = await asyncio.gather(*(live.api.post(f"/runs/{first['id']}/retry") for _ in range(5)))
        assert sorted(answer.status for answer in answers) == [202, 409, 409, 409, 409]
        await live.upstream.wait_for_calls(1, "held")
        problem = (await live.api.post(f"/runs/{first['id']}/retry")).problem(409, "conflict")
        assert problem["run_status"] == "running"
        live.upstream.release()
        assert (await ended(live, first["id"]))["retry_count"] == 1
        assert len(live.upstream.calls) == 3

    async def test_again_and_again(self, lite: Live) -> None:
        first = await failed(lite, REFUSED, Reply(text="written"))
        for expected in ("failed", "succeeded"):
            (await lite.api.post(f"/runs/{first['id']}/retry")).ok(202)
            run = await ended(lite, first["id"])
            assert run["status"] == expected
        assert (run["retry_count"], run["steps"][1]["attempt"], len(lite.upstream.calls)) == (2, 3, 4)
        problem = (await lite.api.post(f"/runs/{first['id']}/retry")).problem(409, "conflict")
        assert problem["run_status"] == "succeeded"

    async def test_with_the_agents_that_it_had_as_long_as_temporal_knows(self, lite: Live) -> None:
        lite.upstream.default = REFUSED
        (await lite.api.post("/agents", {"name": "poet", "message": "first"})).ok(201)
        await lite.workflow({"id": "ask", "agent": "poet"})
        run = (await lite.api.post("/workflows/test/runs", {}, wait=30)).ok(200)
        (await lite.api.patch("/agents/poet", {"message": "second"})).ok()
        (await lite.api.post(f"/runs/{run['id']}/retry")).ok(202)
        await ended(lite, run["id"])
        unknown = await forgotten_by_temporal(lite, run["id"])
        (await lite.api.post(f"/runs/{unknown}/retry")).ok(202)
        await ended(lite, unknown)
        assert asked(lite) == ["first", "first", "second"]

    async def test_terminated_in_temporal(self, lite: Live) -> None:
        lite.upstream.when("plan", Reply(text="the plan"))
        lite.upstream.when("write", Reply(tokens=["x"], endless=True, token_delay=0.01), Reply(text="written"))
        await lite.workflow(PLAN, WRITE)
        run_id = await lite.start(input="sea")
        await lite.api.until(f"/runs/{run_id}", lambda run: [step["id"] for step in run["steps"]][1:] == ["write"])
        await lite.upstream.wait_for_calls(1, "open")
        await lite.engine.client.get_workflow_handle(run_id).terminate()
        (await lite.api.post(f"/runs/{run_id}/retry")).ok(202)
        run = await ended(lite, run_id)
        assert (run["status"], run["output"]) == ("succeeded", "written")
        assert asked(lite) == ["plan sea", "write the plan", "write the plan"]

    async def test_unknown(self, api: RunningApi) -> None:
        (await api.post("/runs/run_nope/retry")).problem(404, "not-found")
        (await api.post("/runs/run_nope/replay")).problem(404, "not-found")


class TestRetryCutOff:
    async def test_temporal_away_leaves_the_run_as_it_was(self, lite: Live) -> None:
        first = await failed(lite)
        away = lite.api.settings.model_copy(update={"temporal_address": "127.0.0.1:1"})
        async with serving_api(away, migrated=False) as api:
            (await api.post(f"/runs/{first['id']}/retry")).problem(503, "dependency-unavailable")
        assert (await lite.api.get(f"/runs/{first['id']}")).ok() == first

    @pytest.mark.parametrize("fault", [StartRefused("no"), DependencyUnavailable("temporal")])
    async def test_temporal_does_not_take_it(
        self, lite: Live, fault: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = await failed(lite)

        async def refuse(*_arguments: object) -> None:
            raise fault

        with monkeypatch.context() as patch:
            patch.setattr(Executions, "start", refuse)
            (await lite.api.post(f"/runs/{first['id']}/retry")).problem(503, "dependency-unavailable")
        run = (await lite.api.get(f"/runs/{first['id']}")).ok()
        assert {**run, "retry_count": 0} == first
        assert await told(lite, first["id"]) == [
            ("run.started", 1),
            ("run.failed", 1),
            ("run.retried", 2),
            ("run.failed", 2),
        ]
        (await lite.api.post(f"/runs/{first['id']}/retry")).ok(202)
        assert (await ended(lite, first["id"]))["status"] == "succeeded"
        assert len(lite.upstream.calls) == 3

    async def test_the_process_died_before_it_asked_temporal(self, live: Live) -> None:
        first = await failed(live)
        for age, status in ((timedelta(0), "queued"), (timedelta(minutes=5), "failed")):
            async with live.engine.database.write() as session:
                row = await get_run(session, first["id"])
                assert row is not None
                if row.status == "failed":
                    assert await requeue_run(
                        session, row, utc_now(), version=row.definition_version, pattern=row.pattern
                    )
                    await keep_key(session, retry_scope(row.id), "k", body_hash(RetryRun()), row.id, utc_now())
                await session.execute(update(RunRow).values(queued_at=utc_now() - age))
            run = (await live.api.get(f"/runs/{first['id']}")).ok()
            assert (run["status"], run["steps"]) == (status, first["steps"])
        assert (run["error"], run["ended_at"] is not None) == (first["error"], True)
        again = await live.api.request("POST", f"/runs/{first['id']}/retry", {}, headers={"Idempotency-Key": "k"})
        assert again.ok(202)["retry_count"] == 2
        assert (await ended(live, first["id"]))["status"] == "succeeded"
        assert len(live.upstream.calls) == 3

    async def test_what_it_paid_is_not_forgotten_while_no_worker_says_so(self, idle: Live) -> None:
        await idle.workflow(PLAN, {"id": "hold", "wait": {"signal": "go"}})
        async with open_worker(idle.engine.settings) as worker, worker:
            run_id = await idle.start(input="sea")
            await idle.api.until(f"/runs/{run_id}", lambda run: run["status"] == "waiting")
        (await idle.api.post(f"/runs/{run_id}/terminate")).ok(202)
        problem = (await idle.api.post(f"/runs/{run_id}/retry")).problem(503, "dependency-unavailable")
        assert problem["dependency"] == "worker"
        async with open_worker(idle.engine.settings) as worker, worker:
            (await idle.api.post(f"/runs/{run_id}/retry")).ok(202)
            await idle.api.until(f"/runs/{run_id}", lambda run: run["status"] == "waiting")
            (await idle.api.post(f"/runs/{run_id}/signals/go")).ok(202)
            assert (await ended(idle, run_id))["status"] == "succeeded"
        assert len(idle.upstream.calls) == 1

    async def test_a_retry_that_no_worker_took_up_has_what_was_done_before(self, idle: Live) -> None:
        idle.upstream.when("write", REFUSED)
        await idle.workflow(PLAN, WRITE)
        async with open_worker(idle.engine.settings) as worker, worker:
            first = (await idle.api.post("/workflows/test/runs", {"input": "sea"}, wait=30)).ok(200)
        (await idle.api.post(f"/runs/{first['id']}/retry")).ok(202)
        run = (await idle.api.post(f"/runs/{first['id']}/terminate")).ok(202)
        assert run["status"] == "terminated"
        assert (run["steps"][0]["id"], run["steps"][0]["status"]) == ("plan", "succeeded")
        assert run["usage"] == first["usage"]


class TestReplay:
    async def succeeded(self, live: Live) -> JsonObject:
        live.upstream.when("plan", Reply(text="the plan"))
        live.upstream.when("write", Reply(text="written"))
        await live.workflow(PLAN, WRITE, input_schema={"type": "string"})
        body = {"input": "sea", "session_id": "s1", "metadata": {"team": "red"}}
        run = (await live.api.post("/workflows/test/runs", body, wait=30)).ok(200)
        live.upstream.calls.clear()
        return run

    async def replay(self, live: Live, origin: JsonObject, **body: Any) -> JsonObject:
        return (await live.api.post(f"/runs/{origin['id']}/replay", body, wait=30)).ok(200)

    async def test_is_a_new_run_of_the_same(self, live: Live) -> None:
        origin = await self.succeeded(live)
        (await live.api.patch("/workflows/test", {"steps": [ECHO]})).ok()
        answer = await live.api.post(f"/runs/{origin['id']}/replay")
        run = answer.ok(202)
        assert answer.headers["location"] == f"/api/v1/runs/{run['id']}"
        assert (run["status"], run["replay_of"], run["retry_count"]) == ("queued", origin["id"], 0)
        same = ("kind", "workflow", "input", "session_id", "metadata", "project_id")
        assert [run[field] for field in same] == [origin[field] for field in same]
        run = await ended(live, run["id"])
        assert (run["status"], run["output"]) == ("succeeded", "written")
        assert asked(live) == ["plan sea", "write the plan"]
        found = (await live.api.get(f"/runs/{origin['id']}")).ok()
        assert (found["replays"], found["output"]) == ([run["id"]], "written")
        listed = (await live.api.get("/runs", replay_of=origin["id"])).ok()["items"]
        assert [one["id"] for one in listed] == [run["id"]]

    async def test_from_a_step_on(self, lite: Live) -> None:
        origin = await self.succeeded(lite)
        run = await self.replay(lite, origin, from_step="write", metadata={})
        assert (run["status"], asked(lite)) == ("succeeded", ["write the plan"])
        assert (run["usage"]["llm_calls"], run["metadata"]) == (1, {})
        # Of the first run five: it, its steps and calls. Of the replay three, since one step was kept.
        spans = [span for span in await lite.engine.spans.wait_for(8) if span.run_id == run["id"]]
        spans = [span for span in spans if span.kind == "agent"]
        assert [span.step_id for span in spans] == ["write"]

    async def test_with_another_output_of_a_step(self, lite: Live) -> None:
        origin = await self.succeeded(lite)
        run = await self.replay(lite, origin, overrides={"plan": "no plan"})
        assert (run["steps"][0]["output"], asked(lite)) == ("no plan", ["write no plan"])

    async def test_with_another_input(self, lite: Live) -> None:
        origin = await self.succeeded(lite)
        assert (await lite.api.post(f"/runs/{origin['id']}/replay", {"input": 1})).places() == [["body", "input"]]
        run = await self.replay(lite, origin, input="lake")
        assert (run["input"], asked(lite)) == ("lake", ["plan lake", "write the plan"])
        lite.upstream.calls.clear()
        run = await self.replay(lite, origin, input="lake", overrides={"plan": "none"})
        assert (run["status"], asked(lite)) == ("succeeded", ["write none"])

    async def test_of_equal_requests_at_once_one_begins(self, live: Live) -> None:
        origin = await self.succeeded(live)

        async def replay(body: JsonObject) -> Any:
            return await live.api.request(
                "POST", f"/runs/{origin['id']}/replay", body, headers={"Idempotency-Key": "k"}
            )

        answers = await asyncio.gather(*(replay({"from_step": "write"}) for _ in range(20)))
        (run_id,) = {answer.ok(202)["id"] for answer in answers}
        await ended(live, run_id)
        assert asked(live) == ["write the plan"]
        assert run_id in (await replay({})).problem(409, "conflict")["detail"]

    async def test_of_one_that_goes_on(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        assert (await idle.api.post(f"/runs/{run_id}/replay")).problem(409, "conflict")["run_status"] == "queued"
        async with idle.engine.database.read() as session:
            assert list(await session.scalars(select(RunRow.id))) == [run_id]
