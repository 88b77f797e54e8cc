"""Starting a run: one row, one Temporal workflow of the same id, and at most one of both for an idempotency key.

The row is committed before Temporal is asked, so that a worker always finds it. What can then go wrong:

- Temporal refuses: the row goes, nothing ran.
- It is not known whether Temporal heard us. With a key the row stays queued: the client repeats the request and the
  same run is started again, which changes nothing if it had started. Without one the row goes; should the workflow
  have started after all, its first activity finds no row and ends it.
- This process dies in between: the row stays queued, and `api.runs.mending` closes it when it is next read.
"""

import re
from dataclasses import dataclass
from typing import cast

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api.definitions.service import get_definition
from api.runs.executions import Executions, StartRefused
from studio.contracts.base import utc_now
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.events import run_started
from studio.contracts.ids import new_trace_id
from studio.contracts.runs import RunKind, RunRequest, StartRun
from studio.db.engine import Database
from studio.db.tables import DefinitionRow, RunRow
from studio.errors import Conflict, DependencyUnavailable, invalid
from studio.json_schema import check_value
from studio.store.event_stream import EventStream
from studio.store.idempotency import body_hash, find_started, forget_key, keep_key
from studio.store.new_runs import new_run, request_of
from studio.store.resolving import VersionGone, resolve, unknown_version
from studio.store.runs import delete_queued_run, get_run, insert_run

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Trigger:
    """What the request says beside its body."""

    traceparent: str | None = None
    idempotency_key: str | None = None

    def trace(self) -> tuple[str, str | None]:
        """Trace id and the caller's span (https://www.w3.org/TR/trace-context/); a new trace without a valid one."""
        match = _TRACEPARENT.match(self.traceparent or "")
        if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
            return new_trace_id(), None
        return match[1], match[2]


class RunStarter:
    def __init__(self, database: Database, executions: Executions, stream: EventStream) -> None:
        self._database = database
        self._executions = executions
        self._stream = stream

    async def start(self, kind: RunKind, ref: str, project_id: str, body: StartRun, trigger: Trigger) -> str:
        """Returns the run's id; the run is with Temporal then."""
        async with self._database.read() as session:
            definition = await get_definition(session, kind, ref, project_id)
            row = await self._of_key(session, definition, body, trigger)
            known = row is not None
            row = row or new_run(kind, definition, body, trigger.trace()[0])
            resolved = await _resolve(session, row, body) if row.status == "queued" else None
        if resolved is None:
            return row.id
        if not known:
            errors = check_value(row.input, resolved.workflow.input_schema or {}, ["body", "input"])
            if errors:
                raise invalid(errors)
            if not await self._insert(row, definition, body, trigger):
                return await self.start(kind, ref, project_id, body, trigger)  # the same key came at the same time
        await self._execute(row, resolved, trigger)
        return row.id

    async def _of_key(
        self, session: AsyncSession, definition: DefinitionRow, body: StartRun, trigger: Trigger
    ) -> RunRow | None:
        key = trigger.idempotency_key
        if key is None:
            return None
        started = await find_started(session, definition.id, key, body_hash(body))
        if started is None:
            return None
        row = await get_run(session, started)
        if row is None:
            raise Conflict(f"The Idempotency-Key {key!r} started {started}, which is gone. Use a new key.")
        return row

    async def _insert(self, row: RunRow, definition: DefinitionRow, body: StartRun, trigger: Trigger) -> bool:
        """False when the key was taken meanwhile."""
        try:
            async with self._database.write() as session:
                key = trigger.idempotency_key
                if key is not None:
                    await keep_key(session, definition.id, key, body_hash(body), row.id, row.created_at)
                await insert_run(session, row)
        except IntegrityError:
            return False
        return True

    async def _execute(self, row: RunRow, resolved: ResolvedDefinition, trigger: Trigger) -> None:
        # Calls that begin together tell of themselves in any order: what comes first is told before there is any. The
        # worker's own event is the same one, and changes nothing.
        await self._stream.publish(row.id, [run_started(utc_now())])
        try:
            await self._executions.start(_request(row, trigger), resolved, row.pattern)
        except StartRefused as error:
            _log.exception("runs.start_refused", run_id=row.id)
            if not await self._forget(row, trigger):
                return  # a worker has it: an earlier attempt started it
            raise DependencyUnavailable("temporal", "Temporal refused to start the run; see the API's log.") from error
        except DependencyUnavailable:
            if trigger.idempotency_key is None and not await self._forget(row, trigger):
                return  # a worker has it: it did start
            raise

    async def _forget(self, row: RunRow, trigger: Trigger) -> bool:
        async with self._database.write() as session:
            removed = await delete_queued_run(session, row.id)
            if removed and trigger.idempotency_key is not None:
                await forget_key(session, row.definition_id, trigger.idempotency_key)
        return removed


async def _resolve(session: AsyncSession, row: RunRow, body: StartRun) -> ResolvedDefinition:
    kind = cast("RunKind", row.kind)
    try:
        return await resolve(session, kind, row.definition_id, row.definition_version)
    except VersionGone:
        raise invalid([unknown_version(kind, row.definition_name, body.version or row.definition_version)]) from None


def _request(row: RunRow, trigger: Trigger) -> RunRequest:
    """From the row alone, but for the caller's span: a repeated start asks for the same thing."""
    trace_id, parent = trigger.trace()
    return request_of(row, parent_span_id=parent if trace_id == row.trace_id else None)
