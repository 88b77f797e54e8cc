"""Beginning a new run: one row, one Temporal workflow of the same id, and at most one of both for an idempotency key.

The row is committed before Temporal is asked, so that a worker always finds it. What can then go wrong:

- Temporal refuses: the row goes, nothing ran.
- It is not known whether Temporal heard us. With a key the row stays queued: the client repeats the request and the
  same run is started again, which changes nothing if it had started. Without one the row goes; should the workflow
  have started after all, its first activity finds no row and ends it.
- This process dies in between: the row stays queued, and `api.runs.mending` closes it when it is next read.
"""

from dataclasses import dataclass

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api.runs.executions import Executions, StartRefused
from studio.contracts.base import Contract, utc_now
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.events import run_started
from studio.contracts.runs import RunRequest
from studio.db.engine import Database
from studio.db.tables import RunRow
from studio.errors import Conflict, DependencyUnavailable
from studio.store.event_stream import EventStream
from studio.store.idempotency import body_hash, find_started, forget_key, keep_key
from studio.store.runs import delete_queued_run, get_run, insert_run

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Claim:
    """An `Idempotency-Key`, and what it is used for."""

    scope: str
    """The id of what is started: keys of two definitions are two keys."""
    key: str
    body_hash: str


def claim_of(scope: str, key: str | None, body: Contract) -> Claim | None:
    """None for a request without a key."""
    if key is None:
        return None
    return Claim(scope, key, body_hash(body))


def has_to_start(row: RunRow) -> bool:
    """Whether a run that a key found was perhaps never started. One that is queued once more was."""
    return row.status == "queued" and row.retry_count == 0


class Launcher:
    def __init__(self, database: Database, executions: Executions, stream: EventStream) -> None:
        self._database = database
        self._executions = executions
        self._stream = stream

    async def claimed(self, session: AsyncSession, claim: Claim | None) -> RunRow | None:
        """The run that the key started. Raises `Conflict` when that was with another body."""
        if claim is None:
            return None
        started = await find_started(session, claim.scope, claim.key, claim.body_hash)
        if started is None:
            return None
        row = await get_run(session, started)
        if row is None:
            raise Conflict(f"The Idempotency-Key {claim.key!r} started {started}, which is gone. Use a new key.")
        return row

    async def insert(self, row: RunRow, claim: Claim | None) -> bool:
        """False when the key was taken meanwhile."""
        try:
            async with self._database.write() as session:
                if claim is not None:
                    await keep_key(session, claim.scope, claim.key, claim.body_hash, row.id, row.created_at)
                await insert_run(session, row)
        except IntegrityError:
            return False
        return True

    async def execute(
        self, row: RunRow, request: RunRequest, resolved: ResolvedDefinition, claim: Claim | None
    ) -> None:
        """Hand the run to Temporal. Raises `DependencyUnavailable`; what that leaves behind is said above."""
        # Calls that begin together tell of themselves in any order: what comes first is told before there is any. The
        # worker's own event is the same one, and changes nothing.
        await self._stream.publish(row.id, [run_started(utc_now())])
        try:
            await self._executions.start(request, resolved, row.pattern)
        except StartRefused as error:
            _log.exception("runs.start_refused", run_id=row.id)
            if not await self._forget(row, claim):
                return  # a worker has it: an earlier attempt started it
            raise DependencyUnavailable("temporal", "Temporal refused to start the run; see the API's log.") from error
        except DependencyUnavailable:
            if claim is None and not await self._forget(row, claim):
                return  # a worker has it: it did start
            raise

    async def _forget(self, row: RunRow, claim: Claim | None) -> bool:
        async with self._database.write() as session:
            removed = await delete_queued_run(session, row.id)
            if removed and claim is not None:
                await forget_key(session, claim.scope, claim.key)
        return removed
