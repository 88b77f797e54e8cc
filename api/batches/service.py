"""Starting many runs at once: the rows in one transaction, then one workflow that starts each of them.

As for one run (`api.runs.starting`), the rows are committed before Temporal is asked. When Temporal refuses, they go;
when it is not known whether it heard, they stay for who has an `Idempotency-Key` and go for who has none; when this
process dies in between, the rows are closed when they are next read.
"""

import asyncio
from collections.abc import Sequence

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api.batches.executions import BatchExecutions
from api.definitions.service import get_definition
from api.runs.executions import StartRefused
from api.runs.mending import Mender
from api.runs.service import RunService
from studio.contracts.base import utc_now
from studio.contracts.batches import Batch, StartBatch
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.ids import IdPrefix, is_id, new_id, new_trace_id
from studio.contracts.runs import (
    MAX_METADATA,
    RUN_STATUSES,
    DefinitionRef,
    RunError,
    RunKind,
    StartRun,
)
from studio.contracts.starts import StartBatchRequest
from studio.db.engine import Database
from studio.db.tables import BatchRow, DefinitionRow, RunRow
from studio.errors import Conflict, DependencyUnavailable, FieldError, NotFound, invalid
from studio.json_schema import fit_each
from studio.store.batches import (
    Tally,
    cancel_queued_runs,
    delete_queued_batch,
    get_batch,
    insert_batch,
    list_batches,
    open_runs,
    queued_runs,
    tally,
)
from studio.store.idempotency import body_hash, find_started, forget_key, keep_key
from studio.store.new_runs import new_run
from studio.store.resolving import VersionGone, resolve, unknown_version

REFRESHED = 20
"""When so few runs of a batch are left, each is brought in line with Temporal before the batch is shown."""
CANCELLED_AT_ONCE = 20
_NOT_BEGUN = RunError(type="cancelled", message="The batch was cancelled before this run began.")

_log = structlog.get_logger(__name__)


class BatchService:
    def __init__(self, database: Database, executions: BatchExecutions, runs: RunService, mender: Mender) -> None:
        self._database = database
        self._executions = executions
        self._runs = runs
        self._mender = mender

    async def start(self, kind: RunKind, ref: str, project_id: str, body: StartBatch, key: str | None) -> Batch:
        """The batch is with Temporal then; its runs are started from there."""
        async with self._database.read() as session:
            definition = await get_definition(session, kind, ref, project_id)
            batch = await self._of_key(session, definition, body, key)
            known = batch is not None
            if batch is not None and not await queued_runs(session, batch.id, after="", limit=1):
                return await self.get(batch.id)
            batch = batch or _new_batch(definition, body)
            resolved = await _resolve(session, kind, batch)
        if not known:
            rows = _rows(kind, definition, body, batch, resolved)
            errors = await asyncio.to_thread(_fit_inputs, rows, resolved)
            if errors:
                raise invalid(errors)
            if not await self._insert(batch, rows, body, key):
                return await self.start(kind, ref, project_id, body, key)  # the same key came at the same time
        await self._execute(StartBatchRequest(batch_id=batch.id, definition=resolved), batch, key)
        return await self.get(batch.id)

    async def _of_key(
        self, session: AsyncSession, definition: DefinitionRow, body: StartBatch, key: str | None
    ) -> BatchRow | None:
        started = None if key is None else await find_started(session, definition.id, key, body_hash(body))
        if started is None:
            return None
        batch = await get_batch(session, started)
        if batch is None:
            raise Conflict(f"The Idempotency-Key {key!r} started {started}, which is gone. Use a new key.")
        return batch

    async def _insert(self, batch: BatchRow, rows: Sequence[RunRow], body: StartBatch, key: str | None) -> bool:
        """False when the key was taken meanwhile."""
        try:
            async with self._database.write() as session:
                if key is not None:
                    await keep_key(session, batch.definition_id, key, body_hash(body), batch.id, batch.created_at)
                await insert_batch(session, batch, rows)
        except IntegrityError:
            return False
        return True

    async def _execute(self, request: StartBatchRequest, batch: BatchRow, key: str | None) -> None:
        try:
            await self._executions.start(request, batch.project_id, batch.definition_name)
        except StartRefused as error:
            _log.exception("batches.start_refused", batch_id=batch.id)
            if not await self._forget(batch, key):
                return  # a worker has some: an earlier attempt started it
            message = "Temporal refused to start the batch; see the API's log."
            raise DependencyUnavailable("temporal", message) from error
        except DependencyUnavailable:
            if key is None and not await self._forget(batch, key):
                return  # a worker has some: it did start
            raise

    async def _forget(self, batch: BatchRow, key: str | None) -> bool:
        """Remove a batch of which nothing runs. False when something does; what does not, stays for it to start."""
        async with self._database.write() as session:
            if not await delete_queued_batch(session, batch):
                return False
            if key is not None:
                await forget_key(session, batch.definition_id, key)
        return True

    async def get(self, batch_id: str) -> Batch:
        async with self._database.read() as session:
            row = await _found(session, batch_id)
            counted = (await tally(session, [batch_id]))[batch_id]
            rows = await open_runs(session, batch_id) if 0 < counted.open <= REFRESHED else ()
        if rows:
            await asyncio.gather(*(self._runs.refreshed(run.id) for run in rows))
            async with self._database.read() as session:
                counted = (await tally(session, [batch_id]))[batch_id]
        return _shown(row, counted)

    async def list_batches(self, *, limit: int, project_id: str | None, before: str | None) -> list[Batch]:
        """Newest first, as the rows of their runs say."""
        async with self._database.read() as session:
            rows = await list_batches(session, limit=limit, project_id=project_id, before=before)
            counted = await tally(session, [row.id for row in rows])
        return [_shown(row, counted[row.id]) for row in rows]

    async def cancel(self, batch_id: str) -> Batch:
        """Close the runs that nobody took up, and ask the others to stop. Repeating it changes nothing."""
        now = utc_now()
        async with self._database.write() as session:
            await _found(session, batch_id)
            waiting = await open_runs(session, batch_id)
            # A workflow that was started all the same finds its row closed, and does nothing.
            closed = await cancel_queued_runs(session, batch_id, _NOT_BEGUN, now)
        places = asyncio.Semaphore(CANCELLED_AT_ONCE)

        async def cancel(run_id: str) -> None:
            async with places:
                await self._executions.cancel_run(run_id)
                if run_id in closed:
                    await self._mender.tell_end(run_id)

        await asyncio.gather(*(cancel(run.id) for run in waiting))
        return await self.get(batch_id)


