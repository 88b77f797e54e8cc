"""What one run of an expression may cost, counted and not timed, so that a replay ends alike."""

from itertools import islice
from typing import Any, cast

from studio.cel.errors import LimitFault
from studio.cel.values import MAX_DEPTH

STEPS = 500_000
"""Operations, lookups and items, about half a microsecond each; what is copied counts by its size."""
MAX_RESULT_BYTES = 8 * 1024 * 1024
TOO_LONG = "it takes too long: do such work in a tool or an agent"
_CHARACTERS, _ITEMS = 128, 8
"""Copied for one step."""


class Budget:
    """One for each run."""

    def __init__(self) -> None:
        self.left = STEPS

    def spend(self, steps: int = 1) -> None:
        """Raises `LimitFault` once there is nothing left."""
        self.left -= steps
        if self.left < 0:
            raise LimitFault(TOO_LONG)

    def spend_on(self, *values: Any) -> None:
        """For looking at, or copying, texts and lists once."""
        for value in values:
            if isinstance(value, str | bytes):
                if len(value) > MAX_RESULT_BYTES:
                    raise LimitFault(f"a text becomes larger than {MAX_RESULT_BYTES >> 20} MiB")
                self.spend(1 + len(value) // _CHARACTERS)
            elif isinstance(value, list | dict):
                self.spend(1 + len(cast("list[Any]", value)) // _ITEMS)

    def spend_on_searching(self, value: Any, count: int) -> None:
        """For comparing a value that holds no others with that many."""
        size = len(value) if isinstance(value, str | bytes) else 0
        self.spend(1 + count * (1 + size // _CHARACTERS) // _ITEMS)

    def spend_on_comparing(self, one: Any, other: Any) -> None:
        """Two values as deep as both of them go: what is in only one is not looked at."""
        if isinstance(one, str | bytes) and isinstance(other, str | bytes):
            self.spend(1 + min(len(one), len(other)) // _CHARACTERS)
        elif isinstance(one, list | dict) and isinstance(other, list | dict):
            self.spend(1 + _nodes_in_both(one, other, self.left))
        else:
            self.spend()


def _nodes_in_both(one: Any, other: Any, most: int) -> int:
    """All values inside the smaller of the two; of the larger, not many more are looked at."""
    limit = _ITEMS
    while True:
        count = min(_nodes_in(one, limit), _nodes_in(other, limit))
        if count <= limit or limit > most:
            return count
        limit *= 4


def _nodes_in(value: Any, most: int) -> int:
    """All values inside, counted up to a little more than `most`."""
    count = 0
    pending: list[Any] = [value]
    while pending and count <= most:
        held = pending.pop()
        count += 1
        if isinstance(held, dict):
            pending.extend(islice(cast("dict[Any, Any]", held).values(), most + 1))
        elif isinstance(held, list):
            pending.extend(islice(cast("list[Any]", held), most + 1))
        elif isinstance(held, str):
            count += len(held) // _CHARACTERS
    return count


def check_result(value: Any) -> None:
    """Raises `LimitFault` for a result that is too large or too deep, before it is written out.

    What stands at many places of it is looked at once.
    """
    if not isinstance(value, str | bytes | list | dict):
        return
    size, _ = _extent(value, {}, 0)
    if size > MAX_RESULT_BYTES:
        raise LimitFault(f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB")


def _extent(value: Any, known: dict[int, tuple[int, int]], depth: int) -> tuple[int, int]:
    """The least number of bytes of its JSON, and how many levels of lists and maps it has."""
    if isinstance(value, str | bytes):
        return len(value) + 2, 0
    if not isinstance(value, list | dict):
        return 1, 0
    held = cast("list[Any] | dict[Any, Any]", value)
    size, levels = known.get(id(held), (0, 1))
    if depth + levels > MAX_DEPTH:
        raise LimitFault(f"the result is nested deeper than {MAX_DEPTH} levels")
    if size:
        return size, levels
    size = 1 + len(held)
    if isinstance(held, dict):
        size += sum(len(key) + 3 for key in held if isinstance(key, str))
    for item in held.values() if isinstance(held, dict) else held:
        inner, below = _extent(item, known, depth + 1)
        size, levels = size + inner, max(levels, below + 1)
    known[id(held)] = size, levels
    return size, levels
