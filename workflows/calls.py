"""One typed function per activity: the only file that schedules activities."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError
from temporalio.workflow import ActivityCancellationType, ChildWorkflowHandle

from studio.contracts.activities import (
    CompletionRequest,
    CompletionResult,
    PublishEventsRequest,
    RecordEndRequest,
    RenderPromptRequest,
    RenderPromptResult,
)
from studio.contracts.definitions import ResolvedDefinition, ResolvedWorkflow
from studio.contracts.plain import PlainText
from studio.contracts.runs import RunRequest
from workflows import policies
from workflows.names import child_workflow_id, workflow_type

COMPLETE_CHAT = "complete_chat"
RENDER_PROMPT = "render_prompt"
PUBLISH_EVENTS = "publish_events"
RECORD_END = "record_end"


@dataclass(frozen=True)
class CallOptions:
    """What the step says about its calls."""

    retry: RetryPolicy
    remaining: timedelta | None
    """Until the step's own timeout, attempts and waits included."""


async def complete_chat(request: CompletionRequest, options: CallOptions, summary: str) -> CompletionResult:
    policy = policies.LLM_CALL
    while True:
        try:
            return await workflow.execute_activity(
                COMPLETE_CHAT,
                request,
                result_type=CompletionResult,
                start_to_close_timeout=policy.start_to_close,
                schedule_to_close_timeout=options.remaining,
                heartbeat_timeout=policy.heartbeat,
                retry_policy=options.retry,
                # The run is not cancelled before the provider's connection is closed.
                cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                summary=PlainText(summary),
            )
        except ActivityError as error:
            if not _worker_left(error):
                raise


def _worker_left(error: ActivityError) -> bool:
    """Whether the last attempt ended because its worker shut down: that is not the step's fault, so it costs it none
    of its attempts.
    """
    return isinstance(error.cause, ApplicationError) and error.cause.type == "WorkerShutdown"


async def render_prompt(request: RenderPromptRequest, options: CallOptions, summary: str) -> RenderPromptResult:
    return await workflow.execute_activity(
        RENDER_PROMPT,
        request,
        result_type=RenderPromptResult,
        start_to_close_timeout=policies.RENDER_PROMPT.start_to_close,
        schedule_to_close_timeout=options.remaining,
        retry_policy=options.retry,
        summary=PlainText(summary),
    )


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
                static_summary=PlainText(child.name),
            )
        except WorkflowAlreadyStartedError:
            pause = next(pauses, None)
            if pause is None:
                raise
            await workflow.sleep(pause)


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
