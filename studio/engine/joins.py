"""When a parallel block has what it waits for: `all`, `any`, `at_least` and `quorum`."""

from fractions import Fraction
from math import ceil
from typing import Literal

from studio.contracts.durations import format_duration
from studio.contracts.joins import Join, TimedJoin
from studio.contracts.runs import RunError
from studio.contracts.steps import ParallelBlock
from studio.engine.frames import Fan

MAX_ERRORS, MAX_ERROR = 3, 200
"""How many branches' errors a message shows, and how much of each."""


def needed_of(join: Join, total: int) -> int | None:
    """How many branches must succeed; None for all of them."""
    if not isinstance(join, TimedJoin):
        return 1 if join == "any" else None
    if join.quorum is not None:
        return ceil(Fraction(str(join.quorum)) * total)  # exact: 0.7 of 10 is 7
    return join.at_least


def decide(fan: Fan, block: ParallelBlock) -> RunError | Literal[True] | None:
    """True when the block has what it waits for, an error when it never will, None while it waits."""
    fails_at_once = block.on_branch_error == "fail" or (fan.needed is None and block.on_branch_error is None)
    if fan.errors and fails_at_once:
        return fan.errors[0]
    if fan.needed is None:
        return True if fan.over == fan.total or fan.timed_out else None
    if fan.succeeded >= fan.needed:
        return True
    needs = f"The join needs {fan.needed} of {fan.total}"
    if fan.timed_out:
        within = "" if block.join_timeout is None else f" within {format_duration(block.join_timeout)}"
        return RunError(type="timeout", message=f"{needs}{within}; {_so_far(fan)}")
    if fan.succeeded + fan.total - fan.over >= fan.needed:
        return None
    return RunError(type="join_unmet", message=f"{needs}; {_so_far(fan)}")


def _so_far(fan: Fan) -> str:
    """How the branches ended, with the first errors."""
    skipped, failed = fan.over - fan.succeeded - len(fan.errors), len(fan.errors)
    counts = [f"{fan.succeeded} succeeded"]
    counts += [f"{skipped} skipped"] if skipped else []
    counts += [f"{failed} failed"] if failed else []
    shown = [_shown(error) for error in fan.errors[:MAX_ERRORS]]
    more = [f"and {failed - MAX_ERRORS} more"] if failed > MAX_ERRORS else []
    return ", ".join(counts) + (f": {'; '.join([*shown, *more])}" if failed else ".")


def _shown(error: RunError) -> str:
    message = error.message if len(error.message) <= MAX_ERROR else f"{error.message[:MAX_ERROR]}…"
    return f"{error.step_id} ({error.type}): {message}" if error.step_id else f"{error.type}: {message}"