async def _found(session: AsyncSession, batch_id: str) -> BatchRow:
    row = await get_batch(session, batch_id)
    if row is None:
        raise NotFound(f"There is no batch {batch_id!r}.")
    return row


def _new_batch(definition: DefinitionRow, body: StartBatch) -> BatchRow:
    return BatchRow(
        id=new_id(IdPrefix.BATCH),
        project_id=definition.project_id,
        definition_id=definition.id,
        definition_name=definition.name,
        definition_version=body.version or definition.version,
        total=len(body.items),
        created_at=utc_now(),
    )


async def _resolve(session: AsyncSession, kind: RunKind, batch: BatchRow) -> ResolvedDefinition:
    try:
        return await resolve(session, kind, batch.definition_id, batch.definition_version)
    except VersionGone:
        raise invalid([unknown_version(kind, batch.definition_name, batch.definition_version)]) from None


def _rows(
    kind: RunKind, definition: DefinitionRow, body: StartBatch, batch: BatchRow, resolved: ResolvedDefinition
) -> list[RunRow]:
    rows: list[RunRow] = []
    for index, item in enumerate(body.items):
        metadata = body.metadata | item.metadata
        if len(metadata) > MAX_METADATA:
            message = f"with the batch's own it has more than {MAX_METADATA} entries"
            raise invalid([FieldError(loc=["body", "items", index, "metadata"], msg=message, type="too_long")])
        run = StartRun(
            input=item.input,
            session_id=item.session_id,
            user_id=item.user_id,
            metadata=metadata,
            version=batch.definition_version,
        )
        row = new_run(kind, definition, run, new_trace_id())
        row.batch_id = batch.id
        row.pattern = resolved.workflow.pattern if kind == "workflow" else None
        rows.append(row)
    return rows


def _fit_inputs(rows: Sequence[RunRow], resolved: ResolvedDefinition) -> list[FieldError]:
    """Fills in the defaults of `input_schema`."""
    inputs, errors = fit_each([row.input for row in rows], resolved.workflow.input_schema)
    for row, filled in zip(rows, inputs, strict=True):
        row.input = filled
    return [error.model_copy(update={"loc": _item_place(error.loc)}) for error in errors]


def _item_place(place: Sequence[str | int]) -> list[str | int]:
    """Where in the body an input's error is: its index comes first, but for what is about all of them."""
    return ["body", "items", *place[:1], "input", *place[1:]] if place else ["body", "items"]


def _shown(row: BatchRow, counted: Tally) -> Batch:
    ended = counted.open == 0
    return Batch(
        id=row.id,
        kind="workflow" if is_id(row.definition_id, IdPrefix.WORKFLOW) else "agent",
        project_id=row.project_id,
        workflow=DefinitionRef(id=row.definition_id, name=row.definition_name, version=row.definition_version),
        total=row.total,
        counts={status: counted.counts.get(status, 0) for status in RUN_STATUSES},
        ended=ended,
        cost_usd=counted.cost_usd,
        created_at=row.created_at,
        started_at=counted.started_at,
        ended_at=counted.ended_at if ended else None,
    )
