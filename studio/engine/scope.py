"""What an expression sees from where it stands: which of a step's rounds or items a name means, and its value.

A path is a step's ids from outside in, parted by `/`: `research/answer[2]` is the third item of a map,
`refine#3/critic` a step of a loop's fourth round.
"""

import re
from collections.abc import Sequence

from studio.contracts.base import Json
from studio.contracts.runs import RunError
from studio.contracts.steps import AgentStep, ErrorType
from studio.engine.limits import unfit
from studio.engine.plan import ROOT, Plan
from studio.engine.state import Frame, RunState
from studio.expressions import Expression, ExpressionError, evaluate, expressions_in

_ID = re.compile(r"[A-Za-z0-9_]+")


class UnusableError(Exception):
    """A value that a step, or the run's output, needs and that cannot be had."""

    def __init__(self, error_type: ErrorType, message: str) -> None:
        super().__init__(message)
        self.error = RunError(type=error_type, message=message)


def child_path(state: RunState, parent: str, step_id: str, index: int | None = None) -> str:
    """The path of a step inside the open one at `parent`."""
    frame = state.frames[parent]
    prefix = parent
    if parent in state.rounds and not frame.handling:
        prefix = f"{parent}#{state.rounds[parent]}"
    place = step_id if index is None else f"{step_id}[{index}]"
    return f"{prefix}/{place}" if prefix else place


def evaluate_at(plan: Plan, state: RunState, path: str, value: Json) -> Json:
    """The value with its expressions evaluated as the open step at `path` sees them. Raises `UnusableError`."""
    try:
        found = expressions_in(value)
        result = evaluate(value, _scope(plan, state, path, found)) if found else value
    except ExpressionError as error:
        raise UnusableError("expression_error", f"${{{{ {error.expression} }}}} failed: {error.message}") from None
    problem = unfit(result)
    if problem is not None:
        raise UnusableError("payload_too_large", problem)
    return result


def holds(plan: Plan, state: RunState, path: str, condition: bool | str, field: str) -> bool:
    """A condition's answer. Raises `UnusableError`, also when it is neither true nor false."""
    result = evaluate_at(plan, state, path, condition)
    if not isinstance(result, bool):
        given = "null" if result is None else type(result).__name__
        raise UnusableError("expression_error", f"{condition} failed: `{field}` must give true or false, not {given}")
    return result


def input_of(plan: Plan, state: RunState, path: str, step: AgentStep) -> Json:
    """What the step says, else the item, else the output of the step before, else the run's input.

    Raises `UnusableError`.
    """
    if "input" in step.model_fields_set:
        return evaluate_at(plan, state, path, step.input)
    scope = state.frames[path].scope
    if "item" in scope:
        return scope["item"]
    before = previous(state, path)
    return state.input if before is None else state.steps[before].output


def previous(state: RunState, path: str) -> str | None:
    """The path of the step before the one at `path`: in its chain, else before the block that holds it."""
    parent = state.frames[path].parent if path != ROOT else None
    if path == ROOT:
        return state.frames[ROOT].last
    while parent is not None:
        frame = state.frames[parent]
        if frame.last is not None:
            return frame.last
        parent = frame.parent
    return None


def local_names(state: RunState, path: str) -> dict[str, Json]:
    """`item`, `iteration`, `error` and the like, the innermost first."""
    names: dict[str, Json] = {}
    at: str | None = path
    while at is not None:
        frame: Frame = state.frames[at]
        names = {**frame.scope, **names}
        at = frame.parent
    return names


def _scope(plan: Plan, state: RunState, path: str, expressions: Sequence[Expression]) -> dict[str, Json]:
    """Only what the expressions name: a run of a thousand steps does not hand all of them to each."""
    roots = {root for expression in expressions for root in expression.roots}
    named = {step for expression in expressions for step in expression.steps}
    scope = local_names(state, path)
    scope["input"] = state.input
    if "run" in roots:
        scope["run"] = state.run.model_dump()
    if "prev" in roots:
        before = previous(state, path)
        scope["prev"] = None if before is None else _view(state, before)
    if named:
        known = sorted(named & plan.nodes.keys())
        scope["steps"] = {step: _view(state, locate(plan, state, step, path)) for step in known}
    return scope


def locate(plan: Plan, state: RunState, step_id: str, seen_from: str) -> str:
    """The path that a step's id means, seen from a path: the same round and item, or else the latest round."""
    node = plan.nodes[step_id]
    if node.owner == ROOT:
        return step_id
    return f"{_inside(plan, state, node.owner, seen_from, handler=node.is_handler)}/{step_id}"


def _inside(plan: Plan, state: RunState, owner: str, seen_from: str, *, handler: bool) -> str:
    taken = ""
    for segment in seen_from.split("/"):
        taken = f"{taken}/{segment}" if taken else segment
        found = _ID.match(segment)
        if found is not None and found.group() == owner:
            break
    else:
        taken = locate(plan, state, owner, seen_from)
    return f"{taken}#{state.rounds[taken]}" if taken in state.rounds and not handler else taken


def _view(state: RunState, path: str) -> dict[str, Json]:
    step = state.steps.get(path)
    if step is None:
        return {"output": None, "status": "pending", "error": None}
    view: dict[str, Json] = {
        "output": step.output,
        "status": step.status,
        "error": step.error.model_dump() if step.error else None,
    }
    if step.errors is not None:
        view["errors"] = [error.model_dump() for error in step.errors]
    return view
