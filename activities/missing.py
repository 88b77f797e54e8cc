"""Payloads whose blob is gone: an activity says so at once, and a run that cannot be replayed without one is ended.

A workflow that reads one goes on: its step fails. But replayed without a blob that was there the first time it comes to
other commands than its history holds, and its task fails for ever. Such a run is failed here, from outside.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from studio.contracts.activities import StepContext
from studio.contracts.base import Wire, utc_now
from studio.contracts.missing import MissingPayload
from studio.contracts.runs import RunEnd, RunError, RunProgress
from studio.db.engine import Database
from studio.store.blob_uses import owner_of
from studio.store.runs import get_run, record_end

LOOK_SECONDS = (0.3, 0.5, 0.7, 1, 1, 2, 5, 10, 30)
"""A task that failed once is tried again at once, and later with growing pauses."""
_TASK_ENDS = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    }
)
_log = structlog.get_logger(__name__)


class _Request(Wire):
    """What the requests of all activities of a step have in common."""

    step: StepContext


class MissingArguments(Interceptor):
    """Lets no activity begin without its argument."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - theirs
        return _Checked(next)


class _Checked(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's name
        for argument in input.args:
            if isinstance(argument, MissingPayload):
                raise ApplicationError(
                    argument.message,
                    type="payload_missing",
                    non_retryable=True,
                    category=ApplicationErrorCategory.BENIGN,
                )
        return await super().execute_activity(input)


class StuckRuns:
    """Ends the runs whose workflow tasks fail since a blob is gone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._client: Client | None = None
        self._watched: dict[str, asyncio.Task[None]] = {}
        """By workflow id."""

    def use(self, client: Client) -> None:
        self._client = client

    def watch(self, workflow_id: str, digest: str) -> None:
        """Called in the worker's event loop, whenever a workflow reads a payload that is gone."""
        if workflow_id not in self._watched:
            task = asyncio.create_task(self._watch(workflow_id, MissingPayload(digest)))
            self._watched[workflow_id] = task
            task.add_done_callback(lambda _: self._watched.pop(workflow_id))

    async def aclose(self) -> None:
        tasks = list(self._watched.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, workflow_id: str, missing: MissingPayload) -> None:
        if self._client is None:
            return
        handle = self._client.get_workflow_handle(workflow_id)
        attempts: list[int] = []
        for pause in LOOK_SECONDS:
            await asyncio.sleep(pause)
            try:
                if await self._is_settled(self._client, handle, missing, attempts):
                    return
            except Exception as error:  # noqa: BLE001 - it is tried again; the run itself is not harmed
                _log.warning("missing.not_settled", run_id=workflow_id, error=type(error).__name__)

    async def _is_settled(
        self, client: Client, handle: WorkflowHandle[Any, Any], missing: MissingPayload, attempts: list[int]
    ) -> bool:
        """`attempts` at the workflow's task are those that earlier looks found."""
        found = await handle.describe()
        run_id = owner_of(handle.id)
        is_root = handle.id == run_id
        if found.status != WorkflowExecutionStatus.RUNNING:
            if is_root and found.status == WorkflowExecutionStatus.FAILED:
                await self._record(run_id, RunError(type="payload_missing", message=missing.message))
            return True
        attempt = found.raw_description.pending_workflow_task.attempt
        attempts.append(attempt)
        if attempt < 2:
            return False
        events = (await handle.fetch_history()).events
        ends = [event.event_type for event in events if event.event_type in _TASK_ENDS]
        # Only the first attempt's end is in the history. When that one ended with its worker, it says nothing; then the
        # next ones must be seen to fail.
        is_failing = ends[-1:] == [EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED]
        if not is_failing and not any(2 <= before < attempt for before in attempts):
            return False
        own = None if is_root else handle.id.removeprefix(f"{run_id}/")
        path = await _step_of(client, events, missing.digest) or own
        _log.error("missing.run_ended", run_id=run_id, step_id=path, digest=missing.digest)
        await self._record(run_id, RunError(type="payload_missing", message=missing.message, step_id=path))
        try:
            await client.get_workflow_handle(run_id).terminate(reason=f"payload_missing: {missing.message}")
        except RPCError:
            _log.warning("missing.not_terminated", run_id=run_id, exc_info=True)
        return True

    async def _record(self, run_id: str, error: RunError) -> None:
        now = utc_now()
        end = RunEnd(status="failed", error=error, progress=RunProgress(), started_at=now, ended_at=now)
        async with self._database.write() as session:
            row = await get_run(session, run_id)
            if row is not None:
                # Nobody can ask the run what its steps did: its workflow cannot go on.
                await record_end(session, run_id, end, retry=row.retry_count, steps_known=False)


async def _step_of(client: Client, events: Sequence[HistoryEvent], digest: str) -> str | None:
    """The path, as the run names it, of the step whose value is gone; None when it is no step's."""
    by_id: Mapping[int, HistoryEvent] = {event.event_id: event for event in events}
    for event in events:
        if digest.encode() not in event.SerializeToString():
            continue
        ended = event.activity_task_completed_event_attributes
        child = event.child_workflow_execution_completed_event_attributes.workflow_execution
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            return await _path_of(client, by_id[ended.scheduled_event_id])
        if event.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED:
            return child.workflow_id.partition("/")[2]
    return None


async def _path_of(client: Client, scheduled: HistoryEvent) -> str | None:
    given = scheduled.activity_task_scheduled_event_attributes.input
    (request,) = await client.data_converter.decode(given.payloads, [_Request])
    return request.step.path if isinstance(request, _Request) else None
