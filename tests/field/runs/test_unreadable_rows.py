"""One row that cannot be read: edited by hand, or written by a newer version before a rollback."""

import pytest
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy import update

from studio.contracts.base import JsonObject
from tests.api.conftest import Live

ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}
BROKEN = {"no JSON": "{", "another shape": '{"pattern": "spiral"}', "no object": "[1]"}


async def set_column(live: Live, table: str, column: str, value: str, name: str) -> None:
    changed = sql_table(table, sql_column(column), key := sql_column("name" if table == "definitions" else "id"))
    async with live.engine.database.write() as session:
        await session.execute(update(changed).where(key == name).values({column: value}))


class TestDefinitions:
    @pytest.mark.parametrize("document", BROKEN.values(), ids=BROKEN)
    async def test_the_list_marks_it_and_it_can_be_written_again(self, lite: Live, document: str) -> None:
        await lite.workflow(ECHO)
        await lite.workflow(ECHO, name="other")
        await set_column(lite, "definitions", "document", document, "other")
        marked, whole = (await lite.api.get("/workflows")).ok()["items"]
        assert (marked["name"], "cannot be read" in marked["unreadable"], "steps" in marked) == ("other", True, False)
        assert (whole["name"], whole["steps"]) == ("test", [ECHO])
        (await lite.api.get("/workflows/test")).ok()
        body = {"name": "other", "pattern": "sequential", "steps": [ECHO]}
        assert (await lite.api.request("PUT", "/workflows/other", body)).ok()["steps"] == [ECHO]

    async def test_it_can_be_deleted(self, lite: Live) -> None:
        await lite.workflow(ECHO, name="other")
        await set_column(lite, "definitions", "document", "{", "other")
        (await lite.api.request("DELETE", "/workflows/other")).ok(204)

    async def test_an_export_names_it(self, lite: Live) -> None:
        await lite.workflow(ECHO, name="other")
        await set_column(lite, "definitions", "document", "{", "other")
        refused = (await lite.api.get("/export", kind="workflow")).problem(409, "conflict")
        assert "The workflow 'other' cannot be exported." in refused["detail"]

    async def test_schedules_beside_it_go_on(self, lite: Live) -> None:
        await lite.workflow(ECHO)
        for name in ("a", "b"):
            clock = {"name": name, "workflow": "test", "cron": "0 0 29 2 *"}
            (await lite.api.post("/schedules", clock)).ok(201)
        await set_column(lite, "definitions", "document", "{}", "a")
        whole, marked = (await lite.api.get("/schedules")).ok()["items"]
        assert (whole["name"], marked["name"], "unreadable" in marked) == ("b", "a", True)
        assert whole["next_runs"]
        for name in ("a", "b"):
            (await lite.api.request("DELETE", f"/schedules/{name}")).ok(204)


class TestRuns:
    @pytest.mark.parametrize("column", ["progress", "output", "error", "created_at"])
    async def test_the_list_marks_it(self, lite: Live, column: str) -> None:
        await lite.workflow(ECHO)
        whole, broken = [(await lite.api.finished(await lite.start(input="x")))["id"] for _ in range(2)]
        await set_column(lite, "runs", column, "{", broken)
        marked, other = (await lite.api.get("/runs")).ok()["items"]
        assert (marked["id"], marked["status"], "cannot be read" in marked["error"]["message"]) == (
            broken,
            "succeeded",
            True,
        )
        assert (other["id"], other["output"]) == (whole, "x")
