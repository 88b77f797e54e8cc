"""What a turn asks of the patterns: the one place where the turn, which knows none of them, and they meet."""

from collections.abc import Callable

from studio.contracts.base import Json
from studio.contracts.runs import RunError, RunStatus
from studio.engine.state import RunAgent
from studio.engine.turn import Turn


class Patterns:
    """One instance, in `studio.engine.scheduler`. `actions` is by name what a turn's work can be."""

    def __init__(
        self,
        *,
        actions: dict[str, Callable[[Turn, str], None]],
        begin: Callable[[Turn, str, Json], None],
        question: Callable[[Turn, str], RunAgent],
        may_start: Callable[[Turn, str], bool],
        child_over: Callable[[Turn, str, str, str, RunError | None], None],
        settled: Callable[[Turn, str], None],
        root_stopped: Callable[[Turn], None],
        end: Callable[[Turn, RunStatus, Json, RunError | None], None],
        parks: Callable[[Turn, str, RunError], bool],
        unparked: Callable[[Turn, str], None],
        list_unreached: Callable[[Turn, str], None],
    ) -> None:
        self.actions = actions
        self.begin = begin
        """Raises `UnusableError`."""
        self.question = question
        """Of a router, a manager or a worker."""
        self.may_start = may_start
        self.child_over = child_over
        """The path of the block, of its child, the child's id in the plan, and the error that nothing caught."""
        self.settled = settled
        """All inside a block that had what it waited for has ended."""
        self.root_stopped = root_stopped
        self.end = end
        self.parks = parks
        """Whether a step that failed for good waits for somebody instead."""
        self.unparked = unparked
        """A parked step has ended."""
        self.list_unreached = list_unreached
        """What the step at a path holds, and never began, will not begin any more."""
