"""What one run of an expression may cost, counted so that a replay counts the same.

The CEL library copies the list so far for every item that `map` and `filter` add (quadratic), holds the GIL while it
runs, and recurses into values without a limit (the process dies). So the source is rewritten to pass through here:
every comprehension's receiver through `ordered`, what `map` makes through `made`, what `filter` keeps through `kept`.
"""

from collections.abc import Iterable
from typing import Any, cast

MAX_DEPTH = 100
MAX_RESULT_BYTES = 8 * 1024 * 1024
BUDGET = 5_000_000
"""Copies of a number inside the library, about 60 ns each: a third of a second."""
_PER_ITEM = 20
_PER_CONVERSION = 4


class LimitError(Exception):
    """An expression wants more than it may have."""


class Budget:
    """The functions that a rewritten expression calls; one for each run.

    `place` numbers the comprehensions of the source.
    """

    def __init__(self) -> None:
        self._left = BUDGET
        self._collected: dict[int, int] = {}
        self.refused: str | None = None
        """Kept because the library gives errors as text, and `||` and `&&` swallow them."""

    def ordered(self, place: int, value: Any) -> Any:
        """A map's keys in order: the library walks maps in a random one, which would break the replay of a workflow."""
        self._collected[place] = 0
        if isinstance(value, dict):
            items = list(cast("dict[Any, Any]", value))
            if not all(isinstance(key, str) for key in items):
                self._refuse("the keys of a map must be text")
            items.sort()
        elif isinstance(value, list):
            items = cast("list[Any]", value)
        else:
            return value  # the library says what it is
        self._charge(_PER_ITEM * len(items) + _PER_CONVERSION * self._size(items))
        return items

    def made(self, place: int, value: Any) -> Any:
        """One result of a `map`."""
        self._collect(place, value)
        return value

    def kept(self, place: int, item: Any, wanted: Any) -> Any:
        """One verdict of a `filter`."""
        if wanted is True:
            self._collect(place, item)
        return wanted

    def _collect(self, place: int, value: Any) -> None:
        total = self._collected.get(place, 0) + self._size(value)
        self._collected[place] = total
        self._charge(total)

    def _charge(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            self._refuse("the list is too long for an expression: do such work in a tool or an agent")

    def _refuse(self, message: str) -> None:
        self.refused = self.refused or message
        raise LimitError(message)

    def _size(self, value: Any) -> int:
        """The cost of one copy; once it is more than what is left, it is not counted on."""
        size = 0
        pending: list[Any] = [value]
        while pending and size <= self._left:
            held = pending.pop()
            if isinstance(held, str | bytes):
                size += 3 + (len(held) >> 8)
            elif isinstance(held, dict):
                entries = cast("dict[Any, Any]", held)
                size += 2 + 3 * len(entries)
                pending.extend(entries.values())
            elif isinstance(held, list):
                size += 2
                pending.extend(cast("list[Any]", held))
            else:
                size += 1
        return size


def is_too_deep(value: Any) -> bool:
    """Whether lists and maps are nested in more than `MAX_DEPTH` levels."""
    level: list[Any] = [value] if isinstance(value, list | dict) else []
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return True
        level = [item for held in level for item in _items(held) if isinstance(item, list | dict)]
    return False


def _items(held: Any) -> Iterable[Any]:
    return cast("dict[Any, Any]", held).values() if isinstance(held, dict) else cast("list[Any]", held)
