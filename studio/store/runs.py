"""Runs in SQL: a view of what Temporal carries out, written at the start, when a worker takes it up, while it waits
(`approvals.py`), and at the end.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, Select, case, delete, false, func, or_, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from studio.contracts.ids import made_at
from studio.contracts.runs import (
    FINAL_STATUSES,
    DefinitionRef,
    Run,
    RunContext,
    RunEnd,
    RunError,
    RunKind,
    RunProgress,
    RunStatus,
    TemporalRef,
)
from studio.db.engine import WriteSession
from studio.db.tables import DefinitionRow, RunRow
from studio.store.approvals import forget_views
from studio.store.reading import WHY, UnreadableRow, read_page

MAX_REPLAYS = 50
"""Named by the run that they replay; the list of runs has them all."""


@dataclass(frozen=True)
class RunFilter:
    """What a list of runs is narrowed to; None and empty mean everything."""

    project_id: str | None = None
    workflow: str | None = None
    """Name or id."""
    agent: str | None = None
    """Name or id."""
    statuses: Sequence[RunStatus] = ()
    session_id: str | None = None
    user_id: str | None = None
    replay_of: str | None = None
    created_after: datetime | None = None
    """Exclusive."""
    created_before: datetime | None = None
    """Exclusive."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    schedule: str | None = None
    """Name or id of the schedule that started it."""
    batch: str | None = None
    """Id of the batch that it is part of."""


async def insert_run(session: WriteSession, row: RunRow) -> None:
    session.add(row)
    await session.flush()


async def get_run(session: AsyncSession, run_id: str) -> RunRow | None:
    return await session.get(RunRow, run_id)


async def oldest_open(session: AsyncSession) -> datetime | None:
    """When the oldest run was created that has not ended."""
    return await session.scalar(select(func.min(RunRow.created_at)).where(RunRow.status.not_in(FINAL_STATUSES)))


async def open_runs(session: AsyncSession, run_ids: Collection[str]) -> Sequence[RunRow]:
    """Those of them that have not ended, as far as they can be read."""
    query = select(RunRow).where(RunRow.id.in_(run_ids), RunRow.status.not_in(FINAL_STATUSES))
    return [row for row in await read_page(session, query, RunRow) if isinstance(row, RunRow)]


async def list_replays(session: AsyncSession, run_id: str) -> Sequence[str]:
    """Ids of the newest `MAX_REPLAYS` runs that replay this one, newest first."""
    query = select(RunRow.id).where(RunRow.replay_of == run_id).order_by(RunRow.id.desc()).limit(MAX_REPLAYS)
    return (await session.scalars(query)).all()


def context_of(row: RunRow) -> RunContext:
    """What labels the run's work; only a retry changes it."""
    return RunContext(
        run_id=row.id,
        project_id=row.project_id,
        workflow_name=row.definition_name,
        workflow_version=row.definition_version,
        trace_id=row.trace_id,
        session_id=row.session_id,
        user_id=row.user_id,
        retry=row.retry_count,
    )


async def list_runs(
    session: AsyncSession, chosen: RunFilter, *, limit: int, before: str | None = None
) -> Sequence[RunRow | UnreadableRow]:
    """Newest first; `before` is the id after which the page begins."""
    query = _filtered(select(RunRow), chosen).order_by(RunRow.id.desc()).limit(limit)
    sqlite = session.get_bind().dialect.name == "sqlite"
    for key, value in chosen.metadata.items():
        query = query.where(_has_metadata(key, value, sqlite=sqlite))
    if before is not None:
        query = query.where(RunRow.id < before)
    return await read_page(session, query, RunRow)


def _filtered(query: Select[RunRow], chosen: RunFilter) -> Select[RunRow]:
    equal = {
        "project_id": chosen.project_id,
        "session_id": chosen.session_id,
        "user_id": chosen.user_id,
        "replay_of": chosen.replay_of,
    }
    query = query.filter_by(**{column: value for column, value in equal.items() if value is not None})
    if chosen.workflow is not None:
        query = _of_definition(query, "workflow", chosen.workflow)
    if chosen.agent is not None:
        query = _of_definition(query, "agent", chosen.agent)
    if chosen.schedule is not None:
        named = select(DefinitionRow.id).where(DefinitionRow.kind == "schedule", DefinitionRow.name == chosen.schedule)
        query = query.where(or_(RunRow.schedule_id == chosen.schedule, RunRow.schedule_id.in_(named)))
    if chosen.batch is not None:
        query = query.where(RunRow.batch_id == chosen.batch)
    if chosen.statuses:
        query = query.where(RunRow.status.in_(chosen.statuses))
    if chosen.created_after is not None:
        query = query.where(RunRow.created_at > chosen.created_after)
    if chosen.created_before is not None:
        query = query.where(RunRow.created_at < chosen.created_before)
    return query


