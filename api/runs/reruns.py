"""Runs that begin once more: a retry goes on under its own id, a replay is a new run.

The row of a retried run is queued again before Temporal is asked, guarded by its status and `retry_count`, so that of
two retries one begins. When Temporal does not take it, the row gets its end back. Should this process die in between,
`api.runs.mending` does that: the newest execution says which retry it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NoReturn, cast

import structlog

from api.runs.executions import Execution, Executions, StartRefused
from api.runs.launching import Claim, Launcher, claim_of, has_to_start
from api.runs.mending import Mender
from api.runs.service import RunService
from api.runs.starting import Trigger, first_request, fitted_input
from studio.contracts.base import Json, utc_now
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.events import run_retried
from studio.contracts.ids import IdPrefix, derived_span_id, new_id
from studio.contracts.reruns import ReplayRun, RetryPlan, RetryRun, StepAgain
from studio.contracts.runs import (
    DEFAULT_PRIORITY,
    FINAL_STATUSES,
    Resumption,
    Run,
    RunEnd,
    RunError,
    RunKind,
    RunPriority,
    RunProgress,
    RunRequest,
    RunStatus,
    StepRun,
)
from studio.contracts.waits import Limits
from studio.db.engine import Database
from studio.db.tables import RunRow
from studio.engine.plan import compile_plan
from studio.engine.rerun_versions import Changes
from studio.engine.reruns import Rerun, plan_rerun
from studio.engine.step_names import UnknownStep
from studio.errors import Conflict, DependencyUnavailable, FieldError, InvalidInput
from studio.store.definitions import list_versions
from studio.store.event_stream import EventStream
from studio.store.idempotency import find_started, forget_key, keep_key, retry_scope
from studio.store.resolving import VersionGone, resolve
from studio.store.runs import context_of, put_back_run, requeue_run, run_progress

RETRIED: frozenset[RunStatus] = frozenset({"failed", "cancelled", "terminated", "timed_out"})
CLOSING_SECONDS = 5.0
"""A run's end is told a moment before its workflow closes."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Recorded:
    """A run that has ended, as far as it is known."""

    row: RunRow
    execution: Execution | None
    """None when Temporal no longer has it."""
    definition: ResolvedDefinition
    """Exactly as the run had it; where Temporal no longer has that, as it resolves now."""
    request: RunRequest | None
    """What its newest execution began with; None where Temporal no longer has that."""

    version: int
    """Of the definition."""

    @property
    def pattern(self) -> str | None:
        return None if self.row.pattern is None else self.definition.workflow.pattern

    @property
    def priority(self) -> RunPriority:
        return DEFAULT_PRIORITY if self.request is None else self.request.priority


