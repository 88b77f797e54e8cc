"""A database of a test's own, on either engine."""

import tempfile
import uuid
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from studio.db.engine import Database
from studio.db.migrate import migrate_database

_migrated: list[bytes] = []
"""The file of a SQLite database with all tables and no rows: migrating takes longer than most tests."""


async def migrate_new(url: str) -> None:
    """As `studio migrate`; a new database of SQLite is a copy of one that was migrated before."""
    if not _migrated:
        with tempfile.TemporaryDirectory(prefix="studio-migrated-") as folder:
            await _migrate(sqlite_database(Path(folder)))
            _migrated.append(_content(folder))
    if not _is_copied(url):
        await _migrate(url)


async def _migrate(url: str) -> None:
    database = Database(url)
    try:
        await migrate_database(database)
    finally:
        await database.close()


def _content(folder: str) -> bytes:
    return Path(folder, "studio.db").read_bytes()


def _is_copied(url: str) -> bool:
    parsed = make_url(url)
    file = Path(parsed.database or "")
    if parsed.get_backend_name() != "sqlite" or file.exists():
        return False
    file.write_bytes(_migrated[0])
    return True


def sqlite_database(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'studio.db'}"


def postgres_database(server_url: str) -> str:
    """Create an empty database on the server; it goes with the server."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server_url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"{server_url.rpartition('/')[0]}/{name}"
