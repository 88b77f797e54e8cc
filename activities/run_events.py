"""What every activity does first: tell the run's readers what the workflow handed along."""

from datetime import datetime

import structlog
from temporalio import activity

from studio.contracts.activities import StepContext
from studio.contracts.base import utc_now
from studio.contracts.events import NewEvent
from studio.db.engine import Database
from studio.errors import StudioError
from studio.store.event_stream import EventStream
from studio.store.runs import is_open, mark_running


def attempt_of(step: StepContext) -> int:
    """The step's attempt that this activity is; counts from 1."""
    return step.attempts_before + activity.info().attempt


class RunGone(StudioError):
    """The run is not in the database, or has ended there: nothing may be done for it."""


class RunEvents:
    """Publishes lifecycle events; the first of them also turns the run's row from `queued` to `running`."""

    def __init__(self, stream: EventStream, database: Database) -> None:
        self.stream = stream
        self._database = database

    async def begin(self, step: StepContext) -> None:
        """Bind the log context, publish what was handed along, and on a later attempt supersede the one before."""
        info = activity.info()
        run = step.run
        structlog.contextvars.bind_contextvars(run_id=run.run_id, step_id=step.path, trace_id=run.trace_id)
        for event in step.events:
            if event.type == "run.started":
                await self._take_up(run.run_id, event.ts)
        events = list(step.events)
        if info.attempt > 1:
            # What has no key would be told twice.
            events = [event for event in events if event.key() is not None]
            attempt = attempt_of(step)
            data = {"superseded_attempt": attempt - 1}
            events.append(NewEvent(ts=utc_now(), step_id=step.path, attempt=attempt, type="step.retrying", data=data))
        await self.stream.publish(run.run_id, events)

    async def _take_up(self, run_id: str, at: datetime) -> None:
        """Raises `RunGone` for a run whose start the API gave up on, and which Temporal had heard of after all."""
        async with self._database.write() as session:
            await mark_running(session, run_id, at, activity.info().workflow_run_id or "")
            if not await is_open(session, run_id):
                raise RunGone(f"The run {run_id!r} was given up before it began.")
