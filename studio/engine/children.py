"""Child workflows: whether one may be started."""

from studio.contracts.definitions import ResolvedDefinition, ResolvedWorkflow
from studio.contracts.runs import RunError
from studio.engine.state import RunChild
from studio.json_schema import check_value

MAX_DEPTH = 25
"""Children inside children; a workflow that runs itself must end before."""


def child_of(definition: ResolvedDefinition, command: RunChild, depth: int) -> ResolvedWorkflow | RunError:
    """What is to be run, or why it cannot be. `depth` is 0 for a run's own child workflows."""
    child = definition.workflows[command.workflow]
    if depth >= MAX_DEPTH:
        message = f"The workflow {child.name!r} would be the {depth + 1}th inside another; {MAX_DEPTH} are allowed."
        return RunError(type="limit_exceeded", message=message)
    wrong = check_value(command.input, child.workflow.input_schema or {})
    if wrong:
        place = "".join(f"/{part}" for part in wrong[0].loc)
        at = f" at {place}" if place else ""
        message = f"The input does not fit the input_schema of the workflow {child.name!r}{at}: {wrong[0].msg}"
        return RunError(type="schema_mismatch", message=message)
    return child


def definition_of(child: ResolvedWorkflow, definition: ResolvedDefinition) -> ResolvedDefinition:
    """What the child carries: it finds there what it, too, names."""
    return definition.model_copy(update={"workflow": child.workflow})
