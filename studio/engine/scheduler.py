"""The pure core: `advance(plan, state, event) → (state, commands)`.

No I/O, no clock, no randomness: the same plan, state and event always give the same answer, which is what lets a run
be replayed, carried on and tested without a server. `docs/design/engine.md` says what each pattern means.
"""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import assert_never, cast

from studio.contracts.base import Json
from studio.contracts.runs import RunError, RunStatus, StepRun
from studio.contracts.steps import (
    AgentStep,
    ConditionalStep,
    LoopStep,
    ParallelBlock,
    ParallelStep,
    SequentialStep,
    TransformStep,
)
from studio.engine.joins import decide, needed_of
from studio.engine.limits import unfit
from studio.engine.plan import ROOT, Plan
from studio.engine.record import TurnRecord
from studio.engine.scope import UnusableError, child_path, evaluate_at, holds, input_of
from studio.engine.state import (
    CancelRequested,
    CancelStep,
    Command,
    CoreEvent,
    Fan,
    Frame,
    RunAgent,
    RunStarted,
    RunState,
    StepCancelled,
    StepFailed,
    StepSucceeded,
)

MAX_ITEMS = 10_000
"""Of one `for_each`."""


def advance(plan: Plan, state: RunState, event: CoreEvent) -> tuple[RunState, list[Command]]:
    """Fold one event into the state. An event for a step that is not running changes nothing: it came too late."""
    if state.ended:
        return state, []
    turn = _Turn(plan, state, event.at)
    turn.take(event)
    return turn.record.state, turn.record.commands


