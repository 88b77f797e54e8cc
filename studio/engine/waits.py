"""Steps that wait for a moment; and what timers and the run's limits do."""

from datetime import datetime
from decimal import Decimal

from studio.contracts.base import JsonObject, format_timestamp, to_utc
from studio.contracts.runs import BLOCK_KINDS, RunError
from studio.contracts.steps import Limits, Wait
from studio.engine import fans
from studio.engine.plan import ROOT
from studio.engine.scope import UnusableError
from studio.engine.state import CancelStep, RunState
from studio.engine.turn import Turn


def begin(turn: Turn, path: str, wait: Wait) -> None:
    """Raises `UnusableError`."""
    until = turn.at + wait.duration if wait.duration is not None else _moment(turn, path, wait.until)
    if until <= turn.at:
        turn.succeed(path, None)
        return
    turn.record.set_timer("wait", path, until)
    data: JsonObject = {"for": "timer", "until": format_timestamp(until)}
    held = turn.state.steps[path]
    turn.state.steps[path] = held.model_copy(update={"status": "waiting", "waiting": data})
    turn.record.publish("step.waiting", path, data, held.attempt)


def _moment(turn: Turn, path: str, until: str | None) -> datetime:
    value = turn.evaluate(path, until)
    try:
        return to_utc(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        message = f"`until` must give an RFC 3339 time such as 2030-01-31T09:00:00Z, not {value!r}"
        raise UnusableError("expression_error", message[:300]) from None


def fired(turn: Turn, timer: str) -> None:
    if turn.state.timers.pop(timer, None) is None:
        return
    kind, _, path = timer.partition(":")
    if path not in turn.state.frames:
        return
    match kind:
        case "run":
            _run_timed_out(turn)
        case "retry":
            turn.try_again(path)
        case "join":
            fans.join_timed_out(turn, path)
        case "wait":
            turn.succeed(path, None)
        case _:
            _step_timed_out(turn, path)


def _step_timed_out(turn: Turn, path: str) -> None:
    frame = turn.frame(path)
    if frame.stopping or frame.cancelled:
        return
    limit = turn.node(path).step.timeout
    error = RunError(type="timeout", message=f"The step did not end within its timeout, {limit}.")
    frame.timed_out, frame.error = True, error
    if turn.is_call(path):
        turn.record.commands.append(CancelStep(path))
    elif frame.open:
        turn.halt(path, error)
    else:
        frame.retrying = False
        turn.fail(path, error)


def _run_timed_out(turn: Turn) -> None:
    frame = turn.frame(ROOT)
    if turn.state.phase == "running" and not frame.stopping:
        frame.timed_out = True
        limit = turn.state.limits.timeout if turn.state.limits else None
        turn.halt(ROOT, RunError(type="timeout", message=f"The run did not end within its timeout, {limit}."))


def keep_limits(turn: Turn, limits: Limits) -> None:
    turn.state.limits = limits
    if limits.timeout is not None:
        turn.record.set_timer("run", ROOT, turn.at + limits.timeout)


def may_start(turn: Turn, path: str) -> bool:
    """Whether a step may start; else the run ends. Undoing and `finally` always may."""
    exceeded = _exceeded(turn.state, turn.state.steps[path].kind) if turn.state.phase == "running" else None
    if exceeded is None:
        return True
    turn.frame(path).cancelled = True
    if not turn.frame(ROOT).stopping:
        turn.halt(ROOT, RunError(type="limit_exceeded", message=f"The run's limit is reached: {exceeded}."))
    turn.close(path, "cancelled")  # last, so that no block around it takes this for an answer
    return False


def _exceeded(state: RunState, kind: str) -> str | None:
    limits = state.limits
    if limits is None or kind in BLOCK_KINDS:
        return None
    if limits.max_steps is not None and state.calls >= limits.max_steps:
        return f"max_steps, {limits.max_steps}"
    if kind != "agent":
        return None
    if limits.max_tokens is not None and state.usage.total_tokens >= limits.max_tokens:
        return f"max_tokens, {limits.max_tokens}"
    spent = state.cost_usd
    if limits.max_cost_usd is not None and spent is not None and spent >= Decimal(str(limits.max_cost_usd)):
        return f"max_cost_usd, {limits.max_cost_usd}"
    return None
