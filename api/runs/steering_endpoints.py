"""`/api/v1/runs/{id}/…`: what can be said to a run that goes on."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query

from api.deps import PartsDep, Ref
from api.runs.endpoints import IdempotencyKey
from api.runs.steering import check_signal_name
from studio.contracts.base import Json, Page
from studio.contracts.interaction import ApprovalOutcome, DecideApproval, PendingApproval, ResolveStep
from studio.contracts.runs import Run, StepRun
from studio.contracts.waits import Limits, SignalName
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.preconditions import ANONYMOUS, Actor

router = APIRouter(prefix="/api/v1/runs", tags=["runs"], route_class=JsonRoute)
_REFUSALS = problems(404, 409, 503)
Payload = Annotated[Json, Body(description="Any JSON; null without a body")]
ChildStep = Annotated[
    str | None, Query(max_length=2000, description="Of the child workflow that this step runs, not of the run itself")
]
StepPath = Annotated[str, Path(max_length=2000, description="The step's path, `research/answer[2]`")]


@router.post("/{run_id}/pause", status_code=202, summary="Start no further step of a run", responses=_REFUSALS)
async def pause_run(run_id: Ref, parts: PartsDep) -> Run:
    """Steps that are under way go on to their end; child workflows are paused too."""
    return await parts.steering.pause(run_id)


@router.post("/{run_id}/resume", status_code=202, summary="Let a paused run go on", responses=_REFUSALS)
async def resume_run(run_id: Ref, parts: PartsDep) -> Run:
    """A run that was paused by a limit pauses again at once unless the limit was raised."""
    return await parts.steering.resume(run_id)


@router.patch(
    "/{run_id}/limits",
    name="change_run_limits",
    summary="Raise or lower a run's limits",
    responses=problems(404, 409, 415, 422, 503),
)
async def change_limits(run_id: Ref, changes: Limits, parts: PartsDep, step_id: ChildStep = None) -> Run:
    """Only the fields that are given change; null takes a limit away. A paused run stays so until it is resumed."""
    return await parts.steering.set_limits(run_id, changes, step_id)


@router.post(
    "/{run_id}/signals/{name}",
    status_code=202,
    summary="Send a run the signal that a step waits for",
    responses=problems(404, 409, 415, 422, 503),
)
async def send_signal(
    run_id: Ref, name: SignalName, parts: PartsDep, payload: Payload = None, idempotency_key: IdempotencyKey = None
) -> Run:
    """The body is the payload, any JSON. A signal that no step waits for yet is kept for the first that does."""
    check_signal_name(name, "path")
    return await parts.steering.signal(run_id, name, payload, idempotency_key)


@router.get(
    "/{run_id}/approvals",
    name="list_run_approvals",
    summary="What a run waits for a person to decide",
    responses=problems(404),
)
async def list_approvals(run_id: Ref, parts: PartsDep) -> Page[PendingApproval]:
    return Page(items=await parts.steering.list_approvals(run_id))


@router.post(
    "/{run_id}/approvals/{step_id:path}",
    summary="Approve or reject",
    responses=problems(404, 409, 415, 422, 503),
)
async def decide_approval(
    run_id: Ref, step_id: StepPath, body: DecideApproval, parts: PartsDep, actor: Actor = ANONYMOUS
) -> ApprovalOutcome:
    """`hash` binds the decision to exactly what was shown. A second or late answer gets what was decided."""
    return await parts.steering.decide(run_id, step_id, body, actor)


@router.post(
    "/{run_id}/steps/{step_id:path}/resolve",
    summary="Say what becomes of a parked step",
    responses=problems(404, 409, 415, 422, 503),
)
async def resolve_step(
    run_id: Ref, step_id: StepPath, body: ResolveStep, parts: PartsDep, actor: Actor = ANONYMOUS
) -> StepRun:
    """A step that `on_failure: pause` parked: begin it again, skip it, give its output, or let it fail. The answer is
    the step as it is then; 409 when it does not wait for that (any more).
    """
    return await parts.steering.resolve(run_id, step_id, body, actor)
