"""What checking a value against a schema may cost, counted so that a replay counts the same."""

from studio.contracts.base import Json
from studio.schemas.kinds import is_array, is_object

MAX_STEPS = 320_000
"""About a microsecond each. A workflow task that takes six seconds is given up, and many share the interpreter."""


MAX_LEVELS = 200
_SIMPLE = frozenset({int, float, bool, type(None)})


class TooMuchWork(Exception):
    """A check wants more steps than it may have, or nests too deeply."""


class Meter:
    """Counts steps: no clock, since checks also run in workflows that are replayed."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._all = steps
        self.left = steps

    @property
    def spent(self) -> int:
        return self._all - self.left

    def spend(self, steps: int) -> None:
        """Raises `TooMuchWork`."""
        self.left -= steps
        if self.left < 0:
            raise TooMuchWork


def size_of(value: Json, limit: int) -> int:
    """How many values it holds, itself counted, and long texts as several; counting stops soon after `limit`. More than
    `limit`, too, for what is nested more than `MAX_LEVELS` deep.
    """
    size = 1
    level: list[Json] = [value]
    for _ in range(MAX_LEVELS):
        if not level or size > limit:
            return size
        below: list[Json] = []
        for held in level:
            if isinstance(held, str):
                size += len(held) >> 6
                continue
            values = held.values() if is_object(held) else held if is_array(held) else ()
            size += len(values)
            if size > limit:
                break
            if not _SIMPLE.issuperset(map(type, values)):
                below += [inner for inner in values if isinstance(inner, str | list | dict)]
        level = below
    return max(size, limit + 1)
