"""The pure core: `advance(plan, state, event) → (state, commands)`.

No I/O, no clock, no randomness: the same plan, state and event always give the same answer, which is what lets a run
be replayed, carried on and tested without a server.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never

from studio.contracts.base import Json
from studio.contracts.definitions import AgentStep, ErrorType, SequentialStep, TransformStep
from studio.contracts.events import EventType, NewEvent, cut_content
from studio.contracts.runs import RunError, RunStatus, StepRun
from studio.engine.limits import unfit
from studio.engine.plan import ROOT, Plan, PlanNode
from studio.engine.state import (
    CancelRequested,
    CancelStep,
    Command,
    CoreEvent,
    EndRun,
    Publish,
    RunAgent,
    RunStarted,
    RunState,
    StepCancelled,
    StepFailed,
    StepSucceeded,
)
from studio.expressions import Expression, ExpressionError, evaluate, expressions_in


def advance(plan: Plan, state: RunState, event: CoreEvent) -> tuple[RunState, list[Command]]:
    """Fold one event into the state. An event for a step that is not running changes nothing: it came too late."""
    if state.ended:
        return state, []
    turn = _Turn(plan, state, event.at)
    turn.take(event)
    return turn.state, turn.commands


class _Unusable(Exception):
    """A value that a step, or the run's output, needs and that cannot be had."""

    def __init__(self, error_type: ErrorType, message: str) -> None:
        super().__init__(message)
        self.error = RunError(type=error_type, message=message)