def _has_metadata(key: str, value: str, *, sqlite: bool) -> ColumnElement[bool]:
    if not sqlite:
        return RunRow.run_metadata[key].as_string() == value
    # SQLite's JSON paths cannot name a key that holds a quote.
    entry = func.json_each(RunRow.run_metadata).table_valued("key", "value")
    return select(1).select_from(entry).where(entry.c.key == key, entry.c.value == value).exists()


def _of_definition(query: Select[RunRow], kind: RunKind, ref: str) -> Select[RunRow]:
    return query.where(RunRow.kind == kind, or_(RunRow.definition_id == ref, RunRow.definition_name == ref))


async def mark_running(
    session: WriteSession, run_id: str, at: datetime, temporal_run_id: str | None, *, retry: int
) -> bool:
    """Note that a worker took the run up; `retry` says which of its executions, `temporal_run_id` is None when a child
    workflow is the first to come. False when there is nothing to do: that is noted, the run is not there, has ended, or
    was retried since.
    """
    is_unnamed = RunRow.temporal_run_id.is_(None) & RunRow.status.not_in(FINAL_STATUSES)
    changed = await session.execute(
        update(RunRow)
        .where(RunRow.id == run_id, RunRow.retry_count == retry)
        .where((RunRow.status == "queued") | (is_unnamed if temporal_run_id is not None else false()))
        .values(
            status=case((RunRow.status == "queued", "running"), else_=RunRow.status),
            started_at=func.coalesce(RunRow.started_at, at),
            temporal_run_id=temporal_run_id,
        )
    )
    return cast("CursorResult[object]", changed).rowcount == 1


async def is_taken_up(session: AsyncSession, run_id: str, temporal_run_id: str | None, *, retry: int) -> bool:
    """Whether the run goes on and `mark_running` has nothing to do. To ask first keeps calls that begin together from
    waiting for each other's writes.
    """
    found = await session.execute(
        select(RunRow.status, RunRow.retry_count, RunRow.temporal_run_id).where(RunRow.id == run_id)
    )
    row = found.one_or_none()
    if row is None or (temporal_run_id is not None and row.temporal_run_id is None):
        return False
    return row.status not in {"queued", *FINAL_STATUSES} and row.retry_count == retry


async def is_open(session: AsyncSession, run_id: str, *, retry: int) -> bool:
    """Whether the run is there, has not ended, and was not retried more often than `retry` says."""
    found = await session.execute(select(RunRow.status, RunRow.retry_count).where(RunRow.id == run_id))
    row = found.one_or_none()
    return row is not None and row.status not in FINAL_STATUSES and row.retry_count == retry


async def record_end(session: WriteSession, run_id: str, end: RunEnd, *, retry: int, steps_known: bool = True) -> bool:
    """Write how the run ended; nothing of it waits for people any more. False when that does not count: it has ended
    otherwise, or was retried since.

    Writing the same end again is fine, and changes nothing. Without `steps_known` the row says that nobody could tell
    what its steps did: that is not the same as none.
    """
    progress = end.progress if steps_known else None
    changed = await session.execute(
        update(RunRow)
        .where(RunRow.id == run_id, RunRow.status.not_in(FINAL_STATUSES), RunRow.retry_count == retry)
        .values(
            status=end.status,
            output=end.output,
            error=None if end.error is None else end.error.model_dump(mode="json"),
            progress=None if progress is None else progress.model_dump(mode="json"),
            cost_usd=None if progress is None else progress.cost_usd,
            started_at=func.coalesce(RunRow.started_at, end.started_at),
            ended_at=end.ended_at,
        )
    )
    if cast("CursorResult[object]", changed).rowcount == 1:
        await forget_views(session, run_id)
        return True
    same = select(RunRow.id).where(RunRow.id == run_id, RunRow.retry_count == retry, RunRow.status == end.status)
    return await session.scalar(same) is not None


async def record_progress(session: WriteSession, row: RunRow, progress: RunProgress) -> None:
    """Write what was not known when the run ended: what its steps did. `row` is the run as it was read."""
    await session.execute(
        update(RunRow)
        .where(RunRow.id == row.id, RunRow.status == row.status, RunRow.retry_count == row.retry_count)
        .values(progress=progress.model_dump(mode="json"), cost_usd=progress.cost_usd)
    )


