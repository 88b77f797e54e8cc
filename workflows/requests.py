"""What a run answers to from outside: queries, signals and updates.

A Temporal signal of any name is the signal of that name that a step waits for, so that `temporal workflow signal` works
as well as the API; a second argument is a key with which it counts once. Those that begin with `studio_` steer the run
and its child workflows.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, cast

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.workflow import ChildWorkflowHandle

from studio.contracts.base import Json, JsonObject
from studio.contracts.interaction import ApprovalOutcome, DecideRequest, Decision, ResolveRequest
from studio.contracts.runs import ChildStatus, OuterLimits, RunProgress, StepRun
from studio.contracts.waits import Limits
from studio.engine.plan import Plan
from studio.engine.scheduler import answer_errors
from studio.engine.state import (
    ApprovalDecided,
    CoreEvent,
    LimitsChanged,
    OuterLimitsChanged,
    PauseRequested,
    ResumeRequested,
    RunState,
    SignalReceived,
    StepResolved,
)
from studio.schemas.meter import Meter
from workflows.calls import present, tell_children
from workflows.names import CHILD, DECIDE, LIMITS, OUTER_LIMITS, PAUSE, PROGRESS, RESOLVE, RESUME
from workflows.schema_work import SchemaWork


class Steered(Protocol):
    """A run, as far as its handlers are concerned."""

    @property
    def schema_work(self) -> SchemaWork: ...

    @property
    def state(self) -> RunState: ...

    def progress(self) -> RunProgress: ...

    def hear(self, event: CoreEvent) -> None: ...

    def take(self, event: CoreEvent) -> None: ...

    def hear_child(self, told: ChildStatus) -> None: ...

    def has_taken_all(self) -> bool: ...

    def children(self) -> list[ChildWorkflowHandle[Any, Any]]: ...

    def outer_limits(self) -> list[OuterLimits]: ...


def register_handlers(run: Steered, plan: Plan) -> None:
    def progress() -> RunProgress:
        return run.progress()

    telling = asyncio.Lock()  # children hear of limits before they hear that they may go on

    async def change_limits(changes: Limits) -> None:
        await share_limits(LimitsChanged(workflow.now(), changes))

    async def change_outer_limits(outer: list[OuterLimits]) -> None:
        await share_limits(OuterLimitsChanged(workflow.now(), outer))

    async def share_limits(event: LimitsChanged | OuterLimitsChanged) -> None:
        run.hear(event)
        async with telling:
            await workflow.wait_condition(run.has_taken_all)
            await tell_children(run.children(), OUTER_LIMITS, run.outer_limits())

    async def pause() -> None:
        run.hear(PauseRequested(workflow.now()))
        async with telling:
            await tell_children(run.children(), PAUSE)

    async def resume() -> None:
        run.hear(ResumeRequested(workflow.now()))
        async with telling:
            await tell_children(run.children(), RESUME)

    def hear_child(told: ChildStatus) -> None:
        run.hear_child(told)

    def decide(request: DecideRequest) -> ApprovalOutcome:
        return _decide(run, present(request))

    async def resolve(request: ResolveRequest) -> StepRun:
        async with run.schema_work.meter() as meter:
            return _resolve(run, plan, present(request), meter)

    def receive(name: str, arguments: Sequence[RawValue]) -> None:
        payload, key = (*map(_value, arguments[:2]), None, None)[:2]
        run.hear(SignalReceived(workflow.now(), name, payload, key if isinstance(key, str) else None))

    workflow.set_query_handler(PROGRESS, progress)
    workflow.set_signal_handler(PAUSE, pause)
    workflow.set_signal_handler(RESUME, resume)
    workflow.set_signal_handler(LIMITS, change_limits)
    workflow.set_signal_handler(OUTER_LIMITS, change_outer_limits)
    workflow.set_signal_handler(CHILD, hear_child)
    workflow.set_dynamic_signal_handler(receive)
    workflow.set_update_handler(DECIDE, decide)
    workflow.set_update_handler(RESOLVE, resolve)


def _value(argument: RawValue) -> Json:
    return present(workflow.payload_converter().from_payload(argument.payload))


def _decide(run: Steered, request: DecideRequest) -> ApprovalOutcome:
    """At once, so that of two decisions in one workflow task one is told what the other decided."""
    step = run.state.steps.get(request.path)
    if step is None or step.kind != "approval":
        raise ApplicationError(f"There is no approval {request.path!r} in this run.", type="not_found")
    waiting = step.waiting or {}
    if step.status == "waiting":
        if request.hash is not None and request.hash != waiting["hash"]:
            message = "What is to be decided has changed since it was shown. Look at it again."
            raise ApplicationError(message, type="conflict")
        if request.decision.edit and not waiting["allow_edit"]:
            raise ApplicationError("This approval does not allow an edit.", type="conflict")
        run.take(ApprovalDecided(workflow.now(), request.path, request.decision))
        return _outcome(request.decision, accepted=True)
    decided = cast("JsonObject", step.output) if isinstance(step.output, dict) else {}
    if "decision" not in decided:
        raise ApplicationError(f"The approval was never decided: it is {step.status}.", type="conflict")
    return _outcome(Decision.model_validate(decided), accepted=False)


def _outcome(decision: Decision, *, accepted: bool) -> ApprovalOutcome:
    return ApprovalOutcome(decision=decision.decision, comment=decision.comment, by=decision.by, accepted=accepted)


def _resolve(run: Steered, plan: Plan, request: ResolveRequest, meter: Meter) -> StepRun:
    """At once, as a decision."""
    path, resolution = request.path, request.resolution
    step = run.state.steps.get(path)
    if step is None:
        raise ApplicationError(f"There is no step {path!r} in this run.", type="not_found")
    if path not in run.state.parked:
        by = f", as {step.resolved_by} said" if step.resolved_by is not None else ""
        now = f"it is {step.status}, attempt {step.attempt}{by}"
        raise ApplicationError(f"The step {path!r} does not wait to be resolved: {now}.", type="conflict")
    if resolution.action not in (step.waiting or {})["actions"]:
        message = f"The step {path!r} cannot be skipped, since what follows needs its answer: give it with `done`."
        raise ApplicationError(message, type="conflict")
    at = workflow.now()
    is_done = resolution.action == "done"
    errors = answer_errors(plan, run.state, path, resolution.output, at, meter) if is_done else []
    if errors:
        told = [error.model_dump() for error in errors]
        raise ApplicationError("The output cannot be that of the step.", told, type="invalid")
    run.take(StepResolved(at, path, resolution))
    return run.state.steps[path]
