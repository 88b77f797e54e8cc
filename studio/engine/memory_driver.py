"""Carries a run on the pure core alone, in virtual time: no server, no I/O, no wall clock.

The same definition, replies and start give the same run every time, with the steps, outputs and events that the
Temporal driver (`workflows/driver.py`) gives.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.events import NewEvent
from studio.contracts.runs import Resumption, RunEnd
from studio.engine.memory_calls import Prompts, Replies
from studio.engine.memory_clock import VirtualClock
from studio.engine.memory_people import Nobody, People, awaited
from studio.engine.memory_workflow import MemoryWorkflow, World
from studio.engine.plan import compile_plan
from studio.engine.progress import end_of
from studio.engine.recalls import resumed
from studio.engine.state import (
    ApprovalDecided,
    EndRun,
    LimitsChanged,
    PauseRequested,
    Request,
    ResumeRequested,
    RunFacts,
    RunState,
    SignalReceived,
    StepResolved,
)


class RunStalled(Exception):
    """The run has not ended and nothing more will happen."""


@dataclass(frozen=True)
class MemoryRun:
    """A run that has ended. Times are of the virtual clock; `events` are in the order in which they happened."""

    end: RunEnd
    events: list[NewEvent]


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
        people: People | None = None,
        resume: Resumption | None = None,
        retry: int = 0,
    ) -> None:
        """Without `people` nobody decides an approval, unless that is added. With `resume` the run goes on where an
        earlier one stopped: for the `retry`th time, or as a replay when that is 0.
        """
        self._start = start
        self._clock = VirtualClock(start)
        self._world = World(self._clock, replies, prompts, people or Nobody())
        plan = compile_plan(definition.workflow, definition.agents)
        state = resumed(RunState(run=facts, input=given), resume, retry)
        self._run = MemoryWorkflow(self._world, definition, plan, state, self._over)
        self._end: RunEnd | None = None

    def add(self, request: Request) -> None:
        """Something from outside, at its `at`. Paths are the run's."""
        self._clock.later(request.at, partial(self._hear, request))

    def run(self) -> MemoryRun:
        """Carry the run to its end. Raises `RunStalled`, and whatever the replies or the people raise."""
        self._run.start()
        while self._end is None:
            if not self._clock.advance():
                waits = "; ".join(awaited((one.path, one.state) for one in self._run.all()))
                raise RunStalled(f"The run waits for what nothing will bring: {waits}")
        return MemoryRun(self._end, self._world.events)

    def _hear(self, request: Request) -> None:
        """The workflows that hear it are those that the API would tell."""
        match request:
            case PauseRequested() | ResumeRequested():
                for workflow in list(self._run.all()):
                    workflow.feed(request)
            case LimitsChanged():
                self._run.feed(request)
                self._run.share_limits()
            case SignalReceived():
                (self._run.listener(request.name) or self._run).feed(request)
            case ApprovalDecided() | StepResolved():
                around = [one for one in self._run.all() if not one.path or request.path.startswith(f"{one.path}/")]
                target = max(around, key=lambda one: len(one.path))
                target.feed(replace(request, path=request.path[len(target.path) :].removeprefix("/")))
            case _:
                self._run.feed(request)

    def _over(self, end: EndRun, state: RunState) -> None:
        self._end = end_of(end, state, self._start, self._clock.now)
