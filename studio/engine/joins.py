"""When a parallel block has what it waits for: `all`, `any`, `at_least` and `quorum`."""

from fractions import Fraction
from math import ceil
from typing import Literal

from studio.contracts.runs import RunError
from studio.contracts.steps import Join, ParallelBlock, Quorum
from studio.engine.state import Fan


def needed_of(join: Join, total: int) -> int | None:
    """How many branches must succeed; None for all of them."""
    match join:
        case "all":
            return None
        case "any":
            return 1
        case Quorum():
            return ceil(Fraction(str(join.quorum)) * total)  # exact: 0.7 of 10 is 7
        case _:
            return join.at_least


def decide(fan: Fan, block: ParallelBlock) -> RunError | Literal[True] | None:
    """True when the block has what it waits for, an error when it never will, None while it waits."""
    if fan.errors and block.on_branch_error == "fail":
        return fan.errors[0]
    if fan.needed is None:
        if fan.errors and block.on_branch_error is None:
            return fan.errors[0]
        return True if fan.over == fan.total else None
    if fan.succeeded >= fan.needed:
        return True
    if fan.succeeded + fan.total - fan.over >= fan.needed:
        return None
    message = f"The join needs {fan.needed} of {fan.total} branches and cannot have them any more."
    return fan.errors[0] if fan.errors else RunError(type="join_unmet", message=message)
