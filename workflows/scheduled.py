"""What a schedule starts at each moment: a run, as a child, for as long as it goes on.

It lasts as long as the run does, so that Temporal's overlap policies mean the run: `skip` and the buffering ones wait
for its end, `cancel_other` lets it clean up, `terminate_other` does not.
"""

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError, CancelledError, ChildWorkflowError, TerminatedError

from studio.contracts.schedules import FireRequest
from studio.contracts.starts import PrepareRunRequest
from workflows import calls
from workflows.names import scheduled_run_id

_SCHEDULED_AT = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""Temporal's own, on all that a schedule starts."""


@workflow.defn
class ScheduledRunWorkflow:
    """Ends with the run's id; fails when the run does, which a schedule with `pause_on_failure` looks at."""

    @workflow.run
    async def run(self, request: FireRequest) -> str | None:
        info = workflow.info()
        run_id = scheduled_run_id(info.workflow_start_time, info.first_execution_run_id)
        prepared = await calls.prepare_run(
            PrepareRunRequest(
                schedule_id=request.schedule_id,
                run_id=run_id,
                scheduled_at=info.typed_search_attributes.get(_SCHEDULED_AT),
            )
        )
        if prepared.error is not None:
            raise ApplicationError(prepared.error.message, type=prepared.error.type, non_retryable=True)
        if prepared.request is None or prepared.definition is None:
            return None  # the schedule was deleted meanwhile
        handle = await calls.start_run(prepared.request, prepared.definition, prepared.pattern)
        if _is_cancelled():  # while it was prepared
            handle.cancel()
        try:
            await handle
        except ChildWorkflowError as error:
            cause = error.cause
            if isinstance(cause, CancelledError | TerminatedError) and not _is_cancelled():
                return run_id  # somebody stopped the run: that is no failure of the schedule's
            if isinstance(cause, ApplicationError):
                raise ApplicationError(cause.message, type=cause.type, non_retryable=True) from error
            raise
        return run_id


def _is_cancelled() -> bool:
    return workflow.cancellation_reason() is not None
