"""Removes ended runs once they have been kept long enough, with everything that was kept of them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from ulid import ULID

from studio.contracts.base import utc_now
from studio.contracts.ids import IdPrefix
from studio.contracts.maintenance import CleanedUp
from studio.db.engine import Database
from studio.store.blob_uses import runs_gone
from studio.store.blobs import BlobStore
from studio.store.event_stream import EventStream
from studio.store.retention import remove_empty_batches, remove_old_runs

BATCH = 100
"""Runs a transaction, which on SQLite keeps all others from writing, and in one question to Temporal."""
START_DECIDED = timedelta(days=1)
"""A run that has no row after this never started."""
REMOVED = Counter("studio_retention_removed_total", "What retention removed.", ["what"])
_log = structlog.get_logger(__name__)


class Cleaner:
    def __init__(self, database: Database, stream: EventStream, blobs: BlobStore, client: Client) -> None:
        self._database = database
        self._stream = stream
        self._blobs = blobs
        self._client = client

    async def clean(self, before: datetime | None, beat: Callable[[], None]) -> CleanedUp:
        """Remove runs that ended before the moment (None: no run), and blobs that nobody uses.

        Safe to stop and to repeat. `beat` is called after each batch. A run's row goes first: nobody can retry it then.
        """
        runs = executions = blobs = 0
        while before is not None:
            async with self._database.write() as session:
                removed = await remove_old_runs(session, before, BATCH)
                if not removed:
                    await remove_empty_batches(session, before)
            if not removed:
                break
            runs += len(removed)
            await self._stream.remove(removed)
            executions += await self._delete_executions(removed)
            blobs += await self._blobs.release(removed)
            beat()
        blobs += await self._each_gone(self._blobs.release, beat)
        objects = await self._blobs.sweep(beat)
        for what, count in (("runs", runs), ("executions", executions), ("blobs", blobs), ("objects", objects)):
            REMOVED.labels(what).inc(count)
        _log.info("retention.cleaned", runs=runs, executions=executions, blobs=blobs, objects=objects)
        return CleanedUp(runs=runs, executions=executions, blobs=blobs, ended_before=before)

    async def _each_gone(self, release: Callable[[Sequence[str]], Awaitable[int]], beat: Callable[[], None]) -> int:
        """Blobs of runs that never started, or whose removal was cut short."""
        newest = f"{IdPrefix.RUN}_{ULID.from_datetime(utc_now() - START_DECIDED)}".lower()
        count, after = 0, ""
        while True:
            async with self._database.read() as session:
                gone = await runs_gone(session, newest, after, BATCH)
            if not gone:
                return count
            count += await release(gone)
            after = gone[-1]
            beat()

    async def _delete_executions(self, runs: Sequence[str]) -> int:
        """Temporal forgets by itself what is older than its namespace keeps; this is for what is not."""
        count = 0
        quoted = ", ".join(f"'{run_id}'" for run_id in runs)
        async for found in self._client.list_workflows(f"RootWorkflowId IN ({quoted})"):
            execution = WorkflowExecution(workflow_id=found.id, run_id=found.run_id)
            request = DeleteWorkflowExecutionRequest(namespace=self._client.namespace, workflow_execution=execution)
            try:
                await self._client.workflow_service.delete_workflow_execution(request)
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
            else:
                count += 1
        return count
