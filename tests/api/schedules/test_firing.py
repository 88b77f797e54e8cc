"""Schedules fire real runs on the real Temporal server."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import delete
from temporalio.client import ScheduleActionExecutionStartWorkflow, ScheduleHandle
from temporalio.service import RPCError, RPCStatusCode

from activities import starts
from studio.contracts.base import Json, JsonObject
from studio.db.tables import DefinitionRow, DefinitionVersionRow
from tests.api.conftest import Live
from tests.support.sandbox import replay_in_sandbox
from tests.support.scripted_upstream import Reply
from workflows.scheduled import ScheduledRunWorkflow

ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}
ASK: JsonObject = {"id": "ask", "agent": {"message": "question"}}
NEVER: JsonObject = {"name": "clock", "workflow": "test", "cron": "0 0 29 2 *"}
"""Fires only when it is triggered."""


async def store(live: Live, document: JsonObject = NEVER, **fields: Json) -> JsonObject:
    return (await live.api.post("/schedules", document | fields)).ok(201)


async def trigger(live: Live, **body: Json) -> JsonObject:
    return (await live.api.post("/schedules/clock/trigger", body)).ok(202)


async def recent(live: Live, *statuses: str) -> list[JsonObject]:
    """The schedule's runs, newest first, once they are in these states."""

    def holds(schedule: JsonObject) -> bool:
        return [run["status"] for run in schedule["recent"]][: len(statuses)] == list(statuses)

    return (await live.api.until("/schedules/clock", holds))["recent"]


class TestFiring:
    async def test_every_second_until_it_is_paused(self, timed: Live) -> None:
        await timed.workflow(ECHO)
        schedule = await store(
            timed,
            {"name": "clock", "workflow": "test", "interval": "1s", "input": [1]},
            session_id="s1",
            metadata={"team": "red"},
        )
        second, first = (await recent(timed, "succeeded", "succeeded"))[:2]
        assert first["scheduled_at"] < second["scheduled_at"] <= second["started_at"]
        run = (await timed.api.get(f"/runs/{second['run_id']}")).ok()
        assert (run["schedule_id"], run["input"], run["output"]) == (schedule["id"], [1], [1])
        assert run["session_id"] == "s1"
        assert run["metadata"] == {"team": "red", "scheduled_at": second["scheduled_at"]}

        note = {"note": "too loud"}
        paused = (await timed.api.post("/schedules/clock/pause", note)).ok()
        assert (paused["paused"], paused["note"]) == (True, "too loud")
        assert paused["version"] == schedule["version"]
        fired = (await timed.api.until("/schedules/clock", lambda found: found["fired"] == len(found["recent"])))[
            "fired"
        ]
        listed = (await timed.api.get("/runs", schedule="clock")).ok()["items"]
        assert len(listed) == fired
        assert {run["schedule_id"] for run in listed} == {schedule["id"]}
        assert (await timed.api.get("/runs", schedule=schedule["id"])).ok()["items"] == listed

        await trigger(timed)
        await timed.api.until("/schedules/clock", lambda found: found["fired"] == fired + 1)
        headers = {"X-Studio-Actor": "ada"}
        resumed = (await timed.api.request("POST", "/schedules/clock/resume", headers=headers)).ok()
        assert (resumed["paused"], resumed["note"]) == (False, "Resumed by ada.")
        await timed.api.until("/schedules/clock", lambda found: found["fired"] >= fired + 2)

    async def test_an_agent_and_a_version(self, timed: Live) -> None:
        (await timed.api.post("/agents", {"name": "poet", "message": "first"})).ok(201)
        (await timed.api.request("PATCH", "/agents/poet", {"message": "second"})).ok()
        schedule = await store(timed, {"name": "clock", "agent": "poet", "run_version": 1, "cron": "0 0 29 2 *"})
        await trigger(timed)
        await recent(timed, "succeeded")
        (await timed.api.request("PATCH", "/schedules/clock", {"run_version": None})).ok()
        await trigger(timed, overlap="allow_all")
        await recent(timed, "succeeded", "succeeded")
        assert [call.text for call in timed.upstream.calls] == ["first", "second"]
        told = await timed.engine.client.get_schedule_handle(schedule["id"]).describe()
        action = told.info.recent_actions[0].action
        assert isinstance(action, ScheduleActionExecutionStartWorkflow)
        await replay_in_sandbox(timed.engine.client, action.workflow_id, ScheduledRunWorkflow)


