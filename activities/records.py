"""The end of a run: its row, its last events, its spans."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson
import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, StatementError
from temporalio import activity

from activities.failures import as_application_error
from studio.contracts.activities import FailureDetails, RecordEndRequest
from studio.contracts.base import Json
from studio.contracts.events import CONTENT_LIMIT_BYTES
from studio.contracts.folding import LARGE_BYTES
from studio.contracts.ids import derived_span_id
from studio.contracts.runs import (
    RunContext,
    RunEnd,
    RunError,
    RunProgress,
    RunStatus,
    StepRun,
    StepStatus,
    block_of,
)
from studio.contracts.spans import Span, SpanStatus, cut_payload
from studio.db.engine import Database
from studio.db.tables import RunRow
from studio.engine.limits import measure
from studio.store.event_stream import EventStream
from studio.store.runs import get_run, mark_running, record_end
from studio.tracing import SpanSender

_log = structlog.get_logger(__name__)


class RecordActivities:
    def __init__(self, database: Database, stream: EventStream, spans: SpanSender) -> None:
        self._database = database
        self._stream = stream
        self._spans = spans

    @activity.defn(name="record_end")
    async def record_end(self, request: RecordEndRequest) -> None:
        """Write the run's row, then tell its readers, then the trace store. Safe to repeat."""
        run, end = request.run, request.end
        try:
            try:
                is_its_end, row = await self._write(run, end)
            except (ValueError, TypeError, RecursionError, StatementError) as error:
                if isinstance(error, OperationalError | InterfaceError):
                    raise
                _log.error("run.end_not_writable", run_id=run.run_id, error=type(error).__name__)
                end = _bare(end)
                is_its_end, row = await self._write(run, end, steps_known=False)
            if not is_its_end:
                return  # terminated meanwhile, and perhaps retried: this end is not the run's
            await self._stream.publish(run.run_id, request.events)
        except Exception as error:
            raise as_application_error(error, FailureDetails(attempt=activity.info().attempt)) from error
        began = end.started_at if row is None or row.started_at is None else row.started_at
        await self._spans.send_large(_spans(request.model_copy(update={"end": end}), began))

    async def _write(self, run: RunContext, end: RunEnd, *, steps_known: bool = True) -> tuple[bool, RunRow | None]:
        """Whether it is the run's end, and its row."""
        async with self._database.write() as session:
            execution = activity.info().workflow_run_id
            await mark_running(session, run.run_id, end.started_at, execution, retry=run.retry)
            is_its_end = await record_end(session, run.run_id, end, retry=run.retry, steps_known=steps_known)
            return is_its_end, await get_run(session, run.run_id)


def _bare(end: RunEnd) -> RunEnd:
    """An end that can be written, instead of one that cannot: trying again would not help, and the run never end."""
    error = RunError(type="internal_error", message="What the run did cannot be written to its record.")
    return RunEnd(
        status="failed" if end.status == "succeeded" else end.status,
        error=error,
        progress=RunProgress(),
        started_at=end.started_at,
        ended_at=end.ended_at,
    )


def _spans(request: RecordEndRequest, began: datetime) -> Iterator[Span]:
    """The run's span and one for each step that ran, under the step that holds it. What a step only hands on is whole
    in the span of the first one that has it.

    Ids are of the run and the path, so that a retry's spans take the place of those before: a step's span reaches from
    its first attempt to its last. `began` is when the run first did: what a replay kept has ended before, in the trace
    of the run that it replays. What was paid is in the spans of the model calls, which nothing replaces.
    """
    run, end = request.run, request.end
    shared: dict[str, Any] = {
        "trace_id": run.trace_id,
        "project_id": run.project_id,
        "session_id": run.session_id,
        "user_id": run.user_id,
        "run_id": run.run_id,
        "workflow_name": run.workflow_name,
        "workflow_version": run.workflow_version,
        "metadata": request.metadata,
    }
    root = Span(
        span_id=request.root_span_id,
        parent_span_id=request.parent_span_id,
        name=run.workflow_name,
        kind="workflow",
        input=request.input,
        output=end.output,
        started_at=began,
        ended_at=end.ended_at,
        **_outcome(end.status, end.error),
        **shared,
    )
    ran = [
        step
        for step in end.progress.steps
        if step.started_at is not None and (step.ended_at is None or step.ended_at >= began)
    ]
    yield root
    handed_on: dict[int, dict[str, Any] | None] = {}
    """By the large output that was seen, how it is told again, once it was."""
    for step in ran:
        content = {"output": step.output}
        if id(step.output) in handed_on:
            content = handed_on[id(step.output)] or _beginning(step.output)
            handed_on[id(step.output)] = content
        elif measure(step.output)[0] >= LARGE_BYTES:
            handed_on[id(step.output)] = None
        yield _step_span(step, request, shared | content)


def _beginning(output: Json) -> dict[str, Any]:
    text, cut = cut_payload(orjson.dumps(output), CONTENT_LIMIT_BYTES)
    return {"output": text, "output_cut": cut}


def _step_span(step: StepRun, request: RecordEndRequest, shared: dict[str, Any]) -> Span:
    run_id = request.run.run_id
    block = block_of(step.id)
    started = step.started_at or request.end.started_at
    return Span(
        span_id=derived_span_id(run_id, step.id),
        parent_span_id=derived_span_id(run_id, block) if block else request.root_span_id,
        name=step.name or step.id,
        kind="agent" if step.kind == "agent" else "step",
        step_id=step.id,
        agent=step.agent,
        started_at=started,
        ended_at=step.ended_at or request.end.ended_at,
        **_outcome(step.status, step.error),
        **shared,
    )


def _outcome(status: RunStatus | StepStatus, error: RunError | None) -> dict[str, Any]:
    states: dict[str, SpanStatus] = {"succeeded": "ok", "cancelled": "cancelled"}
    return {
        "status": states.get(status, "error"),
        "error_type": error.type if error else None,
        "error_message": error.message if error else None,
    }
