"""Rows that did not hear how their run ended: terminated in the Temporal UI, timed out there, or never started."""

from datetime import timedelta

import structlog
from sqlalchemy import delete

from api.runs.executions import Execution, Executions
from api.runs.story import closing_event
from studio.contracts.base import utc_now
from studio.contracts.runs import FINAL_STATUSES, RunEnd, RunError, RunProgress, RunStatus, StepRun
from studio.db.engine import Database
from studio.db.tables import IdempotencyRow, RunRow
from studio.store.event_stream import EventStream
from studio.store.idempotency import forget_retry_keys
from studio.store.runs import get_run, put_back_run, record_end, record_progress, to_run

SCHEDULED_GRACE = timedelta(days=1)
"""The same for a run whose schedule has written its row: a worker starts it then, and that may be away for a while."""
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
        if execution is not None and execution.end is None:
            return False
        if execution is None and await self._is_being_started(row):
            return False
        has_begun = await self._has_begun(row, execution)
        is_scheduled = row.schedule_id is not None and row.queued_at is None
        grace = SCHEDULED_GRACE if is_scheduled and not has_begun else START_GRACE
        is_fresh = utc_now() - (row.queued_at or row.created_at) < grace
        if is_fresh and (execution is None or not has_begun):
            return False
        progress = await self._progress(row.id) if has_begun and execution is not None else None
        end = _lost(row) if execution is None else await self._closed(row, execution, progress or RunProgress())
        async with self._database.write() as session:
            if has_begun or row.retry_count == 0:
                known = progress is not None or not has_begun
                written = await record_end(session, row.id, end, retry=row.retry_count, steps_known=known)
            else:
                written = await put_back_run(session, row.id, end, retry=row.retry_count)
                if written and row.queued_at is not None:
                    await forget_retry_keys(session, row.id, row.queued_at)
            if written and execution is None and row.status == "queued" and row.retry_count == 0:
                # The key's run never did anything: repeating the request may start another. Of one that Temporal knows
                # the row that was read may be old: a worker has written the end meanwhile.
                await session.execute(delete(IdempotencyRow).where(IdempotencyRow.run_id == row.id))
        if written:
            _log.warning("runs.mended", run_id=row.id, status=end.status)
            await self.tell_end(row.id)
        return True

    async def _is_being_started(self, row: RunRow) -> bool:
        """Whether the workflow that starts the runs of its batch has not come to it yet."""
        if row.batch_id is None or row.status != "queued":
            return False
        starter = await self._executions.find(row.batch_id)
        return starter is not None and starter.end is None

    async def tell_end(self, run_id: str) -> None:
        """Close the run's stream with how it ended."""
        async with self._database.read() as session:
            row = await get_run(session, run_id)
        if row is not None and row.status in FINAL_STATUSES:
            await self._stream.publish(run_id, [closing_event(to_run(row))])

    async def complete(self, row: RunRow) -> RunRow:
        """The run with what its steps did, where that was not known when it ended: no worker answered then."""
        if row.progress is not None or row.status not in FINAL_STATUSES:
            return row
        progress = await self._progress(row.id)
        if progress is None:
            return row
        async with self._database.write() as session:
            await record_progress(session, row, progress)
            return await get_run(session, row.id) or row

    async def _has_begun(self, row: RunRow, execution: Execution | None) -> bool:
        """Whether Temporal's newest execution of the run is the one that the row is about."""
        if row.status != "queued":
            return True
        if execution is None:
            return False
        if row.retry_count == 0:
            return True
        begun = await self._executions.begun(row.id, execution.run_id)
        return begun is not None and begun.request.context.retry == row.retry_count

    async def _closed(self, row: RunRow, execution: Execution, progress: RunProgress) -> RunEnd:
        status = execution.end or "terminated"
        output, error = await self._executions.outcome(row.id)
        if error is None and status != "succeeded":
            kind = {"timed_out": "timeout", "failed": "internal_error"}.get(status, "cancelled")
            error = RunError(type=kind, message=f"Temporal ended the run: {status.replace('_', ' ')}.")
        return RunEnd(
            status=_own_status(status, error),
            output=output,
            error=error,
            progress=progress,
            started_at=row.started_at or execution.started_at,
            ended_at=execution.ended_at or utc_now(),
        )

    async def _progress(self, run_id: str) -> RunProgress | None:
        """What the steps of a run that has ended did; None when no worker says so, since it may have been paid for."""
        progress = await self._executions.progress(run_id)
        if progress is None:
            return None
        return progress.model_copy(update={"steps": [_stopped(step) for step in progress.steps]})


def _own_status(status: RunStatus, error: RunError | None) -> RunStatus:
    """A run that reached its own timeout ends as a failed workflow."""
    is_timeout = status == "failed" and error is not None and error.type == "timeout" and error.step_id is None
    return "timed_out" if is_timeout else status


def _stopped(step: StepRun) -> StepRun:
    return step.model_copy(update={"status": "cancelled"}) if step.status in {"running", "waiting"} else step


def _lost(row: RunRow) -> RunEnd:
    """Temporal does not know the run."""
    now = utc_now()
    started = row.started_at or row.created_at
    if row.status == "queued":
        again = "Retry it" if row.retry_count else "Start it again"
        message = f"The run was never started: Temporal could not be reached. {again}."
        error = RunError(type="dependency_unavailable", message=message)
        return RunEnd(status="failed", error=error, progress=RunProgress(), started_at=started, ended_at=now)
    error = RunError(type="internal_error", message="Temporal no longer knows the run, so nobody carries it on.")
    return RunEnd(status="terminated", error=error, progress=RunProgress(), started_at=started, ended_at=now)
