"""The one place where our errors become Temporal's: what failed, and whether trying again can help."""

from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.run_contexts import RunGone
from studio.clients.llm import LlmError, LlmRateLimited, LlmRefused
from studio.contracts.activities import WORKER_SHUTDOWN, FailureDetails
from studio.contracts.steps import ErrorType
from studio.db.disk import DISK_FULL, is_disk_full
from studio.errors import DependencyUnavailable, StudioError

MAX_RETRY_AFTER_SECONDS = 300
_log = structlog.get_logger(__name__)


def as_application_error(error: Exception, details: FailureDetails) -> ApplicationError:
    """The failure with its error type, and what the step's attempts had used."""
    kind, message, retryable, retry_after = _classify(error)
    asked = timedelta(seconds=min(retry_after or 0, MAX_RETRY_AFTER_SECONDS))
    if kind != "internal_error":
        _log.warning("activity.failed", type=kind, message=message, attempt=details.attempt, retryable=retryable)
    return ApplicationError(
        message,
        details,
        type=kind,
        non_retryable=not retryable,
        next_retry_delay=asked if asked > _backoff() else None,
        # We have said it in one line; the SDK would add a stack trace for every attempt.
        category=ApplicationErrorCategory.BENIGN,
    )


def _backoff() -> timedelta:
    """What the retry policy has the next attempt wait."""
    info = activity.info()
    policy = info.retry_policy
    if policy is None:
        return timedelta()
    longest = policy.maximum_interval or 100 * policy.initial_interval  # Temporal's default
    # The exponent is bounded so that the number stays one; the longest wait is reached long before.
    factor = policy.backoff_coefficient ** min(info.attempt - 1, 100)
    return longest if factor > longest / policy.initial_interval else policy.initial_interval * factor


def next_attempt_at(failure: ApplicationError, at: datetime) -> datetime | None:
    """When Temporal makes the next attempt of this activity, which failed at `at`, or None if it makes none."""
    info = activity.info()
    policy = info.retry_policy
    if failure.non_retryable or policy is None or failure.type in (policy.non_retryable_error_types or ()):
        return None
    if policy.maximum_attempts and info.attempt >= policy.maximum_attempts:
        return None
    due = at + (failure.next_retry_delay or _backoff())
    limit = info.schedule_to_close_timeout
    return due if not limit or due < info.scheduled_time + limit else None


def is_worker_leaving() -> bool:
    """Whether the activity was cancelled because its worker shuts down."""
    details = activity.cancellation_details()
    return details is not None and details.worker_shutdown and not details.cancel_requested


def is_given_up() -> bool:
    """Whether the activity was cancelled because the server no longer counts on this attempt, not because of a wish."""
    details = activity.cancellation_details()
    return details is not None and (details.timed_out or details.not_found) and not details.cancel_requested


def worker_shutdown(details: FailureDetails) -> ApplicationError:
    """For the workflow, which has another worker do it: Temporal's own retry would count as an attempt."""
    _log.warning("activity.handed_over", attempt=details.attempt)
    return ApplicationError(
        "The worker shut down.",
        details,
        type=WORKER_SHUTDOWN,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )


def _classify(error: Exception) -> tuple[ErrorType, str, bool, float | None]:  # noqa: PLR0911 - one line a case
    match error:
        case LlmRateLimited():
            return "rate_limited", error.detail, True, error.retry_after
        case LlmRefused():
            return "invalid_request", error.detail, False, None
        case LlmError():
            return "upstream_error", error.detail, error.retryable, error.retry_after
        case RunGone():
            return "cancelled", error.detail, False, None
        case DependencyUnavailable():
            return "dependency_unavailable", error.detail, True, None
        case StudioError():
            return "prompt_error", error.detail, error.status >= 500, None
        case ValidationError():
            return "invalid_request", f"The request is not one that a model takes: {_first(error)}", False, None
        case OperationalError() | InterfaceError() | PoolTimeout() | OSError():
            _log.warning("activity.database_failed", exc_info=error)
            message = DISK_FULL if is_disk_full(error) else "The database does not answer."
            return "dependency_unavailable", message, True, None
        case _:
            _log.error("activity.crashed", exc_info=error)
            passing = not isinstance(error, _PERMANENT) and not _is_unwritable(error)
            return "internal_error", f"A bug of ours: {type(error).__name__}.", passing, None


_PERMANENT = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, AssertionError)
"""What the same code raises again over the same input."""


def _is_unwritable(error: Exception) -> bool:
    """Whether the database, or its driver, refused a value."""
    return isinstance(error, DataError) or (isinstance(error, StatementError) and not isinstance(error, DBAPIError))


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
