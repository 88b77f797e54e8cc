"""Agents, workflows and schedules: stored, changed, listed, deleted, all alike. The caller owns the transaction."""

import asyncio
from collections.abc import Sequence
from typing import Literal

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api.definitions.checks import definition_errors
from api.definitions.merge_patch import merge_patch
from studio.contracts.base import JsonObject, utc_now
from studio.contracts.definitions import (
    SHAPES,
    AnyDefinition,
    DefinitionKind,
    WorkflowDefinition,
    parse_definition,
    parse_workflow,
)
from studio.contracts.reports import Graph
from studio.contracts.schedules import ScheduleDefinition
from studio.db.engine import WriteSession
from studio.db.tables import DefinitionRow, DefinitionVersionRow
from studio.engine.checks import agent_references, workflow_references
from studio.engine.drawing import workflow_graph
from studio.errors import Conflict, FieldError, NotFound, invalid, located
from studio.store import definitions as store
from studio.store.references import reference_errors, target_errors
from studio.web.field_errors import invalid_input
from studio.web.preconditions import check_if_match, etag_of

SHOWN_USERS = 10


def definition_etag(row: DefinitionRow) -> str:
    """The id is in it, so that a definition made anew under the same name is another."""
    return etag_of(f"{row.id}.{row.version}")


async def get_definition(
    session: AsyncSession, kind: DefinitionKind, ref: str, project_id: str, *, lock: Literal["update"] | None = None
) -> DefinitionRow:
    return _found(await store.find_definition(session, kind, ref, project_id, lock=lock), kind, ref, project_id)


async def get_writable(session: WriteSession, kind: DefinitionKind, ref: str, project_id: str) -> DefinitionRow:
    """One that is to be replaced or deleted: also when its document is no JSON, which is emptied then."""
    try:
        return await get_definition(session, kind, ref, project_id)
    except ValueError:
        await store.empty_document(session, kind, ref, project_id)
        return await get_definition(session, kind, ref, project_id)


def _found(row: DefinitionRow | None, kind: DefinitionKind, ref: str, project_id: str) -> DefinitionRow:
    if row is None:
        raise NotFound(f"There is no {kind} {ref!r} in project {project_id!r}.")
    return row


async def create_definition(session: WriteSession, definition: AnyDefinition, actor: str) -> DefinitionRow:
    await check_definition(session, definition)
    try:
        return await store.insert_definition(session, definition, actor, utc_now())
    except IntegrityError as error:
        raise duplicate(definition) from error


def duplicate(definition: AnyDefinition) -> Conflict:
    kind, name = definition.kind, definition.name
    return Conflict(f"There is already a {kind} {name!r} in project {definition.project_id!r}. Change it with PUT.")


async def replace_definition(
    session: WriteSession,
    ref: str,
    project_id: str,
    definition: AnyDefinition,
    *,
    if_match: str | None,
    actor: str,
) -> DefinitionRow:
    """A new version, unless the document stays what it is."""
    kind = definition.kind
    row = await get_writable(session, kind, ref, project_id)
    if "project_id" not in definition.model_fields_set:
        definition = definition.model_copy(update={"project_id": row.project_id})
    await check_definition(session, definition)
    row = await _locked(session, kind, ref, project_id, if_match)
    return await _store(session, row, definition, actor)


async def patch_definition(
    session: WriteSession,
    kind: DefinitionKind,
    ref: str,
    project_id: str,
    patch: JsonObject,
    *,
    if_match: str | None,
    actor: str,
) -> DefinitionRow:
    """JSON merge patch (RFC 7396) on the stored document."""
    while True:
        row = await get_definition(session, kind, ref, project_id)
        version = row.version
        definition = _patched(kind, row.document, patch)
        await check_definition(session, definition)  # locks agents, which come before workflows everywhere
        row = await _locked(session, kind, ref, project_id, if_match)
        if row.version == version:
            return await _store(session, row, definition, actor)


def _patched(kind: DefinitionKind, document: JsonObject, patch: JsonObject) -> AnyDefinition:
    try:
        return parse_definition(kind, merge_patch(document, patch))
    except ValidationError as error:
        raise invalid_input(error, prefix=["body"], shape=SHAPES[kind]) from None


