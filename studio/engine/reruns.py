"""What a retried run, or a replay, does again, and what it keeps.

A step runs again when it did not end well, or when something that it depends on runs again: by what its expressions
name, as a later round, or by the edges of a graph. What merely comes later in a chain is kept. Where the records do not
tell who depended on whom, more runs again rather than less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from studio.contracts.base import Json
from studio.contracts.runs import RunStatus, StepRun, is_inside
from studio.engine.mishaps import Mishaps
from studio.engine.plan import ROOT, Plan
from studio.engine.recorded import Recorded
from studio.engine.rerun_versions import Changes
from studio.engine.spread import Spread
from studio.engine.step_names import inputs_named, named, overridden

_ANEW: dict[str, Any] = {
    "status": "pending",
    "ended_at": None,
    "duration_ms": None,
    "output": None,
    "error": None,
    "errors": None,
    "waiting": None,
    "cached": False,
    "handled": False,
}
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Rerun:
    """`steps` and `kept` are what a `Resumption` takes."""

    steps: list[StepRun]
    """In the order in which they were reached; what runs again is `pending`."""
    kept: list[str]
    """The paths whose recorded end counts, blocks among them, in the order in which they ended."""
    again: dict[str, str]
    """By path, why: the recorded steps that run again, blocks left out, in the order in which they were reached. A step
    that catches an error which may not come again is not among them."""
    dropped: list[str] = field(default_factory=list[str])
    """The paths of recorded steps that another version of the definition has no place for."""


def plan_rerun(
    plan: Plan,
    steps: Sequence[StepRun],
    *,
    status: RunStatus = "failed",
    from_step: str | None = None,
    inputs: Mapping[str, Json] | None = None,
    overrides: Mapping[str, Json] | None = None,
    replay: bool = False,
    changes: Changes | None = None,
) -> Rerun:
    """`steps` are as they were recorded when the run ended with `status`. `from_step` and the keys of `inputs` and
    `overrides` name a step by its path or id: an id means all its rounds and items, `answer[7]` that item.

    `plan` is that of the definition which the run had, and `changes` leads to the one that it goes on with, if that is
    another one. `replay` says that it is a run of its own: attempts and usage of what runs again count anew then.
    Raises `UnknownStep`.
    """
    recorded = Recorded(plan, steps)
    dropped: list[str] = []
    if changes is not None:
        dropped = [path for path, node in recorded.nodes.items() if changes.is_gone(node)]
        kept = [run for run in steps if not any(run.id == path or is_inside(run.id, path) for path in dropped)]
        recorded = Recorded(changes.plan, kept)
    fixed = overridden(recorded, overrides or {})
    if fixed:
        held = {path: step for path, step in recorded.runs.items() if not any(is_inside(path, one) for one in fixed)}
        recorded = Recorded(recorded.plan, list((held | fixed).values()))
    begins = [] if from_step is None else named(recorded, from_step)
    repaired, inside = inputs_named(recorded, inputs or {})
    spread = Spread(recorded, fixed)
    mishaps = Mishaps(recorded, status)
    for path in repaired:
        spread.start(path, "its input is given")
    for path in inside:
        spread.start(path, "an input inside it is given", goes_on=True)
    for path in fixed:
        spread.touch(path)
    for path in begins:
        spread.start_from(path)
    if changes is not None:
        _start_changed(recorded, spread, changes)
    spread.all_of(mishaps)
    return replace(_outcome(recorded, spread, mishaps, replay=replay), dropped=dropped)


def _start_changed(recorded: Recorded, spread: Spread, changes: Changes) -> None:
    for step_id, why in changes.steps.items():
        places = recorded.children.get(ROOT, []) if step_id == ROOT else recorded.by_node.get(step_id, [])
        for path in places:
            spread.start(path, why)
    for block in changes.blocks:
        for path in recorded.by_node.get(block, []):
            spread.alter(path)


def _outcome(recorded: Recorded, spread: Spread, mishaps: Mishaps, *, replay: bool) -> Rerun:
    kept = {path for path in recorded.nodes if _is_kept(path, recorded, spread, mishaps)}

    def place(path: str) -> tuple[datetime, bool, int]:
        """Those that were stopped come after what stopped them."""
        step = recorded.runs[path]
        return step.ended_at or _NEVER, step.status == "cancelled", recorded.order[path]

    def stays(path: str, step: StepRun) -> bool:
        child = recorded.inner.get(path)
        if child is not None:
            return child in kept or (child in spread.again and child not in spread.anew)
        is_skipped = step.status == "skipped" and path not in spread.again
        return path in kept or path not in recorded.nodes or (is_skipped and not recorded.is_of_the_end(path))

    steps: list[StepRun] = []
    for path, step in recorded.runs.items():
        if stays(path, step):
            steps.append(step)
        elif not replay:
            steps.append(step.model_copy(update=_ANEW))
    again = {path: why for path in recorded.nodes if (why := _why_again(path, recorded, spread)) is not None}
    return Rerun(steps, sorted(kept, key=place), again)


def _is_kept(path: str, recorded: Recorded, spread: Spread, mishaps: Mishaps) -> bool:
    if path in spread.again or path in spread.worked or path in mishaps.lost_blocks or recorded.is_of_the_end(path):
        return False
    step = recorded.runs[path]
    if step.status == "skipped":  # by somebody, not by its `when`
        return step.resolved_by is not None
    return step.status in {"succeeded", "failed", "cancelled"}


def _why_again(path: str, recorded: Recorded, spread: Spread) -> str | None:
    step = recorded.runs[path]
    was_not_due = step.status == "pending" or (step.status == "skipped" and step.resolved_by is None)
    if recorded.is_block(path) or was_not_due or path in spread.dropped:
        return None
    return "`finally` always runs" if recorded.is_in_finally(path) else spread.again.get(path)
