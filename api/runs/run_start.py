"""How a run is started on Temporal, by whoever starts it: a request, a schedule, a batch, a retry."""

from dataclasses import dataclass

from temporalio.common import Priority, TypedSearchAttributes

from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.plain import PlainText
from studio.contracts.runs import RunRequest
from workflows import labels
from workflows.names import workflow_type


@dataclass(frozen=True)
class RunStart:
    workflow: str
    """The workflow type."""
    args: tuple[RunRequest, ResolvedDefinition, None]
    id: str
    search_attributes: TypedSearchAttributes
    priority: Priority
    static_summary: PlainText
    static_details: PlainText


def run_start(request: RunRequest, definition: ResolvedDefinition, pattern: str | None) -> RunStart:
    """`pattern` is None for a run of one agent alone."""
    context = request.context
    name, version = context.workflow_name, context.workflow_version
    return RunStart(
        workflow=workflow_type(pattern),
        args=(request, definition, None),
        id=context.run_id,
        search_attributes=labels.search_attributes(context, name, pattern),
        priority=labels.priority(request),
        static_summary=PlainText(name),
        static_details=labels.static_details(context, name, version),
    )
