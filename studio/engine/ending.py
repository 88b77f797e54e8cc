"""How a run ends: its output, then what undoes its steps in reverse order, then `finally`."""

from studio.contracts.base import Json
from studio.contracts.runs import RunError, RunStatus
from studio.engine import unreached
from studio.engine.frames import Frame
from studio.engine.plan import FINALLY, ROOT
from studio.engine.scope import UnusableError
from studio.engine.state import Outcome
from studio.engine.turn import Turn


def end(turn: Turn, status: RunStatus, output: Json, error: RunError | None) -> None:
    """The definition's own work is over. `output` is what its pattern gives."""
    definition = turn.plan.definition
    turn.state.phase = "undoing"
    unreached.list_inside(turn, ROOT)
    if status == "succeeded" and "output" in definition.model_fields_set:
        given: dict[str, Json] = {"output": output, "status": "succeeded", "error": None}
        turn.frame(ROOT).scope["prev"] = given
        try:
            output = turn.evaluate(ROOT, definition.output)
        except UnusableError as unusable:
            kind = unusable.error.type
            status, output = "failed", None
            error = RunError(type=kind, message=f"output: {unusable.error.message}")
    turn.state.outcome = Outcome(status=status, output=output, error=error)
    turn.record.clear_timer("run", ROOT)
    scope: dict[str, Json] = {"error": None if error is None else error.model_dump()}
    turn.record.add_frame(ROOT, Frame(node=ROOT, scope=scope))
    turn.state.paused, turn.state.held, turn.state.parked = None, [], []
    if status == "succeeded":
        turn.state.undo = []
    turn.later("undo", ROOT)


def root_stopped(turn: Turn) -> None:
    frame = turn.frame(ROOT)
    if frame.timed_out:
        end(turn, "timed_out", None, frame.error)
    elif frame.cancelled:
        end(turn, "cancelled", None, RunError(type="cancelled", message="The run was cancelled."))
    elif frame.error is not None:
        end(turn, "failed", None, frame.error)
    else:
        frame.stopping = False
        turn.patterns.settled(turn, ROOT)


def undo_next(turn: Turn, path: str) -> None:
    if turn.state.undo:
        undo = turn.state.undo.pop()
        step_id = turn.plan.groups[f"{undo.node}~"][0]
        kept: dict[str, Json] = {} if undo.seen is None else {"steps": {undo.path: undo.seen}}
        seen = {name: value for name, value in undo.scope.items() if name != "error"} | kept  # `error` is the run's
        turn.reach(path, step_id, path=f"{undo.path}/{step_id}", scope=seen, before=[undo.path])
    elif FINALLY in turn.plan.groups:
        turn.state.phase = "finally"
        turn.follow(path, FINALLY)
    else:
        conclude(turn, path)


def child_over(turn: Turn, uncaught: RunError | None, child: str) -> None:
    """Of the run itself, once its own work is over."""
    if uncaught is not None:
        _note(turn, uncaught)
    if turn.state.phase == "undoing":
        turn.later("undo", ROOT)
    elif uncaught is None:
        turn.frame(ROOT).last = child
        turn.later("next", ROOT)
    else:
        turn.later("conclude", ROOT)


def _note(turn: Turn, failure: RunError) -> None:
    """What fails after the run's own work fails a run that had succeeded; else it is told beside the first error."""
    outcome = turn.state.outcome or Outcome(status="failed")
    if outcome.status == "succeeded" or outcome.error is None:
        status = "failed" if outcome.status == "succeeded" else outcome.status
        turn.state.outcome = Outcome(status=status, error=failure)
        return
    also = [*outcome.error.also_failed, failure]
    error = outcome.error.model_copy(update={"also_failed": also})
    turn.state.outcome = outcome.model_copy(update={"error": error})


def conclude(turn: Turn, path: str) -> None:
    unreached.list_finally(turn)
    outcome = turn.state.outcome or Outcome(status="failed")
    turn.record.drop_frame(path)
    turn.record.end_run(outcome.status, output=outcome.output, error=outcome.error)
