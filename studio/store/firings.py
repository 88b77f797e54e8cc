"""A schedule that fired: the row of its run, and what the run's workflow is to carry."""

import asyncio
from typing import cast

from studio.contracts.base import format_timestamp, utc_now
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.ids import new_trace_id
from studio.contracts.runs import RunError, RunKind, RunProgress, StartRun
from studio.contracts.schedules import SCHEDULED_AT, ScheduleDefinition
from studio.contracts.starts import PreparedRun, PrepareRunRequest
from studio.db.engine import WriteSession
from studio.db.tables import DefinitionRow, RunRow
from studio.errors import InvalidInput, invalid
from studio.json_schema import fit
from studio.store.definitions import find_definition
from studio.store.new_runs import new_run, request_of
from studio.store.resolving import VersionGone, resolve
from studio.store.runs import get_run, insert_run


class CannotRun(Exception):
    """What the schedule names is gone, or does not take its input any more."""


async def fired_run(session: WriteSession, request: PrepareRunRequest) -> PreparedRun | None:
    """Write the run's row and say what to start; when the row is there already, say the same again.

    What cannot be run gets a row as well, of a run that failed. None when there is no such schedule.
    """
    known = await get_run(session, request.run_id)
    if known is not None:
        return await _again(session, known)
    schedule_row = await session.get(DefinitionRow, request.schedule_id)
    if schedule_row is None:
        return None
    schedule = ScheduleDefinition.model_validate(schedule_row.document)
    kind, ref = schedule.target
    target = await find_definition(session, kind, ref, schedule.project_id)
    body = _body(schedule, request)
    if target is None:
        row = new_run(kind, _missing(kind, ref, schedule), body, new_trace_id())
        error = f"There is no {kind} {ref!r} in project {schedule.project_id!r}."
        return await _written(session, row, request, None, error)
    row = new_run(kind, target, body, new_trace_id())
    try:
        resolved = await _resolved(session, row)
        await _fit_input(row, resolved)
    except CannotRun as problem:
        return await _written(session, row, request, None, str(problem))
    return await _written(session, row, request, resolved, None)


def _body(schedule: ScheduleDefinition, request: PrepareRunRequest) -> StartRun:
    moment = {} if request.scheduled_at is None else {SCHEDULED_AT: format_timestamp(request.scheduled_at)}
    return StartRun(
        input=schedule.input,
        session_id=schedule.session_id,
        user_id=schedule.user_id,
        metadata=schedule.metadata | moment,
        version=schedule.run_version,
    )


def _missing(kind: RunKind, ref: str, schedule: ScheduleDefinition) -> DefinitionRow:
    """Stands for a definition that is gone: never stored, only named by the failed run."""
    return DefinitionRow(
        id=ref, kind=kind, project_id=schedule.project_id, name=ref, version=0, document={"pattern": None}
    )


async def _resolved(session: WriteSession, row: RunRow) -> ResolvedDefinition:
    kind = cast("RunKind", row.kind)
    try:
        return await resolve(session, kind, row.definition_id, row.definition_version)
    except VersionGone:
        raise CannotRun(f"The {kind} {row.definition_name!r} has no version {row.definition_version}.") from None
    except InvalidInput as error:
        raise CannotRun(error.detail) from None


async def _fit_input(row: RunRow, resolved: ResolvedDefinition) -> None:
    row.input, errors = await asyncio.to_thread(fit, row.input, resolved.workflow.input_schema, ["input"])
    if errors:
        raise CannotRun(f"The schedule's input no longer fits: {invalid(errors).detail}")


async def _written(
    session: WriteSession,
    row: RunRow,
    request: PrepareRunRequest,
    resolved: ResolvedDefinition | None,
    problem: str | None,
) -> PreparedRun:
    row.id = request.run_id
    row.schedule_id = request.schedule_id
    if row.kind == "workflow" and resolved is not None:
        row.pattern = resolved.workflow.pattern
    if problem is not None:
        _fail(row, problem)
    await insert_run(session, row)
    return _prepared(row, resolved)


async def _again(session: WriteSession, row: RunRow) -> PreparedRun:
    resolved = None
    if row.error is None:
        try:
            resolved = await _resolved(session, row)
        except CannotRun as problem:  # gone since the row was written
            _fail(row, str(problem))
    return _prepared(row, resolved)


def _fail(row: RunRow, problem: str) -> None:
    row.status, row.ended_at = "failed", utc_now()
    row.error = RunError(type="invalid_request", message=problem).model_dump(mode="json")
    row.progress = RunProgress().model_dump(mode="json")


def _prepared(row: RunRow, resolved: ResolvedDefinition | None) -> PreparedRun:
    if resolved is None:
        return PreparedRun(error=RunError.model_validate(row.error))
    return PreparedRun(request=request_of(row), definition=resolved, pattern=row.pattern)
