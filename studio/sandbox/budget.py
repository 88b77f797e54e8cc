"""What one render may use, and how its operations pay for it."""

import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, cast

from jinja2 import nodes
from jinja2.runtime import Undefined

MAX_WIDTH = 100_000
"""Of padding, indentation and format fields."""
MAX_INTEGER_BITS = 4096
MAX_RANGE = 100_000
MAX_WORK = 32 * 1024 * 1024
"""Characters handled and, at 8 each, container slots: bounds a render's memory."""
PER_ITEM = 256
"""Work charged for an item that a filter handles in Python, about a microsecond."""


class RenderLimit(Exception):
    """A template asked for more time, output or memory than a render gets."""


class RenderTimeout(RenderLimit):
    """The time is over."""


class RenderBudget:
    """What one render may still use; shared by the messages of one prompt."""

    __slots__ = ("_deadline", "_output", "_seconds", "_used_up", "_work", "max_output")

    def __init__(self, seconds: float, max_output: int) -> None:
        """`seconds` of this thread's own computing: what other threads and processes take does not count."""
        self._seconds = seconds
        self._used_up = time.thread_time() + seconds
        self._deadline = time.perf_counter() + seconds
        """Before it the time cannot be over; reading this clock costs a fifth of the other's."""
        self._work = MAX_WORK
        self._output = max_output
        self.max_output = max_output
        """Characters; the caller checks the encoded length."""

    def spend(self, work: int) -> None:
        self._work -= work
        if self._work < 0:
            raise RenderLimit("the template handles more data than one render may")
        if time.perf_counter() > self._deadline:
            left = self._used_up - time.thread_time()
            if left <= 0:
                raise RenderTimeout(f"rendering takes more than {self._seconds * 1000:.0f} ms of computing")
            self._deadline = time.perf_counter() + left

    def collect(self, parts: Iterable[str]) -> str:
        """Join a render's output. What is in the parts was paid for when it was made, and loops look at the clock."""
        kept: list[str] = []
        left = iter(parts)
        while some := list(islice(left, 256)):
            self._output -= sum(map(len, some))
            if self._output < 0:
                raise RenderLimit(f"the text is longer than {self.max_output} bytes")
            kept += some
        self.spend(0)
        return "".join(kept)


_current = threading.local()


def use_budget(budget: RenderBudget | None) -> RenderBudget | None:
    """Make this the budget of the renders in this thread; gives back the one before."""
    previous: RenderBudget | None = getattr(_current, "budget", None)
    _current.budget = budget
    return previous


def current_budget() -> RenderBudget:
    budget: RenderBudget | None = getattr(_current, "budget", None)
    if budget is None:  # Jinja2 tries to fold constants while it compiles: there is nothing to spend then
        raise nodes.Impossible
    return budget


SIZED = (str, list, tuple, dict, range)


def weight(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    return 8 * len(cast("list[Any]", value)) if isinstance(value, SIZED) else 1


def pay_deep(value: Any, *, plain: bool = False) -> None:
    """Pay for a value with all it holds. `plain` refuses what has no text form of its own (a macro, a generator)."""
    budget = current_budget()
    stack: list[Any] = [value]
    pending = 0
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            pending += len(item)
        elif isinstance(item, dict):
            members = cast("dict[Any, Any]", item)
            pending += 16 * len(members)
            stack.extend(members.keys())
            stack.extend(members.values())
        elif isinstance(item, list | tuple):
            pending += 8 * len(cast("list[Any]", item))
            stack.extend(cast("list[Any]", item))
        elif isinstance(item, Undefined):
            str(item)  # raises and names what is undefined
        elif plain and not isinstance(item, int | float | None):
            raise TypeError(f"a {type(item).__name__} has no text; use a filter such as 'list' or 'length'")
        pending += 1
        if pending > 4096:
            budget.spend(pending)
            pending = 0
    budget.spend(pending)


def check_width(*widths: Any) -> None:
    for width in widths:
        if isinstance(width, int) and abs(width) > MAX_WIDTH:
            raise RenderLimit(f"a width of {width} is more than the limit of {MAX_WIDTH}")


def check_bits(*numbers: Any) -> None:
    for number in numbers:
        if isinstance(number, int) and number.bit_length() > MAX_INTEGER_BITS:
            raise RenderLimit(f"a whole number has more than {MAX_INTEGER_BITS} bits")


def to_text(value: Any) -> str:
    pay_deep(value, plain=True)
    return str(value)


class Ticking:
    """An iterable that looks at the clock in every round."""

    __slots__ = ("_iterable",)

    def __init__(self, iterable: Any) -> None:
        self._iterable = iterable

    def __len__(self) -> int:
        """Raises TypeError over a generator, as `len` does."""
        return len(self._iterable)

    def __iter__(self) -> Iterator[Any]:
        spend = current_budget().spend
        for item in self._iterable:
            spend(8)
            yield item
