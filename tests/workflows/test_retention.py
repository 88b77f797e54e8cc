"""What is removed once it has been kept long enough, and what is not."""

import asyncio
from datetime import datetime, timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy import func, select, update
from temporalio.client import WorkflowHandle

from activities.cleaning import Cleaner
from activities.maintenance import MAINTENANCE, ended_before, schedule_maintenance
from studio.contracts.base import JsonObject, utc_now
from studio.contracts.ids import IdPrefix
from studio.contracts.maintenance import CleanedUp
from studio.contracts.runs import RunStatus
from studio.db.tables import (
    Base,
    BatchRow,
    BlobRow,
    BlobUseRow,
    IdempotencyRow,
    MessageRow,
    PendingApprovalRow,
    RunRow,
)
from studio.store.blobs import BlobStore
from tests.support.noise import noise
from tests.support.platform import Engine

LONG_AGO = utc_now() - timedelta(days=100)
STEPS: list[JsonObject] = [{"id": "ask", "agent": {"message": "say"}}, {"id": "c", "workflow": "inner"}]
INNER: JsonObject = {"pattern": "sequential", "steps": [{"id": "deep", "agent": {"message": "deeper"}}]}


@pytest.fixture
def database_url(either_database: str) -> str:
    return either_database


@pytest.fixture
def cleaner(engine: Engine) -> Cleaner:
    return Cleaner(engine.database, engine.stream, BlobStore(engine.database), engine.client)


async def ended_run(engine: Engine, given: str) -> str:
    handle = await engine.start(STEPS, given, workflows={"inner": INNER}, description=noise(100_000, 9))
    await handle.result()
    return handle.id


async def change(engine: Engine, run_id: str, ended_at: datetime = LONG_AGO, status: RunStatus = "succeeded") -> None:
    async with engine.database.write() as session:
        await session.execute(
            update(RunRow).where(RunRow.id == run_id).values(ended_at=ended_at, status=status, batch_id="bat_a")
        )
        await session.execute(update(BlobRow).values(created_at=LONG_AGO))


async def add_the_rest(engine: Engine, run_id: str) -> None:
    """What other parts keep of a run."""
    key = IdempotencyRow(scope="wf_test", key=run_id, body_hash="", run_id=run_id, created_at=LONG_AGO)
    pending = PendingApprovalRow(
        run_id=run_id, step_id="a", workflow_path="", project_id="default", waiting={}, created_at=LONG_AGO
    )
    batch = BatchRow(
        id="bat_a",
        project_id="default",
        definition_id="wf_test",
        definition_name="test",
        definition_version=1,
        total=1,
        created_at=LONG_AGO,
    )
    async with engine.database.write() as session:
        session.add_all([key, pending, batch])


async def counts(engine: Engine, run_id: str) -> dict[str, int]:
    """What is there of a run, by table."""
    of: dict[type[Base], object] = {
        RunRow: RunRow.id == run_id,
        MessageRow: MessageRow.conversation_id.startswith(f"{run_id}/"),
        IdempotencyRow: IdempotencyRow.run_id == run_id,
        PendingApprovalRow: PendingApprovalRow.run_id == run_id,
        BlobUseRow: BlobUseRow.run_id == run_id,
        BatchRow: BatchRow.id == "bat_a",
    }
    async with engine.database.read() as session:
        return {
            table.__tablename__: await session.scalar(select(func.count()).select_from(table).where(which)) or 0  # pyright: ignore[reportArgumentType] - a mapping cannot say that each is a condition
            for table, which in of.items()
        }


class TestOldRuns:
    async def test_go_with_everything_of_theirs_and_leave_the_others(self, engine: Engine, cleaner: Cleaner) -> None:
        old, young = await ended_run(engine, noise(100_000)), await ended_run(engine, "young")
        await add_the_rest(engine, old)
        await change(engine, old)
        before = ended_before(90)
        found = await cleaner.clean(before, lambda: None)
        # The run's and its child's, as Temporal took the requests; it removes them half a minute later.
        assert (found.runs, found.executions) == (1, 2)
        assert found.blobs > 0
        assert set((await counts(engine, old)).values()) == {0}
        async with Redis.from_url(engine.settings.redis_url) as redis:
            assert await redis.keys(f"*{old}*") == []
            assert len(await redis.keys(f"*{young}*")) == 2
        left = await counts(engine, young)
        assert left["runs"] == 1
        assert left["messages"] > 0
        assert left["blob_uses"] > 0
        history = await engine.client.get_workflow_handle(young).fetch_history()
        (_, definition, _) = await engine.client.data_converter.decode(
            history.events[0].workflow_execution_started_event_attributes.input.payloads
        )
        assert definition["workflow"]["description"] == noise(100_000, 9)

    async def test_open_retried_and_unlimited_runs_stay(self, engine: Engine, cleaner: Cleaner) -> None:
        waiting: WorkflowHandle[object, object] = await engine.start([{"id": "w", "wait": {"signal": "go"}}])
        retried, kept = await ended_run(engine, "retried"), await ended_run(engine, "kept")
        for run_id in (waiting.id, retried):
            await change(engine, run_id, status="running")
        await change(engine, kept)
        assert ended_before(0) is None
        assert await cleaner.clean(None, lambda: None) == CleanedUp(runs=0, executions=0, blobs=0, ended_before=None)
        assert (await cleaner.clean(ended_before(90), lambda: None)).runs == 1
        assert (await counts(engine, retried))["runs"] == 1
        await waiting.signal("go", 1)
        assert await waiting.result() == 1


class TestBlobsOfRunsThatNeverStarted:
    async def test_go_after_a_day(self, engine: Engine, cleaner: Cleaner) -> None:
        blobs = BlobStore(engine.database)
        never, scheduled = f"{IdPrefix.RUN}_01aaaaaaaaaaaaaaaaaaaaaaaa", "sch_01aaaaaaaaaaaaaaaaaaaaaaaa"
        for owner in (never, scheduled):
            await blobs.put(owner.encode() * 3000, owner)
        async with engine.database.write() as session:
            await session.execute(update(BlobRow).values(created_at=LONG_AGO))
        assert (await cleaner.clean(None, lambda: None)).blobs == 1
        assert (await counts(engine, never))["blob_uses"] == 0
        assert (await counts(engine, scheduled))["blob_uses"] == 1


class TestSchedule:
    async def test_asks_the_worker_to_clean_up(self, engine: Engine) -> None:
        old = await ended_run(engine, "old")
        await change(engine, old)
        queue = engine.settings.temporal_task_queue
        await schedule_maintenance(engine.client, queue)
        await schedule_maintenance(engine.client, queue)
        handle = engine.client.get_schedule_handle(f"{MAINTENANCE}-{queue}")
        try:
            await handle.trigger()
            while (await counts(engine, old))["runs"]:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        finally:
            await handle.delete()
