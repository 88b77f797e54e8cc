"""From a definition and what is asked of it to the row of a run, and from the row to its workflow's request."""

from studio.contracts.base import utc_now
from studio.contracts.ids import IdPrefix, derived_span_id, new_id
from studio.contracts.runs import DEFAULT_PRIORITY, Resumption, RunKind, RunPriority, RunRequest, StartRun
from studio.contracts.spans import SpanId
from studio.db.tables import DefinitionRow, RunRow
from studio.store.runs import context_of


def new_run(kind: RunKind, definition: DefinitionRow, body: StartRun, trace_id: str) -> RunRow:
    """The row of a run that is about to be started."""
    return RunRow(
        id=new_id(IdPrefix.RUN),
        kind=kind,
        project_id=definition.project_id,
        definition_id=definition.id,
        definition_name=definition.name,
        definition_version=body.version or definition.version,
        pattern=definition.document["pattern"] if kind == "workflow" else None,
        status="queued",
        input=body.input,
        session_id=body.session_id,
        user_id=body.user_id,
        run_metadata=dict(body.metadata),
        trace_id=trace_id,
        retry_count=0,
        created_at=utc_now(),
    )


def request_of(
    row: RunRow,
    *,
    parent_span_id: SpanId | None = None,
    priority: RunPriority = DEFAULT_PRIORITY,
    resume: Resumption | None = None,
) -> RunRequest:
    """What the row does not say is given: a repeated start asks for the same thing."""
    return RunRequest(
        context=context_of(row),
        root_span_id=derived_span_id(row.id),
        parent_span_id=parent_span_id,
        input=row.input,
        metadata=row.run_metadata,
        priority=priority,
        resume=resume,
    )
