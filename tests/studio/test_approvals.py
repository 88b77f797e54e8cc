"""The inbox in SQL: what workflows tell of themselves, in whatever order it comes."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from studio.contracts.activities import WorkflowView
from studio.contracts.base import Json
from studio.contracts.interaction import WaitingApproval
from studio.contracts.runs import RunEnd, RunProgress, RunStatus
from studio.db.engine import Database
from studio.db.tables import RunRow
from studio.store.approvals import InboxFilter, hide_approval, list_pending, write_view
from studio.store.runs import get_run, insert_run, record_end
from tests.support.databases import migrate_new

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def database(either_database: str) -> AsyncGenerator[Database]:
    await migrate_new(either_database)
    opened = Database(either_database)
    try:
        async with opened.write() as session:
            await insert_run(session, _row())
        yield opened
    finally:
        await opened.close()


def _row() -> RunRow:
    texts = {"id": "run_1", "kind": "workflow", "project_id": "p", "definition_id": "wf_1", "definition_name": "w"}
    fields: dict[str, Json] = {**texts, "definition_version": 1, "status": "running", "run_metadata": {}}
    return RunRow(**fields, trace_id="0" * 32, created_at=START)


def view(after: int, *paths: str, status: RunStatus = "waiting") -> WorkflowView:
    """Told so many seconds after the start."""
    waiting = {"for": "approval", "message": "m", "input": 1, "hash": "h", "allow_edit": False}
    approvals = [WaitingApproval(step_id=path, waiting=waiting, since=START) for path in paths]
    return WorkflowView(at=START + timedelta(seconds=after), status=status, approvals=approvals)


async def tell(database: Database, told: WorkflowView, path: str = "") -> bool:
    async with database.write() as session:
        return await write_view(session, "run_1", path, told, retry=0)


async def shown(database: Database) -> tuple[str, list[str]]:
    """The run's status, and what is in the inbox."""
    async with database.read() as session:
        row = await get_run(session, "run_1")
        pending = await list_pending(session, InboxFilter(), limit=10)
    assert row is not None
    return row.status, [one.step_id for one in pending]


class TestViews:
    async def test_each_takes_the_place_of_what_its_workflow_told_before(self, database: Database) -> None:
        await tell(database, view(1, "a", "b"))
        await tell(database, view(2, "c/a"), "c")
        await tell(database, view(3, "b"))
        assert await shown(database) == ("waiting", ["b", "c/a"])

    async def test_an_older_one_comes_too_late(self, database: Database) -> None:
        await tell(database, view(2, status="running"))
        assert not await tell(database, view(1, "a"))
        assert await shown(database) == ("running", [])

    async def test_what_was_decided_does_not_come_back(self, database: Database) -> None:
        await tell(database, view(1, "a", "b"))
        async with database.write() as session:
            await hide_approval(session, "run_1", "a")
        await tell(database, view(2, "a"))
        assert await shown(database) == ("waiting", [])

    async def test_of_a_run_that_has_ended_nothing_waits(self, database: Database) -> None:
        await tell(database, view(1, "a"))
        await tell(database, view(2, "c/a"), "c")
        end = RunEnd(status="cancelled", progress=RunProgress(), started_at=START, ended_at=START)
        async with database.write() as session:
            await record_end(session, "run_1", end, retry=0)
        assert not await tell(database, view(3, "a"))
        assert await shown(database) == ("cancelled", [])
