"""Bring the stores to the newest schema.

    python -m cli.stack.migrations [sql] [prompts] [temporal]

reads the settings and waits for the servers: `studio up` runs it while they start. It ends when `studio up` does.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.service import RPCError, RPCStatusCode

from cli.stack.plan import temporal_connect
from cli.stack.probes import NotReady, Probe, ask, mongo_probe, redis_probe, temporal_probe
from cli.stack.settings import StackSettings
from studio.errors import DependencyUnavailable, StudioError
from studio.leaving import leave
from studio.search_attributes import SEARCH_ATTRIBUTES
from studio.settings import load_settings

_PAUSE_SECONDS = 0.1
EXIT_FAILED, EXIT_UNREACHABLE = 1, 3


async def sql(settings: StackSettings) -> list[str]:
    from studio.db.migrate import migrate as migrate_database

    return await migrate_database(settings)


async def prompts(settings: StackSettings) -> list[str]:
    """The document store and the trace store."""
    from prompt_service.migrations import migrate as migrate_prompts
    from prompt_service.settings import PromptSettings

    del settings  # the prompt engine has its own, of the same names
    return await migrate_prompts(load_settings(PromptSettings))


async def temporal(settings: StackSettings) -> list[str]:
    """Register our search attributes, each a keyword, where they are missing."""
    if settings.temporal_address is None:
        return []
    client = await temporal_connect(settings, settings.temporal_address)()
    namespace = settings.temporal_namespace
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
    missing = [name for name in SEARCH_ATTRIBUTES if name not in known.custom_attributes]
    if not missing:
        return [f"temporal: search attributes are there in {namespace!r}"]
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    request = AddSearchAttributesRequest(namespace=namespace, search_attributes=dict.fromkeys(missing, keyword))
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status == RPCStatusCode.ALREADY_EXISTS:  # another process was quicker
            return await temporal(settings)
        raise
    return [f"temporal: added the search attributes {', '.join(missing)} in {namespace!r}"]


STORES: Mapping[str, Callable[[StackSettings], Awaitable[list[str]]]] = {
    "sql": sql,
    "prompts": prompts,
    "temporal": temporal,
}


def servers(store: str, settings: StackSettings) -> dict[str, Probe]:
    """What must answer before `store` can be migrated; the SQL database is asked by migrating it."""
    found: dict[str, Probe] = {}
    if store == "prompts" and settings.redis_url and settings.mongo_url:
        found = {"redis": redis_probe(settings.redis_url), "mongo": mongo_probe(settings.mongo_url)}
    elif store == "temporal" and settings.temporal_address:
        connect = temporal_connect(settings, settings.temporal_address)
        found = {"temporal": temporal_probe(connect, settings.temporal_namespace)}
    return found


async def migrate(stores: list[str], settings: StackSettings, say: Callable[[str], None]) -> None:
    for store in stores:
        for probe in servers(store, settings).values():
            await _answering(probe)
        for line in await STORES[store](settings):
            say(line)


async def _answering(probe: Probe) -> None:
    while True:
        try:
            await ask(probe, None)
        except NotReady:
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return


def main() -> int:
    try:
        asyncio.run(migrate(sys.argv[1:], load_settings(StackSettings), lambda line: print(line, flush=True)))  # noqa: T201
    except DependencyUnavailable as error:
        print(error.detail, file=sys.stderr)  # noqa: T201 - the process's log
        return EXIT_UNREACHABLE
    except StudioError as error:
        print(error.detail, file=sys.stderr)  # noqa: T201
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    leave(main())
