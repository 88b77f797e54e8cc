"""What a definition names in the store, and what of it is not there."""

import difflib
from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from studio.contracts.definitions import AnyWorkflow, DefinitionKind
from studio.engine.checks import agent_references, workflow_references
from studio.errors import FieldError
from studio.store.definitions import Lock, find_definitions, list_names

SUGGEST_FROM = 500


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
