"""What a value must be that a run carries: JSON that every store and writer takes."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

from studio.contracts.base import Json
from studio.contracts.runs import StepRun

MAX_DEPTH = 100
"""Lists and maps inside each other; JSON writers and the expression library give up soon after."""
MAX_BYTES = 32 * 1024 * 1024
"""About what the value is as JSON: keys, texts and eight bytes for everything else."""
MAX_RUN_BYTES = 128 * 1024 * 1024
"""All outputs of a run's steps together: they are written down in one piece, within the time of a workflow task."""
SHARED_BYTES = 1024 * 1024
"""An output of this size is looked for among the others."""
TOO_MUCH = f"The outputs of the run's steps are together larger than {MAX_RUN_BYTES} bytes; let them hand on less."


def unfit(value: Json) -> str | None:
    """Why a run cannot carry the value, or None."""
    return measure(value)[1]


def added_bytes(outputs: Iterable[Json], held: Mapping[str, StepRun]) -> int:
    """What outputs add to those of the steps that are held, in bytes. A large one that is there already adds nothing:
    it is shared, in memory and wherever steps are written down.
    """
    added, large = 0, list[Json]()
    for output in outputs:
        size = 0 if output is None else measure(output)[0]
        if size >= SHARED_BYTES:
            if output in large or any(output == step.output for step in held.values()):
                continue
            large.append(output)
        added += size
    return added


def measure(value: Json) -> tuple[int, str | None]:
    """The value's size in bytes, and why a run cannot carry it. Never recurses, and stops counting at the limit."""
    size = 0
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        found, depth = pending.pop()
        if isinstance(found, dict):
            items = cast("dict[str, Json]", found)
            size += sum(len(key) + 4 for key in items)
            pending.extend((item, depth + 1) for item in items.values())
        elif isinstance(found, list):
            pending.extend((item, depth + 1) for item in cast("list[Json]", found))
        else:
            size += len(found) if isinstance(found, str) else 8
            if problem := _unwritable(found):
                return size, problem
            continue
        if depth > MAX_DEPTH:
            return size, f"The value is nested deeper than {MAX_DEPTH} levels; flatten it."
        if size > MAX_BYTES:
            break
    if size > MAX_BYTES:
        return size, f"The value is larger than {MAX_BYTES} bytes; hand on a part of it, or a reference to where it is."
    return size, None


def _unwritable(value: Any) -> str | None:
    """Why a scalar cannot be written as JSON everywhere (RFC 8259 sections 6 and 8)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return "The value holds a whole number of more than 64 bits; write it as text."
    if isinstance(value, float) and not math.isfinite(value):
        return f"The value holds {value}, which JSON has no number for."
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "The value holds half of a surrogate pair, which is no character."
    return None
