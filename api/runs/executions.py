"""Runs on the Temporal side: start, ask, cancel. Every fault of the connection becomes a 503 that names Temporal."""

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, TerminatedError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from api.runs.progress import whole_progress
from studio.contracts.base import Json, Wire
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.ids import IdPrefix, is_id
from studio.contracts.interaction import ApprovalOutcome, DecideRequest, ResolveRequest
from studio.contracts.missing import MissingPayload
from studio.contracts.runs import RunError, RunProgress, RunRequest, RunStatus, StepRun
from studio.engine.progress import progress_of
from studio.engine.state import RunState
from studio.errors import Conflict, DependencyUnavailable, FieldError, InvalidInput, NotFound, StudioError
from studio.executions import start_options, workflow_type
from studio.temporal import is_unavailable
from workflows.carried import Carried
from workflows.names import DECIDE, PROGRESS, RESOLVE

CALL = timedelta(seconds=5)
"""Starting, asking and cancelling take milliseconds when Temporal is well."""
LISTED = 500
"""Workflows a page, when Temporal lists them."""
ANSWER = timedelta(seconds=2)
"""A reader of a run does not wait longer for the worker."""

_NEVER_BEGAN = "before WorkflowTaskStarted"
"""What Temporal answers to a query of a workflow that ended before a worker took it up; `FAILED_PRECONDITION`, but that
is also how it says that no worker is there.
"""
AnswerT = TypeVar("AnswerT", bound=Wire)

_ENDS: dict[WorkflowExecutionStatus, RunStatus] = {
    WorkflowExecutionStatus.COMPLETED: "succeeded",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.TIMED_OUT: "timed_out",
}


class StartRefused(Exception):
    """Temporal answered, and does not start the run."""


@dataclass(frozen=True)
class Execution:
    """What Temporal says of a run."""

    run_id: str | None
    started_at: datetime
    end: RunStatus | None
    """None while it is open."""
    ended_at: datetime | None
    may_be_stalled: bool = False
    """Its workflow task is not at its first attempt, or it has child workflows, of which the same may be true."""


@dataclass(frozen=True)
class Begun:
    """What an execution of a run was started with."""

    request: RunRequest
    definition: ResolvedDefinition
    carried: Carried | None
    """What the execution before it handed on, when the run continued as new."""

    def progress(self) -> RunProgress:
        """What had been done before it."""
        if self.carried is not None:
            return progress_of(RunState.model_validate(self.carried.state))
        resume = self.request.resume
        if resume is None:
            return RunProgress()
        return RunProgress(
            steps=resume.steps,
            usage=resume.usage,
            cost_usd=resume.cost_usd,
            limits=resume.limits,
            signals=resume.signals,
            heard=resume.heard,
        )


@contextmanager
def temporal_faults() -> Generator[None]:
    try:
        yield
    except (RPCError, RuntimeError, ConnectionError) as error:
        if is_unavailable(error):
            raise DependencyUnavailable("temporal") from error
        raise