class _Turn:
    """One call of `advance`.

    What a step's end, or start, leads to goes into `_work` and is done in that order: no recursion, however long a
    chain of steps that end at once.
    """

    def __init__(self, plan: Plan, state: RunState, at: datetime) -> None:
        self.plan = plan
        self.record = TurnRecord(state, at)
        self.state = self.record.state
        self._work: deque[tuple[Callable[[str], None], str]] = deque()

    def take(self, event: CoreEvent) -> None:
        self._take(event)
        while self._work and not self.state.ended:
            do, path = self._work.popleft()
            frame = self.state.frames.get(path)
            if frame is not None and (not frame.stopping or do == self._stopped):
                do(path)

    def _take(self, event: CoreEvent) -> None:
        match event:
            case RunStarted():
                self.record.publish("run.started", None, {"status": "running"})
                self.state.frames[ROOT] = Frame(node=ROOT, group=ROOT)
                self._later(self._next, ROOT)
            case StepSucceeded():
                if self._is_running(event.path):
                    self.record.count(event)
                    self._succeed(event.path, event.output)
            case StepFailed():
                if self._is_running(event.path):
                    self.record.count(event)
                    self._fail(event.path, event.error)
            case StepCancelled():
                if self._is_running(event.path):
                    self._close(event.path, "cancelled")
            case CancelRequested():
                self._stop(ROOT)
            case _:
                assert_never(event)

    def _later(self, do: Callable[[str], None], path: str) -> None:
        self._work.append((do, path))

    def _is_running(self, path: str) -> bool:
        frame = self.state.frames.get(path)
        return frame is not None and frame.group is None and frame.fan is None and path != ROOT

    def _evaluate(self, path: str, value: Json) -> Json:
        return evaluate_at(self.plan, self.state, path, value)

    def _holds(self, path: str, condition: bool | str, field: str) -> bool:
        return holds(self.plan, self.state, path, condition, field)

    # Reaching a step

    def _reach(self, parent: str, step_id: str, scope: dict[str, Json], index: int | None = None) -> None:
        node = self.plan.nodes[step_id]
        step = node.step
        path = child_path(self.state, parent, step_id, index)
        run = StepRun(id=path, kind=node.kind, name=step.name, agent=node.agent)
        self.record.add_frame(path, Frame(node=step_id, parent=parent, scope=scope))
        self.record.frame(parent).open.append(path)
        self.state.steps[path] = run
        try:
            if not self._holds(path, step.when, "when"):
                self.state.steps[path] = run.model_copy(update={"status": "skipped"})
                self.record.publish("step.skipped", path, {"kind": node.kind, "when": step.when})
                self._leave(path)
                return
            given = input_of(self.plan, self.state, path, step) if isinstance(step, AgentStep) else None
        except UnusableError as unusable:
            self.record.start_step(run, None)
            self._fail(path, unusable.error)
            return
        self.record.start_step(run, given)
        try:
            self._begin(path, given)
        except UnusableError as unusable:
            self._fail(path, unusable.error)

    def _begin(self, path: str, given: Json) -> None:
        """Raises `UnusableError`."""
        frame = self.record.frame(path)
        step = self.plan.nodes[frame.node].step
        match step:
            case AgentStep():
                self.record.commands.append(RunAgent(path, step, given))
            case TransformStep():
                self._close(path, "succeeded", output=self._evaluate(path, step.transform))
            case SequentialStep():
                self._follow(path, step.id)
            case ConditionalStep():
                self._choose(path, step)
            case ParallelStep():
                self._fan_out(path, step.parallel)
            case LoopStep():
                self.state.rounds[path] = 0
                frame.scope = frame.scope | {"iteration": 0, "last": None}
                frame.group = step.id
                self._later(self._round, path)
            case _:
                assert_never(step)

    # Chains: sequential, the chosen case, a round, what catches an error

    def _follow(self, path: str, group: str) -> None:
        frame = self.record.frame(path)
        frame.group, frame.position, frame.last = group, 0, None
        self._later(self._next, path)

    def _next(self, path: str) -> None:
        """Start the chain's next step, or end the chain."""
        frame = self.record.frame(path)
        steps = self.plan.groups[frame.group or ROOT]
        if frame.position < len(steps):
            frame.position += 1
            self._reach(path, steps[frame.position - 1], {})
            return
        output = None if frame.last is None else self.state.steps[frame.last].output
        if path == ROOT:
            self._finish()
        elif frame.handling:
            self._close(path, "failed", output=output, error=frame.error, handled=True)
        elif isinstance(self.plan.nodes[frame.node].step, LoopStep):
            self._round_over(path, output)
        else:
            self._close(path, "succeeded", output=output)

    def _choose(self, path: str, step: ConditionalStep) -> None:
        block = step.conditional
        for index, case in enumerate(block.cases):
            if self._holds(path, case.when, "when"):
                self._take_edge(path, f"{step.id}?{index}", f"case {index}: {case.when}")
                return
        if block.otherwise is not None:
            self._take_edge(path, f"{step.id}?else", "else")
        else:
            self._close(path, "succeeded")

    def _take_edge(self, path: str, group: str, why: str) -> None:
        self._follow(path, group)
        data: dict[str, Json] = {"from": path, "to": f"{path}/{self.plan.groups[group][0]}", "why": why}
        self.record.publish("edge.taken", path, data)

    # Loops

    def _round(self, path: str) -> None:
        frame = self.record.frame(path)
        block = cast("LoopStep", self.plan.nodes[frame.node].step).loop
        try:
            if block.condition is not None and not self._holds(path, block.condition, "while"):
                self._close(path, "succeeded", output=frame.scope["last"])
                return
        except UnusableError as unusable:
            self._fail(path, unusable.error)
            return
        if self.state.rounds[path] >= block.max_iterations:
            message = f"The loop did not end within max_iterations, {block.max_iterations} rounds."
            self._fail(path, RunError(type="limit_exceeded", message=message))
            return
        frame.position, frame.last = 0, None
        self._later(self._next, path)

    def _round_over(self, path: str, output: Json) -> None:
        frame = self.record.frame(path)
        block = cast("LoopStep", self.plan.nodes[frame.node].step).loop
        frame.scope = frame.scope | {"last": output}
        try:
            if block.until is not None and self._holds(path, block.until, "until"):
                self._close(path, "succeeded", output=output)
                return
        except UnusableError as unusable:
            self._fail(path, unusable.error)
            return
        self.state.rounds[path] += 1
        frame.scope = frame.scope | {"iteration": self.state.rounds[path]}
        self._later(self._round, path)

    # Parallel blocks

    def _fan_out(self, path: str, block: ParallelBlock) -> None:
        items = None
        if block.branches is None:
            items = self._evaluate(path, block.for_each)
            if not isinstance(items, list):
                given = "null" if items is None else type(items).__name__
                raise UnusableError("expression_error", f"`for_each` must give a list, not {given}")
            if len(cast("list[Json]", items)) > MAX_ITEMS:
                message = f"`for_each` gave {len(cast('list[Json]', items))} items; a block takes at most {MAX_ITEMS}."
                raise UnusableError("limit_exceeded", message)
        held = cast("list[Json] | None", items)
        total = len(block.branches or []) if held is None else len(held)
        self.record.frame(path).fan = Fan(items=held, total=total, needed=needed_of(block.join, total))
        self._later(self._fan_on, path)

    def _fan_on(self, path: str) -> None:
        """Start what the window lets through; end the block when its join is met or cannot be."""
        frame = self.record.frame(path)
        fan = frame.fan
        if fan is None:
            return  # a branch that ended earlier in this turn decided the block, and its error is being handled
        block = cast("ParallelStep", self.plan.nodes[frame.node].step).parallel
        decided = decide(fan, block)
        if decided is not None:
            frame.stopping = True
            frame.error = None if decided is True else decided
            self._stop_inside(path)
            self._later(self._stopped, path)
            return
        ids = self.plan.groups[frame.node]
        while fan.next < fan.total and len(frame.open) < block.max_concurrency:
            index = fan.next
            fan.next += 1
            if fan.items is None:
                self._reach(path, ids[index], {})
            else:
                self._reach(path, ids[0], {"item": fan.items[index], "index": index}, index)

    def _fan_output(self, path: str, frame: Frame, fan: Fan) -> Json:
        ids = self.plan.groups[frame.node]
        if fan.items is None:
            return {step_id: self._output(child_path(self.state, path, step_id)) for step_id in ids}
        return [self._output(child_path(self.state, path, ids[0], index)) for index in range(fan.total)]

    def _output(self, path: str) -> Json:
        step = self.state.steps.get(path)
        return None if step is None else step.output

    # Ends

    def _succeed(self, path: str, output: Json) -> None:
        """With a value that nothing has looked at yet."""
        problem = unfit(output)
        if problem is not None:
            self._fail(path, RunError(type="payload_too_large", message=problem))
            return
        self._close(path, "succeeded", output=output)

    def _fail(self, path: str, error: RunError) -> None:
        """The step's own work failed: what its `on_error` says, unless it is on its way out anyway."""
        frame = self.record.frame(path)
        error = error if error.step_id else error.model_copy(update={"step_id": path})
        step = self.plan.nodes[frame.node].step
        if frame.handling or frame.cancelled or step.on_error == "fail":
            self._close(path, "failed", error=error)
            return
        if step.on_error == "continue":
            self._close(path, "failed", error=error, handled=True)
            return
        for index, clause in enumerate(step.on_error):
            if clause.catch == "all" or error.type in clause.catch:
                frame.handling, frame.stopping, frame.error, frame.fan = True, False, error, None
                frame.scope = frame.scope | {"error": error.model_dump()}
                self._follow(path, f"{step.id}!{index}")
                return
        self._close(path, "failed", error=error)

    def _leave(self, path: str, *, uncaught: RunError | None = None) -> None:
        """The step is over, whatever came of it: the step around it goes on."""
        parent = self.record.drop_frame(path).parent
        if parent is None:
            return
        frame = self.record.frame(parent)
        frame.open.remove(path)
        status = self.state.steps[path].status
        if frame.fan is not None and not frame.handling:
            frame.fan.over += 1
            if uncaught is not None:
                frame.fan.errors.append(uncaught)
            elif status in {"succeeded", "failed"}:
                frame.fan.succeeded += 1
            self._later(self._stopped if frame.stopping else self._fan_on, parent)
            return
        if uncaught is None and status in {"succeeded", "failed"}:
            frame.last = path
        if frame.stopping:
            self._later(self._stopped, parent)
        elif uncaught is None:
            self._later(self._next, parent)
        elif parent == ROOT:
            self.record.end_run("failed", error=uncaught)
        else:
            self._fail(parent, uncaught)

    def _stop(self, path: str) -> None:
        """Tell an open step, and all inside it, to stop."""
        frame = self.record.frame(path)
        if frame.cancelled:
            return
        frame.cancelled = True
        if self._is_running(path):
            self.record.commands.append(CancelStep(path))
            return
        frame.stopping = True
        self._stop_inside(path)
        self._later(self._stopped, path)

    def _stop_inside(self, path: str) -> None:
        for inside in list(self.record.frame(path).open):
            self._stop(inside)

    def _stopped(self, path: str) -> None:
        """Something in a stopping step has ended: end it when nothing in it is open."""
        frame = self.state.frames[path]
        if not frame.stopping or frame.open:
            return
        if path == ROOT:
            self.record.end_run("cancelled", error=RunError(type="cancelled", message="The run was cancelled."))
        elif frame.cancelled:
            self._close(path, "cancelled")
        elif frame.error is not None:
            self._fail(path, frame.error)
        elif frame.fan is not None:
            errors = frame.fan.errors
            block = cast("ParallelStep", self.plan.nodes[frame.node].step).parallel
            if block.on_branch_error == "collect":
                held = self.state.steps[path]
                self.state.steps[path] = held.model_copy(update={"errors": list(errors)})
            self._succeed(path, self._fan_output(path, frame, frame.fan))

    def _finish(self) -> None:
        definition = self.plan.definition
        frame = self.state.frames[ROOT]
        try:
            if "output" in definition.model_fields_set:
                output = self._evaluate(ROOT, definition.output)
            else:
                output = None if frame.last is None else self.state.steps[frame.last].output
        except UnusableError as unusable:
            error = unusable.error
            self.record.end_run("failed", error=RunError(type=error.type, message=f"output: {error.message}"))
            return
        self.record.end_run("succeeded", output=output)

    def _close(
        self, path: str, status: RunStatus, *, output: Json = None, error: RunError | None = None, handled: bool = False
    ) -> None:
        self.record.end_step(path, status, output=output, error=error, handled=handled)
        self._leave(path, uncaught=None if handled else error)
