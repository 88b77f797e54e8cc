"""What Temporal knows a run's workflow by, whoever starts it: the API, a schedule, a batch, a workflow around it.

Names only, no data: all of it stays readable. Pure, so that workflows use it.
"""

from typing import TypedDict

from temporalio.common import Priority, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from studio.contracts.plain import PlainText
from studio.contracts.runs import RunContext, RunRequest
from studio.search_attributes import PATTERN, PROJECT, SESSION, WORKFLOW


def workflow_type(pattern: str | None) -> str:
    """`GraphWorkflow`; a run of one agent alone has no pattern."""
    return f"{(pattern or 'agent').title()}Workflow"


class StartOptions(TypedDict):
    """How the Temporal UI finds and shows it, and when its turn comes."""

    search_attributes: TypedSearchAttributes
    priority: Priority
    static_summary: str
    static_details: str


def start_options(request: RunRequest, pattern: str | None) -> StartOptions:
    """Of a run. Its activities and child workflows inherit the priority; within one, projects take turns."""
    run = request.context
    return {
        "search_attributes": search_attributes(run, run.workflow_name, pattern),
        "priority": Priority(priority_key=request.priority, fairness_key=run.project_id),
        "static_summary": PlainText(run.workflow_name),
        "static_details": static_details(run, run.workflow_name, run.workflow_version),
    }


def search_attributes(run: RunContext, workflow: str, pattern: str | None) -> TypedSearchAttributes:
    """Of a run, or of a child workflow, which has the run's project and session and its own name and pattern."""
    named = {PROJECT: run.project_id, WORKFLOW: workflow, PATTERN: pattern or "agent"}
    if run.session_id is not None:
        named[SESSION] = run.session_id
    return _keywords(named)


def project_attribute(project_id: str) -> TypedSearchAttributes:
    """Of what is no run itself, but starts some."""
    return _keywords({PROJECT: project_id})


def _keywords(named: dict[str, str]) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [SearchAttributePair(SearchAttributeKey.for_keyword(name), value) for name, value in named.items()]
    )


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
