"""What Temporal knows a run by: search attributes, priority, and the words that its UI shows. Names only, no data."""

from temporalio.common import Priority, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from studio.contracts.plain import PlainText
from studio.contracts.runs import RunContext, RunRequest
from workflows import names


def search_attributes(run: RunContext, workflow: str, pattern: str | None) -> TypedSearchAttributes:
    """Of a run, or of a child workflow, which has the run's project and session and its own name and pattern."""
    named = {names.PROJECT: run.project_id, names.WORKFLOW: workflow, names.PATTERN: pattern or "agent"}
    if run.session_id is not None:
        named[names.SESSION] = run.session_id
    keys = ((SearchAttributeKey.for_keyword(name), value) for name, value in named.items())
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in keys])


def priority(request: RunRequest) -> Priority:
    """Its activities and child workflows inherit it. Projects share the workers evenly within a priority."""
    return Priority(priority_key=request.priority, fairness_key=request.context.project_id)


def static_details(run: RunContext, workflow: str, version: int, step: str | None = None) -> PlainText:
    """Markdown. `step` is the path that a child workflow carries out."""
    lines = [
        f"- workflow `{workflow}`, version {version}",
        f"- project `{run.project_id}`",
        f"- run `{run.run_id}`: `GET /api/v1/runs/{run.run_id}`",
    ]
    if step is not None:
        lines.append(f"- step `{step}`")
    return PlainText("\n".join(lines))
