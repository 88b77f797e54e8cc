"""Steps whose failure nothing deals with, in a workflow with `on_failure: pause`: they wait until somebody says what
becomes of them, and no further step starts meanwhile.
"""

from studio.contracts.base import Json, JsonObject
from studio.contracts.interaction import Resolution, ResolveAction
from studio.contracts.runs import RunError
from studio.contracts.steps import ConditionalBlock, ParallelBlock
from studio.engine import pauses, recalls
from studio.engine.attempts import begin_anew, clause_for, has_attempt_left
from studio.engine.frames import Frame
from studio.engine.joins import decide
from studio.engine.limits import TOO_MUCH, measure
from studio.engine.mishaps import is_refused
from studio.engine.plan import ROOT
from studio.engine.scope import UnusableError
from studio.engine.state import Pause
from studio.engine.turn import Turn
from studio.errors import FieldError
from studio.json_schema import check_value
from studio.schemas.meter import Meter


def parks(turn: Turn, path: str, error: RunError) -> bool:
    """Park a step that failed for good, if its workflow wants that and nothing around it deals with the failure."""
    frame = turn.state.frames[path]
    if turn.plan.definition.on_failure != "pause" or turn.state.phase != "running":
        return False
    if turn.node(path).body is not None or frame.handling or frame.cancelled or recalls.is_recalled(turn, path):
        return False
    if _is_dealt_with(turn, path, error):
        return False
    park(turn, path, error)
    return True


def park(turn: Turn, path: str, error: RunError) -> None:
    """Let a step that has no end of its own wait for somebody who resolves it."""
    turn.clear(path)
    data: JsonObject = {"for": "resolve", "error": error.model_dump(), "actions": list(_actions(turn, path))}
    held = turn.state.steps[path]
    turn.state.steps[path] = held.model_copy(update={"status": "waiting", "waiting": data})
    turn.state.parked.append(path)
    turn.record.publish("step.waiting", path, data, held.attempt)
    pauses.pause(turn, Pause(reason="step_failed", step_id=path))


def _actions(turn: Turn, path: str) -> tuple[ResolveAction, ...]:
    """A router or a manager cannot be skipped: what follows needs its answer."""
    asked = "." in turn.state.frames[path].node
    return ("retry", "done", "fail") if asked else ("retry", "skip", "done", "fail")


def _is_dealt_with(turn: Turn, path: str, error: RunError) -> bool:
    """Whether a block around the step, up to the definition, passes over its failure, catches it, begins again after
    it, or is being stopped anyway.
    """
    child, at = path, turn.state.frames[path].parent
    while at is not None:
        frame = turn.state.frames[at]
        failure = None if frame.stopping else _passed_on(turn, at, frame, child, error)
        if failure is None:
            return True
        step = turn.node(at).step
        if at != ROOT and not frame.handling and (clause_for(step, failure) is not None):
            return True
        if at != ROOT and has_attempt_left(frame, step, failure):
            return True
        child, at, error = at, frame.parent, failure
    return False


def _passed_on(turn: Turn, at: str, frame: Frame, child: str, error: RunError) -> RunError | None:
    """What the failure of a step inside would fail the block with; None when its pattern can do without that step."""
    body = turn.node(at).body
    if frame.handling:
        return error
    if frame.fan is not None and isinstance(body, ParallelBlock):
        over = {"over": frame.fan.over + 1, "errors": [*frame.fan.errors, error]}
        decided = decide(frame.fan.model_copy(update=over), body)
        return decided if isinstance(decided, RunError) else None
    if frame.team is not None and child in frame.team.under_way:
        return None  # the manager reads of it
    if frame.routing and isinstance(body, ConditionalBlock):
        return None if error.type == "schema_mismatch" and body.otherwise is not None else error
    return error


def unparked(turn: Turn, path: str) -> None:
    """Nothing is to be said about the step any more; when it was the last one, the run goes on by itself."""
    turn.state.parked.remove(path)
    paused = turn.state.paused
    is_last = not turn.state.parked and paused is not None and paused.reason == "step_failed"
    if is_last and not turn.frame(ROOT).stopping:
        pauses.resume(turn)


def resolved(turn: Turn, path: str, resolution: Resolution) -> None:
    """What comes too late changes nothing."""
    if path not in turn.state.parked:
        return
    held = turn.state.steps[path]
    error = RunError.model_validate((held.waiting or {})["error"])
    if resolution.action == "retry":
        _retry(turn, path, error, resolution.by)
        return
    turn.state.steps[path] = held.model_copy(update={"resolved_by": resolution.by})
    match resolution.action:
        case "skip":
            turn.record.end_step(path, "skipped")
            unparked(turn, path)
            turn.leave(path)
        case "done":
            turn.close(path, "succeeded", output=resolution.output)
        case "fail":
            turn.close(path, "failed", error=error)


def _retry(turn: Turn, path: str, error: RunError, by: str) -> None:
    frame, held = turn.frame(path), turn.state.steps[path]
    frame.attempt, frame.timed_out, frame.retrying = 1, False, True
    anew = {"status": "pending", "waiting": None, "attempt": held.attempt + 1}
    turn.state.steps[path] = held.model_copy(update=anew)
    if is_refused(path, error):
        begin_anew(turn, path)
    data: JsonObject = {"superseded_attempt": held.attempt, "error": error.model_dump(), "resolved_by": by}
    turn.record.publish("step.retrying", path, data, held.attempt + 1)
    unparked(turn, path)
    turn.later("again", path)


def begin_again(turn: Turn, path: str) -> None:
    """Also when the run is paused, if only since other steps are parked: see `pauses.may_start`."""
    try:
        if turn.holds(path, turn.node(path).step.when, "when"):
            turn.start(path)
        else:
            turn.record.end_step(path, "skipped")
            turn.leave(path)
    except UnusableError as unusable:
        turn.frame(path).retrying = False
        turn.fail(path, unusable.error)


def answer_errors(turn: Turn, path: str, output: Json, meter: Meter | None = None) -> list[FieldError]:
    """What is wrong with an output that somebody gives a parked step; `loc` is relative to the output."""
    size, problem = measure(output)
    if problem is None and not turn.has_room(output, size):
        problem = TOO_MUCH
    if problem is not None:
        kind = "payload_too_large" if problem.is_too_large else "json_invalid"
        return [FieldError(loc=[], msg=problem.message, type=kind)]
    if "." in turn.state.frames[path].node:
        schema = turn.patterns.question(turn, path).output_schema
    else:
        schema = turn.node(path).step.output_schema
    return [] if schema is None else check_value(output, schema, meter=meter)
