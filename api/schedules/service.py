"""Schedules: the document in SQL, the schedule on Temporal, both kept in step.

The row is the truth. A write holds the row's lock, writes to Temporal, then commits: when Temporal is away nothing
changes. A process that dies in between leaves Temporal ahead, and so does an `apply` whose later part fails. Whoever
next reads the schedule, or `api.schedules.reconciling`, finds that what Temporal starts is not what the row says, and
writes it again; so it is once a year, and with new rules of a time zone, for calendars (`api/schedules/calendars.py`).
A schedule of which there is no row at all ends itself when it fires (`activities/starts.py`).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TypeVar, cast
from uuid import uuid4

import structlog

from api.definitions import service as definitions
from api.definitions.pages import resource, unreadable_definition
from api.schedules.temporal import (
    NotOnTemporal,
    NotTriggered,
    TemporalSchedules,
    Trigger,
    Triggered,
    backfill_limit,
    fire_request,
)
from studio.contracts.base import JsonObject, utc_now
from studio.contracts.resources import UnreadableDefinition
from studio.contracts.runs import RunError, RunStatus
from studio.contracts.schedules import (
    SCHEDULED_AT,
    BackfillSchedule,
    Overlap,
    ScheduleDefinition,
    ScheduledRun,
    ScheduleState,
    StoredSchedule,
    moment_in,
)
from studio.db.engine import Database, WriteSession
from studio.db.tables import DefinitionRow, RunRow
from studio.errors import Conflict, DependencyUnavailable, FieldError, invalid
from studio.store.definitions import find_definition
from studio.store.idempotency import find_started, forget_key, json_hash, keep_key, name_started
from studio.store.reading import UnreadableRow, shown
from studio.store.runs import RunFilter, get_run, list_runs

RECENT = 10
MAX_BACKFILL = 500
"""Moments; Temporal keeps at most a thousand starts waiting for a schedule."""
DESCRIBED_AT_ONCE = 20
LOCKED_SECONDS = 0.5
"""How long a trigger is watched under the schedule's lock: the next one must know of the run that it starts."""
UNLOCKED_SECONDS = 2.5
ROW_SECONDS = 2.0
ROW_POLL_SECONDS = 0.03

