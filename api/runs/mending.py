"""Rows that did not hear how their run ended: terminated in the Temporal UI, timed out there, or never started."""

from datetime import timedelta

import structlog
from sqlalchemy import delete

from api.runs.executions import Execution, Executions
from api.runs.story import closing_event
from studio.contracts.base import utc_now
from studio.contracts.runs import RunEnd, RunError, RunProgress, StepRun
from studio.db.engine import Database
from studio.db.tables import IdempotencyRow, RunRow
from studio.store.event_stream import EventStream
from studio.store.runs import record_end, run_progress

START_GRACE = timedelta(seconds=60)
"""After this a queued run that Temporal does not know will not start any more: asking Temporal takes at most 5 s."""

_log = structlog.get_logger(__name__)


class Mender:
    def __init__(self, database: Database, executions: Executions, stream: EventStream) -> None:
        self._database = database
        self._executions = executions
        self._stream = stream

    async def mend(self, row: RunRow, execution: Execution | None) -> bool:
        """Bring a row that is not final in line with Temporal. True when it may have changed: read it again."""
        end = _lost(row) if execution is None else await self._closed(row, execution)
        if end is None:
            return False
        async with self._database.write() as session:
            written = await record_end(session, row.id, end)
            if written and row.status == "queued":
                # The key's run never did anything: repeating the request may start another.
                await session.execute(delete(IdempotencyRow).where(IdempotencyRow.run_id == row.id))
        if written:
            _log.warning("runs.mended", run_id=row.id, status=end.status)
            await self._stream.publish(row.id, [closing_event(end, row.retry_count + 1)])
        return True

    async def _closed(self, row: RunRow, execution: Execution) -> RunEnd | None:
        if execution.end is None:
            return None
        output, error = await self._executions.outcome(row.id)
        progress = await self._executions.progress(row.id) or run_progress(row)
        steps = [_stopped(step) for step in progress.steps]
        if error is None and execution.end != "succeeded":
            kind = {"timed_out": "timeout", "failed": "internal_error"}.get(execution.end, "cancelled")
            error = RunError(type=kind, message=f"Temporal ended the run: {execution.end.replace('_', ' ')}.")
        return RunEnd(
            status=execution.end,
            output=output,
            error=error,
            progress=progress.model_copy(update={"steps": steps}),
            started_at=row.started_at or execution.started_at,
            ended_at=execution.ended_at or utc_now(),
        )


def _stopped(step: StepRun) -> StepRun:
    return step.model_copy(update={"status": "cancelled"}) if step.status in {"running", "waiting"} else step


def _lost(row: RunRow) -> RunEnd | None:
    """Temporal does not know the run."""
    now = utc_now()
    if now - row.created_at < START_GRACE:
        return None
    if row.status == "queued":
        message = "The run was never started: Temporal could not be reached. Start it again."
        error = RunError(type="dependency_unavailable", message=message)
        return RunEnd(status="failed", error=error, progress=RunProgress(), started_at=now, ended_at=now)
    error = RunError(type="internal_error", message="Temporal no longer knows the run, so nobody carries it on.")
    started = row.started_at or row.created_at
    return RunEnd(status="terminated", error=error, progress=run_progress(row), started_at=started, ended_at=now)
