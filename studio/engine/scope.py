"""What an expression sees from where it stands: which of a step's rounds or items a name means, and its value.

A path is a step's ids from outside in, parted by `/`: `research/answer[2]` is the third item of a map,
`refine#3/critic` a step of a loop's fourth round.
"""

import re
from collections.abc import Callable, Sequence

from studio.contracts.base import Json
from studio.contracts.runs import RunError, StepRun, StepStatus, block_of
from studio.contracts.steps import ErrorType, GivenStep, HierarchicalBlock, LoopBlock, Route
from studio.engine.frames import Frame
from studio.engine.limits import measure
from studio.engine.plan import FINALLY, ROOT, Plan
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
        raise UnusableError("payload_too_large" if problem.is_too_large else "expression_error", problem.message)
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
            outputs = {plan_id(before): _view(plan, state, before, kept)["output"] for before in frame.before}
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
        scope["prev"] = None if before is None else _view(plan, state, before, kept)
    if named:
        known = sorted(named & plan.nodes.keys())
        scope["steps"] = {step: _named(plan, state, step, path, kept) for step in known}
    return scope


def _named(plan: Plan, state: RunState, step_id: str, seen_from: str, kept: dict[str, Json]) -> Json:
    """What a step's id means, seen from a path. In a node of a cycle, what has not ended in the visit under way, the
    node itself among it, means that of the visit before.
    """
    path = locate(plan, state, step_id, seen_from)
    is_own = own_place(seen_from, step_id) is not None and not _undoes(plan, seen_from, path)
    if path not in kept and (is_own or _status(plan, state, path) == "pending"):
        visit = visit_around(plan, path if is_own else seen_from, step_id)
        if visit is not None:
            before = visit_before(visit)
            if before is not None:
                path = before if plan_id(visit) == step_id else locate(plan, state, step_id, before)
            elif is_own:
                return _unreached("skipped")
    return _view(plan, state, path, kept)


def _undoes(plan: Plan, path: str, undone: str) -> bool:
    """Whether the step at a path belongs to what undoes the other one, or a step inside it."""
    nodes = [plan.nodes.get(plan_id(segment)) for segment in path[len(undone) + 1 :].split("/")]
    return any(node is not None and node.group.endswith("~") for node in nodes)


def visit_around(plan: Plan, path: str, step_id: str) -> str | None:
    """The innermost visit of a node in a cycle that a path is in and that the step belongs to, or is."""
    holders = {step_id}
    at = step_id
    while at != ROOT:
        at = plan.nodes[at].owner
        holders.add(at)
    at = path
    while at != ROOT:
        node_id = plan_id(at)
        if node_id in holders and plan.is_in_cycle(node_id):
            return at
        at = block_of(at)
    return None


def visit_before(visit: str) -> str | None:
    """The path of the node's visit before one; None before the first."""
    base, _, number = visit.rpartition("@")
    if not base or "/" in number:
        return None
    return base if number == "1" else f"{base}@{int(number) - 1}"


def locate(plan: Plan, state: RunState, step_id: str, seen_from: str) -> str:
    """The path that a step's id means, seen from a path: the same visit, round and item, or else the latest."""
    own = own_place(seen_from, step_id)
    if own is not None:
        return own
    node = plan.nodes[step_id]
    path = step_id
    if node.owner != ROOT:
        holder = locate(plan, state, node.owner, seen_from)
        if isinstance(plan.nodes[node.owner].body, LoopBlock) and not node.beside_rounds:
            holder = _round_of(seen_from, holder) or f"{holder}#{state.rounds.get(holder, 0)}"
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
    return _shown(state.steps[path])


def is_out_of_reach(plan: Plan, state: RunState, path: str) -> bool:
    """Whether a step that has not begun cannot begin any more: what holds it is over, or took another way."""
    at = path
    while (around := block_of(at)) != ROOT:
        group = plan.nodes[plan_id(at)].group
        frame, held = state.frames.get(around), state.steps.get(around)
        if frame is not None:
            is_elsewhere = frame.group is not None and group != frame.group
            return is_elsewhere and (frame.handling or "!" not in group)
        if held is not None and held.status != "pending":
            return True
        at = around
    return state.phase != "running" and plan.nodes[plan_id(at)].group != FINALLY


def _status(plan: Plan, state: RunState, path: str) -> StepStatus:
    step = state.steps.get(path)
    if step is not None and (step.status != "pending" or path in state.frames):
        return step.status
    return "skipped" if is_out_of_reach(plan, state, path) else "pending"


def _unreached(status: StepStatus) -> dict[str, Json]:
    return {"output": None, "status": status, "error": None}


def _view(plan: Plan, state: RunState, path: str, kept: dict[str, Json]) -> Json:
    if path in kept:
        return kept[path]
    step, status = state.steps.get(path), _status(plan, state, path)
    return _unreached(status) if step is None or step.status != status else _shown(step)


def _shown(step: StepRun) -> dict[str, Json]:
    view: dict[str, Json] = {
        "output": step.output,
        "status": step.status,
        "error": step.error.model_dump() if step.error else None,
    }
    if step.errors is not None:
        view["errors"] = [error.model_dump() for error in step.errors]
    return view
