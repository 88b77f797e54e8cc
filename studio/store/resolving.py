"""What a run carries: its definition and all that it names, each at one version."""

from sqlalchemy.ext.asyncio import AsyncSession

from studio.contracts.agents import AgentDefinition, AgentSpec
from studio.contracts.base import JsonObject
from studio.contracts.definitions import (
    AnyWorkflow,
    DefinitionKind,
    ResolvedAgent,
    ResolvedDefinition,
    ResolvedWorkflow,
    SequentialDefinition,
    parse_workflow,
)
from studio.contracts.runs import RunKind
from studio.contracts.steps import AgentStep
from studio.engine.checks import agent_references, workflow_references
from studio.errors import FieldError, invalid, located
from studio.store.definitions import find_definitions, get_version
from studio.store.references import reference_errors

AGENT_STEP = "agent"


class VersionGone(Exception):
    """The definition has no such version."""


async def resolve(session: AsyncSession, kind: RunKind, definition_id: str, version: int) -> ResolvedDefinition:
    """Agents and child workflows, and theirs, are taken at their newest version. Raises `VersionGone`, and
    `InvalidInput` when one of them is gone.
    """
    found = await get_version(session, definition_id, version)
    if found is None:
        raise VersionGone
    if kind == "agent":
        return _of_agent(found.document, version)
    # Given, since a field that was never set is not written into the payload, whatever is put in later.
    resolved = ResolvedDefinition(workflow=parse_workflow(found.document), agents={}, workflows={})
    pending = [resolved.workflow]
    while pending:
        pending += await _add_named(session, resolved, pending.pop())
    return resolved


async def _add_named(session: AsyncSession, resolved: ResolvedDefinition, workflow: AnyWorkflow) -> list[AnyWorkflow]:
    """What a workflow names, as far as it is not there yet. Returns the workflows among it."""
    project = workflow.project_id
    agents = {ref for _, ref in agent_references(workflow)} - resolved.agents.keys()
    children = {ref for _, ref in workflow_references(workflow)} - resolved.workflows.keys()
    rows = await find_definitions(session, "agent", agents, project)
    found = await find_definitions(session, "workflow", children, project)
    if agents - rows.keys() or any(ref not in found or found[ref].project_id != project for ref in children):
        raise invalid(located(await reference_errors(session, workflow), f"workflow {workflow.name!r}"))
    for ref, row in sorted(rows.items()):
        resolved.agents[ref] = ResolvedAgent(name=row.name, version=row.version, spec=_spec(row.document))
    added: list[AnyWorkflow] = []
    for ref, row in sorted(found.items()):
        added.append(parse_workflow(row.document))
        resolved.workflows[ref] = ResolvedWorkflow(name=row.name, version=row.version, workflow=added[-1])
    return added


def _of_agent(document: JsonObject, version: int) -> ResolvedDefinition:
    """A workflow of one step that hands the run's input to the agent."""
    agent = AgentDefinition.model_validate(document)
    workflow = SequentialDefinition(
        name=agent.name,
        project_id=agent.project_id,
        pattern="sequential",
        steps=[AgentStep(id=AGENT_STEP, agent=agent.name, input="${{ input }}")],
    )
    resolved = ResolvedAgent(name=agent.name, version=version, spec=_spec(document))
    return ResolvedDefinition(workflow=workflow, agents={agent.name: resolved})


def _spec(document: JsonObject) -> AgentSpec:
    return AgentSpec.model_validate({key: value for key, value in document.items() if key in AgentSpec.model_fields})


def unknown_version(kind: DefinitionKind | RunKind, name: str, version: int) -> FieldError:
    message = f"the {kind} {name!r} has no version {version}"
    return FieldError(loc=["body", "version"], msg=message, type="unknown_version")
