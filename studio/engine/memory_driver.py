"""Carries a run on the pure core alone, in virtual time: no server, no I/O, no wall clock.

The same definition, replies and start give the same run every time, with the steps, outputs and events that the
Temporal driver (`workflows/driver.py`) gives.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.events import NewEvent
from studio.contracts.runs import RunEnd
from studio.engine.memory_calls import Prompts, Replies
from studio.engine.memory_clock import VirtualClock
from studio.engine.memory_workflow import MemoryWorkflow, World
from studio.engine.plan import compile_plan
from studio.engine.state import CoreEvent, EndRun, RunFacts, RunState, progress_of


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
    ) -> None:
        self._start = start
        self._clock = VirtualClock(start)
        self._world = World(self._clock, replies, prompts)
        plan = compile_plan(definition.workflow, definition.agents)
        self._run = MemoryWorkflow(self._world, definition, plan, RunState(run=facts, input=given), self._over)
        self._end: RunEnd | None = None

    def add(self, event: CoreEvent) -> None:
        """Something from outside, at its `at`: a `CancelRequested`, say."""
        self._clock.later(event.at, partial(self._run.feed, event))

    def run(self) -> MemoryRun:
        """Carry the run to its end. Raises `RunStalled`, and whatever the replies raise."""
        self._run.start()
        while self._end is None:
            if not self._clock.advance():
                raise RunStalled("The run waits for something that nothing will bring.")
        return MemoryRun(self._end, self._world.events)

    def _over(self, end: EndRun, state: RunState) -> None:
        self._end = RunEnd(
            status=end.status,
            output=end.output,
            error=end.error,
            progress=progress_of(state),
            started_at=self._start,
            ended_at=self._clock.now,
        )