class Reruns:
    def __init__(
        self,
        runs: RunService,
        launcher: Launcher,
        mender: Mender,
        database: Database,
        executions: Executions,
        stream: EventStream,
    ) -> None:
        self._runs = runs
        self._launcher = launcher
        self._mender = mender
        self._database = database
        self._executions = executions
        self._stream = stream

    async def plan(self, run_id: str, body: RetryRun) -> RetryPlan:
        """What a retry would run again."""
        run = await self._recorded(await self._runs.refreshed_row(run_id), RETRIED)
        progress = await self._progress(run)
        changed = await self._in_version(run, body.version)
        return _as_plan(_planned(run, progress, body.from_step, changed, inputs=body.inputs), progress.steps)

    async def retry(
        self, run_id: str, body: RetryRun, actor: str, key: str | None, *, wait_seconds: float
    ) -> tuple[Run, bool]:
        """The run, queued once more, and whether it has ended since. The same `key` retries it once."""
        row = await self._runs.refreshed_row(run_id)
        claim = claim_of(retry_scope(row.id), key, body)
        if not await self._is_known(claim):
            try:
                await self._retry(row, body, actor, claim)
            except Conflict:
                if not await self._is_known(claim):  # else the same key came at the same time
                    raise
        return await self._runs.settled(row.id, wait_seconds)

    async def _is_known(self, claim: Claim | None) -> bool:
        if claim is None:
            return False
        async with self._database.read() as session:
            return await find_started(session, claim.scope, claim.key, claim.body_hash) is not None

    async def _retry(self, row: RunRow, body: RetryRun, actor: str, claim: Claim | None) -> None:
        run = await self._recorded(row, RETRIED)
        progress = await self._progress(run)
        changed = await self._in_version(run, body.version)
        rerun = _planned(run, progress, body.from_step, changed, inputs=body.inputs)
        run = changed
        await self._await_close(run)
        resumption = Resumption(
            steps=rerun.steps,
            kept=rerun.kept,
            inputs=body.inputs,
            usage=progress.usage,
            cost_usd=progress.cost_usd,
            limits=_merged(None if body.version is not None else progress.limits, body.limits, run),
            signals=progress.signals,
            heard=progress.heard,
        )
        await self._begin_again(run, resumption, actor, claim)

    async def replay(self, run_id: str, body: ReplayRun, trigger: Trigger, *, wait_seconds: float) -> tuple[Run, bool]:
        """The new run, and whether it has ended."""
        claim = claim_of(run_id, trigger.idempotency_key, body)
        async with self._database.read() as session:
            known = await self._launcher.claimed(session, claim)
        if known is None or has_to_start(known):
            before = await self._recorded(await self._runs.refreshed_row(run_id), FINAL_STATUSES)
            run = await self._in_version(before, body.version if known is None else known.definition_version)
            row = known or _replay_row(run, body, trigger)
            resumption = await self._replayed(before, body, run)
            if known is None:
                row.input = await fitted_input(row.input, run.definition)
                if not await self._launcher.insert(row, claim):  # the same key came at the same time
                    return await self.replay(run_id, body, trigger, wait_seconds=wait_seconds)
            request = first_request(
                row,
                trigger,
                priority=run.priority,
                resume=resumption,
            )
            await self._launcher.execute(row, request, run.definition, claim)
            known = row
        return await self._runs.settled(known.id, wait_seconds)

    async def _recorded(self, row: RunRow, statuses: frozenset[RunStatus]) -> _Recorded:
        """Raises `Conflict` when the run's status is another one."""
        if row.status not in statuses:
            raise _not_now(row, statuses)
        execution = await self._executions.find(row.id)
        begun = None if execution is None else await self._executions.begun(row.id, execution.run_id)
        if begun is not None:
            return _Recorded(row, execution, begun.definition, begun.request, row.definition_version)
        async with self._database.read() as session:
            try:
                definition = await resolve(
                    session, cast("RunKind", row.kind), row.definition_id, row.definition_version
                )
            except VersionGone:
                name = f"version {row.definition_version} of the {row.kind} {row.definition_name!r}"
                raise Conflict(f"The run {row.id!r} cannot begin again: {name} is gone.") from None
        return _Recorded(row, execution, definition, None, row.definition_version)

    async def _progress(self, run: _Recorded) -> RunProgress:
        """What its steps did. Raises when nobody can say: what was paid for must not be paid again."""
        row = await self._mender.complete(run.row)
        progress = run_progress(row)
        if progress is not None and (progress.steps or run.execution is not None or row.replay_of is None):
            return progress
        if progress is not None:
            raise Conflict(f"The run {row.id!r} was never started. Replay {row.replay_of!r} again.")
        if run.execution is None:
            message = (
                f"What the run {row.id!r} had done is not known any more, and would be paid again. Start a new run."
            )
            raise Conflict(message)
        message = "No worker says what the run had done, which must not be paid again. Start a worker, then try again."
        raise DependencyUnavailable("worker", message)

    async def _in_version(self, run: _Recorded, version: int | Literal["latest"] | None) -> _Recorded:
        """The run with the definition that it goes on with. Raises `InvalidInput` when that version is not there, or
        refuses the run's input.
        """
        row = run.row
        if version is None or version == row.definition_version:
            return run
        async with self._database.read() as session:
            if version == "latest":
                newest = await list_versions(session, row.definition_id, limit=1)
                version = newest[0].version if newest else 0
            try:
                definition = await resolve(session, cast("RunKind", row.kind), row.definition_id, version)
            except VersionGone:
                message = f"There is no version {version or 'latest'} of the {row.kind} {row.definition_name!r}."
                error = FieldError(loc=["body", "version"], msg=message, type="unknown_version")
                raise InvalidInput(message, errors=[error]) from None
        await fitted_input(row.input, definition)
        return replace(run, definition=definition, version=version)

    async def _replayed(self, run: _Recorded, body: ReplayRun, changed: _Recorded) -> Resumption | None:
        """What a replay takes over; None for nothing."""
        has_input = "input" in body.model_fields_set
        if body.from_step is None and not body.overrides:
            return None
        keeps_nothing = has_input and body.from_step is None
        progress = RunProgress() if keeps_nothing else await self._progress(run)
        rerun = _planned(run, progress, body.from_step, changed, overrides=body.overrides)
        return Resumption(steps=rerun.steps, kept=rerun.kept)

    async def _await_close(self, run: _Recorded) -> None:
        if run.execution is None or run.execution.end is not None:
            return
        if run.request is not None and run.request.context.retry > run.row.retry_count:
            raise _is_retried(run.row)
        if not await self._executions.wait(run.row.id, CLOSING_SECONDS):
            message = f"The run {run.row.id!r} is still being closed. Try again shortly."
            raise DependencyUnavailable("temporal", message)

    async def _begin_again(self, run: _Recorded, resumption: Resumption, actor: str, claim: Claim | None) -> None:
        row, at = run.row, utc_now()
        retry = row.retry_count + 1
        async with self._database.write() as session:
            if not await requeue_run(session, row, at, version=run.version, pattern=run.pattern):
                raise _is_retried(row)
            if claim is not None:
                await keep_key(session, claim.scope, claim.key, claim.body_hash, row.id, at)
        # A reader that comes after the answer must not take the end before for the run's.
        await self._stream.publish(row.id, [run_retried(at, retry, actor)])
        request = RunRequest(
            context=context_of(row).model_copy(update={"retry": retry, "workflow_version": run.version}),
            root_span_id=derived_span_id(row.id),
            parent_span_id=None if run.request is None else run.request.parent_span_id,
            input=row.input,
            metadata=row.run_metadata,
            priority=run.priority,
            resume=resumption,
        )
        try:
            await self._executions.start(request, run.definition, run.pattern)
        except StartRefused as error:
            _log.exception("runs.retry_refused", run_id=row.id)
            if await self._put_back(row, retry, claim):
                raise DependencyUnavailable(
                    "temporal", "Temporal refused to retry the run; see the API's log."
                ) from error
        except DependencyUnavailable:
            if await self._put_back(row, retry, claim):
                raise

    async def _put_back(self, row: RunRow, retry: int, claim: Claim | None) -> bool:
        """False when a worker has taken the retry up: it did begin."""
        end = RunEnd(
            status=cast("RunStatus", row.status),
            output=row.output,
            error=None if row.error is None else RunError.model_validate(row.error),
            progress=RunProgress(),
            started_at=row.started_at or row.created_at,
            ended_at=row.ended_at or utc_now(),
        )
        async with self._database.write() as session:
            is_back = await put_back_run(session, row.id, end, retry=retry, before=row)
            if is_back and claim is not None:
                await forget_key(session, claim.scope, claim.key)
        if is_back:
            await self._mender.tell_end(row.id)
        return is_back


