"""Static checks of a parallel block: how many branches it will have, where that is known, and what its join asks."""

from typing import cast

from studio.contracts.base import Json
from studio.contracts.joins import TimedJoin
from studio.contracts.steps import ParallelBlock
from studio.engine.fans import MAX_ITEMS
from studio.engine.plan import Loc
from studio.errors import FieldError


def known_count(block: ParallelBlock) -> int | None:
    """The number of branches; None when only a run can tell."""
    if block.branches is not None:
        return len(block.branches)
    items: Json = block.for_each
    return len(cast("list[Json]", items)) if isinstance(items, list) else None


def join_errors(block: ParallelBlock, loc: Loc) -> list[FieldError]:
    count = known_count(block)
    if count is None:
        return []
    found: list[FieldError] = []
    if count > MAX_ITEMS:
        message = f"{count} items; a block takes at most {MAX_ITEMS}"
        found.append(FieldError(loc=[*loc, "for_each"], msg=message, type="too_many_items"))
    needed = block.join.at_least if isinstance(block.join, TimedJoin) else None
    if needed is not None and needed > count:
        message = f"the join waits for {needed} branches and there are {count}"
        hint = f"write at_least: {count} or less" if count else "give it items"
        found.append(FieldError(loc=[*loc, "join", "at_least"], msg=message, type="join_never_met", hint=hint))
    return found
