"""Virtual time: what is due waits in a heap, and the clock jumps from one moment to the next."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush


@dataclass(order=True)
class Due:
    """Something that happens at a moment, unless it is dropped before."""

    at: datetime
    order: int
    happens: Callable[[], None] = field(compare=False)
    dropped: bool = field(default=False, compare=False)


class VirtualClock:
    """What is due at the same moment happens in the order in which it was asked for."""

    def __init__(self, start: datetime) -> None:
        self.now = start
        self._due: list[Due] = []
        self._count = 0

    def later(self, at: datetime, happens: Callable[[], None]) -> Due:
        """A moment that is over is as good as now."""
        self._count += 1
        due = Due(at, self._count, happens)
        heappush(self._due, due)
        return due

    def advance(self) -> bool:
        """Let what is due next happen. False when nothing is."""
        while self._due:
            due = heappop(self._due)
            if not due.dropped:
                self.now = max(self.now, due.at)
                due.happens()
                return True
        return False
