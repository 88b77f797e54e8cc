"""Agents, workflows and schedules in SQL: the newest version of each, and every version ever written."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import Select, Text, and_, delete, or_, select, text, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.asyncio import AsyncSession

from studio.contracts.base import JsonObject
from studio.contracts.definitions import AnyDefinition, DefinitionKind
from studio.contracts.ids import IdPrefix, is_id, new_id
from studio.db.engine import WriteSession
from studio.db.tables import DefinitionRow, DefinitionVersionRow
from studio.store.reading import UnreadableRow, read_page

Lock = Literal["share", "update"]
"""Held until the transaction ends; on SQLite a write transaction is alone anyway."""

PREFIXES: dict[DefinitionKind, IdPrefix] = {
    "agent": IdPrefix.AGENT,
    "workflow": IdPrefix.WORKFLOW,
    "schedule": IdPrefix.SCHEDULE,
}
APPLY_LOCK = 0x57D11
"""PostgreSQL lock under which one `apply` writes at a time."""
_FIRST_KEYS = ("kind", "name", "project_id", "description")


def document_of(definition: AnyDefinition) -> JsonObject:
    """The definition as it was given: defaults stay out, `kind`, `name` and `project_id` are always there."""
    given: JsonObject = definition.model_dump(mode="json", exclude_unset=True)
    given |= {"kind": definition.kind, "name": definition.name, "project_id": definition.project_id}
    first = {key: given.pop(key) for key in _FIRST_KEYS if key in given}
    return first | given


async def find_definition(
    session: AsyncSession, kind: DefinitionKind, ref: str, project_id: str, *, lock: Lock | None = None
) -> DefinitionRow | None:
    """By id, or by name within the project."""
    query = select(DefinitionRow).where(DefinitionRow.kind == kind)
    if is_id(ref, PREFIXES[kind]):
        query = query.where(DefinitionRow.id == ref)
    else:
        query = query.where(DefinitionRow.name == ref, DefinitionRow.project_id == project_id)
    return (await session.scalars(_locked(query, lock))).one_or_none()


async def find_definitions(
    session: AsyncSession,
    kind: DefinitionKind,
    refs: Collection[str],
    project_id: str,
    *,
    lock: Lock | None = None,
) -> dict[str, DefinitionRow]:
    """Those that exist, by the reference given."""
    if not refs:
        return {}
    named = (DefinitionRow.project_id == project_id) & DefinitionRow.name.in_(refs)
    query = select(DefinitionRow).where(DefinitionRow.kind == kind, or_(named, DefinitionRow.id.in_(refs)))
    rows = (await session.scalars(_locked(query.order_by(DefinitionRow.id), lock))).all()
    by_id = {row.id: row for row in rows}
    by_name = {row.name: row for row in rows if row.project_id == project_id}
    found = {ref: by_id.get(ref) or by_name.get(ref) for ref in refs}
    return {ref: row for ref, row in found.items() if row is not None}


def _locked(query: Select[DefinitionRow], lock: Lock | None) -> Select[DefinitionRow]:
    if lock is None:
        return query
    return query.with_for_update(read=lock == "share").execution_options(populate_existing=True)


async def lock_for_apply(session: WriteSession) -> None:
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": APPLY_LOCK})


async def list_definitions(
    session: AsyncSession,
    kinds: Collection[DefinitionKind],
    *,
    limit: int | None = None,
    project_id: str | None = None,
    name: str | None = None,
    q: str | None = None,
    before: str | None = None,
) -> Sequence[DefinitionRow | UnreadableRow]:
    """Newest first. `q` is looked for in names and descriptions; `before` is the id after which the page begins."""
    query = select(DefinitionRow).where(DefinitionRow.kind.in_(kinds)).order_by(DefinitionRow.id.desc()).limit(limit)
    if project_id is not None:
        query = query.where(DefinitionRow.project_id == project_id)
    if name is not None:
        query = query.where(DefinitionRow.name == name)
    if q is not None:
        description = DefinitionRow.document["description"].as_string()
        found = (DefinitionRow.name.icontains(q, autoescape=True), description.icontains(q, autoescape=True))
        query = query.where(or_(*found))
    if before is not None:
        query = query.where(DefinitionRow.id < before)
    return await read_page(session, query, DefinitionRow)


async def list_names(session: AsyncSession, kind: DefinitionKind, project_id: str, limit: int) -> Sequence[str]:
    query = select(DefinitionRow.name).where(DefinitionRow.kind == kind, DefinitionRow.project_id == project_id)
    return (await session.scalars(query.limit(limit))).all()


async def definitions_mentioning(session: AsyncSession, texts: Collection[str]) -> Sequence[DefinitionRow]:
    """Workflows and schedules whose document holds one of the texts as a whole JSON string anywhere: a superset to look
    through.
    """
    document = sql_cast(DefinitionRow.document, Text)
    found = [document.contains(f'"{text}"', autoescape=True) for text in texts]
    naming = DefinitionRow.kind.in_(["workflow", "schedule"])
    query = select(DefinitionRow).where(naming, or_(*found)).order_by(DefinitionRow.id)
    return [row for row in await read_page(session, query, DefinitionRow) if isinstance(row, DefinitionRow)]


async def insert_definition(
    session: WriteSession, definition: AnyDefinition, actor: str, now: datetime, source: str | None = None
) -> DefinitionRow:
    """Raises `IntegrityError` when the name is taken."""
    row = DefinitionRow(
        id=new_id(PREFIXES[definition.kind]),
        kind=definition.kind,
        project_id=definition.project_id,
        name=definition.name,
        version=1,
        document=document_of(definition),
        source=source,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    await session.flush()
    await _insert_version(session, row, actor)
    return row


async def empty_document(session: WriteSession, kind: DefinitionKind, ref: str, project_id: str) -> None:
    """Of a row whose document cannot be read."""
    named = and_(DefinitionRow.name == ref, DefinitionRow.project_id == project_id)
    found = (DefinitionRow.kind == kind, or_(DefinitionRow.id == ref, named))
    await session.execute(update(DefinitionRow).where(*found).values(document={}))


async def update_definition(
    session: WriteSession,
    row: DefinitionRow,
    document: JsonObject,
    actor: str,
    now: datetime,
    source: str | None = None,
) -> None:
    """A new version. The row must be locked."""
    row.version += 1
    row.document = document
    row.source = source
    row.updated_at = now
    await _insert_version(session, row, actor)


async def _insert_version(session: WriteSession, row: DefinitionRow, actor: str) -> None:
    version = DefinitionVersionRow(
        definition_id=row.id, version=row.version, document=row.document, actor=actor, created_at=row.updated_at
    )
    session.add(version)
    await session.flush()


async def delete_definition(session: WriteSession, row: DefinitionRow) -> None:
    """With its versions; runs keep what they carry."""
    await session.execute(delete(DefinitionVersionRow).where(DefinitionVersionRow.definition_id == row.id))
    await session.delete(row)
    await session.flush()


async def get_version(session: AsyncSession, definition_id: str, version: int) -> DefinitionVersionRow | None:
    return await session.get(DefinitionVersionRow, (definition_id, version))


async def list_versions(
    session: AsyncSession, definition_id: str, *, limit: int, before: int | None = None
) -> Sequence[DefinitionVersionRow]:
    """Newest first; `before` is the version after which the page begins."""
    query = select(DefinitionVersionRow).where(DefinitionVersionRow.definition_id == definition_id)
    if before is not None:
        query = query.where(DefinitionVersionRow.version < before)
    return (await session.scalars(query.order_by(DefinitionVersionRow.version.desc()).limit(limit))).all()
