"""Limits and pauses: whether a step may start now, later or not at all."""

from dataclasses import dataclass
from decimal import Decimal

from studio.contracts.base import JsonObject
from studio.contracts.runs import BLOCK_KINDS, CALL_KINDS, OuterLimits, RunError
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
    reached = _reached(turn.state, turn.state.steps[path].kind)
    if reached is not None and reached.fails:
        _stop_run(turn, path, reached)
        turn.close(path, "cancelled")  # last, so that no block around it takes this for an answer
        return False
    if reached is not None:
        pause(turn, Pause(reason="limit_exceeded", limit=reached.limit, limit_of=reached.of))
    if turn.state.frames[path].retrying and (turn.state.paused is None or turn.state.paused.reason == "step_failed"):
        turn.frame(path).retrying = False  # a parked step that somebody has begin again does so beside others
        return True
    if turn.state.paused is None:
        return True
    turn.state.held.append(path)
    return False


def ends_run(turn: Turn, path: str, error: RunError) -> bool:
    """Whether a child workflow failed with a limit that is also this workflow's, and fails that: nothing here deals
    with it. The step is still to be closed.
    """
    reached = _budget(turn.state) if error.type == "limit_exceeded" and turn.state.phase == "running" else None
    if reached is None or not reached.fails:
        return False
    _stop_run(turn, path, reached)
    return True


def _stop_run(turn: Turn, path: str, reached: "_Reached") -> None:
    turn.frame(path).cancelled = True
    if not turn.frame(ROOT).stopping:
        whose = f"The limit of the workflow at {reached.of!r}" if reached.of else "The run's limit"
        turn.halt(ROOT, RunError(type="limit_exceeded", message=f"{whose} is reached: {reached.limit}."))


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


def outer_limits(state: RunState, path: str) -> list[OuterLimits]:
    """What bounds a child workflow that begins now besides its own limits. `path` is of the step that runs this
    workflow, as the run names it. Child workflows side by side are each bound by all that is left.
    """
    if state.phase != "running":
        return []
    held = state.outer if state.limits is None else [*state.outer, OuterLimits(path=path, limits=state.limits)]
    return [
        one.model_copy(
            update={"tokens": one.tokens + state.usage.total_tokens, "cost_usd": _sum(one.cost_usd, state.cost_usd)}
        )
        for one in held
    ]


@dataclass(frozen=True)
class _Reached:
    limit: str
    """`max_tokens, 5000`."""
    fails: bool
    of: str | None = None
    """As `Pause.limit_of`."""


def _reached(state: RunState, kind: str) -> _Reached | None:
    """The limit that keeps a step of the kind from starting."""
    if kind in BLOCK_KINDS:
        return None
    own = state.limits
    if own is not None and own.max_steps is not None and state.calls >= own.max_steps:
        return _Reached(f"max_steps, {own.max_steps}", own.on_exceeded == "fail")
    return _budget(state) if kind in CALL_KINDS else None


def _budget(state: RunState) -> _Reached | None:
    """The limit of tokens or cost that is reached, the workflow's own or one around it."""
    own = state.limits
    if own is not None and (limit := _spent(own, state.usage.total_tokens, state.cost_usd)):
        return _Reached(limit, own.on_exceeded == "fail")
    for outer in state.outer:
        tokens, cost = outer.tokens + state.usage.total_tokens, _sum(outer.cost_usd, state.cost_usd)
        if limit := _spent(outer.limits, tokens, cost):
            return _Reached(limit, outer.limits.on_exceeded == "fail", outer.path)
    return None


def _spent(limits: Limits, tokens: int, cost: Decimal | None) -> str | None:
    """The limit that is reached with so much."""
    if limits.max_tokens is not None and tokens >= limits.max_tokens:
        return f"max_tokens, {limits.max_tokens}"
    if limits.max_cost_usd is not None and cost is not None and cost >= Decimal(str(limits.max_cost_usd)):
        return f"max_cost_usd, {limits.max_cost_usd}"
    return None


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    """None when neither is known."""
    return other if one is None else one + (other or 0)
