"""Carries a run on the pure core alone, in virtual time: no server, no I/O, no wall clock.

What is due waits in a heap, and the clock jumps from one moment to the next; what is due at the same moment happens in
the order in which it was asked for. The same definition, replies and start give the same run every time, with the
steps, outputs and events that the Temporal driver (`workflows/driver.py`) gives.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from heapq import heappop, heappush
from typing import assert_never

from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedAgent, ResolvedDefinition
from studio.contracts.events import NewEvent
from studio.contracts.runs import RunEnd, RunError
from studio.engine.memory_calls import AgentCall, ModelReply, Prompts, Replies
from studio.engine.plan import compile_plan
from studio.engine.scheduler import advance
from studio.engine.state import (
    CancelStep,
    CancelTimer,
    CoreEvent,
    EndRun,
    Publish,
    RunAgent,
    RunChild,
    RunFacts,
    RunStarted,
    RunState,
    StartTimer,
    StepCancelled,
    Tick,
    Ticked,
    TimerFired,
    progress_of,
)
from studio.errors import StudioError


class RunStalled(Exception):
    """The run has not ended and nothing more will happen."""


@dataclass(frozen=True)
class MemoryRun:
    """A run that has ended. Times are of the virtual clock; `events` are in the order in which they happened."""

    end: RunEnd
    events: list[NewEvent]


@dataclass(order=True)
class _Due:
    at: datetime
    order: int
    happens: Callable[[], None] = field(compare=False)
    dropped: bool = field(default=False, compare=False)


class MemoryDriver:
    """One run, from `start` on. `add` what comes from outside, then `run`."""

    def __init__(
        self,
        definition: ResolvedDefinition,
        facts: RunFacts,
        given: Json,
        *,
        replies: Replies,
        prompts: Prompts,
        start: datetime,
    ) -> None:
        self._definition = definition
        self._plan = compile_plan(definition.workflow, definition.agents)
        self._state = RunState(run=facts, input=given)
        self._replies = replies
        self._prompts = prompts
        self._start = self._now = start
        self._due: list[_Due] = []
        self._count = 0
        self._calls: dict[str, _Due] = {}
        """What each step's call waits for."""
        self._timers: dict[str, _Due] = {}
        self._events: list[NewEvent] = []
        self._end: EndRun | None = None

    def add(self, event: CoreEvent) -> None:
        """Something from outside, at its `at`: a `CancelRequested`, say."""
        self._later(event.at, partial(self._feed, event))

    def run(self) -> MemoryRun:
        """Carry the run to its end. Raises `RunStalled`, and whatever the replies raise."""
        self._feed(RunStarted(self._now))
        while self._end is None:
            if not self._due:
                raise RunStalled("The run waits for something that nothing will bring.")
            due = heappop(self._due)
            if not due.dropped:
                self._now = max(self._now, due.at)
                due.happens()
        return MemoryRun(self._ended(self._end), self._events)

    def _ended(self, end: EndRun) -> RunEnd:
        return RunEnd(
            status=end.status,
            output=end.output,
            error=end.error,
            progress=progress_of(self._state),
            started_at=self._start,
            ended_at=self._now,
        )

    def _feed(self, event: CoreEvent) -> None:
        self._state, commands = advance(self._plan, self._state, event)
        for command in commands:
            match command:
                case RunAgent():
                    # Not at once: a step that the same turn stops makes no call.
                    self._calls[command.path] = self._later(self._now, partial(self._begin, command))
                case RunChild():
                    raise RunStalled("Child workflows are not carried in memory yet.")
                case CancelStep():
                    self._calls.pop(command.path).dropped = True
                    self._later(self._now, partial(self._feed, StepCancelled(self._now, command.path)))
                case StartTimer():
                    fired = TimerFired(max(command.at, self._now), command.id)
                    self._timers[command.id] = self._later(fired.at, partial(self._fire, fired))
                case CancelTimer():
                    self._timers.pop(command.id).dropped = True
                case Tick():
                    self._later(self._now, partial(self._feed, Ticked(self._now)))
                case Publish():
                    self._events.append(command.event)
                case EndRun():
                    self._end = command
                case _:
                    assert_never(command)

    def _later(self, at: datetime, happens: Callable[[], None]) -> _Due:
        self._count += 1
        due = _Due(at, self._count, happens)
        heappush(self._due, due)
        return due

    def _fire(self, fired: TimerFired) -> None:
        del self._timers[fired.id]
        self._feed(fired)

    def _begin(self, command: RunAgent) -> None:
        call = AgentCall(command, self._agent_of(command), self._now)
        try:
            call.open(self._prompts)
        except StudioError as error:
            self._over(call.failed(self._now, RunError(type="prompt_error", message=error.detail)), call)
            return
        self._ask(call)

    def _agent_of(self, command: RunAgent) -> ResolvedAgent:
        if isinstance(command.agent, str):
            return self._definition.agents[command.agent]
        return ResolvedAgent(name=command.name, spec=command.agent)

    def _ask(self, call: AgentCall) -> None:
        reply = self._replies.reply(call.question())
        answered = self._now + reply.after
        if call.deadline is not None and answered > call.deadline:
            self._calls[call.path] = self._later(call.deadline, partial(self._time_out, call))
        else:
            self._calls[call.path] = self._later(answered, partial(self._take, call, reply))

    def _time_out(self, call: AgentCall) -> None:
        self._over(call.timed_out(self._now), call)

    def _take(self, call: AgentCall, reply: ModelReply) -> None:
        if reply.error is None:
            self._over(call.succeeded(self._now, reply), call)
            return
        pause = call.pause(self._now, reply, reply.error)
        if pause is None:
            self._over(call.failed(self._now, reply.error), call)
        else:
            self._calls[call.path] = self._later(self._now + pause, partial(self._ask_again, call))

    def _ask_again(self, call: AgentCall) -> None:
        superseded = {"superseded_attempt": call.attempt}
        call.again()
        event = NewEvent(ts=self._now, step_id=call.path, attempt=call.attempt, type="step.retrying", data=superseded)
        self._events.append(event)
        self._ask(call)

    def _over(self, event: CoreEvent, call: AgentCall) -> None:
        del self._calls[call.path]
        self._feed(event)
