"""Static checks of a definition when it is stored: everything that would fail later and can be known now."""

from studio.contracts.definitions import AnyWorkflow
from studio.contracts.steps import AgentStep, WorkflowStep, block_in
from studio.engine.agent_checks import check_agent
from studio.engine.catch_checks import catch_errors
from studio.engine.findings import MAX_FINDINGS
from studio.engine.plan import agent_places, kind_of, walk
from studio.engine.scope_checks import ScopeCheck
from studio.errors import FieldError
from studio.schemas.meter import Meter

__all__ = ["agent_references", "check_agent", "check_workflow", "workflow_references"]


def check_workflow(workflow: AnyWorkflow, meter: Meter | None = None) -> list[FieldError]:
    """What would fail later: ids used twice, expressions that cannot be read or whose types do not go together,
    references to steps that do not exist or cannot have finished, graphs and joins that never come to an end.

    The first 100 findings. `loc` is relative to the document's root. Whether agents exist is the store's to say: see
    `agent_references`. What is odd but works is `warnings.workflow_warnings`'s. The meter
    is for the checks of its schemas.
    """
    return [*ScopeCheck(workflow, meter or Meter()).run(), *catch_errors(workflow)][:MAX_FINDINGS]


def agent_references(workflow: AnyWorkflow) -> list[tuple[list[str | int], str]]:
    """Every agent that a step names, with its place."""
    found: list[tuple[list[str | int], str]] = [
        (list(place), use) for place, use in agent_places(workflow) if isinstance(use, str)
    ]
    for loc, step in walk(workflow):
        if isinstance(step, AgentStep) and isinstance(step.agent, str):
            found.append(([*loc, "agent"], step.agent))
        block = block_in(step)
        for place, use in agent_places(block) if block is not None else ():
            if isinstance(use, str):
                found.append(([*loc, kind_of(step), *place], use))
    return found


def workflow_references(workflow: AnyWorkflow) -> list[tuple[list[str | int], str]]:
    """Every workflow that a step runs as a child, with its place."""
    return [([*loc, "workflow"], step.workflow) for loc, step in walk(workflow) if isinstance(step, WorkflowStep)]
