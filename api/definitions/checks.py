"""Whether a definition may be stored: what it says of itself, and what it names in the store."""

from studio.contracts.agents import AgentDefinition
from studio.contracts.base import utc_now
from studio.contracts.definitions import AnyDefinition
from studio.contracts.ids import is_id
from studio.contracts.schedules import ScheduleDefinition
from studio.engine.agent_checks import agent_warnings
from studio.engine.checks import check_agent, check_workflow
from studio.engine.misplaced import misplaced_expressions
from studio.engine.warnings import workflow_warnings
from studio.errors import FieldError
from studio.json_schema import check_schema
from studio.schemas.meter import Meter
from studio.store.definitions import PREFIXES


def definition_errors(definition: AnyDefinition, meter: Meter | None = None) -> list[FieldError]:
    """What can be known without the store; `loc` is relative to the document. Several may share a meter of what
    checking their schemas may cost.
    """
    meter = meter or Meter()
    found: list[FieldError] = []
    if is_id(definition.name, PREFIXES[definition.kind]):
        message = "a name must not have the form of an id, or a path could mean either"
        found.append(FieldError(loc=["name"], msg=message, type="name_like_id"))
    if isinstance(definition, AgentDefinition | ScheduleDefinition):
        found += misplaced_expressions(definition.model_dump(mode="json", by_alias=True))
        return found + check_agent(definition) if isinstance(definition, AgentDefinition) else found
    if definition.input_schema is not None:
        found += check_schema(definition.input_schema, ["input_schema"], meter=meter)
    return found + check_workflow(definition, meter)


def definition_warnings(definition: AnyDefinition) -> list[FieldError]:
    """What is odd but works, in a definition without errors; `loc` is relative to the document."""
    if isinstance(definition, AgentDefinition):
        return agent_warnings(definition)
    if isinstance(definition, ScheduleDefinition):
        is_over = definition.end_at is not None and definition.end_at <= utc_now()
        over = FieldError(loc=["end_at"], msg="it never fires again: `end_at` is past", type="schedule_over")
        return [over] if is_over else []
    return workflow_warnings(definition)
