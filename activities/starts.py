"""Starting runs on behalf of schedules and batches."""

import asyncio
from collections.abc import Awaitable, Sequence

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.failures import as_application_error
from activities.heartbeat import heartbeating
from studio.contracts.activities import FailureDetails
from studio.contracts.base import utc_now
from studio.contracts.events import run_started
from studio.contracts.runs import RunEnd, RunError, RunProgress
from studio.contracts.starts import BatchStarted, PreparedRun, PrepareRunRequest, StartBatchRequest
from studio.db.engine import Database
from studio.db.tables import RunRow
from studio.errors import DependencyUnavailable
from studio.executions import start_options, workflow_type
from studio.store.batches import queued_runs
from studio.store.event_stream import EventStream
from studio.store.firings import fired_run
from studio.store.new_runs import request_of
from studio.store.runs import record_end
from studio.temporal import is_unavailable

PAGE = 50
"""Runs of a batch that are started at once."""
ORPHAN_ATTEMPTS = 8
"""So many looks take half a minute: a schedule without a row by then was not just about to be stored."""

_log = structlog.get_logger(__name__)


class StartActivities:
    def __init__(self, database: Database, stream: EventStream) -> None:
        self._database = database
        self._stream = stream

    @activity.defn(name="prepare_run")
    async def prepare_run(self, request: PrepareRunRequest) -> PreparedRun:
        """Resolve what the schedule runs and write the run's row; a repeated attempt finds the row.

        What cannot be run becomes a row too, of a run that failed.
        """
        try:
            async with self._database.write() as session:
                prepared = await fired_run(session, request)
            if prepared is None:
                return await _gone(request.schedule_id)
        except Exception as error:
            raise as_application_error(error, FailureDetails(attempt=activity.info().attempt)) from error
        if prepared.error is None:
            await self._stream.publish(request.run_id, [run_started(utc_now())])
        return prepared

    @activity.defn(name="start_batch")
    async def start_batch(self, request: StartBatchRequest) -> None:
        """Start the runs that are still queued, a page at a time; each only once, however often it is asked for."""
        told = activity.info().heartbeat_details
        done = BatchStarted.model_validate(told[0]) if told else BatchStarted()
        try:
            async with heartbeating(lambda: done):
                while True:
                    async with self._database.read() as session:
                        rows = await queued_runs(session, request.batch_id, after=done.after, limit=PAGE)
                    if not rows:
                        return
                    await _all([self._start(activity.client(), row, request) for row in rows])
                    done = BatchStarted(after=rows[-1].id)
        except Exception as error:
            raise as_application_error(error, FailureDetails(attempt=activity.info().attempt)) from error

    async def _start(self, client: Client, row: RunRow, batch: StartBatchRequest) -> None:
        run = request_of(row)
        await self._stream.publish(row.id, [run_started(utc_now())])
        try:
            await client.start_workflow(
                workflow_type(row.pattern),
                args=[run, batch.definition, None],
                id=row.id,
                task_queue=activity.info().task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                **start_options(run, row.pattern),
            )
        except WorkflowAlreadyStartedError:
            return  # by an earlier attempt, and it has ended since
        except RPCError as error:
            if is_unavailable(error):
                raise DependencyUnavailable("temporal") from error
            await self._refused(row, error)

    async def _refused(self, row: RunRow, refusal: RPCError) -> None:
        """Temporal will not start it, now or later: the others of its batch go on."""
        _log.error("starts.refused", run_id=row.id, reason=refusal.message)
        now = utc_now()
        error = RunError(type="internal_error", message="Temporal refused to start the run; see the worker's log.")
        end = RunEnd(status="failed", error=error, progress=RunProgress(), started_at=now, ended_at=now)
        async with self._database.write() as session:
            await record_end(session, row.id, end, retry=row.retry_count)


async def _all(starts: Sequence[Awaitable[None]]) -> None:
    """Raises the first failure once all are over."""
    for outcome in await asyncio.gather(*starts, return_exceptions=True):
        if outcome is not None:
            raise outcome


async def _gone(schedule_id: str) -> PreparedRun:
    """Of a schedule without a row: deleted, or never stored though Temporal heard of it. It is deleted there, too.

    Raises `DependencyUnavailable` while it may be about to be stored.
    """
    if activity.info().attempt < ORPHAN_ATTEMPTS:
        raise DependencyUnavailable("database", f"There is no schedule {schedule_id!r} yet.")
    try:
        await activity.client().get_schedule_handle(schedule_id).delete()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise DependencyUnavailable("temporal") from error
    return PreparedRun()
