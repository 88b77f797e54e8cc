"""Runs that Temporal ended: lists, inbox and schedule show it although nobody opened the run."""

import pytest
from sqlalchemy import text

from api.runs import sweep
from studio.contracts.base import JsonObject
from tests.api.conftest import Live

ASK: JsonObject = {"id": "ok", "approval": {"message": "Go on?"}}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - used by pytest
    monkeypatch.setattr(sweep, "PAUSE_SECONDS", 0.3)


async def waiting(live: Live, count: int) -> list[JsonObject]:
    return (await live.api.until("/approvals", lambda found: len(found["items"]) == count))["items"]


class TestEndedByTemporal:
    async def test_the_run_that_a_schedule_replaces(self, timed: Live) -> None:
        await timed.workflow(ASK)
        clock = {"name": "clock", "workflow": "test", "cron": "0 0 29 2 *", "overlap": "terminate_other"}
        (await timed.api.post("/schedules", clock)).ok(201)
        first = (await timed.api.post("/schedules/clock/trigger")).ok(202)["run_id"]
        await waiting(timed, 1)
        second = (await timed.api.post("/schedules/clock/trigger")).ok(202)["run_id"]
        settled = [(second, "waiting"), (first, "terminated")]
        await timed.api.until("/runs", lambda found: [(run["id"], run["status"]) for run in found["items"]] == settled)
        (approval,) = await waiting(timed, 1)
        assert approval["run_id"] == second
        recent = (await timed.api.get("/schedules/clock")).ok()["recent"]
        assert [run["status"] for run in recent] == ["waiting", "terminated"]

    async def test_one_that_an_operator_terminates(self, timed: Live) -> None:
        await timed.workflow(ASK)
        run_id = await timed.start()
        await waiting(timed, 1)
        await timed.engine.client.get_workflow_handle(run_id).terminate("by hand")
        await waiting(timed, 0)
        (run,) = (await timed.api.get("/runs", status="terminated")).ok()["items"]
        assert run["id"] == run_id

    async def test_one_beside_a_run_whose_row_cannot_be_read(self, timed: Live) -> None:
        await timed.workflow(ASK)
        broken, run_id = await timed.start(), await timed.start()
        await waiting(timed, 2)
        async with timed.engine.database.write() as session:
            damaged = text("UPDATE runs SET output = '{' WHERE id = :id")
            await session.execute(damaged, {"id": broken})
        for ended in (broken, run_id):
            await timed.engine.client.get_workflow_handle(ended).terminate("by hand")
        shown = await timed.api.until("/runs", lambda found: found["items"][0]["status"] == "terminated")
        assert [run["id"] for run in shown["items"]] == [run_id, broken]