def _is_retried(row: RunRow) -> Conflict:
    return Conflict(f"The run {row.id!r} is being retried already.", extra={"run_status": "queued"})


def _not_now(row: RunRow, statuses: frozenset[RunStatus]) -> Conflict:
    if statuses == FINAL_STATUSES:
        advice = "Wait for its end."
    else:
        advice = "Only a failed, cancelled, terminated or timed-out run can be retried."
    return Conflict(f"The run {row.id!r} is {row.status}. {advice}", extra={"run_status": row.status})


def _planned(
    run: _Recorded,
    progress: RunProgress,
    from_step: str | None,
    changed: _Recorded,
    *,
    inputs: Mapping[str, Json] | None = None,
    overrides: Mapping[str, Json] | None = None,
) -> Rerun:
    """`changed` has the definition that the run goes on with. Raises `InvalidInput` for what names no step."""
    try:
        return plan_rerun(
            compile_plan(run.definition.workflow, run.definition.agents),
            progress.steps,
            status=cast("RunStatus", run.row.status),
            from_step=from_step,
            inputs=inputs,
            overrides=overrides,
            replay=overrides is not None,
            changes=None if changed is run else Changes(run.definition, changed.definition),
        )
    except UnknownStep as error:
        _refuse(error, from_step, inputs or {})


def _refuse(error: UnknownStep, from_step: str | None, inputs: Mapping[str, Json]) -> NoReturn:
    field = "from_step" if error.name == from_step else "inputs" if error.name in inputs else "overrides"
    place: list[str | int] = ["body", field] if field == "from_step" else ["body", field, error.name]
    raise InvalidInput(str(error), errors=[FieldError(loc=place, msg=str(error), type="unknown_step")]) from error


def _as_plan(rerun: Rerun, steps: list[StepRun]) -> RetryPlan:
    recorded = {step.id: step for step in steps}
    again = [
        StepAgain(step_id=path, kind=recorded[path].kind, status=recorded[path].status, why=why)
        for path, why in rerun.again.items()
    ]
    return RetryPlan(again=again, kept=rerun.kept, dropped=rerun.dropped)


def _merged(now: Limits | None, changes: Limits | None, run: _Recorded) -> Limits | None:
    """The limits as they are now, or as another version says, with what is to change."""
    now = run.definition.workflow.limits if now is None else now
    if changes is None:
        return now
    return Limits.model_validate(
        ({} if now is None else now.model_dump(exclude_unset=True)) | changes.model_dump(exclude_unset=True)
    )


def _replay_row(run: _Recorded, body: ReplayRun, trigger: Trigger) -> RunRow:
    origin = run.row
    trace_id, _ = trigger.trace()
    return RunRow(
        id=new_id(IdPrefix.RUN),
        kind=origin.kind,
        project_id=origin.project_id,
        definition_id=origin.definition_id,
        definition_name=origin.definition_name,
        definition_version=run.version,
        pattern=run.pattern,
        status="queued",
        input=body.input if "input" in body.model_fields_set else origin.input,
        session_id=body.session_id or origin.session_id,
        user_id=body.user_id or origin.user_id,
        run_metadata=dict(origin.run_metadata if body.metadata is None else body.metadata),
        trace_id=trace_id,
        retry_count=0,
        replay_of=origin.id,
        created_at=utc_now(),
    )
