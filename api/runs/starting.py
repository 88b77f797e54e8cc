"""Starting a run of a stored definition."""

import re
from dataclasses import dataclass
from typing import cast

from sqlalchemy.ext.asyncio import AsyncSession

from api.definitions.service import get_definition
from api.runs.launching import Launcher, claim_of, has_to_start
from studio.contracts.base import utc_now
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.ids import IdPrefix, derived_span_id, new_id, new_trace_id
from studio.contracts.runs import Resumption, RunKind, RunPriority, RunRequest, StartRun
from studio.db.engine import Database
from studio.db.tables import DefinitionRow, RunRow
from studio.errors import invalid
from studio.json_schema import check_value
from studio.store.resolving import VersionGone, resolve, unknown_version
from studio.store.runs import context_of

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
            row = row or _new_row(kind, definition, body, trigger)
            resolved = await _resolve(session, row, body) if has_to_start(row) else None
        if resolved is None:
            return row.id
        if not known:
            check_input(row.input, resolved)
            if not await self._launcher.insert(row, claim):
                return await self.start(kind, ref, project_id, body, trigger)  # the same key came at the same time
        request = first_request(row, trigger, priority=body.priority)
        await self._launcher.execute(row, request, resolved, claim)
        return row.id


def check_input(given: object, resolved: ResolvedDefinition) -> None:
    """Raises `InvalidInput` with each place that does not fit."""
    errors = check_value(given, resolved.workflow.input_schema or {}, ["body", "input"])
    if errors:
        raise invalid(errors)


def first_request(
    row: RunRow, trigger: Trigger, *, priority: RunPriority, resume: Resumption | None = None
) -> RunRequest:
    """From the row, but for the caller's span and the priority: a repeated start asks for the same thing."""
    trace_id, parent = trigger.trace()
    return RunRequest(
        context=context_of(row),
        root_span_id=derived_span_id(row.id),
        parent_span_id=parent if trace_id == row.trace_id else None,
        input=row.input,
        metadata=row.run_metadata,
        priority=priority,
        resume=resume,
    )


def _new_row(kind: RunKind, definition: DefinitionRow, body: StartRun, trigger: Trigger) -> RunRow:
    trace_id, _ = trigger.trace()
    return RunRow(
        id=new_id(IdPrefix.RUN),
        kind=kind,
        project_id=definition.project_id,
        definition_id=definition.id,
        definition_name=definition.name,
        definition_version=body.version or definition.version,
        pattern=definition.document["pattern"] if kind == "workflow" else None,
        status="queued",
        input=body.input,
        session_id=body.session_id,
        user_id=body.user_id,
        run_metadata=dict(body.metadata),
        trace_id=trace_id,
        retry_count=0,
        created_at=utc_now(),
    )


async def _resolve(session: AsyncSession, row: RunRow, body: StartRun) -> ResolvedDefinition:
    kind = cast("RunKind", row.kind)
    try:
        return await resolve(session, kind, row.definition_id, row.definition_version)
    except VersionGone:
        raise invalid([unknown_version(kind, row.definition_name, body.version or row.definition_version)]) from None