class _Turn:
    """One call of `advance`: works on a copy, so that the state given stays as it was."""

    def __init__(self, plan: Plan, state: RunState, at: datetime) -> None:
        self.plan = plan
        self.state = state.model_copy(update={"steps": dict(state.steps), "positions": dict(state.positions)})
        self.at = at
        self.commands: list[Command] = []

    def take(self, event: CoreEvent) -> None:
        match event:
            case RunStarted():
                self._publish("run.started", None, {"status": "running"})
                self.state.positions[ROOT] = 0
                self._go_on(ROOT)
            case StepSucceeded():
                if (step := self._running(event.path)) is not None:
                    used = {"attempt": event.attempt, "usage": event.usage, "cost_usd": event.cost_usd}
                    problem = unfit(event.output)
                    if problem is not None:
                        self._fail(event.path, RunError(type="payload_too_large", message=problem), **used)
                        return
                    self._close(step, "succeeded", output=event.output, **used)
                    self._go_on(self.plan.nodes[event.path].block)
            case StepFailed():
                if (step := self._running(event.path)) is not None:
                    used = {"attempt": event.attempt, "usage": event.usage, "cost_usd": event.cost_usd}
                    self._fail(event.path, event.error, **used)
            case StepCancelled():
                if (step := self._running(event.path)) is not None:
                    self._close(step, "cancelled")
                    self._end_cancelled_when_still()
            case CancelRequested():
                self._cancel()
            case _:
                assert_never(event)

    def _running(self, path: str) -> StepRun | None:
        step = self.state.steps.get(path)
        return step if step is not None and step.status == "running" else None

    def _go_on(self, block: str | None) -> None:
        """Something in the block is over: start the next, or close the block and go on in the one around it."""
        if self.state.cancelling:
            self._end_cancelled_when_still()
            return
        while block is not None:
            inside = self.plan.blocks[block]
            position = self.state.positions[block]
            if position < len(inside):
                self.state.positions[block] = position + 1
                block = self._start(self.plan.nodes[inside[position]])
            elif block == ROOT:
                self._succeed()
                return
            else:
                self._close(self.state.steps[block], "succeeded", output=self._block_output(block))
                block = self.plan.nodes[block].block

    def _block_output(self, block: str) -> Json:
        """The output of the block's last finished step."""
        for path in reversed(self.plan.blocks[block]):
            step = self.state.steps.get(path)
            if step is not None and step.status == "succeeded":
                return step.output
        return None

    def _start(self, node: PlanNode) -> str | None:
        """Reach a step. Returns the block in which to go on at once, or None when there is something to wait for."""
        path, step = node.path, node.step
        run = StepRun(id=path, kind=node.kind, name=step.name, agent=node.agent)
        try:
            if not self._wanted(step.when):
                self.state.steps[path] = run.model_copy(update={"status": "skipped"})
                self._publish("step.skipped", path, {"kind": node.kind, "when": step.when})
                return node.block
            match step:
                case TransformStep():
                    self._open(run, None)
                    self._close(self.state.steps[path], "succeeded", output=self._evaluate(step.transform))
                    return node.block
                case SequentialStep():
                    self._open(run, None)
                    self.state.positions[path] = 0
                    return path
                case AgentStep():
                    given = self._input_of(step)
                    self._open(run, given)
                    self.commands.append(RunAgent(path, step, given))
                    return None
                case _:
                    assert_never(step)
        except _Unusable as unusable:
            if path not in self.state.steps:
                self._open(run, None)
            self._fail(path, unusable.error)
            return None

    def _input_of(self, step: AgentStep) -> Json:
        """What the step says, else the output of the step before, else the run's input."""
        if "input" in step.model_fields_set:
            return self._evaluate(step.input)
        return self.state.input if self.state.last is None else self.state.steps[self.state.last].output

    def _wanted(self, when: bool | str) -> bool:
        result = self._evaluate(when)
        if not isinstance(result, bool):
            given = "null" if result is None else type(result).__name__
            raise _Unusable("expression_error", f"{when} failed: `when` must give true or false, not {given}")
        return result

    def _evaluate(self, value: Json) -> Json:
        """Raises `_Unusable`."""
        try:
            found = expressions_in(value)
            result = evaluate(value, self._scope(found)) if found else value
        except ExpressionError as error:
            raise _Unusable("expression_error", f"${{{{ {error.expression} }}}} failed: {error.message}") from None
        problem = unfit(result)
        if problem is not None:
            raise _Unusable("payload_too_large", problem)
        return result

    def _scope(self, expressions: list[Expression]) -> dict[str, Json]:
        """Only what the expressions name: a run of a thousand steps does not hand all of them to each."""
        named = {step for expression in expressions for step in expression.steps}
        return {
            "input": self.state.input,
            "run": self.state.run.model_dump(),
            "prev": None if self.state.last is None else self._view(self.state.last),
            "steps": {step: self._view(self.plan.paths[step]) for step in sorted(named) if step in self.plan.paths},
        }

    def _view(self, path: str) -> dict[str, Json]:
        step = self.state.steps.get(path)
        if step is None:
            return {"output": None, "status": "pending", "error": None}
        error = step.error.model_dump() if step.error else None
        return {"output": step.output, "status": step.status, "error": error}

    def _open(self, step: StepRun, given: Json) -> None:
        self.state.steps[step.id] = step.model_copy(update={"status": "running", "started_at": self.at})
        data = {"kind": step.kind, "name": step.name, "agent": step.agent, "input": given}
        self._publish("step.started", step.id, {key: value for key, value in data.items() if value is not None})

    def _close(self, step: StepRun, status: RunStatus, **changes: Any) -> None:
        started = step.started_at or self.at
        changes |= {"status": status, "started_at": started, "ended_at": self.at}
        changes["duration_ms"] = round((self.at - started).total_seconds() * 1000)
        closed = step.model_copy(update=changes)
        self.state.steps[step.id] = closed
        self.state.usage = self.state.usage.plus(closed.usage)
        if closed.cost_usd is not None:
            self.state.cost_usd = (self.state.cost_usd or Decimal(0)) + closed.cost_usd
        if status == "succeeded":
            self.state.last = step.id
        data: dict[str, Json] = {"kind": closed.kind, "duration_ms": closed.duration_ms}
        if closed.error is not None:
            data["error"] = closed.error.model_dump()
        if closed.kind == "agent":
            data |= {"usage": closed.usage.model_dump(), "cost_usd": _money(closed.cost_usd)}
        if status == "succeeded":
            data["output"] = closed.output
        self._publish(f"step.{status}", step.id, data, closed.attempt)  # pyright: ignore[reportArgumentType]
        if closed.usage.llm_calls:
            totals = {"usage": self.state.usage.model_dump(), "cost_usd": _money(self.state.cost_usd)}
            self._publish("usage", step.id, totals, closed.attempt)

    def _fail(self, path: str, error: RunError, **used: Any) -> None:
        """The step fails, and with it every block around it and the run."""
        error = error.model_copy(update={"step_id": path})
        self._close(self.state.steps[path], "failed", error=error, **used)
        block = self.plan.nodes[path].block
        while block != ROOT:
            self._close(self.state.steps[block], "failed", error=error)
            block = self.plan.nodes[block].block
        self._end("failed", error=error)

    def _succeed(self) -> None:
        definition = self.plan.definition
        try:
            written = "output" in definition.model_fields_set
            output = self._evaluate(definition.output) if written else self._block_output(ROOT)
        except _Unusable as unusable:
            error = unusable.error
            self._end("failed", error=RunError(type=error.type, message=f"output: {error.message}"))
            return
        self._end("succeeded", output=output)

    def _cancel(self) -> None:
        if self.state.cancelling:
            return
        self.state.cancelling = True
        for path, step in self.state.steps.items():
            if step.status == "running" and path not in self.plan.blocks:
                self.commands.append(CancelStep(path))
        self._end_cancelled_when_still()

    def _end_cancelled_when_still(self) -> None:
        running = [step for step in self.state.steps.values() if step.status == "running"]
        if any(step.id not in self.plan.blocks for step in running):
            return
        for block in sorted(running, key=lambda step: -step.id.count("/")):
            self._close(block, "cancelled")
        self._end("cancelled", error=RunError(type="cancelled", message="The run was cancelled."))

    def _end(self, status: RunStatus, *, output: Json = None, error: RunError | None = None) -> None:
        self.state.ended = True
        self.commands.append(EndRun(status, output, error))
        data: dict[str, Json] = {
            "status": status,
            "usage": self.state.usage.model_dump(),
            "cost_usd": _money(self.state.cost_usd),
        }
        data |= {"output": output} if status == "succeeded" else {}
        data |= {"error": error.model_dump()} if error else {}
        self._publish(f"run.{status}", None, data)  # pyright: ignore[reportArgumentType]

    def _publish(self, event_type: EventType, path: str | None, data: dict[str, Json], attempt: int = 1) -> None:
        event = NewEvent(ts=self.at, step_id=path, attempt=attempt, type=event_type, data=cut_content(data))
        self.commands.append(Publish(event))


def _money(cost: Any) -> str | None:
    return None if cost is None else str(cost)
