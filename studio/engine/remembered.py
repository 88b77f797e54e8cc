"""What a run that goes on still has to recall of the execution before it."""

from studio.contracts.base import Json, Wire


class Remembered(Wire):
    """Paths leave `ends` and `blocks` when their step is over in this execution, too."""

    ends: dict[str, int] = {}
    """The steps that are not done again, each with its place in the order in which they ended."""
    blocks: dict[str, int] = {}
    """Likewise the blocks in which nothing runs again: the run goes through them and tells nobody."""
    due: list[tuple[int, str]] = []
    """Of `ends`, those that were reached: a heap, so that the earliest end comes first."""
    stopped: dict[str, bool] = {}
    """Of `ends`, those that only come once something stops the step."""
    inputs: dict[str, Json] = {}
    """By step id or path, what a step gets instead of what its definition says."""
