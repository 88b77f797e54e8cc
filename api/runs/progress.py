"""A run's steps with those of its child workflows that go on, which only the children themselves know."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

from studio.contracts.runs import BLOCK_KINDS, RunProgress, RunStatus, StepRun
from workflows.names import child_workflow_id

MAX_AT_ONCE = 20
"""Children asked at a time; of a map over thousands those that do not answer in time are left out."""
Ask = Callable[[str], Awaitable[RunProgress | None]]
"""From a workflow id to what that workflow answers."""
_OPEN = {"running", "waiting", "pending"}


async def whole_progress(run_id: str, ask: Ask) -> RunProgress | None:
    """None when the run itself does not answer."""
    progress = await ask(run_id)
    return None if progress is None else await _with_children(run_id, "", progress, ask, asyncio.Semaphore(MAX_AT_ONCE))


async def _with_children(
    run_id: str, prefix: str, progress: RunProgress, ask: Ask, room: asyncio.Semaphore
) -> RunProgress:
    """The paths in `progress` are the child's own; those in the answer are the run's."""

    async def child_of(step: StepRun) -> RunProgress | None:
        if step.kind != "workflow" or step.status != "running":
            return None
        path = prefix + step.id
        async with room:
            found = await ask(child_workflow_id(run_id, path))
        return None if found is None else await _with_children(run_id, f"{path}/", found, ask, room)

    children = await asyncio.gather(*(child_of(step) for step in progress.steps))
    steps: dict[str, StepRun] = {}
    usage, cost = progress.usage, progress.cost_usd
    for step, child in zip(progress.steps, children, strict=True):
        # What an earlier attempt of a child left comes after the child: what goes on is there already.
        steps.setdefault(prefix + step.id, step.model_copy(update={"id": prefix + step.id}))
        if child is not None:
            steps.update((inner.id, inner) for inner in child.steps)
            usage = usage.plus(child.usage)
            cost = cost if child.cost_usd is None else (cost or Decimal(0)) + child.cost_usd
    inner: set[RunStatus] = {child.status for child in children if child is not None}
    shown = list(steps.values())
    status = _status(progress.status, inner, shown)
    return RunProgress(
        status=status,
        steps=shown,
        usage=usage,
        cost_usd=cost,
        limits=progress.limits,
        signals=progress.signals,
        heard=progress.heard,
    )


def _status(own: RunStatus, inner: set[RunStatus], steps: list[StepRun]) -> RunStatus:
    if own != "running" or not inner:
        return own
    ids = [step.id for step in steps if step.status in _OPEN]
    leaves = [
        step.status for step in steps if step.status in _OPEN and step.kind not in BLOCK_KINDS and not _holds(step, ids)
    ]
    if "running" in leaves:
        return "running"
    return "paused" if "paused" in inner else "waiting"


def _holds(step: StepRun, ids: list[str]) -> bool:
    return step.kind == "workflow" and any(found.startswith(f"{step.id}/") for found in ids)
