"""Bring the SQL database to the newest schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from studio.db.engine import Database, open_database
from studio.errors import DependencyUnavailable
from studio.settings import DatabaseSettings

ADVISORY_LOCK = 0x57D10
"""PostgreSQL lock under which one process migrates at a time."""


async def migrate(settings: DatabaseSettings) -> list[str]:
    """Run the missing migrations; several processes may call it at once. Returns a line about what was done."""
    database = open_database(settings)
    try:
        return await migrate_database(database)
    finally:
        await database.close()


async def migrate_database(database: Database) -> list[str]:
    async with database.engine.execution_options(studio_write=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
        before, after = await connection.run_sync(_upgrade)
    return [f"database: {'already at' if before == after else 'migrated to'} {after}"]


async def check_schema(database: Database) -> None:
    """Raise `DependencyUnavailable("database")` when the schema is missing or older than this code.

    A newer one is fine: while a release rolls out, its migrations run first.
    """
    async with database.engine.connect() as connection:
        current = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    scripts = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    if current is None or (current != scripts.get_current_head() and _is_known(scripts, current)):
        found = "has no tables yet" if current is None else f"is at {current}, an older schema"
        raise DependencyUnavailable("database", f"The database {found}. Run `studio migrate`.")


async def check_database(database: Database) -> None:
    """Whether it has its tables and can write. Raises `DependencyUnavailable("database")` with the reason."""
    await check_schema(database)
    await database.check_space()


def _is_known(scripts: ScriptDirectory, revision: str) -> bool:
    return any(script.revision == revision for script in scripts.walk_revisions())


def _upgrade(connection: Connection) -> tuple[str | None, str | None]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    before = MigrationContext.configure(connection).get_current_revision()
    command.upgrade(config, "head")
    return before, MigrationContext.configure(connection).get_current_revision()
