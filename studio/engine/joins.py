"""When a parallel block has what it waits for: `all`, `any`, `at_least` and `quorum`."""

from fractions import Fraction
from math import ceil
from typing import Literal

from studio.contracts.joins import Join, TimedJoin
from studio.contracts.runs import RunError
from studio.contracts.steps import ParallelBlock
from studio.engine.frames import Fan


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
    had = f"The join needs {fan.needed} of {fan.total} branches and"
    if fan.timed_out:
        return RunError(type="timeout", message=f"{had} had {fan.succeeded} when its time was over.")
    if fan.succeeded + fan.total - fan.over >= fan.needed:
        return None
    return fan.errors[0] if fan.errors else RunError(type="join_unmet", message=f"{had} cannot have them any more.")
