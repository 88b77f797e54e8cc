from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from sqlalchemy import update

from activities.run_contexts import RunContexts, RunGone
from studio.contracts.base import utc_now
from studio.contracts.runs import RunContext
from studio.db.engine import Database
from studio.db.migrate import migrate_database
from studio.db.tables import RunRow
from studio.store.blob_uses import owner_of
from studio.store.runs import delete_queued_run, insert_run
from tests.support.databases import sqlite_database

CONTEXT = RunContext(
    run_id="run_1", project_id="p", workflow_name="w", workflow_version=3, trace_id="a" * 32, session_id="s"
)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database, None]:
    database = Database(sqlite_database(tmp_path))
    await migrate_database(database)
    yield database
    await database.close()


def row(context: RunContext) -> RunRow:
    return RunRow(
        id=context.run_id,
        kind="workflow",
        project_id=context.project_id,
        definition_id="wf_1",
        definition_name=context.workflow_name,
        definition_version=context.workflow_version,
        status="queued",
        run_metadata={},
        session_id=context.session_id,
        trace_id=context.trace_id,
        created_at=utc_now(),
    )


class TestGet:
    async def test_the_row_is_read_once(self, database: Database) -> None:
        contexts = RunContexts(database)
        async with database.write() as session:
            await insert_run(session, row(CONTEXT))
        assert await contexts.get("run_1", "e") == CONTEXT
        async with database.write() as session:
            assert await delete_queued_run(session, "run_1")
        assert await contexts.get("run_1", "e") == CONTEXT

    async def test_a_retry_is_another_execution(self, database: Database) -> None:
        contexts = RunContexts(database)
        async with database.write() as session:
            await insert_run(session, row(CONTEXT))
        await contexts.get("run_1", "first")
        async with database.write() as session:
            await session.execute(update(RunRow).values(retry_count=1))
        assert (await contexts.get("run_1", "second")).retry == 1
        assert (await contexts.get("run_1", "first")).retry == 0

    async def test_a_run_that_is_not_there_is_asked_for_again(self, database: Database) -> None:
        contexts = RunContexts(database)
        with pytest.raises(RunGone, match="'run_1'"):
            await contexts.get("run_1", "e")
        async with database.write() as session:
            await insert_run(session, row(CONTEXT))
        assert await contexts.get("run_1", "e") == CONTEXT

    async def test_only_so_many_are_kept(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("activities.run_contexts.KEPT_RUNS", 2)
        contexts = RunContexts(database)
        ids = ["run_1", "run_2", "run_3"]
        async with database.write() as session:
            for run_id in ids:
                await insert_run(session, row(CONTEXT.model_copy(update={"run_id": run_id})))
        for run_id in ("run_1", "run_2", "run_1", "run_3"):  # the third read leaves run_2 as the oldest
            await contexts.get(run_id, "e")
        async with database.write() as session:
            for run_id in ids:
                await delete_queued_run(session, run_id)
        assert (await contexts.get("run_1", "e")).run_id == "run_1"
        with pytest.raises(RunGone):
            await contexts.get("run_2", "e")


class TestRunIdOf:
    @pytest.mark.parametrize("workflow_id", ["run_1", "run_1/research", "run_1/research/answer[2]"])
    def test_children_belong_to_their_run(self, workflow_id: str) -> None:
        assert owner_of(workflow_id) == "run_1"
