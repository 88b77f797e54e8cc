"""What the Temporal UI shows of a run that goes on: names and states, no data."""

from itertools import islice

from studio.contracts.plain import PlainText
from studio.contracts.runs import StepRun
from studio.engine.state import Pause, RunState

SHOWN_STEPS = 30
_MARKS = {"succeeded": "✓", "failed": "✗", "running": "▶", "waiting": "⏸", "skipped": "»", "cancelled": "◼"}


def details_of(state: RunState) -> str:
    """Markdown: the newest steps."""
    hidden = len(state.steps) - SHOWN_STEPS
    lines = [f"… {hidden} steps before"] if hidden > 0 else []
    newest = list(islice(reversed(state.steps.values()), SHOWN_STEPS))
    for step in reversed(newest):
        took = f" · {step.duration_ms} ms" if step.duration_ms is not None else ""
        lines.append(f"- {_MARKS.get(step.status, '·')} `{step.id}` {step.status}{took}{_awaited(step)}")
    if state.paused is not None:
        lines.append(f"\n**Paused**, {_reason(state.paused)}")
    return "\n".join(lines)


def _reason(paused: Pause) -> str:
    match paused.reason:
        case "limit_exceeded":
            return f"limit reached: {paused.limit}"
        case "step_failed":
            return "until what failed is resolved"
        case "requested":
            return "on request"


def _awaited(step: StepRun) -> str:
    """What a step waits for, without an approval's message and input, which are data."""
    waiting = step.waiting if step.status == "waiting" else None
    if waiting is None:
        return ""
    name = f" `{waiting['name']}`" if "name" in waiting else ""
    until = f" until {waiting['until']}" if "until" in waiting else ""
    return f" for {waiting['for']}{name}{until}"


_TIMERS = {
    "run": "timeout of the run",
    "timeout": "timeout",
    "retry": "retry",
    "join": "timeout of the branches",
    "wait": "wait",
}


def timer_summary(timer: str) -> PlainText:
    """`retry of research/answer`, for the timer `retry:research/answer` of the core."""
    kind, _, path = timer.partition(":")
    what = _TIMERS.get(kind, kind)
    return PlainText(f"{what} of {path}" if path else what)
