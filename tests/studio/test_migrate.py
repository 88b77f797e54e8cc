"""Databases of schemas before this one."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from studio.db import migrations
from studio.db.engine import Database
from studio.db.migrate import migrate_database
from studio.db.tables import Base

KEY = "INSERT INTO idempotency_keys VALUES ('wf_1', 'k', 'hash', 'run_1', '2026-01-01 00:00:00.000000')"


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
    config.attributes["connection"] = connection
    return config


class TestUpgrade:
    async def test_rows_of_the_schema_before_are_kept_there_and_back(self, either_database: str) -> None:
        database = Database(either_database)
        try:
            async with database.engine.execution_options(studio_write=True).begin() as connection:
                await connection.run_sync(lambda sync: command.upgrade(_config(sync), "0002"))
                await connection.execute(text(KEY))
            assert await migrate_database(database) == ["database: migrated to 0004"]
            async with database.engine.execution_options(studio_write=True).begin() as connection:
                kept = await connection.execute(text("SELECT run_id, target, told_at FROM idempotency_keys"))
                assert [tuple(row) for row in kept] == [("run_1", None, None)]
                assert await connection.run_sync(_differences) == []
                await connection.run_sync(lambda sync: command.downgrade(_config(sync), "0002"))
                assert await connection.scalar(text("SELECT run_id FROM idempotency_keys")) == "run_1"
        finally:
            await database.close()


def _differences(connection: Connection) -> list[object]:
    """Between the tables that the migrations made and those that the code declares."""
    return compare_metadata(MigrationContext.configure(connection), Base.metadata)
