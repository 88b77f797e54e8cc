"""What the steps of a plan use: the names in their expressions, `prev`, and the default input."""

from collections.abc import Iterable
from dataclasses import dataclass

from studio.contracts.base import Json
from studio.contracts.steps import (
    AgentStep,
    ApprovalStep,
    ConditionalBlock,
    FailStep,
    GivenStep,
    GraphBlock,
    HierarchicalBlock,
    LoopBlock,
    ParallelBlock,
    StepBase,
    TransformStep,
    WaitStep,
)
from studio.engine.plan import PlanNode
from studio.expressions import expressions_in


@dataclass(frozen=True)
class Uses:
    steps: frozenset[str] = frozenset()
    """By their ids."""
    prev: bool = False
    default_input: bool = False


def uses_of(values: Iterable[Json], *, default_input: bool = False) -> Uses:
    found = [expression for value in values for expression in expressions_in(value)]
    roots = {root for expression in found for root in expression.roots}
    steps = frozenset(step for expression in found for step in expression.steps)
    return Uses(steps, "prev" in roots, default_input)


def step_uses(node: PlanNode) -> Uses:
    """What decides whether a step runs, and with what; of a block, what governs all inside it."""
    step = node.step
    values: list[Json] = [step.when]
    default_input = False
    if isinstance(step, GivenStep) and node.body is None:
        default_input = "input" not in step.model_fields_set
        values.append(step.input)
    values += _own_values(step)
    match node.body:
        case ParallelBlock():
            values.append(node.body.for_each)
        case ConditionalBlock():
            values += [case.when for case in node.body.cases or []]
            if node.body.route is not None:
                values.append(node.body.route.input)
                default_input = "input" not in node.body.route.model_fields_set
        case HierarchicalBlock():
            values.append(node.body.input)
            default_input = "input" not in node.body.model_fields_set
        case LoopBlock():
            values += [node.body.until, node.body.condition]
        case _:
            pass
    return uses_of(values, default_input=default_input)


def _own_values(step: StepBase) -> list[Json]:
    match step:
        case AgentStep(cache=cache) if cache is not None:
            return [cache.key]
        case TransformStep():
            return [step.transform]
        case FailStep():
            return [step.fail.type, step.fail.message]
        case WaitStep():
            return [step.wait.until]
        case ApprovalStep():
            return [step.approval.message]
        case _:
            return []


def given_uses(node: PlanNode) -> Uses | None:
    """Of a block: its own input, which steps inside get by default; None when it says none."""
    step = node.step
    if not isinstance(step, GivenStep) or "input" not in step.model_fields_set:
        return None
    return uses_of([step.input])


def edge_uses(block: GraphBlock) -> list[tuple[Uses, str]]:
    """What the conditions of a graph's edges use, each with the node that its edge leads to."""
    return [(uses_of([edge.when]), edge.target) for edge in block.edges if edge.when is not True]


def output_uses(block: GraphBlock) -> Uses:
    return uses_of([block.output])
