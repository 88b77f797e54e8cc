"""Steps that wait for a moment, a signal or a person; and what the run's own timers, pauses and limits do."""

import hashlib
from datetime import datetime, timedelta
from decimal import Decimal

import orjson

from studio.contracts.base import Json, JsonObject, format_timestamp, to_utc
from studio.contracts.runs import BLOCK_KINDS, RunError
from studio.contracts.steps import ApprovalStep, Limits, Wait, WaitStep
from studio.engine import fans
from studio.engine.plan import ROOT
from studio.engine.scope import UnusableError
from studio.engine.state import ApprovalDecided, CancelStep, RunState
from studio.engine.turn import Turn


def begin_wait(turn: Turn, path: str, wait: Wait) -> None:
    """Raises `UnusableError`."""
    if wait.signal is not None:
        waiting = turn.state.signals.get(wait.signal)
        if waiting:
            turn.state.signals[wait.signal] = waiting[1:]
            turn.succeed(path, waiting[0])
            return
        turn.frame(path).signal = wait.signal
        _wait(turn, path, {"for": "signal", "name": wait.signal}, wait.timeout)
        return
    until = wait.duration if wait.duration is not None else _moment(turn, path, wait.until) - turn.at
    if until <= timedelta(0):
        turn.succeed(path, None)
    else:
        _wait(turn, path, {"for": "timer"}, until)


def _moment(turn: Turn, path: str, until: str | None) -> datetime:
    value = turn.evaluate(path, until)
    try:
        return to_utc(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        message = f"`until` must give an RFC 3339 time such as 2030-01-31T09:00:00Z, not {value!r}"
        raise UnusableError("expression_error", message[:300]) from None


def _wait(turn: Turn, path: str, data: JsonObject, duration: timedelta | None) -> None:
    if duration is not None:
        turn.record.set_timer("wait", path, turn.at + duration)
        data = data | {"until": format_timestamp(turn.at + duration)}
    held = turn.state.steps[path]
    turn.state.steps[path] = held.model_copy(update={"status": "waiting", "waiting": data})
    turn.record.publish("step.waiting", path, data, held.attempt)


def begin_approval(turn: Turn, path: str, step: ApprovalStep, given: Json) -> None:
    """Raises `UnusableError`."""
    shown = {"message": turn.evaluate(path, step.approval.message), "input": given}
    digest = hashlib.sha256(orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)).hexdigest()
    data: JsonObject = {"for": "approval", **shown, "allow_edit": step.approval.allow_edit, "hash": digest}
    _wait(turn, path, data, step.approval.timeout)


def decided(turn: Turn, event: ApprovalDecided) -> None:
    frame = turn.state.frames.get(event.path)
    if frame is None or turn.state.steps[event.path].status != "waiting":
        return
    step = turn.node(event.path).step
    if isinstance(step, ApprovalStep):
        edit = event.edit if step.approval.allow_edit else None
        _answer(turn, event.path, event.decision, event.comment, edit, event.actor)


def _answer(turn: Turn, path: str, decision: str, comment: str | None, edit: Json, actor: str) -> None:
    shown = (turn.state.steps[path].waiting or {}).get("input")
    output: JsonObject = {"decision": decision, "comment": comment, "edit": edit, "actor": actor}
    turn.succeed(path, output | {"input": shown if edit is None else edit})


def signalled(turn: Turn, name: str, payload: Json) -> None:
    """The step that has waited longest gets it; without one it is kept for the next that asks."""
    path = next((path for path, frame in turn.state.frames.items() if frame.signal == name), None)
    if path is None:
        turn.state.signals[name] = [*turn.state.signals.get(name, []), payload]
    else:
        turn.succeed(path, payload)


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
            _waited(turn, path)
        case _:
            _step_timed_out(turn, path)


def _waited(turn: Turn, path: str) -> None:
    step = turn.node(path).step
    if isinstance(step, ApprovalStep) and step.approval.on_timeout is not None:
        _answer(turn, path, step.approval.on_timeout, None, None, "timeout")
    elif isinstance(step, WaitStep) and step.wait.signal is None:
        turn.succeed(path, None)
    else:
        awaited = "decision" if isinstance(step, ApprovalStep) else "signal"
        turn.fail(path, RunError(type="timeout", message=f"No {awaited} came in time."))


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
        turn.state.parked = [parked for parked in turn.state.parked if parked != path]
        frame.retrying = False
        turn.fail(path, error)


def _run_timed_out(turn: Turn) -> None:
    frame = turn.frame(ROOT)
    if turn.state.phase == "running" and not frame.stopping:
        frame.timed_out = True
        limit = turn.state.limits.timeout if turn.state.limits else None
        turn.halt(ROOT, RunError(type="timeout", message=f"The run did not end within its timeout, {limit}."))


# Pauses and limits


def pause(turn: Turn, reason: str) -> None:
    if not turn.state.paused:
        turn.state.paused = True
        turn.record.publish("run.paused", None, {"status": "paused", "reason": reason})


def resume(turn: Turn) -> None:
    if turn.state.paused:
        turn.state.paused = False
        turn.record.publish("run.resumed", None, {"status": "running"})
        for path in turn.state.parked:
            turn.later("unpark", path)
        turn.state.parked = []


def change_limits(turn: Turn, limits: Limits) -> None:
    turn.state.limits = limits
    turn.record.clear_timer("run", ROOT)
    if limits.timeout is not None and turn.state.started_at is not None and turn.state.phase == "running":
        turn.record.set_timer("run", ROOT, turn.state.started_at + limits.timeout)


def may_start(turn: Turn, path: str) -> bool:
    """Whether a step may start now; else it is parked, or the run ends. Undoing and `finally` always may."""
    if turn.state.phase != "running":
        return True
    exceeded = _exceeded(turn.state, turn.state.steps[path].kind)
    limits = turn.state.limits
    if exceeded is not None and limits is not None and limits.on_exceeded == "fail":
        turn.frame(path).cancelled = True
        turn.close(path, "cancelled")
        if not turn.frame(ROOT).stopping:
            turn.halt(ROOT, RunError(type="limit_exceeded", message=f"The run's limit is reached: {exceeded}."))
        return False
    if exceeded is not None:
        pause(turn, exceeded)
    if turn.state.paused:
        turn.state.parked = [*turn.state.parked, path]
        return False
    return True


def _exceeded(state: RunState, kind: str) -> str | None:
    limits = state.limits
    if limits is None or kind in BLOCK_KINDS:
        return None
    if limits.max_steps is not None and state.calls >= limits.max_steps:
        return f"max_steps, {limits.max_steps}"
    if kind not in {"agent", "workflow"}:
        return None
    if limits.max_tokens is not None and state.usage.total_tokens >= limits.max_tokens:
        return f"max_tokens, {limits.max_tokens}"
    spent = state.cost_usd
    if limits.max_cost_usd is not None and spent is not None and spent >= Decimal(str(limits.max_cost_usd)):
        return f"max_cost_usd, {limits.max_cost_usd}"
    return None
