"""One typed function per activity: the only file that schedules activities."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError
from temporalio.workflow import ActivityCancellationType, ChildWorkflowHandle, ParentClosePolicy

from studio.contracts.activities import (
    WORKER_SHUTDOWN,
    CompletionRequest,
    CompletionResult,
    FailureDetails,
    PublishEventsRequest,
    RecordEndRequest,
    RenderPromptRequest,
    RenderPromptResult,
)
from studio.contracts.definitions import ResolvedDefinition, ResolvedWorkflow
from studio.contracts.missing import MissingPayload
from studio.contracts.plain import PlainText
from studio.contracts.runs import ChildStatus, ParentStep, RunRequest, RunStatus
from studio.contracts.starts import PreparedRun, PrepareRunRequest, StartBatchRequest
from studio.executions import search_attributes, start_options, static_details, workflow_type
from workflows import policies
from workflows.names import CHILD, child_workflow_id

COMPLETE_CHAT = "complete_chat"
RENDER_PROMPT = "render_prompt"
PUBLISH_EVENTS = "publish_events"
RECORD_END = "record_end"
PREPARE_RUN = "prepare_run"
START_BATCH = "start_batch"


CallT = TypeVar("CallT", CompletionRequest, RenderPromptRequest)
ResultT = TypeVar("ResultT")

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class CallOptions:
    """What the step says about its calls."""

    retry: RetryPolicy
    deadline: datetime | None
    """The end of the step's own timeout, attempts and waits included."""

    def remaining(self) -> timedelta | None:
        """Not zero, which would mean no limit."""
        return max(self.deadline - workflow.now(), timedelta(milliseconds=1)) if self.deadline else None

    def after(self, failed: int) -> "CallOptions":
        """What is left when so many attempts have failed."""
        attempts = self.retry.maximum_attempts
        left = max(attempts - failed, 1) if attempts else 0
        return replace(self, retry=replace(self.retry, maximum_attempts=left))


def present(value: ValueT | MissingPayload) -> ValueT:
    """Raises `ApplicationError` of type `payload_missing` for a value whose stored bytes are gone."""
    if isinstance(value, MissingPayload):
        raise ApplicationError(value.message, type="payload_missing", non_retryable=True)
    return value


async def complete_chat(request: CompletionRequest, options: CallOptions, summary: str) -> CompletionResult:
    policy = policies.LLM_CALL

    async def call(request: CompletionRequest, options: CallOptions) -> CompletionResult:
        return await workflow.execute_activity(
            COMPLETE_CHAT,
            request,
            result_type=CompletionResult,
            start_to_close_timeout=policy.start_to_close,
            schedule_to_close_timeout=options.remaining(),
            heartbeat_timeout=policy.heartbeat,
            retry_policy=options.retry,
            # The run is not cancelled before the provider's connection is closed.
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=PlainText(summary),
        )

    return await _whoever_works(call, request, options)


async def render_prompt(request: RenderPromptRequest, options: CallOptions, summary: str) -> RenderPromptResult:
    async def call(request: RenderPromptRequest, options: CallOptions) -> RenderPromptResult:
        return await workflow.execute_activity(
            RENDER_PROMPT,
            request,
            result_type=RenderPromptResult,
            start_to_close_timeout=policies.RENDER_PROMPT.start_to_close,
            schedule_to_close_timeout=options.remaining(),
            retry_policy=options.retry,
            summary=PlainText(summary),
        )

    return await _whoever_works(call, request, options)


async def _whoever_works(
    call: Callable[[CallT, CallOptions], Awaitable[ResultT]], request: CallT, options: CallOptions
) -> ResultT:
    """`call`, again each time that the worker shuts down under it: that is not the step's fault, so it costs the step
    none of its attempts. What was used until then goes along.
    """
    while True:
        try:
            return present(await call(request, options))
        except ActivityError as error:
            cause = error.cause
            if not isinstance(cause, ApplicationError) or cause.type != WORKER_SHUTDOWN:
                raise
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the step is to stop: nobody shall begin it again
                raise asyncio.CancelledError from error
            if not cause.details:
                continue  # it had asked nobody yet
            used = FailureDetails.model_validate(cause.details[0])
            options = options.after(used.attempt - request.step.attempts_before - 1)
            step = request.step.model_copy(update={"attempts_before": used.attempt, "taken_over": used})
            request = request.model_copy(update={"step": step})


