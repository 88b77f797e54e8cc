"""One workflow on the pure core in virtual time: the run itself, or a child workflow of a step."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import assert_never

from studio.contracts.activities import AnswerCaching
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.events import NewEvent, step_retrying
from studio.contracts.runs import ChildResult, RunError
from studio.engine.asking import agent_of
from studio.engine.caching import is_worth_keeping
from studio.engine.children import (
    child_failed,
    child_of,
    child_result,
    child_succeeded,
    definition_of,
    full_path,
    resumption_of,
    told,
)
from studio.engine.memory_calls import AgentCall, ModelReply, Prompts, Replies
from studio.engine.memory_clock import Due, VirtualClock
from studio.engine.memory_people import GivenResolution, People, RequestRefused, waits_for_signal
from studio.engine.pauses import outer_limits
from studio.engine.plan import Plan, compile_plan
from studio.engine.recalls import resumed
from studio.engine.scheduler import advance, answer_errors
from studio.engine.state import (
    ApprovalDecided,
    CancelRequested,
    CancelStep,
    CancelTimer,
    CoreEvent,
    EndRun,
    OuterLimitsChanged,
    PauseRequested,
    Publish,
    RunAgent,
    RunChild,
    RunStarted,
    RunState,
    StartTimer,
    StepCancelled,
    StepResolved,
    Tick,
    Ticked,
    TimerFired,
)
from studio.errors import StudioError


@dataclass
class World:
    """What a run shares with its child workflows."""

    clock: VirtualClock
    replies: Replies
    prompts: Prompts
    people: People
    answers: dict[str, tuple[str, datetime]] = field(default_factory=dict[str, "tuple[str, datetime]"])
    """Those that steps with a `cache` may be given again, and until when; by what makes two calls the same."""
    events: list[NewEvent] = field(default_factory=list[NewEvent])
    plans: dict[str, Plan] = field(default_factory=dict[str, Plan])
    """Of child workflows, by the reference that a step uses."""


class MemoryWorkflow:
    """From `start` on. `over` is told once of how it ended, in the turn in which it does."""

    def __init__(
        self,
        world: World,
        definition: ResolvedDefinition,
        plan: Plan,
        state: RunState,
        over: Callable[[EndRun, RunState], None],
        *,
        path: str = "",
        depth: int = 0,
    ) -> None:
        """`path` is the step that it carries out, as the run names it; `depth` how many workflows it is inside."""
        self.state = state
        self._world = world
        self._clock = world.clock
        self._definition = definition
        self._plan = plan
        self._over = over
        self._path = path
        self._depth = depth
        self._calls: dict[str, Due] = {}
        """What each step's call waits for."""
        self._children: dict[str, MemoryWorkflow] = {}
        self._stopping: set[str] = set()
        """Steps whose child workflow was told to stop."""
        self._timers: dict[str, Due] = {}
        self._decisions: dict[str, Due] = {}
        """What people will say, by the step that waits for it."""

    @property
    def path(self) -> str:
        """The step that it carries out, as the run names it; empty for the run itself."""
        return self._path

    def all(self) -> "Iterator[MemoryWorkflow]":
        """It and the child workflows inside it that are under way, in the order of their steps."""
        yield self
        for path in self.state.steps:
            if path in self._children:
                yield from self._children[path].all()

    def listener(self, signal: str) -> "MemoryWorkflow | None":
        """The workflow of which a step waits for the signal: the first in the order of the run's steps."""
        for path, step in self.state.steps.items():
            if waits_for_signal(step, signal):
                return self
            found = self._children[path].listener(signal) if path in self._children else None
            if found is not None:
                return found
        return None

    def share_limits(self) -> None:
        """Tell the child workflows of limits that were changed."""
        for child in list(self._children.values()):
            child.feed(OuterLimitsChanged(self._clock.now, outer_limits(self.state, self._path)))
            child.share_limits()

    def start(self) -> None:
        self.feed(RunStarted(self._clock.now))

    def feed(self, event: CoreEvent) -> None:
        self.state, commands = advance(self._plan, self.state, event)
        now = self._clock.now
        for command in commands:
            match command:
                case RunAgent():
                    # Not at once: a step that the same turn stops makes no call.
                    self._calls[command.path] = self._clock.later(now, partial(self._begin_agent, command))
                case RunChild():
                    self._calls[command.path] = self._clock.later(now, partial(self._begin_child, command))
                case CancelStep():
                    self._cancel(command.path)
                case StartTimer():
                    fired = TimerFired(max(command.at, now), command.id)
                    self._timers[command.id] = self._clock.later(fired.at, partial(self._fire, fired))
                case CancelTimer():
                    self._timers.pop(command.id).dropped = True
                case Tick():
                    self._clock.later(now, partial(self.feed, Ticked(now)))
                case Publish():
                    self._tell(command.event)
                    if command.event.type == "step.waiting":
                        self._ask_people(command.event)
                case EndRun():
                    self._over(command, self.state)
                case _:
                    assert_never(command)

    def _tell(self, event: NewEvent) -> None:
        shown = told(event, self._path)
        if shown is not None:
            self._world.events.append(shown)

    def _fire(self, fired: TimerFired) -> None:
        del self._timers[fired.id]
        self.feed(fired)

    def _cancel(self, path: str) -> None:
        now = self._clock.now
        child = self._children.get(path)
        if child is not None:
            self._stopping.add(path)
            self._clock.later(now, partial(child.feed, CancelRequested(now)))
            return
        self._calls.pop(path).dropped = True
        self._clock.later(now, partial(self.feed, StepCancelled(now, path)))

    def _ask_people(self, asked: NewEvent) -> None:
        path = asked.step_id or ""
        if asked.data["for"] == "resolve":
            said = self._world.people.resolve(full_path(self._path, path), asked.data)
            if said is not None:
                self._clock.later(self._clock.now + said.after, partial(self._resolve, path, said))
        if asked.data["for"] != "approval" or asked.data.get("escalated"):  # they were asked before it was escalated
            return
        earlier = self._decisions.pop(path, None)
        if earlier is not None:
            earlier.dropped = True  # it was about what the step asked in an earlier attempt
        given = self._world.people.decide(full_path(self._path, path), asked.data)
        if given is not None:
            decided = ApprovalDecided(self._clock.now + given.after, path, given.decision)
            self._decisions[path] = self._clock.later(decided.at, partial(self.feed, decided))

    def _resolve(self, path: str, said: GivenResolution) -> None:
        """Raises `RequestRefused`."""
        now, resolution = self._clock.now, said.resolution
        if resolution.action == "done" and path in self.state.parked:
            errors = answer_errors(self._plan, self.state, path, resolution.output, now)
            if errors:
                place = "".join(f"/{part}" for part in errors[0].loc)
                raise RequestRefused(f"The output of {full_path(self._path, path)}{place}: {errors[0].msg}")
        self.feed(StepResolved(now, path, resolution))

    # Agents

    def _begin_agent(self, command: RunAgent) -> None:
        call = AgentCall(command, agent_of(self._definition, command), self._clock.now)
        try:
            call.open(self._world.prompts)
        except StudioError as error:
            self._answer(call.failed(self._clock.now, RunError(type="prompt_error", message=error.detail)), call)
            return
        self._ask(call)

    def _ask(self, call: AgentCall) -> None:
        text, until = self._world.answers.get(_key(call.caching), ("", self._clock.now))
        if until > self._clock.now:
            self._answer(call.repeated(self._clock.now, text), call)
            return
        reply = self._world.replies.reply(call.question(full_path(self._path, call.path)))
        answered = self._clock.now + reply.after
        if call.deadline is not None and answered > call.deadline:
            self._calls[call.path] = self._clock.later(call.deadline, partial(self._time_out, call))
        else:
            self._calls[call.path] = self._clock.later(answered, partial(self._take, call, reply))

    def _time_out(self, call: AgentCall) -> None:
        self._answer(call.timed_out(self._clock.now), call)

    def _take(self, call: AgentCall, reply: ModelReply) -> None:
        now = self._clock.now
        if reply.error is None:
            if call.caching is not None and is_worth_keeping(reply.text, reply.finish_reason, call.caching):
                self._world.answers[_key(call.caching)] = (reply.text, now + call.caching.ttl)
            self._answer(call.answered(now, reply), call)
            return
        pause = call.pause(now, reply, reply.error)
        if pause is None:
            self._answer(call.failed(now, reply.error), call)
        else:
            call.again()
            error = reply.error.model_copy(update={"step_id": call.path}).model_dump()
            self._tell(step_retrying(now, call.path, call.attempt, error, now + pause))
            self._calls[call.path] = self._clock.later(now + pause, partial(self._ask, call))

    def _answer(self, event: CoreEvent, call: AgentCall) -> None:
        del self._calls[call.path]
        self.feed(event)

    # Child workflows

    def _begin_child(self, command: RunChild) -> None:
        path = command.path
        del self._calls[path]
        found = child_of(self._definition, command, self._depth)
        if isinstance(found, RunError):
            self._refuse(path, found)
            return
        workflow, given = found
        plan = self._world.plans.get(command.workflow)
        if plan is None:
            plan = self._world.plans[command.workflow] = compile_plan(workflow.workflow, self._definition.agents)
        resume = resumption_of(plan, command)
        if isinstance(resume, RunError):
            self._refuse(path, resume)
            return
        new = RunState(
            run=self.state.run,
            input=given,
            attempts_before=command.attempts_before,
            outer=outer_limits(self.state, self._path),
        )
        child = MemoryWorkflow(
            self._world,
            definition_of(workflow, self._definition),
            plan,
            resumed(new, resume, self.state.retry),
            partial(self._child_ended, path),
            path=full_path(self._path, path),
            depth=self._depth + 1,
        )
        self._children[path] = child
        child.start()
        paused = self.state.paused
        if paused is not None and paused.reason == "requested":  # meanwhile, when there was no child yet to be told
            child.feed(PauseRequested(self._clock.now))

    def _refuse(self, path: str, error: RunError) -> None:
        self.feed(child_failed(ChildResult(), error, path, self._clock.now, stopped=False))

    def _child_ended(self, path: str, end: EndRun, state: RunState) -> None:
        # Not at once: what the child still has to tell comes before what its end leads to.
        self._clock.later(self._clock.now, partial(self._take_child, path, end, child_result(end, state)))

    def _take_child(self, path: str, end: EndRun, result: ChildResult) -> None:
        del self._children[path]
        stopped = path in self._stopping
        self._stopping.discard(path)
        now = self._clock.now
        if end.error is None:
            self.feed(child_succeeded(result, path, now))
        else:
            self.feed(child_failed(result, end.error, path, now, stopped=stopped))


def _key(caching: AnswerCaching | None) -> str:
    return "" if caching is None else json.dumps(caching.key, sort_keys=True)
