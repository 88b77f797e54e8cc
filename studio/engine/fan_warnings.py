"""Blocks that run one step for each item of a list whose length nobody said: what that may cost or hold up."""

from typing import cast

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import AnyWorkflow
from studio.contracts.steps import (
    AgentStep,
    ApprovalStep,
    HierarchicalBlock,
    LoopBlock,
    ParallelBlock,
    Step,
    WaitStep,
    WorkflowStep,
    block_in,
)
from studio.engine.findings import Findings
from studio.engine.join_checks import known_count
from studio.engine.plan import Loc, groups_of
from studio.expressions import Expression, split_template


def warn_of_fan(findings: Findings, workflow: AnyWorkflow, block: ParallelBlock, loc: Loc) -> None:
    if block.do is None or known_count(block) is not None or _is_bounded(workflow, block):
        return
    inside = _inside(block.do)
    people = next((step for step in inside if isinstance(step, ApprovalStep | WaitStep)), None)
    costly = any(isinstance(step, AgentStep | WorkflowStep) or _is_team(step) for step in inside)
    many = next((step for step in inside if isinstance(block_in(step), LoopBlock | HierarchicalBlock)), None)
    limits = workflow.limits
    if "max_concurrency" not in block.model_fields_set and (people is not None or costly):
        does = f"{people.id!r} waits in as many" if people is not None and not costly else "calls go out for as many"
        message = f"the list may be long, and {does} as {block.max_concurrency} items at once"
        hint = "write `max_concurrency`, or `maxItems` where `input_schema` describes the list"
        findings.add((*loc, "for_each"), message, "unbounded_fan", hint)
    capped = limits is not None and (limits.max_cost_usd or limits.max_tokens or limits.max_steps)
    if many is not None and costly and not capped:
        message = f"{many.id!r} makes many calls for each item of a list that may be long, and nothing limits the run"
        findings.add((*loc, "do"), message, "unlimited_calls", "write `limits` with `max_cost_usd` or `max_steps`")


def _inside(step: Step) -> list[Step]:
    found: list[Step] = [step]
    for held in found:
        found += [inner for group in groups_of(held) for inner in group.steps]
    return found


def _is_team(step: Step) -> bool:
    return isinstance(block_in(step), HierarchicalBlock)


def _is_bounded(workflow: AnyWorkflow, block: ParallelBlock) -> bool:
    """Whether the list is a field of the input that the schema bounds."""
    items: Json = block.for_each
    pieces = split_template(items) if isinstance(items, str) else []
    match pieces:
        case [Expression(path=("input", *path))]:
            held: Json = workflow.input_schema
            for part in path:
                held = _member(held, "items") if isinstance(part, int) else _member(_member(held, "properties"), part)
            return isinstance(held, dict) and "maxItems" in held
        case _:
            return False


def _member(value: Json, field: str) -> Json:
    return cast("JsonObject", value).get(field) if isinstance(value, dict) else None
