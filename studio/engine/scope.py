"""What an expression sees from where it stands: which of a step's rounds or items a name means, and its value.

A path is a step's ids from outside in, parted by `/`: `research/answer[2]` is the third item of a map,
`refine#3/critic` a step of a loop's fourth round.
"""

import re
from collections.abc import Callable, Sequence

from studio.contracts.base import Json
from studio.contracts.runs import RunError
from studio.contracts.steps import ErrorType, GivenStep, HierarchicalBlock, Route
from studio.engine.frames import Frame
from studio.engine.limits import measure
from studio.engine.plan import ROOT, Plan
from studio.engine.state import RunState
from studio.expressions import Expression, ExpressionError, evaluate, expressions_in, type_word

_ID = re.compile(r"[A-Za-z0-9_]+(?=$|[#@\[])")


Spend = Callable[[Json, int], None]
"""Hears of a value that was looked at, and its size in bytes."""


class UnusableError(Exception):
    """A value that a step, or the run's output, needs and that cannot be had."""

    def __init__(self, error_type: ErrorType, message: str) -> None:
        super().__init__(message)
        self.error = RunError(type=error_type, message=message)


def child_path(state: RunState, parent: str, place: str) -> str:
    """The path of what is at `place` inside the open step at `parent`."""
    prefix = parent
    if parent in state.rounds and not state.frames[parent].handling:
        prefix = f"{parent}#{state.rounds[parent]}"
    return f"{prefix}/{place}" if prefix else place


def evaluate_at(plan: Plan, state: RunState, path: str, value: Json, spend: Spend) -> Json:
    """As `measured_at`; `spend` hears what it gives."""
    result, size = measured_at(plan, state, path, value)
    spend(result, size)
    return result


def measured_at(plan: Plan, state: RunState, path: str, value: Json) -> tuple[Json, int]:
    """The value with its expressions evaluated as the open step at `path` sees them, and its size in bytes. Raises
    `UnusableError`.
    """
    try:
        found = expressions_in(value)
        result = evaluate(value, _scope(plan, state, path, found)) if found else value
    except ExpressionError as error:
        raise UnusableError("expression_error", f"${{{{ {error.expression} }}}} failed: {error.message}") from None
    size, problem = measure(result)
    if problem is not None:
        raise UnusableError("payload_too_large", problem)
    return result, size


def holds(plan: Plan, state: RunState, path: str, condition: bool | str, field: str) -> bool:
    """A condition's answer. Raises `UnusableError`, also when it is neither true nor false."""
    result, _ = measured_at(plan, state, path, condition)
    if not isinstance(result, bool):
        given = type_word(result)
        raise UnusableError("expression_error", f"{condition} failed: `{field}` must give true or false, not {given}")
    return result


def input_of(
    plan: Plan,
    state: RunState,
    path: str,
    holder: GivenStep | Route | HierarchicalBlock,
    spend: Spend,
) -> Json:
    """What the step says, else its default. Raises `UnusableError`."""
    if "input" in holder.model_fields_set:
        return evaluate_at(plan, state, path, holder.input, spend)
    return default_input(plan, state, path)


def default_input(plan: Plan, state: RunState, path: str) -> Json:
    """The outputs that led to a graph's node, the item of a map, the output of the step before, the input of the block
    around it: the first of these from inside out; else the run's input.
    """
    at: str | None = path
    while at is not None:
        frame: Frame = state.frames[at]
        if frame.before:
            kept = frame.scope.get("steps", {})
            outputs = {plan_id(before): _view(state, before, kept)["output"] for before in frame.before}
            return next(iter(outputs.values())) if len(frame.before) == 1 else outputs
        if "item" in frame.scope:
            return frame.scope["item"]
        if frame.parent is not None:
            around = state.frames[frame.parent]
            if around.last is not None:
                return state.steps[around.last].output
            if around.given:
                return around.given[0]
        at = frame.parent
    return state.input


def plan_id(path: str) -> str:
    """The id of the step at a path: `critic` for `refine#3/critic@2`."""
    found = _ID.match(path.rpartition("/")[2])
    return found.group() if found else path


def previous(state: RunState, path: str) -> str | None:
    """The path of the step before the one at `path`: in its chain or graph, else before the block that holds it."""
    if path == ROOT:
        return state.frames[ROOT].last
    at: str | None = path
    while at is not None:
        frame: Frame = state.frames[at]
        if frame.before:
            return frame.before[-1]
        if frame.parent is not None and state.frames[frame.parent].last is not None:
            return state.frames[frame.parent].last
        at = frame.parent
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
    kept = scope.pop("steps", {})
    scope["input"] = state.input
    if "run" in roots:
        scope["run"] = state.run.model_dump()
    if "prev" in roots and "prev" not in scope:
        before = previous(state, path)
        scope["prev"] = None if before is None else _view(state, before, kept)
    if named:
        known = sorted(named & plan.nodes.keys())
        scope["steps"] = {step: _view(state, locate(plan, state, step, path), kept) for step in known}
    return scope


def locate(plan: Plan, state: RunState, step_id: str, seen_from: str) -> str:
    """The path that a step's id means, seen from a path: the same visit, round and item, or else the latest."""
    own = own_place(seen_from, step_id)
    if own is not None:
        return own
    node = plan.nodes[step_id]
    path = step_id
    if node.owner != ROOT:
        holder = locate(plan, state, node.owner, seen_from)
        if holder in state.rounds and not node.beside_rounds:
            holder = _round_of(seen_from, holder) or f"{holder}#{state.rounds[holder]}"
        path = f"{holder}/{step_id}"
    return f"{path}@{state.visits[path]}" if state.visits.get(path) else path


def own_place(path: str, step_id: str) -> str | None:
    """The beginning of a path up to and with the step of that id, without its round; None when it is not on it."""
    taken = ""
    for segment in path.split("/"):
        taken = f"{taken}/{segment}" if taken else segment
        found = _ID.match(segment)
        if found is not None and found.group() == step_id:
            return taken[: len(taken) - len(segment)] + segment.partition("#")[0]
    return None


def _round_of(path: str, holder: str) -> str | None:
    """The holder with the round that a path is in: compensation looks back at rounds that are over."""
    if not path.startswith(f"{holder}#"):
        return None
    return path[: path.index("/", len(holder))] if "/" in path[len(holder) :] else path


def seen(state: RunState, path: str) -> dict[str, Json]:
    """What expressions see of the step at a path."""
    return _view(state, path, {})


def _view(state: RunState, path: str, kept: dict[str, Json]) -> dict[str, Json]:
    if path in kept:
        return kept[path]
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
