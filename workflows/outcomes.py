"""What the end of an activity or of a child workflow means for its step, and how a workflow itself ends."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, get_args

from pydantic import ValidationError
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    TerminatedError,
    TimeoutType,
    is_cancelled_exception,
)
from temporalio.exceptions import TimeoutError as TemporalTimeout

from studio.contracts.activities import CompletionResult, FailureDetails
from studio.contracts.base import Json
from studio.contracts.runs import ChildResult, RunError
from studio.contracts.steps import ErrorType
from studio.engine.answers import output_of, step_timeout
from studio.engine.children import child_failed
from studio.engine.state import EndRun, RunAgent, StepCancelled, StepEnded, StepFailed, StepSucceeded


def agent_answered(command: RunAgent, result: CompletionResult, at: datetime) -> StepSucceeded | StepFailed:
    path, output = command.path, output_of(command, result.text, result.finish_reason)
    if isinstance(output, RunError):
        return StepFailed(at, path, output, result.attempt, result.usage, result.cost_usd)
    return StepSucceeded(at, path, output, result.attempt, result.usage, result.cost_usd, cached=result.cached)


def agent_ended(error: BaseException, command: RunAgent, at: datetime) -> StepFailed | StepCancelled:
    path = command.path
    if is_cancelled_exception(error):
        return StepCancelled(at, path)
    cause = error.cause if isinstance(error, ActivityError) else error
    match cause:
        case ApplicationError():
            return _failed(at, path, RunError(type=_known(cause.type), message=cause.message), cause.details)
        case TemporalTimeout():
            return _failed(at, path, _call_timeout(cause.type, command.timeout), cause.last_heartbeat_details)
        case _:
            return _failed(at, path, RunError(type="internal_error", message=str(cause or error)), ())


def _call_timeout(which: TimeoutType | None, limit: timedelta | None) -> RunError:
    if which == TimeoutType.HEARTBEAT:
        return RunError(type="timeout", message="The worker that made the step's call stopped answering.")
    if which == TimeoutType.START_TO_CLOSE or limit is None:
        return RunError(type="timeout", message="An attempt of the step's call took too long.")
    return step_timeout(limit)


def _known(kind: str | None) -> str:
    return kind if kind is not None and kind in get_args(ErrorType) else "internal_error"


def _failed(at: datetime, path: str, error: RunError, details: Sequence[Any]) -> StepFailed:
    try:
        used = FailureDetails.model_validate(details[0]) if details else FailureDetails()
    except ValidationError:  # somebody else's details
        used = FailureDetails()
    return StepFailed(at, path, error.model_copy(update={"step_id": path}), used.attempt, used.usage, used.cost_usd)


def child_ended(error: BaseException, path: str, at: datetime, *, cancelled: bool) -> tuple[StepEnded, ChildResult]:
    """`cancelled` says whether this workflow asked the child to stop. The result says what the child did until then."""
    cause = error.cause if isinstance(error, ChildWorkflowError) else error
    result = _result(cause)
    failure = result.error or _child_error(cause, error)
    return child_failed(result, failure, path, at, stopped=cancelled), result


def _child_error(cause: BaseException | None, error: BaseException) -> RunError:
    if isinstance(cause, TerminatedError):
        return RunError(type="cancelled", message="The child workflow was terminated from outside.")
    if is_cancelled_exception(error):
        return RunError(type="cancelled", message="The child workflow was cancelled from outside.")
    if isinstance(cause, TemporalTimeout):
        return RunError(type="timeout", message="Temporal ended the child workflow: it ran into its timeout.")
    if isinstance(cause, ApplicationError):
        return RunError(type=_known(cause.type), message=cause.message)
    return RunError(type="internal_error", message=str(cause or error))


def _result(cause: BaseException | None) -> ChildResult:
    details = cause.details if isinstance(cause, ApplicationError) else ()
    try:
        return ChildResult.model_validate(details[0]) if details else ChildResult()
    except ValidationError:
        return ChildResult()


def closed(end: EndRun) -> Json:
    """The run's output, or what makes Temporal show it as failed or cancelled."""
    match end.status:
        case "succeeded":
            return end.output
        case "cancelled":
            raise asyncio.CancelledError
        case _:
            error = end.error or RunError(type="internal_error", message="The run failed.")
            raise ApplicationError(error.message, error.step_id, type=error.type, non_retryable=True)


def child_closed(end: EndRun, result: ChildResult) -> Json:
    """A cancelled child, too, ends with a failure: what it did and used must reach the run."""
    if end.error is None:
        return result.model_dump(mode="json")
    raise ApplicationError(end.error.message, result, type=end.error.type, non_retryable=True)
