"""Attempts of a step: what becomes of its error, and how a block begins again."""

from typing import TYPE_CHECKING, Literal

from studio.contracts.events import step_retrying
from studio.contracts.runs import RunError, is_inside
from studio.contracts.steps import AgentStep, FailStep, StepBase
from studio.engine import recalls
from studio.engine.frames import Frame
from studio.engine.scope import UnusableError, seen
from studio.engine.state import Publish

if TYPE_CHECKING:
    from studio.engine.turn import Turn

_PERMANENT = frozenset(
    {
        "invalid_request",
        "prompt_error",
        "expression_error",
        "payload_too_large",
        "limit_exceeded",
        "schema_mismatch",
        "cancelled",
    }
)
"""What a block that is tried again would only fail with again."""


def clause_for(step: StepBase, error: RunError) -> int | Literal["continue"] | None:
    """What the step's `on_error` does about the error: the place of the clause that catches it, or None."""
    if isinstance(step.on_error, str):
        return "continue" if step.on_error == "continue" else None
    clauses = enumerate(step.on_error)
    return next((place for place, clause in clauses if clause.catch == "all" or error.type in clause.catch), None)


def has_attempt_left(frame: Frame, step: StepBase, error: RunError) -> bool:
    """Whether the step's `retry` lets it begin again after the error. An agent's is that of its calls; a `fail` step
    would only fail again.
    """
    retry = step.retry
    if retry is None or isinstance(step, AgentStep | FailStep) or frame.attempt >= retry.max_attempts:
        return False
    if frame.handling or frame.cancelled or frame.timed_out or error.type in _PERMANENT:
        return False
    return error.type not in retry.non_retryable


def tries_again(turn: "Turn", path: str, frame: Frame, step: StepBase, error: RunError) -> bool:
    """Let the step wait for its next attempt after the error; False when it has none left."""
    retry = step.retry
    if retry is None or not has_attempt_left(frame, step, error) or recalls.is_recalled(turn, path):
        return False
    pause = min(retry.initial_interval * retry.backoff ** min(frame.attempt - 1, 64), retry.max_interval)
    turn.clear(path, keep=("timeout",))
    frame.attempt, frame.retrying = frame.attempt + 1, True
    run = turn.state.steps[path]
    turn.state.steps[path] = run.model_copy(update={"attempt": run.attempt + 1})
    due = turn.at + pause
    turn.record.commands.append(Publish(step_retrying(turn.at, path, run.attempt + 1, error.model_dump(), due)))
    turn.record.set_timer("retry", path, due)
    return True


def try_again(turn: "Turn", path: str) -> None:
    """The next attempt of a block, from its beginning; what is inside it is to be done anew."""
    turn.frame(path).retrying = False
    turn.state.undo = [
        undo.model_copy(update={"seen": seen(turn.state, undo.path)})
        if undo.seen is None and is_inside(undo.path, path)
        else undo
        for undo in turn.state.undo
    ]
    recalls.forget_inside(turn, path)
    begin_anew(turn, path)
    for counts in (turn.state.rounds, turn.state.visits):
        for inside in [found for found in counts if found == path or is_inside(found, path)]:
            del counts[inside]
    try:
        given = turn.given(path, turn.node(path))
    except UnusableError as unusable:
        turn.fail(path, unusable.error)
        return
    turn.state.steps[path] = turn.state.steps[path].model_copy(update={"status": "running"})
    turn.begin(path, given)


def begin_anew(turn: "Turn", path: str) -> None:
    """Nothing that the steps inside did counts any more, but for what they used."""
    anew = {"status": "pending", "output": None, "error": None, "errors": None, "handled": False}
    inside = [step for step in turn.state.steps.values() if is_inside(step.id, path)]
    turn.state.steps.update({step.id: step.model_copy(update=anew) for step in inside})
