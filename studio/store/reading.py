"""Pages of rows of which one cannot be read: edited by hand, or written by a newer version before a rollback."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import Integer, Select, String, select
from sqlalchemy.ext.asyncio import AsyncSession

from studio.db.tables import DefinitionRow, RunRow

WHY = "Its row cannot be read: it was damaged, or written by a newer version of AI Studio."
RowT = TypeVar("RowT", DefinitionRow, RunRow)
ShownT = TypeVar("ShownT")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class UnreadableRow:
    """What is known of it: its columns of short text and of whole numbers."""

    id: str
    columns: dict[str, Any]


async def read_page(session: AsyncSession, query: Select[RowT], table: type[RowT]) -> Sequence[RowT | UnreadableRow]:
    """The rows of a query, in its order; row by row when one of them cannot be read."""
    try:
        return (await session.scalars(query)).all()
    except ValueError:
        ids = (await session.scalars(query.with_only_columns(table.id))).all()
        return [await _read_one(session, table, row_id) for row_id in ids]


async def _read_one(session: AsyncSession, table: type[RowT], row_id: str) -> RowT | UnreadableRow:
    try:
        row = await session.get(table, row_id)
    except ValueError:
        row = None
    return row if row is not None else await plain_columns(session, table, row_id)


async def plain_columns(session: AsyncSession, table: type[RowT], row_id: str) -> UnreadableRow:
    kept = [one for one in table.__table__.columns if type(one.type) in {String, Integer}]
    found = (await session.execute(select(*kept).where(table.id == row_id))).mappings().one()
    return UnreadableRow(row_id, dict(found))


def shown(
    row: RowT | UnreadableRow, show: Callable[[RowT], ShownT], unreadable: Callable[[UnreadableRow], ShownT]
) -> ShownT:
    """The row as the API shows it, also when it does not hold what its shape needs."""
    if not isinstance(row, UnreadableRow):
        try:
            return show(row)
        except (ValueError, TypeError):
            columns = {name: value for name, value in vars(row).items() if isinstance(value, str | int)}
            row = UnreadableRow(row.id, columns)
    _log.error("rows.unreadable", id=row.id)
    return unreadable(row)
