"""What a run's workflow is started as, whoever starts it: the API, a schedule, a batch. Pure: workflows use it."""

from typing import TypedDict

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from studio.contracts.plain import PlainText
from studio.contracts.runs import RunContext

PROJECT = SearchAttributeKey.for_keyword("StudioProject")
WORKFLOW = SearchAttributeKey.for_keyword("StudioWorkflow")
SESSION = SearchAttributeKey.for_keyword("StudioSession")
PATTERN = SearchAttributeKey.for_keyword("StudioPattern")
SEARCH_ATTRIBUTES = (PROJECT, WORKFLOW, SESSION, PATTERN)


def workflow_type(pattern: str | None) -> str:
    """`GraphWorkflow`; a run of one agent alone has no pattern."""
    return f"{(pattern or 'agent').title()}Workflow"


class StartOptions(TypedDict):
    """How the Temporal UI finds and shows it."""

    search_attributes: TypedSearchAttributes
    static_summary: str


def start_options(context: RunContext, pattern: str | None) -> StartOptions:
    named = {PROJECT: context.project_id, WORKFLOW: context.workflow_name, PATTERN: pattern or "agent"}
    if context.session_id is not None:
        named[SESSION] = context.session_id
    return {
        "search_attributes": TypedSearchAttributes([SearchAttributePair(key, value) for key, value in named.items()]),
        "static_summary": PlainText(context.workflow_name),
    }


def project_attribute(project_id: str) -> TypedSearchAttributes:
    """Of what is no run itself, but starts some."""
    return TypedSearchAttributes([SearchAttributePair(PROJECT, project_id)])
