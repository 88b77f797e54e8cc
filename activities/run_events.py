"""What every activity does first: find out whose step it is, and publish what the workflow handed along."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.failures import as_application_error, next_attempt_at
from activities.run_contexts import RunContexts, RunGone
from studio.contracts.activities import FailureDetails, PublishEventsRequest, StepContext
from studio.contracts.base import utc_now
from studio.contracts.events import NewEvent, step_retrying
from studio.contracts.ids import derived_span_id
from studio.contracts.runs import RunContext, RunError
from studio.db.engine import Database
from studio.store.approvals import write_view
from studio.store.blob_uses import owner_of
from studio.store.event_stream import EventStream
from studio.store.runs import is_open, is_taken_up, mark_running


def attempt_of(step: StepContext) -> int:
    """The step's attempt that this activity is; counts from 1."""
    return step.attempts_before + activity.info().attempt


@dataclass(frozen=True)
class RunningStep:
    """The step that an activity works for, with its run."""

    run: RunContext
    path: str
    agent: str
    attempt: int

    @property
    def span_id(self) -> str:
        """The step's span: the parent of what the activity records."""
        return derived_span_id(self.run.run_id, self.path)

    @property
    def conversation_id(self) -> str:
        return f"{self.run.run_id}/{self.path}"


class RunEvents:
    """Publishes lifecycle events; the first of them also turns the run's row from `queued` to `running`."""

    def __init__(self, stream: EventStream, database: Database) -> None:
        self.stream = stream
        self._database = database
        self._contexts = RunContexts(database)

    async def begin(self, step: StepContext) -> RunningStep:
        """Bind the log context, publish what was handed along, and on a later attempt supersede the one before.

        Raises `RunGone`.
        """
        info = activity.info()
        run = await self._take_up(step.events)
        structlog.contextvars.bind_contextvars(run_id=run.run_id, step_id=step.path, trace_id=run.trace_id)
        events = list(step.events)
        attempt = attempt_of(step)
        if info.attempt > 1 or step.taken_over is not None:
            events = _once(events)
            events.append(step_retrying(utc_now(), step.path, attempt))  # unless it was published when that failed
        await self.stream.publish(run.run_id, events)
        return RunningStep(run, step.path, step.agent, attempt)

    async def failed(self, step: StepContext, error: Exception, used: FailureDetails) -> ApplicationError:
        """What the activity raises for `error`, which ended this attempt. When there is another one, readers hear why
        and when.
        """
        failure = as_application_error(error, used)
        at = utc_now()
        due = next_attempt_at(failure, at)
        if due is not None:
            cause = RunError(type=failure.type or "internal_error", message=failure.message, step_id=step.path)
            attempt = attempt_of(step)
            event = step_retrying(at, step.path, attempt + 1, cause.model_dump(), due)
            await self.stream.publish(owner_of(activity.info().workflow_id or ""), [*_once(step.events), event])
        return failure

    @activity.defn(name="publish_events")
    async def publish_events(self, request: PublishEventsRequest) -> None:
        """For a run that comes to rest: no call is about to take its events along. Whoever hears of a wait finds it in
        the inbox. Raises `ApplicationError`.
        """
        try:
            run = await self._take_up(request.events)
            if request.view is not None:
                path = (activity.info().workflow_id or "").partition("/")[2]
                async with self._database.write() as session:
                    await write_view(session, run.run_id, path, request.view, retry=run.retry)
        except Exception as error:
            raise as_application_error(error, FailureDetails(attempt=activity.info().attempt)) from error
        await self.stream.publish(run.run_id, request.events)

    async def _take_up(self, events: Sequence[NewEvent]) -> RunContext:
        """The run, turned to `running` when it begins with these events. Raises `RunGone` for one whose start the API
        gave up on, and which Temporal had heard of after all.
        """
        info = activity.info()
        workflow_id = info.workflow_id or ""
        run = await self._contexts.get(owner_of(workflow_id), info.workflow_run_id or "")
        first = next((event for event in events if event.type in {"run.started", "run.retried"}), None)
        if first is not None:
            # A child workflow may be the first to get here, and its execution is not the run's.
            execution = info.workflow_run_id if workflow_id == run.run_id else None
            retry = first.attempt - 1
            async with self._database.read() as session:
                if await is_taken_up(session, run.run_id, execution, retry=retry):
                    return run
            async with self._database.write() as session:
                await mark_running(session, run.run_id, first.ts, execution, retry=retry)
                if not await is_open(session, run.run_id, retry=retry):
                    raise RunGone(f"The run {run.run_id!r} was given up before it began.")
        return run


def _once(events: Sequence[NewEvent]) -> list[NewEvent]:
    """Those that may be published again: what has no key would be told twice."""
    return [event for event in events if event.key() is not None]