class Executions:
    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def start(self, request: RunRequest, definition: ResolvedDefinition, pattern: str | None) -> None:
        """Start the workflow whose id is the run's; repeating the first start of a run changes nothing.

        Raises `StartRefused` when Temporal answered that it will not, `DependencyUnavailable` when it is not known
        whether the run started.
        """
        is_retry = request.context.retry > 0
        try:
            with temporal_faults():
                await self._client.start_workflow(
                    workflow_type(pattern),
                    args=[request, definition, None],
                    id=request.context.run_id,
                    task_queue=self._task_queue,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE
                    if is_retry
                    else WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL
                    if is_retry
                    else WorkflowIDConflictPolicy.USE_EXISTING,
                    rpc_timeout=CALL,
                    **start_options(request, pattern),
                )
        except WorkflowAlreadyStartedError as error:
            if is_retry:
                raise StartRefused("an earlier execution of the run has not ended") from error
            return  # an earlier attempt started it, and it has ended since
        except RPCError as error:
            raise StartRefused(error.message) from error

    async def find(self, run_id: str) -> Execution | None:
        """None when Temporal does not know the run: it never started, or it ended longer ago than Temporal keeps."""
        try:
            with temporal_faults():
                found = await self._client.get_workflow_handle(run_id).describe(rpc_timeout=CALL)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise
        end = None if found.status is None else _ENDS.get(found.status)
        raw = found.raw_description
        suspect = raw.pending_workflow_task.attempt > 1 or len(raw.pending_children) > 0
        return Execution(found.run_id, found.start_time, end, found.close_time, suspect)

    async def stopped_since(self, moment: datetime) -> AsyncIterator[list[str]]:
        """Pages of the runs whose workflow ended since then other than well, which may be without their own doing."""
        ends = "'Terminated', 'TimedOut', 'Canceled', 'Failed'"
        query = (
            f"TaskQueue = '{self._task_queue}' AND ExecutionStatus IN ({ends}) AND CloseTime > '{moment.isoformat()}'"
        )
        listed = self._client.list_workflows(query, page_size=LISTED)
        while True:
            with temporal_faults():
                await listed.fetch_next_page()
            page = listed.current_page
            yield [found.id for found in page or () if is_id(found.id, IdPrefix.RUN)]
            if listed.next_page_token is None:
                return

    async def begun(self, run_id: str, execution: str | None) -> Begun | None:
        """What this execution of the run was started with, as its history says; the newest one's with None.

        None when Temporal no longer has it, or when what it refers to is gone.
        """
        handle = self._client.get_workflow_handle(run_id, run_id=execution)
        try:
            with temporal_faults():
                history = handle.fetch_history_events(page_size=1, rpc_timeout=CALL)
                first = await anext(history)
                given = first.workflow_execution_started_event_attributes.input.payloads
                hints: list[Any] = [RunRequest, ResolvedDefinition, Carried | None]
                request, definition, carried = await self._client.data_converter.decode(given, hints)
        except NotFound:
            return None
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise
        readable = isinstance(request, RunRequest) and isinstance(definition, ResolvedDefinition)
        return Begun(request, definition, carried) if readable and isinstance(carried, Carried | None) else None

    async def progress(self, run_id: str) -> RunProgress | None:
        """From the workflow itself and its child workflows; None when no worker answers in time."""
        return await whole_progress(run_id, self._ask)

    async def _ask(self, workflow_id: str) -> RunProgress | None:
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            async with asyncio.timeout(ANSWER.total_seconds()):
                found = await handle.query(PROGRESS, result_type=RunProgress, rpc_timeout=ANSWER)
        except RPCError as error:
            return await self._given(workflow_id) if _NEVER_BEGAN in error.message else None
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError, TimeoutError, RuntimeError):
            return None  # a view: the row's own steps are shown instead
        return None if isinstance(found, MissingPayload) else found

    async def _given(self, workflow_id: str) -> RunProgress | None:
        """Of a workflow that ended before any worker took it up: what was done before."""
        try:
            begun = await self.begun(workflow_id, None)
        except (RPCError, DependencyUnavailable):
            return None
        return None if begun is None else begun.progress()

    async def outcome(self, run_id: str) -> tuple[Json, RunError | None]:
        """Output and error of an execution that has ended. Who terminated it may have said why."""
        handle = self._client.get_workflow_handle(run_id)
        try:
            with temporal_faults():
                result = await handle.result(rpc_timeout=CALL)
        except WorkflowFailureError as failure:
            cause = failure.cause
            if isinstance(cause, ApplicationError):
                step = cause.details[0] if cause.details and isinstance(cause.details[0], str) else None
                return None, RunError(type=cause.type or "internal_error", message=cause.message, step_id=step)
            if isinstance(cause, TerminatedError):
                return None, RunError(type="cancelled", message=f"The run was terminated: {cause.message}")
            return None, None
        if isinstance(result, MissingPayload):
            return None, RunError(type="payload_missing", message=result.message)
        return result, None

    async def wait(self, run_id: str, seconds: float) -> bool:
        """Whether the execution ended in time."""
        handle = self._client.get_workflow_handle(run_id)
        try:
            async with asyncio.timeout(seconds):
                await handle.result()
        except WorkflowFailureError:
            return True
        except (TimeoutError, RPCError, RuntimeError):
            return False  # the caller gets the run as it is
        return True

    async def cancel(self, run_id: str) -> bool:
        """Ask for it. False when there is nothing open to cancel."""
        try:
            with temporal_faults():
                await self._client.get_workflow_handle(run_id).cancel(rpc_timeout=CALL)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def terminate(self, run_id: str, reason: str) -> bool:
        """End it and its child workflows at once. False when there is nothing open to end."""
        try:
            with temporal_faults():
                await self._client.get_workflow_handle(run_id).terminate(reason=reason, rpc_timeout=CALL)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def signal(self, workflow_id: str, name: str, *arguments: Json) -> bool:
        """False when there is nothing open to tell."""
        try:
            with temporal_faults():
                handle = self._client.get_workflow_handle(workflow_id)
                await handle.signal(name, args=arguments, rpc_timeout=CALL)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def decide(self, workflow_id: str, request: DecideRequest) -> ApprovalOutcome | None:
        """As `_update`."""
        return await self._update(workflow_id, DECIDE, request, ApprovalOutcome)

    async def resolve(self, workflow_id: str, request: ResolveRequest) -> StepRun | None:
        """As `_update`."""
        return await self._update(workflow_id, RESOLVE, request, StepRun)

    async def _update(self, workflow_id: str, name: str, request: Wire, answer: type[AnswerT]) -> AnswerT | None:
        """None when the workflow has ended meanwhile. Raises `NotFound`, `Conflict` and `InvalidInput` as it says,
        `DependencyUnavailable` when no worker answers.
        """
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            with temporal_faults():
                return await handle.execute_update(name, request, result_type=answer, rpc_timeout=CALL)
        except WorkflowUpdateFailedError as failure:
            refusal = _refusal(failure.cause)
            if refusal is None:
                return None
            raise refusal from failure
        except WorkflowUpdateRPCTimeoutOrCancelledError as late:
            message = "No worker took it in time; ask again to see whether it counts."
            raise DependencyUnavailable("worker", message) from late
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def check(self) -> None:
        """For readiness."""
        with temporal_faults():
            await self._client.service_client.check_health(timeout=ANSWER)


def _refusal(cause: BaseException) -> StudioError | None:
    """What a workflow said to an update; None when it did not come to that."""
    if not isinstance(cause, ApplicationError):
        return None
    match cause.type:
        case "not_found":
            return NotFound(cause.message)
        case "conflict":
            return Conflict(cause.message)
        case "invalid":
            told = cast("Sequence[Json]", cause.details[0])
            errors = [FieldError.model_validate(error) for error in told]
            places = [error.model_copy(update={"loc": ["body", "output", *error.loc]}) for error in errors]
            return InvalidInput(cause.message, errors=places)
        case _:
            return None
