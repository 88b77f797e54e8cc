"""One call of `advance`: reaching a step, starting it, and what follows when it ends.

What a step's end, or start, leads to goes into a queue of work and is done in that order: no recursion, however long a
chain of steps that end at once. A turn that became too long leaves its work to the next, so that no workflow task nears
the limit after which it is taken for a deadlock.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from studio.contracts.base import Json, JsonObject
from studio.contracts.runs import BLOCK_KINDS, CALL_KINDS, RunError, RunStatus, StepRun
from studio.contracts.steps import (
    AgentStep,
    FailStep,
    GivenStep,
    HierarchicalBlock,
    Route,
    TransformStep,
    WorkflowStep,
)
from studio.engine import attempts, failing, recalls
from studio.engine.asking import agent_call, child_call
from studio.engine.frames import Frame
from studio.engine.limits import MAX_RUN_BYTES, TOO_MUCH, measure
from studio.engine.plan import ROOT, Plan, PlanNode
from studio.engine.record import TurnRecord
from studio.engine.scope import UnusableError, child_path, evaluate_at, holds, input_of, local_names, measured_at
from studio.engine.state import CancelStep, CoreEvent, RunState, Tick, Undo
from studio.errors import FieldError
from studio.expressions import ExpressionError, expressions_in
from studio.json_schema import check_value
from studio.schemas.meter import Meter

if TYPE_CHECKING:
    from studio.engine.patterns import Patterns

TURN_COST = 4_000
"""About a quarter of a second of steps without comprehensions."""
BYTES_A_COST = 4_096
"""Of a value that is looked at: a list of a million numbers takes a quarter of a second to be written."""
_WALK_COST = 1_000
"""An expression with comprehensions may take a third of a second."""
SCHEMA_STEPS_A_COST = 32
TIMERS = ("timeout", "retry", "wait", "join")


class Turn:
    def __init__(self, plan: Plan, state: RunState, at: datetime, patterns: "Patterns") -> None:
        self.plan = plan
        self.at = at
        self.record = TurnRecord(state, at)
        self.state = self.record.state
        self.patterns = patterns
        self.recalled: set[str] = set()
        """The steps that ended in this turn as they were recorded."""
        self._work: deque[tuple[str, str]] = deque(state.work)
        self._cost = 0

    def run(self, take: Callable[["Turn", CoreEvent], None], event: CoreEvent) -> None:
        take(self, event)
        while not self.state.ended and (self._work or recalls.has_more(self.state)):
            if self.is_long:
                self.record.commands.append(Tick())
                break
            if not self._work:
                self._cost += 1
                if not recalls.go_on(self):
                    break
                continue
            action, path = self._work.popleft()
            frame = self.state.frames.get(path)
            if frame is not None and (not frame.stopping or action == "stopped"):
                self._cost += 1
                self.patterns.actions[action](self, path)
        self.state.work = [] if self.state.ended else list(self._work)
        self.state.turn_cost = self._cost

    @property
    def is_long(self) -> bool:
        """Whether what costs something is better left to the next turn."""
        return self._cost >= TURN_COST

    def later(self, action: str, path: str) -> None:
        self._work.append((action, path))

    # What is where

    def frame(self, path: str) -> Frame:
        return self.record.frame(path)

    def node(self, path: str) -> PlanNode:
        return self.plan.nodes[self.state.frames[path].node]

    def is_call(self, path: str) -> bool:
        """Whether activities are under way for the step at `path`."""
        frame = self.state.frames.get(path)
        if frame is None or frame.handling or frame.retrying or path == ROOT:
            return False
        step = self.state.steps[path]
        return step.kind in CALL_KINDS and step.status == "running"

    def evaluate(self, path: str, value: Json) -> Json:
        """Raises `UnusableError`."""
        self._spend(value)
        return evaluate_at(self.plan, self.state, path, value, self.spend_on)

    def holds(self, path: str, condition: bool | str, field: str) -> bool:
        """Raises `UnusableError`."""
        self._spend(condition)
        return holds(self.plan, self.state, path, condition, field)

    def input_of(self, path: str, holder: GivenStep | Route | HierarchicalBlock) -> Json:
        """Raises `UnusableError`."""
        self._spend(holder.input)
        return input_of(self.plan, self.state, path, holder, self.spend_on)

    def spend_on(self, value: Json, size: int) -> None:
        """Looking at a value of so many bytes. A text is looked at in no time."""
        if not isinstance(value, str):
            self._cost += size // BYTES_A_COST

    def spend(self, cost: int) -> None:
        self._cost += cost

    def _unfit(self, output: Json, schema: JsonObject) -> list[FieldError]:
        meter = Meter()
        errors = check_value(output, schema, meter=meter)
        self.spend(meter.spent // SCHEMA_STEPS_A_COST)
        return errors

    def _spend(self, value: Json) -> None:
        try:
            found = expressions_in(value)
        except ExpressionError:
            return  # whoever evaluates it says what is wrong
        self._cost += 1 + sum(_WALK_COST for expression in found if expression.names.walks)

    def has_room(self, output: Json, size: int) -> bool:
        """Whether a step may end with an output of so many bytes."""
        if self.record.has_room(output, size):
            return True
        self._spend_on_all()
        self.record.recount()
        return self.record.has_room(output, size)

    def keeps(self, inner: Sequence[StepRun]) -> bool:
        """Whether the steps of a child workflow are taken over."""
        if self.record.keep(inner):
            return True
        self._spend_on_all()
        return self.record.keep(inner, exactly=True)

    def _spend_on_all(self) -> None:
        self._cost += MAX_RUN_BYTES // BYTES_A_COST

    # Reaching a step

    def reach(
        self,
        parent: str,
        node_id: str,
        *,
        place: str | None = None,
        path: str | None = None,
        scope: dict[str, Json] | None = None,
        before: Sequence[str] = (),
    ) -> str:
        """Open the plan's step inside the one at `parent`: at `place`, or at a path of its own. Returns the path."""
        self._cost += 1
        node = self.plan.nodes[node_id]
        path = path or child_path(self.state, parent, place or node.step.id)
        held = self.state.steps.get(path)
        attempt = self.state.attempts_before + 1
        run = StepRun(id=path, kind=node.kind, name=node.step.name, agent=node.agent, attempt=attempt)
        if held is not None:  # an attempt of a block around it came here before
            again = {"attempt": held.attempt + ((held.started_at or held.ended_at) is not None), "usage": held.usage}
            run = run.model_copy(update=again | {"cost_usd": held.cost_usd})
        self.record.add_frame(path, Frame(node=node_id, parent=parent, scope=scope or {}, before=list(before)))
        self.frame(parent).open.append(path)
        if recalls.takes(self, path):
            return path
        self.state.steps[path] = run
        try:
            if not self.holds(path, node.step.when, "when"):
                self.state.steps[path] = run.model_copy(update={"status": "skipped"})
                if held is None or held.status != "skipped":  # else it is recorded, and published then
                    self.record.publish("step.skipped", path, {"kind": node.kind, "when": node.step.when}, run.attempt)
                self.patterns.list_unreached(self, path)
                self.leave(path)
                return path
        except UnusableError as unusable:
            self.record.start_step(run, None)
            self.fail(path, unusable.error)
            return path
        if recalls.holds_back(self, path):
            return path
        if self.is_long:
            self.later("start", path)
        else:
            self.start(path)
        return path

    def start(self, path: str) -> None:
        """Begin a step whose `when` holds, unless the run has used up what it may."""
        recalls.starts_anew(self, path)
        if not self.patterns.may_start(self, path):
            return
        node = self.node(path)
        try:
            given = self.given(path, node)
        except UnusableError as unusable:
            self._open(path, node, None)
            self.fail(path, unusable.error)
            return
        if node.body is not None and isinstance(node.step, GivenStep) and self._says_input(path, node.step):
            self.frame(path).given = [given]
        self._open(path, node, given)
        self.begin(path, given)

    def _open(self, path: str, node: PlanNode, given: Json) -> None:
        if recalls.is_gone_through(self, path):
            return
        self.record.start_step(self.state.steps[path], given)
        if node.step.timeout is not None and node.kind != "agent":
            self.record.set_timer("timeout", path, self.at + node.step.timeout)

    def _says_input(self, path: str, step: GivenStep) -> bool:
        return "input" in step.model_fields_set or bool(recalls.given_input(self.state, path))

    def given(self, path: str, node: PlanNode) -> Json:
        """What a step gets. Raises `UnusableError`."""
        if "." in self.state.frames[path].node:
            return self.patterns.question(self, path).input
        if not isinstance(node.step, GivenStep):
            return None
        repaired = recalls.given_input(self.state, path)
        if repaired:
            return repaired[0]
        if node.kind in BLOCK_KINDS and "input" not in node.step.model_fields_set:
            return None
        return self.input_of(path, node.step)

    def begin(self, path: str, given: Json) -> None:
        """An attempt of a step that has started."""
        node = self.node(path)
        try:
            match node.step:
                case AgentStep():
                    self.record.commands.append(agent_call(self, path, node.step, node, given))
                case WorkflowStep():
                    self.record.commands.append(child_call(self, path, node.step, given))
                case TransformStep():
                    self._transform(path, node.step)
                case FailStep():
                    self._spend([node.step.fail.type, node.step.fail.message])
                    self.fail(path, failing.error_of(self.plan, self.state, path, node.step, self.spend_on))
                case _:
                    self.patterns.begin(self, path, given)
        except UnusableError as unusable:
            self.fail(path, unusable.error)

    def _transform(self, path: str, step: TransformStep) -> None:
        """Raises `UnusableError`."""
        self._spend(step.transform)
        output, size = measured_at(self.plan, self.state, path, step.transform)
        self.spend_on(output, size)
        self.succeed(path, output, size=size)

    # Ends

    def succeed(self, path: str, output: Json, *, size: int | None = None) -> None:
        """With the step's own output; `size` is given when it is known to be fit."""
        problem = None
        if size is None:
            size, problem = measure(output)
            self.spend_on(output, size)
        if problem is None and path != ROOT and not self.has_room(output, size):
            problem = TOO_MUCH
        if problem is not None:
            kind = "payload_too_large" if problem.is_too_large else "schema_mismatch"
            self.fail(path, RunError(type=kind, message=problem.message))
            return
        schema = self.node(path).step.output_schema
        wrong = [] if schema is None else self._unfit(output, schema)
        if wrong:
            place = "".join(f"/{part}" for part in wrong[0].loc)
            message = f"The output does not fit output_schema{f' at {place}' if place else ''}: {wrong[0].msg}"
            self.fail(path, RunError(type="schema_mismatch", message=message))
            return
        self.close(path, "succeeded", output=output, size=size)

    def fail(self, path: str, error: RunError) -> None:
        """The step's own work failed: what its `retry` and `on_error` say, unless it is on its way out anyway."""
        if path == ROOT:
            self.patterns.end(self, "failed", None, error)
            return
        frame = self.frame(path)
        error = recalls.recorded_error(self, path, error)
        error = error if error.step_id else error.model_copy(update={"step_id": path})
        step = self.node(path).step
        if attempts.tries_again(self, path, frame, step, error):
            return
        clause = None if frame.handling or frame.cancelled else attempts.clause_for(step, error)
        if clause == "continue":
            self.close(path, "failed", error=error, handled=True)
        elif clause is not None:
            self.patterns.list_unreached(self, path)
            self.clear(path)
            frame.handling, frame.error = True, error
            frame.scope = frame.scope | {"error": error.model_dump()}
            self.follow(path, f"{step.id}!{clause}")
        elif not self.patterns.parks(self, path, error):
            self.close(path, "failed", error=error)

    def clear(self, path: str, keep: Sequence[str] = ()) -> None:
        """Forget what an attempt was about: what the step waited for, how far it came, its timers but for `keep`."""
        frame = self.frame(path)
        frame.stopping, frame.error, frame.routing = False, None, False
        frame.fan, frame.mesh, frame.team, frame.group, frame.last = None, None, None, None, None
        run = self.state.steps[path]
        if run.waiting is not None:
            self.state.steps[path] = run.model_copy(update={"status": "running", "waiting": None})
        for kind in TIMERS:
            if kind not in keep:
                self.record.clear_timer(kind, path)

    def close(
        self,
        path: str,
        status: RunStatus,
        *,
        output: Json = None,
        size: int | None = None,
        error: RunError | None = None,
        handled: bool = False,
    ) -> None:
        """The step is over. `size` is the output's, if it is known."""
        if path == ROOT:
            self.patterns.end(self, status, output, error)
            return
        if self.state.timers:
            for kind in TIMERS:
                self.record.clear_timer(kind, path)
        frame = self.state.frames[path]
        if status == "succeeded" and self.node(path).step.compensate is not None and self.state.phase == "running":
            self.state.undo = [undo for undo in self.state.undo if undo.path != path]
            self.state.undo.append(Undo(path=path, node=frame.node, scope=local_names(self.state, path)))
        self.patterns.list_unreached(self, path)
        if not recalls.ends_as_then(self, path, status, output, error, handled=handled):
            if status == "cancelled" and self.state.steps[path].started_at is None:
                self.record.skip_step(path, "it was stopped before it began")
            else:
                self.record.end_step(path, status, output=output, size=size, error=error, handled=handled)
        if path in self.state.parked:
            self.patterns.unparked(self, path)
        self.leave(path, uncaught=None if handled else error)

    def leave(self, path: str, *, uncaught: RunError | None = None) -> None:
        """The step is over, whatever came of it: the one around it goes on."""
        frame = self.record.drop_frame(path)
        if frame.parent is None:
            return
        around = self.frame(frame.parent)
        around.open.remove(path)
        self.patterns.child_over(self, frame.parent, path, frame.node, uncaught)

    # Stopping

    def stop(self, path: str) -> None:
        """Tell an open step, and all inside it, to stop."""
        frame = self.frame(path)
        if frame.cancelled:
            return
        frame.cancelled = True
        if recalls.stops(self, path):
            return
        if self.is_call(path):
            if not frame.timed_out:
                self.record.commands.append(CancelStep(path))
            return
        frame.stopping = True
        self.stop_inside(path)
        self.later("stopped", path)

    def stop_inside(self, path: str) -> None:
        for inside in list(self.frame(path).open):
            self.stop(inside)

    def halt(self, path: str, error: RunError | None) -> None:
        """Stop what is inside a block, and then fail it; without an error its pattern says how it ends."""
        frame = self.frame(path)
        frame.stopping, frame.error = True, error
        self.stop_inside(path)
        self.later("stopped", path)

    def stopped(self, path: str) -> None:
        """Something in a stopping step has ended: end it when nothing in it is open."""
        frame = self.frame(path)
        if not frame.stopping or frame.open:
            return
        if path == ROOT:
            self.patterns.root_stopped(self)
        elif frame.cancelled:
            self.close(path, "cancelled")
        elif frame.error is not None:
            frame.stopping = False
            self.fail(path, frame.error)
        else:
            frame.stopping = False
            self.patterns.settled(self, path)

    # Chains: here since whatever a step is, what catches its errors is one

    def follow(self, path: str, group: str) -> None:
        frame = self.frame(path)
        frame.group, frame.position, frame.last = group, 0, None
        self.later("next", path)
