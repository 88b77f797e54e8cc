"""Lists of definitions and of their versions, a page at a time."""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from api.definitions.service import list_definition_versions
from studio.contracts.base import JsonObject, Page, Wire
from studio.contracts.definitions import DefinitionKind
from studio.contracts.resources import UnreadableDefinition
from studio.db.tables import DefinitionRow, DefinitionVersionRow
from studio.errors import InvalidInput
from studio.store.definitions import list_definitions
from studio.store.reading import WHY, UnreadableRow, shown
from studio.web.paging import decode_cursor, encode_cursor

StoredT = TypeVar("StoredT", bound=Wire)


async def definition_page(
    session: AsyncSession,
    kind: DefinitionKind,
    shape: type[StoredT],
    *,
    limit: int,
    cursor: str | None,
    project_id: str | None,
    q: str | None,
) -> Page[StoredT | UnreadableDefinition]:
    """Newest first."""
    rows, more = await definition_rows(session, kind, limit=limit, cursor=cursor, project_id=project_id, q=q)
    items = [shown(row, lambda found: shape.model_validate(resource(found)), unreadable_definition) for row in rows]
    return Page(items=items, next_cursor=more)


async def definition_rows(
    session: AsyncSession,
    kind: DefinitionKind,
    *,
    limit: int,
    cursor: str | None,
    project_id: str | None,
    q: str | None,
) -> tuple[Sequence[DefinitionRow | UnreadableRow], str | None]:
    """The rows of one page, newest first, and the next page's cursor."""
    before = None if cursor is None else str(decode_cursor(cursor, 1)[0])
    rows = await list_definitions(session, [kind], limit=limit + 1, project_id=project_id, q=q, before=before)
    more = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return rows[:limit], more


def unreadable_definition(row: UnreadableRow) -> UnreadableDefinition:
    return UnreadableDefinition.model_validate({**row.columns, "unreadable": WHY})


async def version_page(
    session: AsyncSession,
    kind: DefinitionKind,
    ref: str,
    project_id: str,
    *,
    limit: int,
    cursor: str | None,
) -> tuple[list[JsonObject], str | None]:
    before = None if cursor is None else decode_cursor(cursor, 1)[0]
    if isinstance(before, str):
        raise InvalidInput("The cursor is not one of this list; use `next_cursor` as it came.")
    row, versions = await list_definition_versions(session, kind, ref, project_id, limit=limit + 1, before=before)
    more = encode_cursor(versions[limit - 1].version) if len(versions) > limit else None
    return [version_resource(row, version) for version in versions[:limit]], more


def resource(row: DefinitionRow) -> JsonObject:
    """The fields of `StoredAgent`, `StoredWorkflow` or `StoredSchedule`."""
    added = {"id": row.id, "version": row.version, "created_at": row.created_at, "updated_at": row.updated_at}
    return {"description": "", **row.document, **added}


def version_resource(row: DefinitionRow, version: DefinitionVersionRow) -> JsonObject:
    """The fields of `AgentVersion`, `WorkflowVersion` or `ScheduleVersion`."""
    added = {"id": row.id, "version": version.version, "created_at": version.created_at, "actor": version.actor}
    return {"description": "", **version.document, **added}
