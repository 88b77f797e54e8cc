"""Looks over all schedules when the API starts, and now and then: what Temporal does not have as stored, it gets."""

import asyncio
import random

import structlog

from api.schedules.service import Schedules, is_readable
from studio.db.engine import Database
from studio.db.tables import DefinitionRow
from studio.store.definitions import list_definitions
from studio.tasks import end_tasks

PAUSE_SECONDS = 300.0
"""A schedule that was lost is late by this at most; looking costs one call to Temporal a schedule."""
RETRY_SECONDS = 5.0
"""After a round in which the database or Temporal did not answer."""
PAGE = 100

_log = structlog.get_logger(__name__)


class Reconciler:
    def __init__(self, database: Database, schedules: Schedules) -> None:
        self._database = database
        self._schedules = schedules
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        await end_tasks(self._task)

    async def _run(self) -> None:
        while True:
            try:
                whole = await self._look()
            except Exception as error:  # noqa: BLE001 - the next round may find everything well again
                _log.warning("schedules.not_looked_over", error=type(error).__name__)
                whole = False
            # Not all API processes at once.
            await asyncio.sleep((PAUSE_SECONDS if whole else RETRY_SECONDS) * random.uniform(0.8, 1.2))

    async def _look(self) -> bool:
        """Whether Temporal answered for every schedule."""
        before: str | None = None
        while True:
            async with self._database.read() as session:
                rows = await list_definitions(session, ["schedule"], limit=PAGE, before=before)
            for row in rows:
                if not isinstance(row, DefinitionRow) or not is_readable(row):
                    continue  # lists say so of it
                if await self._schedules.state(row) is None:
                    return False
            if len(rows) < PAGE:
                return True
            before = rows[-1].id
