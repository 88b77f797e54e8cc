"""Whether a definition may be stored: what it says of itself, and what it names in the store."""

import difflib
from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from studio.contracts.agents import AgentDefinition
from studio.contracts.definitions import AnyDefinition, AnyWorkflow, DefinitionKind
from studio.contracts.ids import is_id
from studio.engine.checks import agent_references, check_agent, check_workflow, workflow_references
from studio.engine.warnings import workflow_warnings
from studio.errors import FieldError, InvalidInput
from studio.json_schema import check_schema
from studio.store.definitions import PREFIXES, Lock, find_definitions, list_names

SUGGEST_FROM = 500


def definition_errors(definition: AnyDefinition) -> list[FieldError]:
    """What can be known without the store; `loc` is relative to the document."""
    found: list[FieldError] = []
    if is_id(definition.name, PREFIXES[definition.kind]):
        message = "a name must not have the form of an id, or a path could mean either"
        found.append(FieldError(loc=["name"], msg=message, type="name_like_id"))
    if isinstance(definition, AgentDefinition):
        return found + check_agent(definition)
    if definition.input_schema is not None:
        found += check_schema(definition.input_schema, ["input_schema"])
    return found + check_workflow(definition)


def definition_warnings(definition: AnyDefinition) -> list[FieldError]:
    """What is odd but works, in a definition without errors; `loc` is relative to the document."""
    return [] if isinstance(definition, AgentDefinition) else workflow_warnings(definition)


async def reference_errors(
    session: AsyncSession,
    workflow: AnyWorkflow,
    *,
    also: Collection[tuple[DefinitionKind, str]] = (),
    lock: Lock | None = None,
) -> list[FieldError]:
    """Agents and workflows that the workflow names and that are neither stored nor in `also`. A workflow may name
    itself, and only workflows of its own project. `lock` is for the agents: two workflows that name each other and are
    changed at once would wait for each other.
    """
    beside: set[tuple[DefinitionKind, str]] = {*also, ("workflow", workflow.name)}
    errors = await _missing(session, workflow, "agent", agent_references(workflow), beside, lock)
    return errors + await _missing(session, workflow, "workflow", workflow_references(workflow), beside, None)


async def _missing(
    session: AsyncSession,
    workflow: AnyWorkflow,
    kind: DefinitionKind,
    references: Sequence[tuple[list[str | int], str]],
    beside: Collection[tuple[DefinitionKind, str]],
    lock: Lock | None,
) -> list[FieldError]:
    refs = {ref for _, ref in references if (kind, ref) not in beside}
    stored = await find_definitions(session, kind, refs, workflow.project_id, lock=lock)
    if kind == "workflow":
        stored = {ref: row for ref, row in stored.items() if row.project_id == workflow.project_id}
    missing = refs - stored.keys()
    if not missing:
        return []
    names = await list_names(session, kind, workflow.project_id, SUGGEST_FROM)
    names = [*names, *(name for other, name in beside if other == kind)]
    return [
        FieldError(
            loc=loc,
            msg=f"there is no {kind} {ref!r} in project {workflow.project_id!r}",
            type=f"unknown_{kind}",
            hint=_suggestion(kind, ref, names),
        )
        for loc, ref in references
        if ref in missing
    ]


def _suggestion(kind: DefinitionKind, ref: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(ref, names, 1)
    return f"did you mean {close[0]!r}?" if close else f"store the {kind} first, or apply both together"


def invalid(errors: Sequence[FieldError]) -> InvalidInput:
    """One error out of many; the detail alone says where the first one is."""
    first = errors[0]
    line = f"line {first.line}, column {first.column}: " if first.line is not None else ""
    place = ".".join(map(str, first.loc))
    hint = f" ({first.hint})" if first.hint else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return InvalidInput(f"{line}{place}: {first.msg}{hint}{more}", errors=errors)


def located(errors: Sequence[FieldError], *prefix: str | int) -> list[FieldError]:
    """The same errors with their places counted from further out."""
    return [error.model_copy(update={"loc": [*prefix, *error.loc]}) for error in errors]