class TestOverlap:
    async def test_skip_cancel_and_terminate(self, timed: Live) -> None:
        await timed.workflow(ASK)
        timed.upstream.default = Reply(text="a b", hold_after=0)
        await store(timed)
        await trigger(timed)
        await timed.upstream.wait_for_calls(1, "held")
        refused = (await timed.api.post("/schedules/clock/trigger")).problem(409, "conflict")
        (running,) = await recent(timed, "running")
        assert refused["run_id"] == running["run_id"]
        await timed.api.until("/schedules/clock", lambda found: found["skipped"] == 1)

        await trigger(timed, overlap="cancel_other")
        await recent(timed, "running", "cancelled")
        await trigger(timed, overlap="terminate_other")
        await timed.upstream.wait_for_calls(3)
        _, second, _ = await recent(timed, "running")
        await timed.api.until(f"/runs/{second['run_id']}", lambda run: run["status"] == "terminated")
        await timed.upstream.wait_for_calls(1, "held")
        timed.upstream.release()
        found = await recent(timed, "succeeded", "terminated", "cancelled")
        assert len(found) == 3

    async def test_a_run_that_somebody_cancels_is_no_failure(self, timed: Live) -> None:
        await timed.workflow(ASK)
        timed.upstream.default = Reply(text="a b", hold_after=0)
        await store(timed, pause_on_failure=True)
        await trigger(timed)
        await timed.upstream.wait_for_calls(1, "held")
        (run,) = await recent(timed, "running")
        (await timed.api.post(f"/runs/{run['run_id']}/cancel")).ok(202)
        await recent(timed, "cancelled")
        timed.upstream.default = Reply(text="done")
        await trigger(timed, overlap="buffer_one")
        await recent(timed, "succeeded", "cancelled")
        assert (await timed.api.get("/schedules/clock")).ok()["paused"] is False


class TestBackfill:
    async def test_each_moment_of_a_window_once(self, timed: Live) -> None:
        await timed.workflow({"id": "when", "transform": "${{ run.metadata.scheduled_at }}"})
        await store(timed, {"name": "clock", "workflow": "test", "cron": "0 9 * * *", "timezone": "Europe/Berlin"})
        window = {"start_at": "2026-03-28T08:00:00Z", "end_at": "2026-03-31T06:59:59Z"}
        (await timed.api.post("/schedules/clock/backfill", window)).ok(202)
        found = await recent(timed, "succeeded", "succeeded", "succeeded")
        # The clocks went forward on the 29th.
        moments = ["2026-03-30T07:00:00.000000Z", "2026-03-29T07:00:00.000000Z", "2026-03-28T08:00:00.000000Z"]
        assert [run["scheduled_at"] for run in found] == moments
        assert (await timed.api.get(f"/runs/{found[0]['run_id']}")).ok()["output"] == moments[0]

    async def test_refused(self, timed: Live) -> None:
        await timed.workflow(ECHO)
        await store(timed, {"name": "clock", "workflow": "test", "interval": "1h", "paused": True})

        async def places(start_at: str, end_at: str) -> Any:
            return (
                await timed.api.post("/schedules/clock/backfill", {"start_at": start_at, "end_at": end_at})
            ).places()

        assert await places("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z") == [["body", "start_at"]]
        assert await places("2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z") == [["body", "end_at"]]
        assert await places("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z") == [["body", "end_at"]]
        assert (await timed.api.get("/runs")).ok()["items"] == []


class TestFailing:
    async def test_an_input_that_no_longer_fits_is_a_failed_run(self, timed: Live) -> None:
        await timed.workflow(ECHO)
        await store(timed, input="text", pause_on_failure=True)
        (await timed.api.request("PATCH", "/workflows/test", {"input_schema": {"type": "object"}})).ok()
        await trigger(timed)
        (failed,) = await recent(timed, "failed")
        assert failed["error"]["type"] == "invalid_request"
        assert 'no longer fits: input: "text" is not of type "object"' in failed["error"]["message"]
        (run,) = (await timed.api.get("/runs", status="failed")).ok()["items"]
        assert (run["id"], run["error"]) == (failed["run_id"], failed["error"])
        assert (await timed.api.finished(run["id"]))["status"] == "failed"
        await timed.api.until("/schedules/clock", lambda found: found["paused"])

    async def test_a_run_that_fails_pauses_it(self, timed: Live) -> None:
        await timed.workflow({"id": "no", "transform": "${{ 1 / input }}"})
        await store(timed, input=0, pause_on_failure=True)
        await trigger(timed)
        await timed.api.until("/schedules/clock", lambda found: found["paused"])
        await recent(timed, "failed")

    async def test_one_that_was_never_stored_ends_itself(self, timed: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        """The process died between telling Temporal and committing."""
        monkeypatch.setattr(starts, "ORPHAN_ATTEMPTS", 2)
        await timed.workflow(ECHO)
        schedule = await store(timed)
        async with timed.engine.database.write() as session:
            for table, column in ((DefinitionVersionRow, "definition_id"), (DefinitionRow, "id")):
                await session.execute(delete(table).where(getattr(table, column) == schedule["id"]))
        handle = timed.engine.client.get_schedule_handle(schedule["id"])
        await handle.trigger()
        async with asyncio.timeout(30):
            while await is_known(handle):  # noqa: ASYNC110 - Temporal has no event to wait for
                await asyncio.sleep(0.05)
        assert (await timed.api.get("/runs")).ok()["items"] == []


async def is_known(handle: ScheduleHandle) -> bool:
    try:
        await handle.describe()
    except RPCError as error:
        return error.status != RPCStatusCode.NOT_FOUND
    return True