async def _locked(
    session: WriteSession, kind: DefinitionKind, ref: str, project_id: str, if_match: str | None
) -> DefinitionRow:
    row = _found(await store.find_definition(session, kind, ref, project_id, lock="update"), kind, ref, project_id)
    check_if_match(if_match, definition_etag(row))
    return row


async def _store(session: WriteSession, row: DefinitionRow, definition: AnyDefinition, actor: str) -> DefinitionRow:
    fixed = {"name": row.name, "project_id": row.project_id}
    moved = [field for field, value in fixed.items() if getattr(definition, field) != value]
    if moved:
        message = "cannot be changed: others refer to it. Create a new one and delete this one"
        raise invalid([FieldError(loc=["body", field], msg=message, type="immutable") for field in moved])
    document = store.document_of(definition)
    if document != row.document:
        await store.update_definition(session, row, document, actor, utc_now())
    return row


async def check_definition(session: WriteSession, definition: AnyDefinition) -> None:
    """Refuse what would fail later. What is named stays locked, so that nobody deletes it meanwhile."""
    errors = await asyncio.to_thread(definition_errors, definition)
    if isinstance(definition, WorkflowDefinition):
        errors += await reference_errors(session, definition, lock="share")
    elif isinstance(definition, ScheduleDefinition):
        errors += await target_errors(session, definition, lock="share")
    if errors:
        raise invalid(located(errors, "body"))


async def delete_definition(
    session: WriteSession, kind: DefinitionKind, ref: str, project_id: str, *, if_match: str | None
) -> None:
    await get_writable(session, kind, ref, project_id)
    row = await _locked(session, kind, ref, project_id, if_match)
    await _check_unused(session, row)
    await store.delete_definition(session, row)


async def _check_unused(session: WriteSession, used: DefinitionRow) -> None:
    if used.kind == "schedule":
        return  # nothing names one
    candidates = await store.definitions_mentioning(session, [used.name, used.id])
    users = [row for row in candidates if row.id != used.id and _names(row, used)]
    for kind in ("workflow", "schedule"):
        names = [row.name for row in users if row.kind == kind]
        if names:
            shown = ", ".join(map(repr, names[:SHOWN_USERS])) + (", …" if len(names) > SHOWN_USERS else "")
            by = f"the {kind} {shown}" if len(names) == 1 else f"{len(names)} {kind}s: {shown}"
            message = f"The {used.kind} {used.name!r} is used by {by}. Change or delete what uses it first."
            raise Conflict(message, extra={f"{kind}s": names})


def _names(user: DefinitionRow, used: DefinitionRow) -> bool:
    refs = {user.document.get(used.kind)} if user.kind == "schedule" else _references(user, used.kind)
    return used.id in refs or (used.name in refs and user.project_id == used.project_id)


def _references(workflow: DefinitionRow, kind: str) -> set[str]:
    definition = parse_workflow(workflow.document)
    references = agent_references(definition) if kind == "agent" else workflow_references(definition)
    return {ref for _, ref in references}


async def get_definition_version(
    session: AsyncSession, kind: DefinitionKind, ref: str, project_id: str, version: int
) -> tuple[DefinitionRow, DefinitionVersionRow]:
    row = await get_definition(session, kind, ref, project_id)
    found = await store.get_version(session, row.id, version)
    if found is None:
        raise NotFound(f"The {kind} {row.name!r} has no version {version}; its newest is {row.version}.")
    return row, found


async def get_workflow_graph(session: AsyncSession, ref: str, project_id: str, version: int | None) -> Graph:
    """Of the newest version when none is asked for."""
    if version is None:
        document = (await get_definition(session, "workflow", ref, project_id)).document
    else:
        document = (await get_definition_version(session, "workflow", ref, project_id, version))[1].document
    return Graph.model_validate(workflow_graph(parse_workflow(document)))


async def list_definition_versions(
    session: AsyncSession, kind: DefinitionKind, ref: str, project_id: str, *, limit: int, before: int | None
) -> tuple[DefinitionRow, Sequence[DefinitionVersionRow]]:
    row = await get_definition(session, kind, ref, project_id)
    return row, await store.list_versions(session, row.id, limit=limit, before=before)
