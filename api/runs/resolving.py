"""What a run carries: its definition and every agent that it names, each at one version."""

from sqlalchemy.ext.asyncio import AsyncSession

from api.definitions.checks import agent_errors, invalid, located
from studio.contracts.agents import AgentDefinition, AgentSpec
from studio.contracts.base import JsonObject
from studio.contracts.definitions import DefinitionKind, ResolvedAgent, ResolvedDefinition, WorkflowDefinition
from studio.contracts.runs import RunKind
from studio.contracts.steps import AgentStep
from studio.engine.checks import agent_references
from studio.errors import FieldError
from studio.store.definitions import find_definitions, get_version

AGENT_STEP = "agent"


class VersionGone(Exception):
    """The definition has no such version."""


async def resolve(session: AsyncSession, kind: RunKind, definition_id: str, version: int) -> ResolvedDefinition:
    """Agents are taken at their newest version. Raises `VersionGone`, and `InvalidInput` when an agent is gone."""
    found = await get_version(session, definition_id, version)
    if found is None:
        raise VersionGone
    if kind == "agent":
        return _of_agent(found.document, version)
    workflow = WorkflowDefinition.model_validate(found.document)
    refs = {ref for _, ref in agent_references(workflow)}
    rows = await find_definitions(session, "agent", refs, workflow.project_id)
    if refs - rows.keys():
        errors = await agent_errors(session, workflow)
        raise invalid(located(errors, "workflow"))
    agents = {
        ref: ResolvedAgent(name=row.name, version=row.version, spec=_spec(row.document)) for ref, row in rows.items()
    }
    return ResolvedDefinition(workflow=workflow, agents=agents)


def _of_agent(document: JsonObject, version: int) -> ResolvedDefinition:
    """A workflow of one step that hands the run's input to the agent."""
    agent = AgentDefinition.model_validate(document)
    workflow = WorkflowDefinition(
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
