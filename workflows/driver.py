"""Carries a run on Temporal: turns the core's commands into activities and their results into the core's events."""

import asyncio
from collections import deque
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from studio.contracts.activities import PublishEventsRequest, RecordEndRequest, StepContext, WorkflowView
from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedAgent, ResolvedDefinition
from studio.contracts.events import NewEvent
from studio.contracts.runs import (
    ChildResult,
    ChildStatus,
    OuterLimits,
    ParentStep,
    RunError,
    RunProgress,
    RunRequest,
)
from studio.engine.asking import agent_of
from studio.engine.children import child_of, child_result, child_succeeded, definition_of, resumption_of
from studio.engine.pauses import outer_limits
from studio.engine.plan import compile_plan
from studio.engine.progress import end_of, progress_of
from studio.engine.recalls import has_more
from studio.engine.scheduler import advance
from studio.engine.state import (
    Call,
    CancelRequested,
    CancelStep,
    CancelTimer,
    Command,
    CoreEvent,
    EndRun,
    Publish,
    RunAgent,
    RunChild,
    RunStarted,
    RunState,
    StartTimer,
    StepCancelled,
    StepFailed,
    StepSucceeded,
    Tick,
    Ticked,
    TimerFired,
)
from studio.engine.turn import TURN_COST
from workflows import calls
from workflows.agent_loop import run_agent
from workflows.carried import Carried, new_state
from workflows.details import details_of, timer_summary
from workflows.names import OUTER_LIMITS, PAUSE
from workflows.outbox import Outbox
from workflows.outcomes import agent_answered, agent_ended, child_closed, child_ended, closed
from workflows.requests import register_handlers
from workflows.schema_work import SchemaWork
from workflows.view import ViewTeller

MAX_CALLS = 500
"""Under way at once; Temporal takes about 2,000 pending activities a workflow, and slows down before."""
LONG_HISTORY = 12_000
"""Events. From here on new calls wait for child workflows, too, before the run continues as new; Temporal ends a
workflow at 51,200.
"""
BREATH_SECONDS = 0.001
"""A timer: it ends the workflow task, so that none nears the deadlock limit."""


