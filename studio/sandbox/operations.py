"""Operators, attributes and methods: those that exist in a prompt template, and what each pays."""

import operator
import re
from collections.abc import Callable
from typing import Any, cast

from jinja2.filters import (
    _GroupTuple,  # pyright: ignore[reportPrivateUsage] - what 'groupby' gives has no public name
)
from jinja2.runtime import LoopContext
from jinja2.utils import Cycler

from studio.sandbox.budget import (
    MAX_INTEGER_BITS,
    SIZED,
    RenderLimit,
    check_bits,
    check_width,
    current_budget,
    pay_deep,
    weight,
)


def _add(left: Any, right: Any) -> Any:
    current_budget().spend(weight(left) + weight(right))
    return left + right


def _multiply(left: Any, right: Any) -> Any:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, str | list | tuple) and isinstance(times, int):
            current_budget().spend(weight(sequence) * max(times, 0))
    product = left * right
    check_bits(product)
    return product


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MAX_INTEGER_BITS:
        raise RenderLimit(f"a whole number has more than {MAX_INTEGER_BITS} bits")
    return left**right


_PERCENT = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?")


def _modulo(left: Any, right: Any) -> Any:
    return format_percent(left, right) if isinstance(left, str) else left % right


def format_percent(template: str, values: Any) -> str:
    fields = 0
    for width, precision in _PERCENT.findall(template):
        if "*" in (width, precision):
            raise RenderLimit("a format width may not be '*'")
        check_width(int(width or 0), int(precision or 0))
        fields += int(width or 0) + int(precision or 0)
        pay_deep(values, plain=True)
    current_budget().spend(len(template) + fields)
    return template % values


BINARY_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": _add,
    "-": operator.sub,
    "*": _multiply,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": _power,
    "%": _modulo,
}


_STRING_METHODS = frozenset({
    *("capitalize", "casefold", "center", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii"),
    *("isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "ljust"),
    *("lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust"),
    *("rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper"),
    "zfill",
})  # fmt: skip
ATTRIBUTES: dict[type[Any], frozenset[str]] = {
    str: _STRING_METHODS,
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    _GroupTuple: frozenset({"grouper", "list"}),
    Cycler: frozenset({"current", "next", "reset"}),
    LoopContext: frozenset({
        *("index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem"),
        *("cycle", "changed", "depth", "depth0"),
    }),
}  # fmt: skip


def pay_replace(text: str, old: Any = "", new: Any = "", count: Any = -1) -> None:
    if isinstance(old, str) and isinstance(new, str):
        found = text.count(old)
        if isinstance(count, int) and count >= 0:
            found = min(found, count)
        current_budget().spend(len(text) + found * len(new))


def _pay_join(separator: str, values: Any = ()) -> None:
    pay_deep(values, plain=True)
    if isinstance(values, SIZED):
        current_budget().spend(len(separator) * len(cast("list[Any]", values)))


def pay_length(text: str, *_arguments: Any) -> None:
    current_budget().spend(len(text))


def _pay_width(text: str, width: Any = 0, *_fill: Any) -> None:
    check_width(width)
    current_budget().spend(len(text))


def _pay_split(text: str, *_arguments: Any) -> None:
    current_budget().spend(64 * len(text))


METHOD_PRICES: dict[str, Callable[..., None]] = {
    "replace": pay_replace,
    "join": _pay_join,
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _pay_width),
    **dict.fromkeys(("split", "rsplit", "splitlines"), _pay_split),
}