async def requeue_run(session: WriteSession, row: RunRow, at: datetime, *, version: int, pattern: str | None) -> bool:
    """Let a run that has ended begin once more, with that version of its definition; what its steps did stays until it
    ends again. `row` is the run as it was read: False when it has changed since, as when somebody else retries it.
    """
    changed = await session.execute(
        update(RunRow)
        .where(RunRow.id == row.id, RunRow.status == row.status, RunRow.retry_count == row.retry_count)
        .values(
            status="queued",
            retry_count=row.retry_count + 1,
            definition_version=version,
            pattern=pattern,
            queued_at=at,
            output=None,
            error=None,
            ended_at=None,
        )
    )
    return cast("CursorResult[object]", changed).rowcount == 1


async def put_back_run(
    session: WriteSession, run_id: str, end: RunEnd, *, retry: int, before: RunRow | None = None
) -> bool:
    """Give a run whose retry did not begin its end back, and the version that it had `before`. Its `retry_count` stays,
    so that no two executions ever have the same. False when the retry did begin.
    """
    version = {} if before is None else {"definition_version": before.definition_version, "pattern": before.pattern}
    changed = await session.execute(
        update(RunRow)
        .where(RunRow.id == run_id, RunRow.status == "queued", RunRow.retry_count == retry)
        .values(
            status=end.status,
            output=end.output,
            error=None if end.error is None else end.error.model_dump(mode="json"),
            ended_at=end.ended_at,
            **version,
        )
    )
    return cast("CursorResult[object]", changed).rowcount == 1


async def delete_queued_run(session: WriteSession, run_id: str) -> bool:
    """Remove a run that never started. False when a worker has it, or had it before, or when it is not there."""
    changed = await session.execute(
        delete(RunRow).where(RunRow.id == run_id, RunRow.status == "queued", RunRow.retry_count == 0)
    )
    return cast("CursorResult[object]", changed).rowcount == 1


def run_progress(row: RunRow) -> RunProgress | None:
    """What the row knows of the steps. None until the run has ended, and for one of which nobody could say."""
    return None if row.progress is None else RunProgress.model_validate(row.progress)


def unreadable_run(row: UnreadableRow) -> Run:
    """What a list shows of a run whose row cannot be read."""
    columns = row.columns
    return Run(
        id=row.id,
        kind=columns["kind"],
        project_id=columns["project_id"],
        workflow=DefinitionRef(
            id=columns["definition_id"], name=columns["definition_name"], version=columns["definition_version"]
        ),
        pattern=columns["pattern"],
        status=columns["status"],
        input=None,
        error=RunError(type="internal_error", message=WHY),
        trace_id=columns["trace_id"],
        retry_count=columns["retry_count"],
        created_at=made_at(row.id),
        temporal=TemporalRef(workflow_id=row.id),
    )


def to_run(row: RunRow, ui_root: str | None = None, progress: RunProgress | None = None) -> Run:
    """The run as the API shows it.

    `ui_root` is the Temporal UI's address up to `/namespaces/NAME/workflows`; `progress` comes from the running
    workflow and replaces what the row knows, also whether the run waits.
    """
    shown = progress or run_progress(row) or RunProgress()
    status = cast("RunStatus", row.status)
    if progress is not None and status not in FINAL_STATUSES:
        status = progress.status
    # Without the execution: the UI then shows the newest, also of a run that was retried or continued as new.
    ui_url = None if ui_root is None else f"{ui_root}/{row.id}"
    return Run(
        id=row.id,
        kind=cast("RunKind", row.kind),
        project_id=row.project_id,
        workflow=DefinitionRef(id=row.definition_id, name=row.definition_name, version=row.definition_version),
        pattern=row.pattern,
        status=status,
        input=row.input,
        output=row.output,
        error=None if row.error is None else RunError.model_validate(row.error),
        steps=shown.steps,
        usage=shown.usage,
        cost_usd=shown.cost_usd,
        session_id=row.session_id,
        user_id=row.user_id,
        metadata=row.run_metadata,
        retry_count=row.retry_count,
        replay_of=row.replay_of,
        schedule_id=row.schedule_id,
        batch_id=row.batch_id,
        trace_id=row.trace_id,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        temporal=TemporalRef(workflow_id=row.id, run_id=row.temporal_run_id, ui_url=ui_url),
    )