ResultT = TypeVar("ResultT")

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
            before = (await definitions.get_writable(session, "schedule", ref, project_id)).document
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
            row = await definitions.get_writable(session, "schedule", ref, project_id)
            await definitions.delete_definition(session, "schedule", ref, project_id, if_match=if_match)
            await self.temporal.delete(row.id)

    async def get(self, ref: str, project_id: str) -> DefinitionRow:
        async with self._database.read() as session:
            return await definitions.get_definition(session, "schedule", ref, project_id)

    async def trigger(
        self, ref: str, project_id: str, overlap: Overlap | None, key: str | None
    ) -> tuple[DefinitionRow, Triggered]:
        """Raises `Conflict` when the overlap policy lets nothing start. The same key triggers it once."""
        hashed = json_hash(["trigger", overlap])
        async with self._locked(ref, project_id) as (session, row):
            known = None if key is None else await find_started(session, row.id, key, hashed)
            if known is not None:
                return row, Triggered(run_id=known or None)
            trigger = await self._on_temporal(row, lambda: self.temporal.trigger(row.id, overlap, _hashed(row, key)))
            found = await self._triggered(row, trigger, LOCKED_SECONDS)
            if key is not None:
                await keep_key(session, row.id, key, hashed, found.run_id or "", utc_now())
        if found == Triggered():
            found = await self._triggered_late(row, trigger, key)
        if found.run_id is not None:
            await self._until_known(found.run_id)
        return row, found

    async def _triggered(self, row: DefinitionRow, trigger: Trigger, seconds: float) -> Triggered:
        try:
            return await self.temporal.triggered(trigger, seconds)
        except NotTriggered as error:
            raise _not_triggered(row, error.running) from None

    async def _triggered_late(self, row: DefinitionRow, trigger: Trigger, key: str | None) -> Triggered:
        """Without the lock: Temporal may be slow, and SQLite has one for all writes."""
        try:
            found = await self._triggered(row, trigger, UNLOCKED_SECONDS)
        except Conflict:
            if key is not None:
                async with self._database.write() as session:
                    await forget_key(session, row.id, key)
            raise
        if key is not None and found.run_id is not None:
            async with self._database.write() as session:
                await name_started(session, row.id, key, found.run_id)
        return found

    async def _until_known(self, run_id: str) -> None:
        """A worker writes the run's row. When none does so soon, the run's id is answered before it can be read."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ROW_SECONDS):
                while True:
                    async with self._database.read() as session:
                        if await get_run(session, run_id) is not None:
                            return
                    await asyncio.sleep(ROW_POLL_SECONDS)

    async def pause(self, ref: str, project_id: str, note: str) -> DefinitionRow:
        async with self._locked(ref, project_id) as (_, row):
            await self._on_temporal(row, lambda: self.temporal.pause(row.id, note))
        return row

    async def resume(self, ref: str, project_id: str, note: str) -> DefinitionRow:
        async with self._locked(ref, project_id) as (_, row):
            await self._on_temporal(row, lambda: self.temporal.resume(row.id, note))
        return row

    async def backfill(self, ref: str, project_id: str, window: BackfillSchedule, key: str | None) -> DefinitionRow:
        """The same key fills the window in once."""
        hashed = json_hash(["backfill", window.model_dump(mode="json")])
        async with self._locked(ref, project_id) as (session, row):
            if key is not None and await find_started(session, row.id, key, hashed) is not None:
                return row
            await self._on_temporal(row, lambda: self._backfill(row, window, _hashed(row, key) or str(uuid4())))
            if key is not None:
                await keep_key(session, row.id, key, hashed, "", utc_now())
        return row

    async def _backfill(self, row: DefinitionRow, window: BackfillSchedule, request_id: str) -> None:
        definition = ScheduleDefinition.model_validate(row.document)
        start_at, end_at = (moment_in(definition.zone, time) for time in (window.start_at, window.end_at))
        if end_at < start_at:
            raise _refused("end_at", "`end_at` must not be before `start_at`")
        if end_at > utc_now():
            raise _refused("end_at", "what is still to come runs by itself: `end_at` must be past")
        limit = backfill_limit(definition)
        if limit is not None and start_at < limit:
            raise _refused("start_at", f"a cron in a time zone can be filled in from {limit:%Y-%m-%d} on")
        found = await self.temporal.matches(row.id, start_at, end_at)
        if found > MAX_BACKFILL:
            message = f"the window holds more than {MAX_BACKFILL} moments of the schedule; fill it in parts"
            raise _refused("start_at", message)
        filled = BackfillSchedule(start_at=start_at, end_at=end_at, overlap=window.overlap)
        await self.temporal.backfill(row.id, filled, request_id)

    @asynccontextmanager
    async def _locked(self, ref: str, project_id: str) -> AsyncGenerator[tuple[WriteSession, DefinitionRow]]:
        """The schedule, of which nobody else writes or steers meanwhile."""
        async with self._database.write() as session:
            yield session, await definitions.get_definition(session, "schedule", ref, project_id, lock="update")

    async def _on_temporal(self, row: DefinitionRow, call: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Once more when Temporal did not have the schedule."""
        try:
            return await call()
        except NotOnTemporal:
            await self.temporal.put(row)
            return await call()

    async def shown(self, row: DefinitionRow) -> StoredSchedule:
        """With its newest runs."""
        async with self._database.read() as session:
            runs = await list_runs(session, RunFilter(schedule=row.id), limit=RECENT)
        return _shown(row, await self.state(row), [run for run in runs if isinstance(run, RunRow)])

    async def shown_all(
        self, rows: Sequence[DefinitionRow | UnreadableRow]
    ) -> list[StoredSchedule | UnreadableDefinition]:
        """Without runs."""
        places = asyncio.Semaphore(DESCRIBED_AT_ONCE)

        async def one(row: DefinitionRow | UnreadableRow) -> StoredSchedule | UnreadableDefinition:
            async with places:
                state = await self.state(row) if isinstance(row, DefinitionRow) and is_readable(row) else None
            return shown(row, lambda found: _shown(found, state, ()), unreadable_definition)

        return await asyncio.gather(*map(one, rows))

    async def state(self, row: DefinitionRow) -> ScheduleState | None:
        """From Temporal, which is brought in line with the row first; None when it does not answer."""
        try:
            return await self._described(row) or await self._reconciled(row.id)
        except DependencyUnavailable:
            return None

    async def _described(self, row: DefinitionRow) -> ScheduleState | None:
        """None when Temporal does not have it as it is stored."""
        try:
            found, starts = await self.temporal.describe(row.id)
        except NotOnTemporal:
            return None
        return found if starts == fire_request(row, ScheduleDefinition.model_validate(row.document)) else None

    async def _reconciled(self, schedule_id: str) -> ScheduleState | None:
        """Under the row's lock, so that no write is under way. None when the schedule was deleted meanwhile."""
        async with self._database.write() as session:
            row = await find_definition(session, "schedule", schedule_id, "", lock="update")
            if row is None:
                return None
            found = await self._described(row)
            if found is not None:
                return found
            await self.temporal.put(row)
            _log.warning("schedules.reconciled", schedule_id=row.id, version=row.version)
            return (await self.temporal.describe(row.id))[0]


def is_readable(row: DefinitionRow) -> bool:
    try:
        ScheduleDefinition.model_validate(row.document)
    except ValueError:
        return False
    return True


def paused_change(before: JsonObject, after: JsonObject) -> bool | None:
    """What a write makes of `paused`; None when it leaves it as it is."""
    now: bool = after.get("paused", False)
    return None if before.get("paused", False) == now else now


def _hashed(row: DefinitionRow, key: str | None) -> str | None:
    return None if key is None else json_hash([row.id, key])


def _not_triggered(row: DefinitionRow, running: str | None) -> Conflict:
    before = "The run before" if running is None else f"The run {running}"
    policies = "allow_all, buffer_all, cancel_other or terminate_other"
    detail = f"{before} of schedule {row.name!r} has not ended, so none was started. Send an `overlap` of {policies}."
    return Conflict(detail, extra={"run_id": running})


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