class Driver:
    """One run, or one child workflow. `execute` returns its output (a child's: a `ChildResult`), or raises what makes
    Temporal show it as failed or cancelled.
    """

    def __init__(self, request: RunRequest, definition: ResolvedDefinition, carried: Carried | None) -> None:
        self._request = request
        self._definition = definition
        self._plan = compile_plan(definition.workflow, definition.agents)
        parent = request.parent
        self._path = parent.path if parent is not None else ""
        """Of the step that it carries out, as the run names it; empty for the run itself."""
        if carried is None:
            self._state = new_state(request)
            self._started_at = workflow.now()
            events = parent.events if parent is not None else []
        else:
            self._state = RunState.model_validate(carried.state)
            self._started_at = carried.started_at
            events = []
        self._outbox = Outbox(events, path=self._path)
        if carried is not None:
            self._outbox.take_over(carried.events, [call.path for call in carried.calls])
        self._view = ViewTeller(self._state, path=self._path, is_continued=carried is not None)
        self._arrived: deque[CoreEvent] = deque()
        self._left = has_more(self._state)
        """Whether the core left work to another turn."""
        self._spent = 0
        """What the core's turns cost in this workflow task."""
        self._queue: deque[Call] = deque(carried.calls if carried is not None else ())
        """Calls asked for and not begun."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.schema_work = SchemaWork()
        self._children: dict[str, workflow.ChildWorkflowHandle[Any, Any]] = {}
        self._stopping: set[str] = set()
        """Steps that the core told to stop."""
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._publishing: asyncio.Task[None] | None = None
        self._is_gone = False
        """Whether the run is not in the database (any more)."""
        self._is_woken = True
        """Whether there is something to look at though no event came."""
        self._is_answering = False
        """Whether an update was answered in this workflow task."""
        self._cancelled = False
        self._end: EndRun | None = None
        self._is_continued = carried is not None
        register_handlers(self, self._plan)

    # What the handlers of queries, signals and updates use

    @property
    def state(self) -> RunState:
        return self._state

    def progress(self) -> RunProgress:
        return progress_of(self._state)

    def hear(self, event: CoreEvent) -> None:
        """Take an event from outside when its turn comes."""
        self._arrived.append(event)

    def take(self, event: CoreEvent) -> None:
        """Take an event now, since somebody is told what came of it."""
        self._is_woken = self._is_answering = True
        self._feed(event)

    def _feed(self, event: CoreEvent) -> None:
        self._state, commands = advance(self._plan, self._state, event)
        self._spent += self._state.turn_cost
        for command in commands:
            self._carry_out(command)

    def hear_child(self, told: ChildStatus) -> None:
        if told.path in self._tasks:
            self._view.hear_child(told.path, told.status)
            self._is_woken = True

    def has_taken_all(self) -> bool:
        """Whether all that it heard is taken, or comes too late."""
        return not self._arrived or self._end is not None

    def children(self) -> list["workflow.ChildWorkflowHandle[Any, Any]"]:
        return list(self._children.values())

    def outer_limits(self) -> list[OuterLimits]:
        """Those of a child workflow that begins now."""
        return outer_limits(self._state, self._path)

    # The run

    async def execute(self) -> Json:
        if self._is_continued:
            for timer, at in self._state.timers.items():
                self._carry_out(StartTimer(timer, at))
        else:
            self._feed(RunStarted(self._started_at))
        self._start_queued()
        while self._end is None:
            workflow.set_current_details(details_of(self._state))
            try:
                if not self._is_awake():
                    self._spent = 0
                await workflow.wait_condition(self._is_awake)
                await self._settle()
                self._work()
                if self._left or self._arrived:
                    await self._breathe()
            except asyncio.CancelledError:
                self._cancelled = True
                self._arrived.append(CancelRequested(workflow.now()))
            if self._end is None and self._may_continue_as_new():
                self._continue_as_new()
        workflow.set_current_details(details_of(self._state))
        await self._finish(asyncio.create_task(self._settle()) if self._is_answering else None)
        await self._finish(self._publishing)
        if self._request.parent is not None:
            last = None if self._is_gone else self._view.last(workflow.now())
            await self._finish(last and asyncio.create_task(self._publish([], last, None)))
            return child_closed(self._end, child_result(self._end, self._state, self._outbox.rest()))
        await self._record(self._end)
        return closed(self._end)

    async def _settle(self) -> None:
        """End the workflow task in which somebody is answered before a local activity tells of it. Temporal may do the
        task again, with what came to it in another order; then nobody must have heard of it yet.
        """
        while self._is_answering:
            self._is_answering = False
            await self._breathe()

    async def _breathe(self) -> None:
        await asyncio.sleep(BREATH_SECONDS)
        self._spent = 0

    def _is_awake(self) -> bool:
        return self._is_woken or self._left or bool(self._arrived) or self._end is not None

    def _work(self) -> None:
        """Feed what has arrived, as much as one workflow task may take."""
        while (self._left or self._arrived) and self._end is None and self._spent < TURN_COST:
            if self._left:
                self._left = False
                self._feed(Ticked(workflow.now()))
            else:
                self._feed(self._arrived.popleft())
        self._is_woken = False
        self._publish_at_rest()
        self._start_queued()

    def _carry_out(self, command: Command) -> None:
        match command:
            case RunAgent() | RunChild():
                self._outbox.await_start(command.path)
                self._queue.append(command)
                self._start_queued()
            case CancelStep():
                self._cancel_step(command.path)
            case StartTimer():
                self._timers[command.id] = asyncio.create_task(self._wait(command))
            case CancelTimer():
                self._timers.pop(command.id).cancel()
            case Tick():
                self._left = True
            case Publish():
                self._outbox.put(command.event)
                self._view.hear(command.event)
            case EndRun():
                self._end = command

    def _start_queued(self) -> None:
        if self._publishing is not None:
            return  # what a call takes along comes later
        while self._queue and len(self._tasks) < MAX_CALLS and not self._is_draining():
            call = self._queue.popleft()
            run = self._run_agent(call) if isinstance(call, RunAgent) else self._run_child(call)
            self._tasks[call.path] = asyncio.create_task(run)

    def _cancel_step(self, path: str) -> None:
        self._stopping.add(path)
        task = self._tasks.get(path)
        if task is not None:
            task.cancel()
        if self._outbox.is_starting(path):  # a task that is cancelled before it runs says nothing
            self._queue = deque(call for call in self._queue if call.path != path)
            self._outbox.begin(path)
            self._over(StepCancelled(workflow.now(), path))

    def _over(self, event: StepSucceeded | StepFailed | StepCancelled) -> None:
        self._tasks.pop(event.path, None)
        self._stopping.discard(event.path)
        self._arrived.append(event)

    async def _wait(self, command: StartTimer) -> None:
        seconds = max((command.at - workflow.now()).total_seconds(), BREATH_SECONDS)
        await workflow.sleep(seconds, summary=timer_summary(command.id))
        self._timers.pop(command.id, None)
        self._arrived.append(TimerFired(workflow.now(), command.id))

    # Telling the run's readers while no call does

    def _publish_at_rest(self) -> None:
        is_resting = not self._tasks and not self._queue
        if self._is_gone or self._publishing is not None or self._end is not None:
            return
        before = self._view.status
        view = self._view.news(self._state, workflow.now())
        if view is not None or self._outbox.is_due(at_rest=is_resting):
            parent = self._request.parent if view is not None and view.status != before else None
            self._publishing = asyncio.create_task(self._publish(self._outbox.take_at_once(), view, parent))

    async def _publish(self, events: list[NewEvent], view: WorkflowView | None, parent: ParentStep | None) -> None:
        """`parent` is to hear of the view, too."""
        try:
            await calls.publish_events(PublishEventsRequest(events=events, view=view))
            if view is not None and parent is not None:
                await calls.tell_parent(parent, view.status)
        except ActivityError:
            # It is tried until it succeeds, unless the run is gone from the database: then nobody reads of it.
            self._is_gone = True
            self._arrived.append(CancelRequested(workflow.now()))
        self._outbox.settle_at_once()
        self._publishing = None
        self._is_woken = True

    # Long runs

    def _is_draining(self) -> bool:
        """Whether new calls wait, so that the run can continue as new once those under way are over."""
        info = workflow.info()
        if self._cancelled or not info.is_continue_as_new_suggested():
            return False
        return not self._children or info.get_current_history_length() >= LONG_HISTORY

    def _may_continue_as_new(self) -> bool:
        is_busy = bool(self._tasks) or bool(self._arrived) or self._publishing is not None or self._is_woken
        return self._is_draining() and not is_busy

    def _continue_as_new(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        carried = Carried(
            state=self._state.model_dump(mode="json", exclude_defaults=True),
            calls=list(self._queue),
            events=self._outbox.rest(),
            started_at=self._started_at,
        )
        request = self._request.model_copy(update={"resume": None})
        workflow.continue_as_new(args=[request, self._definition, carried])

    # Calls

    async def _run_agent(self, command: RunAgent) -> None:
        """Whatever happens, an event tells the core: a step without an end would be a run without one."""
        path = command.path
        self._outbox.begin(path)
        try:
            agent = agent_of(self._definition, command)
            result = await run_agent(agent, command, lambda failed: self._context(command, agent, failed))
            answered = agent_answered(command, result, workflow.now())
            self._outbox.settle(path, published=True)
            self._over(answered)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see above
            self._outbox.settle(path, published=False)
            self._over(agent_ended(error, command, workflow.now()))

    def _context(self, command: RunAgent, agent: ResolvedAgent, attempts_before: int) -> StepContext:
        return StepContext(
            path=self._outbox.full_path(command.path),
            agent=agent.name,
            attempts_before=command.attempts_before + attempts_before,
            events=self._outbox.hand_to(command.path),
        )

    async def _run_child(self, command: RunChild) -> None:
        path = command.path
        self._outbox.begin(path)
        try:
            result = await self._child_result(command)
            event = child_succeeded(result, path, workflow.now())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as for an agent
            event, result = child_ended(error, path, workflow.now(), cancelled=path in self._stopping)
        # A child that ended before its first call hands back what it was given.
        self._outbox.settle(path, published=not isinstance(event, StepCancelled), more=result.events)
        self._children.pop(path, None)
        self._view.hear_child(path, "running")
        self._over(event)

    async def _child_result(self, command: RunChild) -> ChildResult:
        depth = self._request.parent.depth if self._request.parent is not None else 0
        async with self.schema_work.meter() as meter:
            found = child_of(self._definition, command, depth, meter)
        if isinstance(found, RunError):
            raise ApplicationError(found.message, type=found.type)
        child, given = found
        place = ParentStep(
            path=self._outbox.full_path(command.path),
            depth=depth + 1,
            attempts_before=command.attempts_before,
            events=self._outbox.hand_to(command.path),
        )
        resume = resumption_of(compile_plan(child.workflow), command) if command.steps else None
        if isinstance(resume, RunError):
            raise ApplicationError(resume.message, type=resume.type)
        own = {"parent": place, "input": given, "resume": resume, "outer": self.outer_limits()}
        request = self._request.model_copy(update=own)
        limits = (self._state.limits, self._state.outer)
        handle = await calls.start_child(request, definition_of(child, self._definition), child)
        self._children[command.path] = handle
        # What was said meanwhile, when there was no child yet to be told. In tasks: it may end before it hears.
        paused, told = self._state.paused, list[asyncio.Task[None]]()
        if limits != (self._state.limits, self._state.outer):
            told.append(asyncio.create_task(calls.tell_children([handle], OUTER_LIMITS, self.outer_limits())))
        if paused is not None and paused.reason == "requested":
            told.append(asyncio.create_task(calls.tell_children([handle], PAUSE)))
        return ChildResult.model_validate(calls.present(await handle))

    # The end

    async def _record(self, end: EndRun) -> None:
        request = RecordEndRequest(
            run=self._request.context,
            root_span_id=self._request.root_span_id,
            parent_span_id=self._request.parent_span_id,
            input=self._request.input,
            metadata=self._request.metadata,
            end=end_of(end, self._state, self._started_at, workflow.now()),
            events=self._outbox.take(),
        )
        recording = asyncio.create_task(calls.record_end(request))
        await self._finish(recording)
        recording.result()

    async def _finish(self, task: "asyncio.Task[None] | None") -> None:
        """The run is over already: a cancel that comes now is too late."""
        while task is not None and not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                continue
