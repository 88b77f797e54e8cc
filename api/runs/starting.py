"""Starting a run of a stored definition."""

import asyncio
import re
from dataclasses import dataclass
from typing import cast

from sqlalchemy.ext.asyncio import AsyncSession

from api.definitions.service import get_definition
from api.runs.launching import Launcher, claim_of, has_to_start
from studio.contracts.base import Json
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.ids import new_trace_id
from studio.contracts.runs import Resumption, RunKind, RunPriority, RunRequest, StartRun
from studio.db.engine import Database
from studio.db.tables import RunRow
from studio.errors import invalid
from studio.json_schema import fit
from studio.store.new_runs import new_run, request_of
from studio.store.resolving import VersionGone, resolve, unknown_version

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$")


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
    def __init__(self, database: Database, launcher: Launcher) -> None:
        self._database = database
        self._launcher = launcher

    async def start(self, kind: RunKind, ref: str, project_id: str, body: StartRun, trigger: Trigger) -> str:
        """Returns the run's id; the run is with Temporal then."""
        async with self._database.read() as session:
            definition = await get_definition(session, kind, ref, project_id)
            claim = claim_of(definition.id, trigger.idempotency_key, body)
            row = await self._launcher.claimed(session, claim)
            known = row is not None
            row = row or new_run(kind, definition, body, trigger.trace()[0])
            resolved = await _resolve(session, row, body) if has_to_start(row) else None
        if resolved is None:
            return row.id
        if not known:
            row.input = await fitted_input(row.input, resolved)
            if not await self._launcher.insert(row, claim):
                return await self.start(kind, ref, project_id, body, trigger)  # the same key came at the same time
        request = first_request(row, trigger, priority=body.priority)
        await self._launcher.execute(row, request, resolved, claim)
        return row.id


async def fitted_input(given: Json, resolved: ResolvedDefinition) -> Json:
    """With the defaults of `input_schema`. Raises `InvalidInput` with each place that does not fit."""
    filled, errors = await asyncio.to_thread(fit, given, resolved.workflow.input_schema, ["body", "input"])
    if errors:
        raise invalid(errors)
    return filled


def first_request(
    row: RunRow, trigger: Trigger, *, priority: RunPriority, resume: Resumption | None = None
) -> RunRequest:
    """From the row, but for the caller's span and the priority: a repeated start asks for the same thing."""
    trace_id, parent = trigger.trace()
    parent_span_id = parent if trace_id == row.trace_id else None
    return request_of(row, parent_span_id=parent_span_id, priority=priority, resume=resume)


async def _resolve(session: AsyncSession, row: RunRow, body: StartRun) -> ResolvedDefinition:
    kind = cast("RunKind", row.kind)
    try:
        return await resolve(session, kind, row.definition_id, row.definition_version)
    except VersionGone:
        raise invalid([unknown_version(kind, row.definition_name, body.version or row.definition_version)]) from None
