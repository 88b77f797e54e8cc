"""What a run looks like from outside while it goes on."""

from studio.contracts.runs import RunProgress, RunStatus
from studio.engine.state import RunState


def progress_of(state: RunState) -> RunProgress:
    """The steps so far with the sums of what they used."""
    return RunProgress(
        status=_status(state),
        steps=list(state.steps.values()),
        usage=state.usage,
        cost_usd=state.cost_usd,
        limits=state.limits,
        signals=state.signals,
    )


def _status(state: RunState) -> RunStatus:
    """`waiting` when all that goes on waits for a moment, a signal or a person."""
    if state.paused is not None:
        return "paused"
    leaves = [state.steps[path].status for path, frame in state.frames.items() if path and not frame.open]
    return "waiting" if leaves and all(status == "waiting" for status in leaves) else "running"
