"""Runs that no worker can carry on: their workflow task fails each time that it is tried.

A bug, a version of the worker that does not fit the run's history, or code that runs for too long: Temporal tries the
task again for as long as it takes, so such a run is neither failed nor does it go on. What was raised may hold
anybody's text and stays in the worker's log.
"""

import re
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, PendingWorkflowTaskState, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryReverseRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from api.runs.executions import CALL, Executions, temporal_faults
from studio.contracts.base import utc_now
from studio.contracts.events import run_stalled
from studio.contracts.runs import Stalled
from studio.store.event_stream import EventStream

CANCEL_PATIENCE = timedelta(seconds=5)
"""So long a run that was asked to stop has for it; is it still stalled then, it is terminated."""
LOOKED_AT = 10
"""Executions of a run, itself and child workflows that are open."""
NEWEST = 50
"""Events at the end of a history."""
_CANCELLED = "it was asked to stop, and its workflow task fails each time"
_OPEN = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_UNSPECIFIED
_ENDED_TASKS = frozenset({EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED, EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}")


class Stalls:
    def __init__(self, client: Client, executions: Executions, stream: EventStream) -> None:
        self._client = client
        self._executions = executions
        self._stream = stream

    async def look(self, run_id: str) -> tuple[Stalled | None, bool]:
        """Whether the run is stalled, which its stream then says; and whether it was ended for that, since somebody had
        asked it to stop. Raises `DependencyUnavailable`.
        """
        stalled = await self.find(run_id)
        if stalled is None:
            return None, False
        requested = await self._cancel_requested_at(run_id)
        if requested is not None and utc_now() - requested >= CANCEL_PATIENCE:
            return None, await self._executions.terminate(run_id, _CANCELLED)
        await self._stream.publish(run_id, [run_stalled(utc_now(), stalled.since, stalled.message)])
        return stalled, False

    async def find(self, run_id: str) -> Stalled | None:
        """None when the run goes on, or is not known to Temporal. Raises `DependencyUnavailable`."""
        pending = [run_id]
        for _ in range(LOOKED_AT):
            if not pending:
                break
            workflow_id = pending.pop(0)
            described = await self._described(workflow_id)
            if described is None:
                continue
            task = described.pending_workflow_task
            if task.state != _OPEN and task.attempt > 1:
                found = await self._failing(workflow_id, task.attempt)
                if found is not None:
                    return found
            pending += [child.workflow_id for child in described.pending_children]
        return None

    async def _cancel_requested_at(self, run_id: str) -> datetime | None:
        async for event in self._newest(run_id):
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
                return event.event_time.ToDatetime(UTC)
        return None

    async def _described(self, workflow_id: str) -> DescribeWorkflowExecutionResponse | None:
        try:
            with temporal_faults():
                return (await self._client.get_workflow_handle(workflow_id).describe(rpc_timeout=CALL)).raw_description
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def _failing(self, workflow_id: str, attempts: int) -> Stalled | None:
        """Why the tasks since the last that was completed failed."""
        ended: list[HistoryEvent] = []
        async for event in self._newest(workflow_id):
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                break
            if event.event_type in _ENDED_TASKS:
                ended.append(event)
        if not any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED for event in ended):
            return None  # a worker that went away in the middle of one is no fault of the run
        since = ended[-1].event_time.ToDatetime(UTC)
        message = (
            f"No worker can carry the run on: its workflow task fails each time ({_reason(ended)}). The worker's log"
            " says more. The run goes on once a worker can; a cancel ends it."
        )
        return Stalled(since=since, attempts=attempts, message=message)

    async def _newest(self, workflow_id: str) -> AsyncIterator[HistoryEvent]:
        """Of the newest execution, the last event first."""
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self._client.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id),
            maximum_page_size=NEWEST,
        )
        with temporal_faults():
            answer = await self._client.workflow_service.get_workflow_execution_history_reverse(request, timeout=CALL)
        for event in answer.history.events:
            yield event


def _reason(ended: Iterable[HistoryEvent]) -> str:
    failed = next(event for event in ended if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    attributes = failed.workflow_task_failed_event_attributes
    kind = attributes.failure.application_failure_info.type
    if attributes.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR:
        return "the code of the worker does not fit the run's history"
    if "Deadlock" in kind or "TMPRL1101" in attributes.failure.message:
        return "it computes for too long"
    return kind if _NAME.fullmatch(kind) else "an error in the worker"
