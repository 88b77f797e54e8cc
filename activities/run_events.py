"""What every activity does first: find out whose step it is, and publish what the workflow handed along."""

from dataclasses import dataclass
from datetime import datetime

import structlog
from temporalio import activity

from activities.run_contexts import RunContexts, RunGone, run_id_of
from studio.contracts.activities import StepContext
from studio.contracts.base import utc_now
from studio.contracts.events import NewEvent
from studio.contracts.ids import derived_span_id
from studio.contracts.runs import RunContext
from studio.db.engine import Database
from studio.store.event_stream import EventStream
from studio.store.runs import is_open, mark_running


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
        run = await self._contexts.get(run_id_of(info.workflow_id or ""))
        structlog.contextvars.bind_contextvars(run_id=run.run_id, step_id=step.path, trace_id=run.trace_id)
        for event in step.events:
            if event.type == "run.started":
                await self._take_up(run.run_id, event.ts)
        events = list(step.events)
        attempt = attempt_of(step)
        if info.attempt > 1:
            # What has no key would be told twice.
            events = [event for event in events if event.key() is not None]
            data = {"superseded_attempt": attempt - 1}
            events.append(NewEvent(ts=utc_now(), step_id=step.path, attempt=attempt, type="step.retrying", data=data))
        await self.stream.publish(run.run_id, events)
        return RunningStep(run, step.path, step.agent, attempt)

    async def _take_up(self, run_id: str, at: datetime) -> None:
        """Raises `RunGone` for a run whose start the API gave up on, and which Temporal had heard of after all."""
        async with self._database.write() as session:
            await mark_running(session, run_id, at, activity.info().workflow_run_id or "")
            if not await is_open(session, run_id):
                raise RunGone(f"The run {run_id!r} was given up before it began.")
