"""Bring MongoDB and ClickHouse to the newest schema. Running it again changes nothing."""

from typing import Any

from prompt_service.mongo import Database, connect_mongo, mongo_faults
from prompt_service.prompts.records import PROMOTIONS, PROMPTS, UNIQUE_NAME, VERSIONS
from prompt_service.settings import PromptSettings
from prompt_service.traces.schema import create_statements, retention_statement
from prompt_service.traces.store import TraceStore, database_of

_INDEXES: list[tuple[str, str, list[tuple[str, int]], bool]] = [
    (PROMPTS, UNIQUE_NAME, [("project_id", 1), ("name", 1)], True),
    (PROMPTS, "by_tag", [("tags", 1)], False),
    (VERSIONS, "unique_version", [("prompt_id", 1), ("version", 1)], True),
    (PROMOTIONS, "by_prompt", [("prompt_id", 1), ("_id", 1)], False),
]


async def migrate(settings: PromptSettings) -> list[str]:
    """What was done, a line each. Raises `DependencyUnavailable` when a store does not answer."""
    client = connect_mongo(settings)
    try:
        done = await migrate_prompts(client[settings.mongo_database])
    finally:
        await client.close()
    if settings.embedded_traces:
        return [*done, "clickhouse: skipped, the prompt engine migrates the embedded trace store when it starts"]
    server = TraceStore(settings, database="default")
    try:
        database = database_of(settings.clickhouse_url)
        known = await server.query("SELECT name FROM system.databases WHERE name = {name:String}", {"name": database})
        if not known:
            await server.command(f"CREATE DATABASE IF NOT EXISTS {_quoted(database)}")
            done.append(f"clickhouse: created database {database}")
    finally:
        await server.close()
    store = TraceStore(settings)
    try:
        return [*done, *await migrate_traces(store, settings)]
    finally:
        await store.close()


async def migrate_prompts(database: Database) -> list[str]:
    """Make the indexes that are missing."""
    done: list[str] = []
    with mongo_faults():
        for collection, name, keys, unique in _INDEXES:
            known: dict[str, Any] = dict(await database[collection].index_information())
            if name not in known:
                await database[collection].create_index(keys, name=name, unique=unique)
                done.append(f"mongo: created index {collection}.{name}")
    return done


async def migrate_traces(store: TraceStore, settings: PromptSettings) -> list[str]:
    """Make the tables that are missing, and bring their retention to the setting."""
    days = settings.trace_retention_days
    rows = await store.query(
        "SELECT name, create_table_query AS made FROM system.tables WHERE database = currentDatabase()"
    )
    known = {row["name"]: row["made"] for row in rows}
    done: list[str] = []
    for table, statement in create_statements(days).items():
        if table not in known:
            await store.command(statement)
            done.append(f"clickhouse: created table {table}")
        elif f"toIntervalDay({days})" not in known[table]:
            await store.command(retention_statement(table, days))
            done.append(f"clickhouse: {table} is kept for {days} days")
    return done


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
