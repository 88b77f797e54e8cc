"""Schedules: the document in SQL, the schedule on Temporal, both kept in step.

The row is the truth. A write holds the row's lock, tells Temporal, then commits: when Temporal is away nothing changes.
A process that dies in between leaves Temporal ahead, and so does an `apply` whose later part fails. Whoever next reads
the schedule, or `api.schedules.reconciling`, finds that the versions differ and tells Temporal again. A schedule of
which there is no row at all ends itself when it fires (`activities/starts.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import cast

import structlog

from api.definitions import service as definitions
from api.definitions.pages import resource
from api.schedules.temporal import NotOnTemporal, TemporalSchedules
from studio.contracts.base import JsonObject, utc_now
from studio.contracts.runs import RunError, RunStatus
from studio.contracts.schedules import (
    SCHEDULED_AT,
    BackfillSchedule,
    Overlap,
    ScheduleDefinition,
    ScheduledRun,
    ScheduleState,
    StoredSchedule,
)
from studio.db.engine import Database
from studio.db.tables import DefinitionRow, RunRow
from studio.errors import DependencyUnavailable, FieldError, invalid
from studio.store.definitions import find_definition
from studio.store.runs import RunFilter, list_runs

RECENT = 10
MAX_BACKFILL = 500
"""Moments; Temporal keeps at most a thousand starts waiting for a schedule."""
DESCRIBED_AT_ONCE = 20

_log = structlog.get_logger(__name__)


class Schedules:
    def __init__(self, database: Database, temporal: TemporalSchedules) -> None:
        self.temporal = temporal
        self._database = database

    async def create(self, definition: ScheduleDefinition, actor: str) -> DefinitionRow:
        async with self._database.write() as session:
            row = await definitions.create_definition(session, definition, actor)
            await self.temporal.put(row)
        return row

    async def replace(
        self, ref: str, project_id: str, definition: ScheduleDefinition, *, if_match: str | None, actor: str
    ) -> DefinitionRow:
        async with self._database.write() as session:
            before = (await definitions.get_definition(session, "schedule", ref, project_id)).document
            row = await definitions.replace_definition(
                session, ref, project_id, definition, if_match=if_match, actor=actor
            )
            await self._put_changed(row, before)
        return row

    async def patch(
        self, ref: str, project_id: str, patch: JsonObject, *, if_match: str | None, actor: str
    ) -> DefinitionRow:
        async with self._database.write() as session:
            before = (await definitions.get_definition(session, "schedule", ref, project_id)).document
            row = await definitions.patch_definition(
                session, "schedule", ref, project_id, patch, if_match=if_match, actor=actor
            )
            await self._put_changed(row, before)
        return row

    async def _put_changed(self, row: DefinitionRow, before: JsonObject) -> None:
        if row.document != before:
            await self.temporal.put(row, paused=paused_change(before, row.document))

    async def delete(self, ref: str, project_id: str, *, if_match: str | None) -> None:
        """Runs that it started go on."""
        async with self._database.write() as session:
            row = await definitions.get_definition(session, "schedule", ref, project_id)
            await definitions.delete_definition(session, "schedule", ref, project_id, if_match=if_match)
            await self.temporal.delete(row.id)

    async def get(self, ref: str, project_id: str) -> DefinitionRow:
        async with self._database.read() as session:
            return await definitions.get_definition(session, "schedule", ref, project_id)

    async def trigger(self, ref: str, project_id: str, overlap: Overlap | None) -> DefinitionRow:
        row = await self.get(ref, project_id)
        return await self._told(row, lambda: self.temporal.trigger(row.id, overlap))

    async def pause(self, ref: str, project_id: str, note: str) -> DefinitionRow:
        row = await self.get(ref, project_id)
        return await self._told(row, lambda: self.temporal.pause(row.id, note))

    async def resume(self, ref: str, project_id: str, note: str) -> DefinitionRow:
        row = await self.get(ref, project_id)
        return await self._told(row, lambda: self.temporal.resume(row.id, note))

    async def backfill(self, ref: str, project_id: str, window: BackfillSchedule) -> DefinitionRow:
        row = await self.get(ref, project_id)
        return await self._told(row, lambda: self._backfill(row.id, window))

    async def _backfill(self, schedule_id: str, window: BackfillSchedule) -> None:
        if window.end_at > utc_now():
            raise _refused("end_at", "what is still to come runs by itself: `end_at` must be past")
        found = await self.temporal.matches(schedule_id, window.start_at, window.end_at)
        if found > MAX_BACKFILL:
            message = f"the window holds more than {MAX_BACKFILL} moments of the schedule; fill it in parts"
            raise _refused("start_at", message)
        await self.temporal.backfill(schedule_id, window)

    async def _told(self, row: DefinitionRow, tell: Callable[[], Awaitable[None]]) -> DefinitionRow:
        try:
            await tell()
        except NotOnTemporal:
            await self._mend(row.id)
            await tell()
        return row

    async def shown(self, row: DefinitionRow) -> StoredSchedule:
        """With its newest runs."""
        async with self._database.read() as session:
            runs = await list_runs(session, RunFilter(schedule=row.id), limit=RECENT)
        return _shown(row, await self.state(row), runs)

    async def shown_all(self, rows: Sequence[DefinitionRow]) -> list[StoredSchedule]:
        """Without runs."""
        places = asyncio.Semaphore(DESCRIBED_AT_ONCE)

        async def state(row: DefinitionRow) -> ScheduleState | None:
            async with places:
                return await self.state(row)

        states = await asyncio.gather(*map(state, rows))
        return [_shown(row, found, ()) for row, found in zip(rows, states, strict=True)]

    async def state(self, row: DefinitionRow) -> ScheduleState | None:
        """From Temporal, which is brought in line with the row first; None when it does not answer."""
        try:
            try:
                found, version = await self.temporal.describe(row.id)
                if version == row.version:
                    return found
            except NotOnTemporal:
                pass
            return await self._mend(row.id)
        except DependencyUnavailable:
            return None

    async def _mend(self, schedule_id: str) -> ScheduleState | None:
        """Under the row's lock, so that no write is under way. None when the schedule was deleted meanwhile."""
        async with self._database.write() as session:
            row = await find_definition(session, "schedule", schedule_id, "", lock="update")
            if row is None:
                return None
            try:
                found, version = await self.temporal.describe(row.id)
            except NotOnTemporal:
                version = 0
            else:
                if version == row.version:
                    return found
            await self.temporal.put(row)
            _log.warning("schedules.mended", schedule_id=row.id, version=row.version, was=version)
            return (await self.temporal.describe(row.id))[0]


def paused_change(before: JsonObject, after: JsonObject) -> bool | None:
    """What a write makes of `paused`; None when it leaves it as it is."""
    now: bool = after.get("paused", False)
    return None if before.get("paused", False) == now else now


def _refused(field: str, message: str) -> Exception:
    return invalid([FieldError(loc=["body", field], msg=message, type="schedule")])


def _shown(row: DefinitionRow, state: ScheduleState | None, runs: Sequence[RunRow]) -> StoredSchedule:
    live = {} if state is None else state.model_dump()
    return StoredSchedule.model_validate({**resource(row), **live, "recent": [_scheduled(run) for run in runs]})


def _scheduled(row: RunRow) -> ScheduledRun:
    moment = row.run_metadata.get(SCHEDULED_AT)
    return ScheduledRun(
        run_id=row.id,
        status=cast("RunStatus", row.status),
        scheduled_at=None if moment is None else datetime.fromisoformat(moment),
        started_at=row.created_at,
        error=None if row.error is None else RunError.model_validate(row.error),
    )
