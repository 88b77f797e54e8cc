"""What one run of an expression may cost, counted so that a replay counts the same.

The CEL library copies what a name stands for at every mention, and the list so far for every item that `map` and
`filter` add; it holds the GIL while it runs, and recurses into values without a limit (the process dies). So values are
weighed before it gets them, and the source is rewritten to pass through here: every comprehension's receiver through
`ordered`, what `map` makes through `made`, what `filter` keeps through `kept`, `matches` through `matches`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, cast

from studio.cel_engine import cel
from studio.contracts.base import Json
from studio.expression_source import Mentions
from studio.pattern_weight import pattern_weight

MAX_DEPTH = 100
MAX_RESULT_BYTES = 8 * 1024 * 1024
BUDGET = 5_000_000
"""Copies of a number inside the library, about 60 ns each: a third of a second."""
_PER_ITEM = 20
_PER_CONVERSION = 4
_PER_HANDED = 8
"""What a run hands over is converted, and looked at for its depth."""
_FEW = 2
"""Mentions that need no thought; what names a value more often may hold as many copies of it at once."""
_PATTERN_STATES = 20_000
_PER_MATCH = 250
_TOO_SLOW = "its regular expressions take too long: do such work in a tool or an agent"
_TOO_LONG = "the list is too long for an expression: do such work in a tool or an agent"
_TOO_LARGE = "what it names is too large for an expression: name a part of it, or do such work in a tool or an agent"
_MATCHES = cel.compile("text.matches(pattern)")


logging.getLogger("cel").disabled = True  # a line for every refusal, perhaps thousands; whoever evaluates tells it once


class LimitError(Exception):
    """An expression wants more than it may have."""


class Budget:
    """The functions that a rewritten expression calls; one for each run.

    `bodies` says what is mentioned inside of each comprehension, by its place in the source.
    """

    def __init__(self, bodies: Sequence[Mentions] = ()) -> None:
        self._left = BUDGET
        self._bodies = bodies
        self._sizes: dict[str, int] = {}
        """The cost of one mention of a name."""
        self._collected: dict[int, int] = {}
        self.refused: str | None = None
        """Kept because the library gives errors as text, and `||` and `&&` swallow them."""

    def hand_over(self, values: Mapping[str, Json], mentions: Mentions) -> None:
        """Pay for what the expression names, before it is converted. Raises `LimitError`."""
        for name, value in values.items():
            self._sizes[name] = self._size(value)
            self._charge(_PER_HANDED * self._sizes[name], _TOO_LARGE)
        copies = max(mentions.joins, len(mentions.names) // _FEW)
        self._charge(copies * sum(self._sizes.get(name, 0) for name in mentions.names), _TOO_LARGE)

    def ordered(self, place: int, value: Any) -> Any:
        """A map's keys in order: the library walks maps in a random one, which would break the replay of a workflow."""
        self._stop_if_refused()
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
        self._walk(self._bodies[place], items)
        return items

    def _walk(self, body: Mentions, items: list[Any]) -> None:
        sizes = [self._size(item) for item in items]
        total = sum(sizes)
        self._charge(_PER_ITEM * len(items) + _PER_CONVERSION * total)
        own = body.names.count(body.bound)
        others = sum(self._sizes.get(name, 0) for name in body.names if name != body.bound)
        self._charge(body.joins * (own * total + others * len(items)))
        self._sizes[body.bound] = max(self._sizes.get(body.bound, 0), *sizes, 0)

    def made(self, place: int, value: Any) -> Any:
        """One result of a `map`."""
        self._collect(place, value)
        return value

    def kept(self, place: int, item: Any, wanted: Any) -> Any:
        """One verdict of a `filter`."""
        if wanted is True:
            self._collect(place, item)
        return wanted

    def matches(self, text: Any, pattern: Any) -> bool:
        """A pattern is compiled at every call, and some are slow to run."""
        if self.refused:
            return False  # `||` swallowed the refusal: no more work, whatever else the expression asks
        if not isinstance(text, str) or not isinstance(pattern, str):
            self._refuse("`matches` is of a text and takes a regular expression as text")
        weight = pattern_weight(pattern)
        self._charge(_PER_MATCH + weight + len(text) // 16 + len(text) * (weight // _PATTERN_STATES), _TOO_SLOW)
        try:
            return bool(_MATCHES.execute(cel.Context({"text": text, "pattern": pattern})))
        except RuntimeError:
            self._refuse(f"{pattern[:80]!r} is not a regular expression that `matches` takes")

    def _collect(self, place: int, value: Any) -> None:
        self._stop_if_refused()
        total = self._collected.get(place, 0) + self._size(value)
        self._collected[place] = total
        self._charge(total)

    def _charge(self, cost: int, refusal: str = _TOO_LONG) -> None:
        self._left -= cost
        if self._left < 0:
            self._refuse(refusal)

    def _refuse(self, message: str) -> NoReturn:
        self.refused = self.refused or message
        raise LimitError(message)

    def _stop_if_refused(self) -> None:
        if self.refused:
            raise LimitError(self.refused)

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
                size += 4 + 5 * len(entries)
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
