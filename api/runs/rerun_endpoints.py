"""`/api/v1/runs/{id}/retry` and `/replay`."""

from fastapi import APIRouter, Response

from api.deps import PartsDep, Ref
from api.runs.endpoints import IdempotencyKey, Traceparent, Wait
from api.runs.starting import Trigger
from studio.contracts.reruns import ReplayRun, RetryPlan, RetryRun
from studio.contracts.runs import Run
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.preconditions import ANONYMOUS, Actor

router = APIRouter(prefix="/api/v1/runs", tags=["runs"], route_class=JsonRoute)
_AS_IT_STOPPED = RetryRun()
_THE_SAME = ReplayRun()


@router.post(
    "/{run_id}/retry",
    status_code=202,
    summary="Let a failed, cancelled, terminated or timed-out run go on where it stopped",
    responses={
        200: {"description": "The run has ended; with `plan_only` what would run again", "model": Run | RetryPlan},
        **problems(404, 409, 415, 422, 503),
    },
)
async def retry_run(
    run_id: Ref,
    parts: PartsDep,
    response: Response,
    body: RetryRun = _AS_IT_STOPPED,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
    actor: Actor = ANONYMOUS,
) -> Run | RetryPlan:
    """Only what failed, and what depends on it, runs again. The run keeps its id, and the definition that it had."""
    if body.plan_only:
        response.status_code = 200
        return await parts.reruns.plan(run_id, body)
    run, ended = await parts.reruns.retry(run_id, body, actor, idempotency_key, wait_seconds=wait)
    if ended and wait > 0:
        response.status_code = 200
    return run


@router.post(
    "/{run_id}/replay",
    status_code=202,
    summary="Start a new run as the one that has ended",
    responses={200: {"description": "The new run has ended", "model": Run}, **problems(404, 409, 415, 422, 503)},
)
async def replay_run(
    run_id: Ref,
    parts: PartsDep,
    response: Response,
    body: ReplayRun = _THE_SAME,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
    traceparent: Traceparent = None,
) -> Run:
    """With the definition that the other run had, and its input unless another one is given."""
    trigger = Trigger(traceparent, idempotency_key)
    run, ended = await parts.reruns.replay(run_id, body, trigger, wait_seconds=wait)
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    if ended and wait > 0:
        response.status_code = 200
    return run
