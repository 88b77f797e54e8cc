"""SQL engines for SQLite and PostgreSQL, and the two kinds of session."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from studio.db.disk import DISK_FULL, has_space, is_disk_full
from studio.errors import DependencyUnavailable
from studio.foreign_json import write_any_json
from studio.settings import DatabaseSettings

SQLITE_BUSY_MS = 15_000
"""How long a writer waits for another process's transaction."""
TURN_SECONDS = 30.0
"""How long a writer waits for those of its own process: a write inside another one fails then, rather than never."""


class ReadSession(AsyncSession):
    """Sees one moment; what it changes is never committed."""


class WriteSession(AsyncSession):
    """Inside a transaction that whoever opened it commits."""


class Database:
    """One pool per process. `read()` and `write()` open sessions; `write()` commits when its block ends well.

    On SQLite a write transaction takes the write lock at its start (BEGIN IMMEDIATE): a transaction that reads first
    and writes later could otherwise fail at once, whatever the busy timeout. The writers of one process take turns
    before that: SQLite lets them poll for the lock, the longer the later, and one may starve.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _create_engine(url)
        self._writer = self.engine.execution_options(studio_write=True)
        is_sqlite = url.startswith("sqlite")
        self._turn = asyncio.Lock() if is_sqlite else None
        name = make_url(url).database
        self._file = Path(name) if is_sqlite and name and name != ":memory:" else None
        self._is_full = False
        """Whether the last write that was tried found the disk full."""

    def read(self) -> ReadSession:
        return ReadSession(self.engine, expire_on_commit=False)

    def write(self) -> "Transaction":
        return Transaction(self, WriteSession(self._writer, expire_on_commit=False), self._turn)

    def note_write(self, error: BaseException | None) -> None:
        """A write transaction has ended, with that error."""
        if error is None:
            self._is_full = False
        elif is_disk_full(error):
            self._is_full = True

    async def check_space(self) -> None:
        """Raise `DependencyUnavailable("database")` while the disk is full. Writes only after a write that found it so,
        and then as little as can be.
        """
        if self._file is not None and not await asyncio.to_thread(has_space, self._file):
            raise DependencyUnavailable("database", DISK_FULL)
        if not self._is_full:
            return
        try:
            async with self.write() as session:
                await session.execute(text("UPDATE alembic_version SET version_num = version_num"))
        except DBAPIError as error:
            if is_disk_full(error):
                raise DependencyUnavailable("database", DISK_FULL) from error
            raise

    async def check(self) -> None:
        async with self.engine.connect() as connection:
            await connection.exec_driver_sql("SELECT 1")

    async def close(self) -> None:
        await self.engine.dispose()


class Transaction:
    """`async with database.write() as session`: commit at the end, roll back on an exception."""

    def __init__(self, database: Database, session: WriteSession, turn: asyncio.Lock | None) -> None:
        self._database = database
        self._session = session
        self._turn = turn

    async def __aenter__(self) -> WriteSession:
        """Raises SQLAlchemy's `TimeoutError` when others write for too long."""
        await self._take_turn()
        try:
            await self._session.begin()
        except BaseException:
            self._end_turn()
            raise
        return self._session

    async def _take_turn(self) -> None:
        if self._turn is None:
            return
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise PoolTimeout(f"no turn to write to SQLite within {TURN_SECONDS} s") from None

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn.release()

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._session.commit()
            self._database.note_write(error)
        except DBAPIError as failed:
            self._database.note_write(failed)
            raise
        finally:
            try:
                await self._session.close()
            finally:
                self._end_turn()


def open_database(settings: DatabaseSettings) -> Database:
    if not settings.database_url:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Database(settings.resolved_database_url())


def _create_engine(url: str) -> AsyncEngine:
    common: dict[str, Any] = {
        "json_serializer": _dump,
        "json_deserializer": orjson.loads,
        "hide_parameters": True,  # an error's text goes to the log, and parameters hold prompts and inputs
    }
    if not url.startswith("sqlite"):
        connect_args = {"connect_timeout": 5}
        pool: dict[str, Any] = {"pool_size": 10, "max_overflow": 10, "pool_pre_ping": True, "pool_timeout": 10}
        return create_async_engine(url, connect_args=connect_args, **pool, **common)
    engine = create_async_engine(url, connect_args={"timeout": SQLITE_BUSY_MS / 1000}, **common)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _dump(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except (
        TypeError
    ):  # a number past 64 bits, or half an emoji: a row that cannot be written would be a run without end
        return write_any_json(value).decode()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={SQLITE_BUSY_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    write = connection.get_execution_options().get("studio_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
