"""Limits and pauses: whether a step may start now, later or not at all."""

from decimal import Decimal

from studio.contracts.base import JsonObject
from studio.contracts.runs import BLOCK_KINDS, CALL_KINDS, RunError
from studio.contracts.waits import Limits
from studio.engine.plan import ROOT
from studio.engine.state import Pause, RunState
from studio.engine.turn import Turn


def keep_limits(turn: Turn, limits: Limits) -> None:
    turn.state.limits = limits
    if limits.timeout is not None:
        turn.record.set_timer("run", ROOT, (turn.state.started_at or turn.at) + limits.timeout)


def change_limits(turn: Turn, changes: Limits) -> None:
    if turn.state.phase == "running":
        turn.record.clear_timer("run", ROOT)
        held = turn.state.limits or Limits()
        new = {field: getattr(changes, field) for field in changes.model_fields_set}
        keep_limits(turn, held.model_copy(update=new))


def may_start(turn: Turn, path: str) -> bool:
    """Whether a step may start; else it is held until the run is resumed, or the run ends. Undoing and `finally`
    always may.
    """
    if turn.state.phase != "running":
        return True
    exceeded = _exceeded(turn.state, turn.state.steps[path].kind)
    if exceeded is not None and turn.state.limits is not None and turn.state.limits.on_exceeded == "fail":
        turn.frame(path).cancelled = True
        if not turn.frame(ROOT).stopping:
            turn.halt(ROOT, RunError(type="limit_exceeded", message=f"The run's limit is reached: {exceeded}."))
        turn.close(path, "cancelled")  # last, so that no block around it takes this for an answer
        return False
    if exceeded is not None:
        pause(turn, Pause(reason="limit_exceeded", limit=exceeded))
    if turn.state.frames[path].retrying and (turn.state.paused is None or turn.state.paused.reason == "step_failed"):
        turn.frame(path).retrying = False  # a parked step that somebody has begin again does so beside others
        return True
    if turn.state.paused is None:
        return True
    turn.state.held.append(path)
    return False


def pause(turn: Turn, reason: Pause) -> None:
    """No further step starts; what is under way goes on to its end. A pause that somebody asks for outlasts one that
    ends by itself.
    """
    state = turn.state
    outlasts = reason.reason == "requested" and state.paused is not None and state.paused.reason == "step_failed"
    if (state.paused is not None and not outlasts) or state.phase != "running":
        return
    state.paused, state.pauses = reason, state.pauses + 1
    data: JsonObject = {"status": "paused", **reason.model_dump(exclude_none=True)}
    turn.record.publish("run.paused", None, data, state.pauses)


def resume(turn: Turn) -> None:
    """While steps are parked the run stays paused, for their sake."""
    state = turn.state
    if state.paused is None:
        return
    if state.parked:
        if state.paused.reason != "step_failed":
            state.paused = None
            pause(turn, Pause(reason="step_failed", step_id=state.parked[0]))
        return
    state.paused = None
    turn.record.publish("run.resumed", None, {"status": "running"}, state.pauses)
    held, state.held = state.held, []
    for path in dict.fromkeys(held):  # one that was stopped and reached again is there twice
        turn.later("start", path)


def _exceeded(state: RunState, kind: str) -> str | None:
    limits = state.limits
    if limits is None or kind in BLOCK_KINDS:
        return None
    if limits.max_steps is not None and state.calls >= limits.max_steps:
        return f"max_steps, {limits.max_steps}"
    if kind not in CALL_KINDS:
        return None
    if limits.max_tokens is not None and state.usage.total_tokens >= limits.max_tokens:
        return f"max_tokens, {limits.max_tokens}"
    spent = state.cost_usd
    if limits.max_cost_usd is not None and spent is not None and spent >= Decimal(str(limits.max_cost_usd)):
        return f"max_cost_usd, {limits.max_cost_usd}"
    return None
