"""A run as it stands, for whoever asks."""

from collections.abc import Mapping
from datetime import datetime

from studio.contracts.runs import RunEnd, RunProgress, RunStatus
from studio.engine.state import EndRun, RunState

_NO_CHILDREN: Mapping[str, RunStatus] = {}


def progress_of(state: RunState) -> RunProgress:
    """The steps so far with the sums of what they used."""
    return RunProgress(
        status=status_of(state),
        steps=list(state.steps.values()),
        usage=state.usage,
        cost_usd=state.cost_usd,
        limits=state.limits,
        signals=state.signals,
        heard=state.heard,
    )


def end_of(end: EndRun, state: RunState, started_at: datetime, ended_at: datetime) -> RunEnd:
    """What is written down of a run that ended in this state."""
    return RunEnd(
        status=end.status,
        output=end.output,
        error=end.error,
        progress=progress_of(state),
        started_at=started_at,
        ended_at=ended_at,
    )


def status_of(state: RunState, children: Mapping[str, RunStatus] = _NO_CHILDREN) -> RunStatus:
    """`waiting` when all that goes on waits for a moment, a signal or a person. `children` says of child workflows
    that do not just run what they do, by the paths of their steps.
    """
    if state.paused is not None:
        return "paused"
    ends = [path for path, frame in state.frames.items() if path and not frame.open]
    leaves = [children.get(path, state.steps[path].status) for path in ends]
    if not leaves or any(status not in {"waiting", "paused"} for status in leaves):
        return "running"
    return "paused" if "paused" in leaves else "waiting"
