"""The core driven through a case in virtual time: it must come to what the model says."""

import heapq
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from studio.contracts.runs import RunError
from studio.engine.plan import compile_plan
from studio.engine.scheduler import advance
from studio.engine.state import (
    CancelRequested,
    CancelStep,
    CancelTimer,
    Command,
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
    StepFailed,
    StepSucceeded,
    Tick,
    Ticked,
    TimerFired,
)
from tests.support.model.cases import Call, Case, RunOutcome, StepOutcome

START = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = {"succeeded", "failed", "cancelled"}


@dataclass
class _UnderWay:
    end: int
    event: int
    """Its number among what is to come."""
    linger: int


@dataclass
class Simulation:
    """`outcome` is the run's; `published` all that went out, as `(type, step)`."""

    case: Case
    now: int = 0
    published: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    ends: list[EndRun] = field(default_factory=list[EndRun])
    state: RunState = field(default_factory=lambda: RunState(run=RunFacts(id="run_1")))
    called: list[str] = field(default_factory=list[str])
    """The path of each call, in the order in which they began."""

    def __post_init__(self) -> None:
        self.plan = compile_plan(self.case.definition)
        self._coming: list[tuple[int, int]] = []
        self._events: dict[int, CoreEvent] = {}
        self._numbers = itertools.count()
        self._calls: dict[str, _UnderWay] = {}
        self._attempts: dict[str, int] = {}
        self._timers: dict[str, int] = {}

    def run(self) -> RunOutcome:
        if self.case.cancel_at is not None:
            self._later(self.case.cancel_at, CancelRequested(self._at(self.case.cancel_at)))
        self._feed(RunStarted(self._at(self.now)))
        while self._coming and not self.ends:
            self.now, number = heapq.heappop(self._coming)
            event = self._events.pop(number, None)
            if event is not None:
                self._happen(event)
        assert len(self.ends) == 1, "nothing is under way and the run has not ended"
        assert not self._calls, "the run has ended and calls are under way"
        assert not self._timers, "the run has ended and timers are open"
        assert not self.state.frames
        return self._outcome(self.ends[0])

    def _happen(self, event: CoreEvent) -> None:
        match event:
            case StepSucceeded() | StepFailed() | StepCancelled():
                del self._calls[event.path]
            case TimerFired():
                del self._timers[event.id]
            case _:
                pass
        self._feed(event)

    def _feed(self, event: CoreEvent) -> None:
        self.state, commands = advance(self.plan, self.state, event)
        assert RunState.model_validate_json(self.state.model_dump_json()) == self.state
        self.state = RunState.model_validate_json(self.state.model_dump_json())
        for command in commands:
            self._obey(command)

    def _obey(self, command: Command) -> None:
        is_last_event = isinstance(command, Publish) and command.event.step_id is None
        assert not self.ends or is_last_event, "something follows the run's end"
        match command:
            case RunAgent():
                self._call(command)
            case RunChild():
                raise AssertionError("cases have no child workflows")
            case CancelStep():
                self._stop(command.path)
            case StartTimer():
                assert command.id not in self._timers
                self._timers[command.id] = self._later(_microseconds(command.at), TimerFired(command.at, command.id))
            case CancelTimer():
                del self._events[self._timers.pop(command.id)]
            case Tick():
                self._feed(Ticked(self._at(self.now)))
            case Publish():
                self.published.append((command.event.type, command.event.step_id))
            case EndRun():
                self.ends.append(command)

    def _call(self, command: RunAgent) -> None:
        path = command.path
        assert path not in self._calls, f"{path} was started twice"
        self.called.append(path)
        attempt = self._attempts.get(path, 0)
        self._attempts[path] = attempt + 1
        call = self.case.script.call(path, attempt)
        if command.timeout is not None and command.timeout < timedelta(microseconds=call.duration):
            call = Call(command.timeout // timedelta(microseconds=1), None, "timeout", call.linger)
        at = self._at(self.now + call.duration)
        event = StepSucceeded(at, path, call.output) if call.error is None else _failure(at, path, call.error)
        end = self.now + call.duration
        self._calls[path] = _UnderWay(end, self._later(end, event), call.linger)

    def _stop(self, path: str) -> None:
        call = self._calls[path]
        if self.now + call.linger < call.end:
            del self._events[call.event]
            self._later(self.now + call.linger, StepCancelled(self._at(self.now + call.linger), path))

    def _later(self, at: int, event: CoreEvent) -> int:
        number = next(self._numbers)
        self._events[number] = event
        heapq.heappush(self._coming, (at, number))
        return number

    def _at(self, moment: int) -> datetime:
        return START + timedelta(microseconds=moment)

    def _outcome(self, end: EndRun) -> RunOutcome:
        error = None if end.error is None else (end.error.type, end.error.step_id)
        steps = {
            path: StepOutcome(
                step.status,
                step.output,
                None if step.error is None else step.error.type,
                None if step.started_at is None else _microseconds(step.started_at),
                None if step.ended_at is None or step.started_at is None else _microseconds(step.ended_at),
            )
            for path, step in self.state.steps.items()
        }
        return RunOutcome(end.status, end.output, error, self.now, steps)


def _failure(at: datetime, path: str, kind: str) -> StepFailed:
    return StepFailed(at, path, RunError(type=kind, message="broke", step_id=path))


def _microseconds(moment: datetime) -> int:
    return (moment - START) // timedelta(microseconds=1)
