"""Child workflows: whether one may be started, how the run names what is inside, and what its end means."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import ResolvedDefinition, ResolvedWorkflow
from studio.contracts.events import NewEvent
from studio.contracts.runs import ChildResult, Resumption, RunError, StepRun
from studio.engine.plan import Plan
from studio.engine.reruns import plan_rerun
from studio.engine.state import EndRun, RunChild, RunState, StepCancelled, StepFailed, StepSucceeded
from studio.engine.step_names import UnknownStep
from studio.json_schema import fit
from studio.schemas.meter import Meter

MAX_DEPTH = 25
"""Children inside children; a workflow that runs itself must end before."""
_TOLD_OF_A_CHILD = frozenset({"run.paused", "run.resumed"})


def child_of(
    definition: ResolvedDefinition, command: RunChild, depth: int, meter: Meter | None = None
) -> tuple[ResolvedWorkflow, Json] | RunError:
    """What is to be run, with which input, or why it cannot be. `depth` is 0 for a run's own child workflows."""
    child = definition.workflows[command.workflow]
    if depth >= MAX_DEPTH:
        message = f"The workflow {child.name!r} would be the {depth + 1}th inside another; {MAX_DEPTH} are allowed."
        return RunError(type="limit_exceeded", message=message)
    given, wrong = fit(command.input, child.workflow.input_schema, meter=meter)
    if wrong:
        place = "".join(f"/{part}" for part in wrong[0].loc)
        at = f" at {place}" if place else ""
        message = f"The input does not fit the input_schema of the workflow {child.name!r}{at}: {wrong[0].msg}"
        return RunError(type="schema_mismatch", message=message)
    return child, given


def definition_of(child: ResolvedWorkflow, definition: ResolvedDefinition) -> ResolvedDefinition:
    """What the child carries: it finds there what it, too, names."""
    return definition.model_copy(update={"workflow": child.workflow})


def resumption_of(child: Plan, command: RunChild) -> Resumption | RunError | None:
    """Where the child goes on, or why it cannot; None when it begins at its beginning. What it spent before is its
    parent's already.
    """
    if not command.steps:
        return None
    try:
        rerun = plan_rerun(child, command.steps, inputs=command.inputs)
    except UnknownStep as unknown:
        return RunError(type="invalid_request", message=f"In the child workflow {command.workflow!r}: {unknown}")
    return Resumption(steps=rerun.steps, kept=rerun.kept, inputs=command.inputs)


def full_path(around: str, path: str) -> str:
    """A path of the workflow that the step at `around` runs, as the root run names it; `around` is empty for the run
    itself.
    """
    return f"{around}/{path}" if around and path else around or path


def told(event: NewEvent, around: str) -> NewEvent | None:
    """The event as the run's readers see it; None for one of a child alone: the parent tells of its step."""
    if not around:
        return event
    if event.type.startswith("run.") and event.type not in _TOLD_OF_A_CHILD:
        return None
    placed = {"step_id": full_path(around, event.step_id or ""), "data": _placed_data(event, around)}
    return event.model_copy(update=placed)


def _placed_data(event: NewEvent, around: str) -> JsonObject:
    """The paths that an event's data names are the run's, too."""
    data = dict(event.data)
    if isinstance(data.get("error"), dict):
        data["error"] = _placed(RunError.model_validate(data["error"]), around).model_dump()
    if event.type == "edge.taken":
        data |= {end: full_path(around, str(data[end])) for end in ("from", "to")}
    if event.type == "run.paused" and data.get("step_id") is not None:
        data["step_id"] = full_path(around, str(data["step_id"]))
    return data


def _placed(error: RunError, around: str) -> RunError:
    return error.model_copy(update={"step_id": full_path(around, error.step_id or "")})


def child_result(end: EndRun, state: RunState, events: Sequence[NewEvent] = ()) -> ChildResult:
    """What a workflow that ended in this state hands its parent, with the events that nobody was told of yet."""
    return ChildResult(
        output=end.output,
        error=end.error,
        steps=list(state.steps.values()),
        usage=state.usage,
        cost_usd=state.cost_usd,
        events=list(events),
    )


def child_succeeded(result: ChildResult, path: str, at: datetime) -> StepSucceeded:
    return StepSucceeded(at, path, result.output, 1, result.usage, result.cost_usd, _inner(result, path))


def child_failed(
    result: ChildResult, error: RunError, path: str, at: datetime, *, stopped: bool
) -> StepFailed | StepCancelled:
    """`error` is of the child; `stopped` says whether its parent asked it to stop."""
    inner = _inner(result, path)
    if stopped and error.type == "cancelled":
        return StepCancelled(at, path, result.usage, result.cost_usd, inner)
    return StepFailed(at, path, _placed(error, path), 1, result.usage, result.cost_usd, inner)


def _inner(result: ChildResult, path: str) -> list[StepRun]:
    return [_placed_step(step, path) for step in result.steps]


def own_steps(inner: Sequence[StepRun], around: str, beside: Sequence[str]) -> list[StepRun]:
    """The steps of the child workflow that the step at `around` runs, by their paths in it: of all inside that step,
    those that are not below its own steps `beside` the child.
    """
    found: list[StepRun] = []
    for step in inner:
        path = step.id[len(around) + 1 :]
        if path.partition("/")[0] not in beside:
            found.append(_own_step(step, path, around))
    return found


def _own_step(step: StepRun, path: str, around: str) -> StepRun:
    changes: dict[str, Any] = {"id": path}
    if step.error is not None:
        changes["error"] = _own(step.error, around)
    if step.errors is not None:
        changes["errors"] = [_own(error, around) for error in step.errors]
    return step.model_copy(update=changes)


def _own(error: RunError, around: str) -> RunError:
    named = (error.step_id or "").removeprefix(around).removeprefix("/")
    return error.model_copy(update={"step_id": named or None})


def _placed_step(step: StepRun, around: str) -> StepRun:
    changes: dict[str, Any] = {"id": full_path(around, step.id)}
    if step.error is not None:
        changes["error"] = _placed(step.error, around)
    if step.errors is not None:
        changes["errors"] = [_placed(error, around) for error in step.errors]
    return step.model_copy(update=changes)
