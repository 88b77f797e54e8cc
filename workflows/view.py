"""What a run looks like from outside while it waits or is paused: told whole, each time it changes."""

from datetime import datetime

from studio.contracts.activities import WorkflowView
from studio.contracts.events import NewEvent
from studio.contracts.interaction import WaitingApproval
from studio.contracts.runs import RunStatus
from studio.engine.children import full_path
from studio.engine.progress import status_of
from studio.engine.state import RunState

_WAITING_STEP = "step.waiting"
Key = tuple[RunStatus, tuple[tuple[str, int, bool], ...]]
"""What two views are compared by: the status, and each approval's path, attempt and whether it is escalated."""
_RUNS: Key = ("running", ())


class ViewTeller:
    """Says when there is something to tell. A run that never waits costs nothing but a look at its events."""

    def __init__(self, state: RunState, *, path: str, is_continued: bool) -> None:
        """`path` is the step of the root run whose child workflow this is. What an execution before told is what the
        state is like at the beginning of this one.
        """
        self._path = path
        self._waiting = dict.fromkeys(step for step in state.frames if step and state.steps[step].status == "waiting")
        """The paths of the steps that wait, in the order in which they began to."""
        self._children: dict[str, RunStatus] = {}
        """What child workflows do that do not just run, by the paths of their steps."""
        self._told = self._key(state) if is_continued else _RUNS

    def hear(self, event: NewEvent) -> None:
        """Every event that the workflow tells; its paths are the workflow's own."""
        if event.type == _WAITING_STEP and event.step_id is not None:
            self._waiting[event.step_id] = None
        elif event.step_id in self._waiting and event.type.startswith("step."):
            del self._waiting[event.step_id]

    def hear_child(self, path: str, status: RunStatus) -> None:
        """Also once a child workflow has ended, with `running`."""
        if status == "running":
            self._children.pop(path, None)
        else:
            self._children[path] = status

    @property
    def status(self) -> RunStatus:
        """As it was told last."""
        return self._told[0]

    def news(self, state: RunState, at: datetime) -> WorkflowView | None:
        """The view, when it is another one than was told last: now it is told."""
        key = self._key(state)
        if key == self._told:
            return None
        self._told = key
        return self._view(state, key[0], at)

    def last(self, at: datetime) -> WorkflowView | None:
        """That nothing waits any more, when something else was told."""
        told, self._told = self._told, _RUNS
        return None if told == _RUNS else WorkflowView(at=at, status="running", approvals=[])

    def _key(self, state: RunState) -> Key:
        if not self._waiting and not self._children and state.paused is None:
            return _RUNS
        shown = tuple(
            (path, state.steps[path].attempt, bool((state.steps[path].waiting or {}).get("escalated")))
            for path in self._approvals(state)
        )
        return status_of(state, self._children), shown

    def _view(self, state: RunState, status: RunStatus, at: datetime) -> WorkflowView:
        approvals: list[WaitingApproval] = []
        for path in self._approvals(state):
            step, place = state.steps[path], full_path(self._path, path)
            approvals.append(WaitingApproval(step_id=place, waiting=step.waiting or {}, since=step.started_at or at))
        return WorkflowView(at=at, status=status, approvals=approvals)

    def _approvals(self, state: RunState) -> list[str]:
        return [path for path in self._waiting if (state.steps[path].waiting or {}).get("for") == "approval"]
