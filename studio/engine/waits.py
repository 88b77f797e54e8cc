"""Steps that wait for a moment, a signal or a person; and what timers do."""

import hashlib
import json
from datetime import datetime, timedelta

from studio.contracts.base import Json, JsonObject, format_timestamp, to_utc
from studio.contracts.durations import format_duration
from studio.contracts.interaction import Decision
from studio.contracts.runs import RunError
from studio.contracts.steps import ApprovalStep, WaitStep
from studio.contracts.waits import Approval, Wait
from studio.engine import fans
from studio.engine.answers import step_timeout
from studio.engine.attempts import try_again
from studio.engine.plan import ROOT
from studio.engine.scope import UnusableError
from studio.engine.state import CancelStep, SignalReceived
from studio.engine.turn import Turn
from studio.expressions import as_text

MAX_KEYS = 1_000
"""Of signals that a workflow remembers."""


def begin(turn: Turn, path: str, step: WaitStep | ApprovalStep, given: Json) -> None:
    """Raises `UnusableError`."""
    if isinstance(step, ApprovalStep):
        _ask(turn, path, step.approval, given)
    elif step.wait.signal is not None:
        _listen(turn, path, step.wait.signal, step.wait.timeout)
    else:
        _sleep(turn, path, step.wait)


def _sleep(turn: Turn, path: str, wait: Wait) -> None:
    until = turn.at + wait.duration if wait.duration is not None else _moment(turn, path, wait.until)
    if until <= turn.at:
        turn.succeed(path, None)
    else:
        _wait(turn, path, {"for": "timer"}, until)


def _listen(turn: Turn, path: str, name: str, timeout: timedelta | None) -> None:
    come = turn.state.signals.get(name)
    if not come:
        _wait(turn, path, {"for": "signal", "name": name}, None if timeout is None else turn.at + timeout)
        return
    turn.state.signals[name] = come[1:]
    turn.succeed(path, come[0])


def _ask(turn: Turn, path: str, approval: Approval, given: Json) -> None:
    message = as_text(turn.evaluate(path, approval.message))
    turn.frame(path).given = [given]
    data: JsonObject = {"for": "approval", "message": message, "input": given}
    data |= {"hash": shown_hash(message, given), "allow_edit": approval.allow_edit}
    if approval.escalation is not None:
        data |= {"escalated": False, "escalate_to": as_text(turn.evaluate(path, approval.escalation.to))}
    _wait(turn, path, data, None if approval.timeout is None else turn.at + approval.timeout)


def shown_hash(message: str, given: Json) -> str:
    """SHA-256 of exactly what a person is shown, so that a decision cannot be about anything else."""
    shown = json.dumps({"input": given, "message": message}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(shown.encode()).hexdigest()


def _wait(turn: Turn, path: str, data: JsonObject, until: datetime | None) -> None:
    if until is not None:
        turn.record.set_timer("wait", path, until)
        data["until"] = format_timestamp(until)
    held = turn.state.steps[path]
    turn.state.steps[path] = held.model_copy(update={"status": "waiting", "waiting": data})
    turn.record.publish("step.waiting", path, data, held.attempt)


def _moment(turn: Turn, path: str, until: str | None) -> datetime:
    value = turn.evaluate(path, until)
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        message = f"`until` must give an RFC 3339 time such as 2030-01-31T09:00:00Z, not {as_text(value)}"
        raise UnusableError("expression_error", message[:300]) from None
    if moment.tzinfo is None:
        message = f"`until` must give a time with its offset, such as 2030-01-31T09:00:00+01:00, not {value}"
        raise UnusableError("expression_error", message[:300])
    try:
        return to_utc(moment)
    except OverflowError:
        message = f"`until` must give a time of the years 1 to 9999 in UTC, not {value}"
        raise UnusableError("expression_error", message) from None


def signalled(turn: Turn, signal: SignalReceived) -> None:
    """The step that has waited longest takes it; without one it is kept for the next that asks."""
    name, payload = signal.name, signal.payload
    if signal.key is not None:
        key = f"{name}/{signal.key}"
        if key in turn.state.heard:
            return
        turn.state.heard = [*turn.state.heard, key][-MAX_KEYS:]
    for path in turn.state.frames:
        waiting = _waiting(turn, path)
        if waiting.get("for") == "signal" and waiting["name"] == name:
            turn.record.clear_timer("wait", path)
            turn.succeed(path, payload)
            return
    turn.state.signals[name] = [*turn.state.signals.get(name, []), payload]


def decided(turn: Turn, path: str, decision: Decision) -> None:
    """A decision about a step that does not wait for one came too late, and changes nothing."""
    if _waiting(turn, path).get("for") != "approval":
        return
    turn.record.clear_timer("wait", path)
    shown = turn.frame(path).given[0]
    step = turn.node(path).step
    edited = bool(decision.edit) and isinstance(step, ApprovalStep) and step.approval.allow_edit
    output: JsonObject = {
        "decision": decision.decision,
        "value": decision.edit[0] if edited else shown,
        "edited": edited,
        "comment": decision.comment,
        "by": decision.by,
        "timed_out": decision.by is None,
    }
    turn.succeed(path, output)


def _waiting(turn: Turn, path: str) -> JsonObject:
    step = turn.state.steps.get(path)
    return (step.waiting or {}) if step is not None and step.status == "waiting" else {}


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
            try_again(turn, path)
        case "join":
            fans.join_timed_out(turn, path)
        case "wait":
            _waited(turn, path)
        case _:
            step_timed_out(turn, path)


def _waited(turn: Turn, path: str) -> None:
    step = turn.node(path).step
    if isinstance(step, ApprovalStep):
        _unanswered(turn, path, step.approval)
    elif isinstance(step, WaitStep) and step.wait.signal is not None:
        limit = "" if step.wait.timeout is None else f" within {format_duration(step.wait.timeout)}"
        message = f"The signal {step.wait.signal!r} did not come{limit}."
        turn.fail(path, RunError(type="timeout", message=message))
    else:
        turn.succeed(path, None)


def _unanswered(turn: Turn, path: str, approval: Approval) -> None:
    """Ask others too, or let the default decide."""
    waiting, escalation = _waiting(turn, path), approval.escalation
    if escalation is not None and not waiting["escalated"]:
        data = {name: value for name, value in waiting.items() if name != "until"} | {"escalated": True}
        _wait(turn, path, data, None if escalation.timeout is None else turn.at + escalation.timeout)
        return
    default = approval.on_timeout if escalation is None else escalation.on_timeout
    decided(turn, path, Decision(decision="approve" if default == "approve" else "reject"))


def step_timed_out(turn: Turn, path: str) -> None:
    frame = turn.frame(path)
    if frame.stopping or frame.cancelled:
        return
    error = step_timeout(turn.node(path).step.timeout or timedelta())
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
        within = "" if limit is None else f", {format_duration(limit)}"
        turn.halt(ROOT, RunError(type="timeout", message=f"The run did not end within its timeout{within}."))
