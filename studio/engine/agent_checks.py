"""Static checks of an agent: its templates."""

from studio.contracts.agents import AgentSpec
from studio.engine.plan import Loc
from studio.errors import FieldError, InvalidInput
from studio.templates import compile_template


def check_agent(agent: AgentSpec, loc: Loc = ()) -> list[FieldError]:
    """Jinja2 syntax of the agent's templates."""
    found: list[FieldError] = []
    for field, template in (("instructions", agent.instructions), ("message", agent.message)):
        if template is not None:
            try:
                compile_template(template)
            except InvalidInput as error:
                found.append(FieldError(loc=[*loc, field], msg=error.detail, type="template_syntax"))
    return found