async def start_child(
    request: RunRequest, definition: ResolvedDefinition, child: ResolvedWorkflow
) -> ChildWorkflowHandle[Any, Any]:
    """Cancelled, it ends once the child has: its connections are closed then, and what it used is known.

    A run that was terminated, and is retried at once, may find its child of then still closing: Temporal ends the
    children of a closed workflow a moment after it. Raises `WorkflowAlreadyStartedError` when it does not end.
    """
    run, step = request.context, request.parent.path if request.parent is not None else ""
    pauses = iter(policies.CHILD_CLOSING)
    while True:
        try:
            return await workflow.start_child_workflow(
                workflow_type(child.workflow.pattern),
                args=[request, definition, None],
                id=child_workflow_id(run.run_id, step),
                search_attributes=search_attributes(run, child.name, child.workflow.pattern),
                static_summary=PlainText(child.name),
                static_details=static_details(run, child.name, child.version, step),
            )
        except WorkflowAlreadyStartedError:
            pause = next(pauses, None)
            if pause is None:
                raise
            await workflow.sleep(pause)


async def tell_children(children: Sequence[ChildWorkflowHandle[Any, Any]], signal: str, *arguments: Any) -> None:
    for child in children:
        with suppress(ApplicationError):  # it has ended meanwhile
            await child.signal(signal, args=arguments)


async def tell_parent(step: ParentStep, status: RunStatus) -> None:
    """That this child workflow waits, or goes on: its parent may by that wait, too."""
    parent = workflow.info().parent
    if parent is None:
        return
    around = parent.workflow_id.partition("/")[2]
    told = ChildStatus(path=step.path[len(around) :].removeprefix("/"), status=status)
    with suppress(ApplicationError):  # it has ended meanwhile
        await workflow.get_external_workflow_handle(parent.workflow_id).signal(CHILD, told)


async def publish_events(request: PublishEventsRequest) -> None:
    """Local, as recording the end. Raises `ActivityError`."""
    await workflow.execute_local_activity(
        PUBLISH_EVENTS,
        request,
        start_to_close_timeout=policies.RECORD_END.start_to_close,
        retry_policy=policies.RECORD_END_RETRY,
        local_retry_threshold=policies.RECORD_END_LOCAL,
    )


async def record_end(request: RecordEndRequest) -> None:
    """Local: short and safe to repeat, and the run's steps stay out of the history."""
    await workflow.execute_local_activity(
        RECORD_END,
        request,
        start_to_close_timeout=policies.RECORD_END.start_to_close,
        retry_policy=policies.RECORD_END_RETRY,
        local_retry_threshold=policies.RECORD_END_LOCAL,
    )


async def prepare_run(request: PrepareRunRequest) -> PreparedRun:
    """Tried for as long as it takes: the run is not lost because the database is away."""
    return await workflow.execute_activity(
        PREPARE_RUN,
        request,
        result_type=PreparedRun,
        start_to_close_timeout=policies.PREPARE_RUN.start_to_close,
        retry_policy=policies.START_RETRY,
        # A row that is written is either started or not there.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


async def start_run(
    request: RunRequest, definition: ResolvedDefinition, pattern: str | None
) -> ChildWorkflowHandle[Any, Any]:
    """A run that is a child workflow: cancelled and terminated with its parent; a cancelled parent waits for it."""
    return await workflow.start_child_workflow(
        workflow_type(pattern),
        args=[request, definition, None],
        id=request.context.run_id,
        parent_close_policy=ParentClosePolicy.TERMINATE,
        **start_options(request, pattern),
    )


async def start_batch(request: StartBatchRequest) -> None:
    """Tried for as long as it takes; another attempt goes on where the one before was."""
    await workflow.execute_activity(
        START_BATCH,
        request,
        start_to_close_timeout=policies.START_BATCH.start_to_close,
        heartbeat_timeout=policies.START_BATCH.heartbeat,
        retry_policy=policies.START_RETRY,
    )
