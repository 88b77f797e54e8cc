"""What a value must be that a run carries: JSON that every store and writer takes."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from studio.contracts.base import Json
from studio.contracts.folding import LARGE_BYTES, large_key

MAX_DEPTH = 100
"""Lists and maps inside each other; JSON writers and the expression library give up soon after."""
MAX_BYTES = 32 * 1024 * 1024
"""About what the value takes: texts as UTF-8, `ITEM_BYTES` for everything in it."""
ITEM_BYTES = 32
MAX_RUN_BYTES = 128 * 1024 * 1024
"""All outputs of a run's steps together: they are written down in one piece, within the time of a workflow task."""


class Unfit(NamedTuple):
    """Why a run cannot carry a value."""

    message: str
    is_too_large: bool = False
    """Else it is nothing that JSON can say."""


def unfit(value: Json) -> Unfit | None:
    """Why a run cannot carry the value, or None."""
    return measure(value)[1]


TOO_MUCH = Unfit(
    f"The outputs of the run's steps are together larger than {MAX_RUN_BYTES} bytes; let them hand on less.",
    is_too_large=True,
)


def held_bytes(outputs: Iterable[Json]) -> int:
    """What outputs take together. Large ones that are the same count once: they are shared, in memory and wherever
    steps are written down.
    """
    held, large = 0, set[str | bytes]()
    for output in outputs:
        size = 0 if output is None else measure(output)[0]
        key = large_key(output) if size >= LARGE_BYTES else None
        if key is None:
            held += size
        elif key not in large:
            large.add(key)
            held += size
    return held


def measure(value: Json) -> tuple[int, Unfit | None]:
    """What the value takes, and why a run cannot carry it. Goes from outside in, looking at all that is equally deep
    together: a million numbers take a few hundredths of a second. Stops counting at the limit.
    """
    size, depth = 0, 1
    level: list[Any] = [value]
    while level:
        size += ITEM_BYTES * len(level)
        kinds = set(map(type, level))
        texts = _of(str, level, kinds)
        maps: list[dict[str, Any]] = _of(dict, level, kinds)
        lists: list[list[Any]] = _of(list, level, kinds)
        size += sum(map(_length, texts)) + sum(_length(key) for held in maps for key in held)
        if problem := _unwritable(level, kinds, texts):
            return size, Unfit(problem)
        if depth > MAX_DEPTH and (maps or lists):
            return size, Unfit(f"The value is nested deeper than {MAX_DEPTH} levels; flatten it.", is_too_large=True)
        if size + ITEM_BYTES * (sum(map(len, maps)) + sum(map(len, lists))) > MAX_BYTES:
            message = f"The value is larger than {MAX_BYTES} bytes; hand on a part, or a reference to where it is."
            return size, Unfit(message, is_too_large=True)
        level = [item for held in maps for item in held.values()]
        level += [item for held in lists for item in held]
        depth += 1
    return size, None


def _of(base: type[Any], level: list[Any], kinds: set[type[Any]]) -> list[Any]:
    """Those of the kind, or of one made from it."""
    wanted = {kind for kind in kinds if issubclass(kind, base)}
    if len(wanted) == len(kinds):
        return level
    return [item for item in level if type(item) in wanted] if wanted else []


def _length(text: str) -> int:
    """In bytes; half of a surrogate pair counts as well."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def _unwritable(level: list[Any], kinds: set[type[Any]], texts: list[str]) -> str | None:
    """Why a scalar cannot be written as JSON everywhere (RFC 8259 sections 6 and 8)."""
    whole = _of(int, level, kinds)
    if whole and not (min(whole) >= -(2**63) and max(whole) < 2**64):
        return "The value holds a whole number of more than 64 bits; write it as text."
    for number in _of(float, level, kinds):
        if not math.isfinite(number):
            return f"The value holds {number}, which JSON has no number for."
    for text in texts:
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return "The value holds half of a surrogate pair, which is no character."
    return None
