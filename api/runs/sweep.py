"""Looks now and then for runs that Temporal ended while their rows are open, so that lists, inbox and counts follow."""

import asyncio
import random
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.runs.executions import Executions
from api.runs.mending import Mender
from studio.contracts.base import utc_now
from studio.db.engine import Database
from studio.db.tables import RunRow
from studio.errors import DependencyUnavailable
from studio.store.runs import oldest_open, open_runs
from studio.tasks import end_tasks

PAUSE_SECONDS = 20.0
RETRY_SECONDS = 5.0
"""After a round in which the database or Temporal did not answer."""
OVERLAP = timedelta(minutes=5)
"""Rounds look back to before the last one: what Temporal lists lags behind, and a worker writes an end first."""
AT_ONCE = 8

_log = structlog.get_logger(__name__)


class Sweep:
    def __init__(self, database: Database, executions: Executions, mender: Mender) -> None:
        self._database = database
        self._executions = executions
        self._mender = mender
        self._places = asyncio.Semaphore(AT_ONCE)
        self._since: datetime | None = None
        """Rounds before this were whole; None before the first."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        await end_tasks(self._task)

    async def _run(self) -> None:
        while True:
            began = utc_now()
            try:
                await self._round()
                self._since, pause = began, PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001 - the next round may find everything well again
                _log.warning("runs.not_swept", error=type(error).__name__)
                pause = RETRY_SECONDS
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # not all API processes at once

    async def _round(self) -> None:
        async with self._database.read() as session:
            oldest = await oldest_open(session)
        if oldest is None:
            return
        since = oldest if self._since is None else max(oldest, self._since - OVERLAP)
        async for run_ids in self._executions.stopped_since(since):
            async with self._database.read() as session:
                rows = await open_runs(session, run_ids)
            for failed in await asyncio.gather(*map(self._reconcile, rows), return_exceptions=True):
                if failed is not None:
                    raise failed

    async def _reconcile(self, row: RunRow) -> None:
        """Raises `DependencyUnavailable`, and `SQLAlchemyError`. What is wrong with one run costs no other."""
        async with self._places:
            try:
                await self._mender.mend(row, await self._executions.find(row.id))
            except (DependencyUnavailable, SQLAlchemyError):
                raise
            except Exception as error:  # noqa: BLE001 - of one run, whatever it is
                _log.warning("runs.not_reconciled", run_id=row.id, error=type(error).__name__)
