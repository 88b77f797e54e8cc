"""Carries a run on Temporal: turns the core's commands into activities and their results into the core's events."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, get_args

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TemporalTimeout

from studio.contracts.activities import FailureDetails, RecordEndRequest, StepContext
from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedAgent, ResolvedDefinition
from studio.contracts.events import NewEvent
from studio.contracts.runs import RunEnd, RunError, RunProgress, RunRequest
from studio.contracts.steps import ErrorType
from studio.engine.answers import call_timeout, output_of
from studio.engine.plan import compile_plan
from studio.engine.scheduler import advance
from studio.engine.state import (
    CancelRequested,
    CancelStep,
    CancelTimer,
    CoreEvent,
    EndRun,
    Publish,
    RunAgent,
    RunFacts,
    RunStarted,
    RunState,
    StartTimer,
    StepCancelled,
    StepFailed,
    StepSucceeded,
    Tick,
    Ticked,
    TimerFired,
    progress_of,
)
from workflows import calls
from workflows.agent_loop import run_agent

SHOWN_STEPS = 30
_MARKS = {"succeeded": "✓", "failed": "✗", "running": "▶", "skipped": "»", "cancelled": "◼"}


class Driver:
    """One run. `execute` returns its output, or raises what makes Temporal show it as failed or cancelled."""

    def __init__(self, request: RunRequest, definition: ResolvedDefinition) -> None:
        self._request = request
        self._definition = definition
        self._plan = compile_plan(definition.workflow, definition.agents)
        context = request.context
        facts = RunFacts(
            id=context.run_id, session_id=context.session_id, user_id=context.user_id, metadata=request.metadata
        )
        self._state = RunState(run=facts, input=request.input)
        self._arrived: list[CoreEvent] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._outbox: list[NewEvent] = []
        self._handed: dict[str, list[NewEvent]] = {}
        """What the call under way of a step was given to publish."""
        self._starting: set[str] = set()
        """Steps whose task was made and has not yet run: its first call carries their start."""
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._end: EndRun | None = None

    def progress(self) -> RunProgress:
        return progress_of(self._state)

    async def execute(self) -> Json:
        started = workflow.now()
        self._feed(RunStarted(started))
        while self._end is None:
            try:
                await workflow.wait_condition(lambda: bool(self._arrived))
            except asyncio.CancelledError:
                self._feed(CancelRequested(workflow.now()))
                continue
            for event in self._take_arrived():
                self._feed(event)
        await self._record(self._end, started)
        return self._close(self._end)

    def _take_arrived(self) -> list[CoreEvent]:
        arrived, self._arrived = self._arrived, []
        return arrived

    def _feed(self, event: CoreEvent) -> None:
        self._state, commands = advance(self._plan, self._state, event)
        for command in commands:
            match command:
                case RunAgent():
                    self._starting.add(command.path)
                    self._tasks[command.path] = asyncio.create_task(self._run_agent(command))
                case CancelStep():
                    self._cancel_step(command.path)
                case StartTimer():
                    self._timers[command.id] = asyncio.create_task(self._wait(command))
                case CancelTimer():
                    self._timers.pop(command.id).cancel()
                case Tick():
                    self._ticking = asyncio.create_task(self._tick())
                case Publish():
                    self._outbox.append(command.event)
                case EndRun():
                    self._end = command
        workflow.set_current_details(self._details())

    def _cancel_step(self, path: str) -> None:
        self._tasks[path].cancel()
        if path in self._starting:  # a task that is cancelled before it runs says nothing
            self._starting.discard(path)
            self._arrived.append(StepCancelled(workflow.now(), path))

    async def _wait(self, command: StartTimer) -> None:
        await asyncio.sleep(max((command.at - workflow.now()).total_seconds(), 0.001))
        self._timers.pop(command.id, None)
        self._arrived.append(TimerFired(workflow.now(), command.id))

    async def _tick(self) -> None:
        await asyncio.sleep(0.001)
        self._arrived.append(Ticked(workflow.now()))

    async def _run_agent(self, command: RunAgent) -> None:
        """Whatever happens, an event tells the core: a step without an end would be a run without one."""
        self._starting.discard(command.path)
        try:
            agent = self._agent_of(command)
            result = await run_agent(agent, command, lambda failed: self._context(command, agent, failed))
            output = output_of(command, result.text)
            event: CoreEvent = StepSucceeded(
                workflow.now(), command.path, output, result.attempt, result.usage, result.cost_usd
            )
            self._handed.pop(command.path, None)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see above
            event = _ended(error, command.path, workflow.now())
            # Perhaps the call never ran. Publishing an event that has a key again changes nothing.
            handed = self._handed.pop(command.path, [])
            self._outbox[:0] = [event for event in handed if event.key() is not None]
        self._tasks.pop(command.path, None)
        self._arrived.append(event)

    def _agent_of(self, command: RunAgent) -> ResolvedAgent:
        if isinstance(command.agent, str):
            return self._definition.agents[command.agent]
        return ResolvedAgent(name=command.name, spec=command.agent)

    def _context(self, command: RunAgent, agent: ResolvedAgent, attempts_before: int) -> StepContext:
        self._handed[command.path] = self._take_outbox(command.path)
        return StepContext(
            run=self._request.context,
            path=command.path,
            agent=agent.name,
            attempts_before=command.attempts_before + attempts_before,
            events=self._handed[command.path],
        )

    def _take_outbox(self, path: str | None = None) -> list[NewEvent]:
        """What is to be published, without the starts of steps whose own first call is about to carry them."""
        others = self._starting - {path}
        events = [event for event in self._outbox if event.step_id not in others]
        self._outbox = [event for event in self._outbox if event.step_id in others]
        return events

    async def _record(self, end: EndRun, started: datetime) -> None:
        request = RecordEndRequest(
            run=self._request.context,
            root_span_id=self._request.root_span_id,
            parent_span_id=self._request.parent_span_id,
            input=self._request.input,
            metadata=self._request.metadata,
            end=RunEnd(
                status=end.status,
                output=end.output,
                error=end.error,
                progress=self.progress(),
                started_at=started,
                ended_at=workflow.now(),
            ),
            events=self._take_outbox(),
        )
        recording = asyncio.create_task(calls.record_end(request))
        while not recording.done():
            try:
                await asyncio.shield(recording)
            except asyncio.CancelledError:
                continue  # the run is over already: a cancel that comes now is too late
        recording.result()

    def _close(self, end: EndRun) -> Json:
        match end.status:
            case "succeeded":
                return end.output
            case "cancelled":
                raise asyncio.CancelledError
            case _:
                error = end.error or RunError(type="internal_error", message="The run failed.")
                raise ApplicationError(error.message, error.step_id, type=error.type, non_retryable=True)

    def _details(self) -> str:
        """Markdown for the Temporal UI: names and states, no data."""
        steps = list(self._state.steps.values())
        hidden = len(steps) - SHOWN_STEPS
        lines = [f"… {hidden} steps before"] if hidden > 0 else []
        for step in steps[-SHOWN_STEPS:]:
            took = f" · {step.duration_ms} ms" if step.duration_ms is not None else ""
            lines.append(f"- {_MARKS.get(step.status, '·')} `{step.id}` {step.status}{took}")
        return "\n".join(lines)


def _ended(error: BaseException, path: str, at: datetime) -> StepFailed | StepCancelled:
    """What an activity's failure means for its step."""
    if is_cancelled_exception(error):
        return StepCancelled(at, path)
    cause = error.cause if isinstance(error, ActivityError) else error
    match cause:
        case ApplicationError():
            kind = cause.type if cause.type in get_args(ErrorType) else "internal_error"
            return _failed(at, path, RunError(type=str(kind), message=cause.message), cause.details)
        case TemporalTimeout():
            which = cause.type.name.lower().replace("_", "-") if cause.type else "own"
            return _failed(at, path, call_timeout(which), cause.last_heartbeat_details)
        case _:
            return _failed(at, path, RunError(type="internal_error", message=str(cause or error)), ())


def _failed(at: datetime, path: str, error: RunError, details: Sequence[Any]) -> StepFailed:
    try:
        used = FailureDetails.model_validate(details[0]) if details else FailureDetails()
    except ValidationError:  # somebody else's details
        used = FailureDetails()
    return StepFailed(at, path, error.model_copy(update={"step_id": path}), used.attempt, used.usage, used.cost_usd)
