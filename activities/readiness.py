"""Whether what a worker needs answers. It takes no work before, since it could only fail it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

from activities.settings import WorkerSettings
from studio.db.engine import Database, open_database
from studio.db.migrate import check_database
from studio.errors import StudioError
from studio.temporal import connect_temporal

CHECK_SECONDS = 5.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
_log = structlog.get_logger(__name__)


async def wait_until_ready(settings: WorkerSettings, stop: asyncio.Event) -> bool:
    """Wait for the database with its tables and the Temporal namespace, however long that takes, and say what is
    missing. False when `stop` was set meanwhile. Not for Redis: runs go on without.
    """
    pause = FIRST_PAUSE_SECONDS
    database = open_database(settings)
    try:
        checks: Mapping[str, Callable[[], Awaitable[object]]] = {
            "database": lambda: check_database(database),
            "temporal": lambda: _check_temporal(settings, database),
        }
        while not stop.is_set():
            found = await asyncio.gather(*(_missing(name, check) for name, check in checks.items()))
            missing = {name: reason for name, reason in found if reason is not None}
            if not missing:
                return True
            _log.warning("worker.waiting", **missing)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    finally:
        await database.close()
    return False


async def _missing(name: str, check: Callable[[], Awaitable[object]]) -> tuple[str, str | None]:
    """The part's name and, unless it is ready, why not."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - each client has its own errors; all of them mean the same here
        if isinstance(error, StudioError):
            return name, error.detail
        return name, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return name, None


async def _check_temporal(settings: WorkerSettings, database: Database) -> None:
    client = await connect_temporal(settings, database, lazy=False)
    request = DescribeNamespaceRequest(namespace=settings.temporal_namespace)
    await client.workflow_service.describe_namespace(request)
