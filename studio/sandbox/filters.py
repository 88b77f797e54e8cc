"""The filters that a prompt template has. HTML's (`safe`, `urlize`, …), `attr` and `random` are not among them."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, cast

import orjson
from jinja2.filters import FILTERS, do_batch, sync_do_slice

from studio.sandbox.budget import (
    MAX_WIDTH,
    PER_ITEM,
    SIZED,
    RenderLimit,
    Ticking,
    check_bits,
    check_width,
    current_budget,
    pay_deep,
    to_text,
    weight,
)
from studio.sandbox.operations import format_percent, pay_replace

_JINJA_FILTERS = cast("dict[str, Callable[..., Any]]", FILTERS)


def _escape(value: Any) -> str:
    text = to_text(value)
    current_budget().spend(6 * len(text))
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(character, entity)
    return text


def _to_json(value: Any, indent: int | None = None) -> str:
    pay_deep(value, plain=True)
    options = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(value, option=options).decode()


def _sum(values: Any, start: Any = 0) -> Any:
    total = start
    for value in Ticking(values):
        if not isinstance(value, int | float) or not isinstance(total, int | float):
            raise TypeError("'sum' adds numbers only")
        total += value
    return total


def _join(value: Any, separator: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        raise TypeError("'join' takes no attribute; use map(attribute=…) first")
    parts: list[str] = []
    for item in Ticking(value):
        current_budget().spend(len(separator))
        parts.append(to_text(item))
    return to_text(separator).join(parts)


def _format_filter(template: Any, *values: Any, **named: Any) -> str:
    return format_percent(to_text(template), named or values)


def _replace(value: Any, old: str, new: str, count: int = -1) -> str:
    text = to_text(value)
    pay_replace(text, old, new, count)
    return text.replace(old, new, count)


def _center(value: Any, width: int = 80) -> str:
    check_width(width)
    return to_text(value).center(width)


def _indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = to_text(value)
    prefix = width if isinstance(width, str) else " " * max(0, min(width, MAX_WIDTH))
    lines = text.splitlines()
    current_budget().spend(64 * len(text) + len(lines) * len(prefix))
    shifted = [prefix + line if (index or first) and (line or blank) else line for index, line in enumerate(lines)]
    return "\n".join(shifted) + ("\n" if text.endswith("\n") else "")


def _wordwrap(value: Any, width: int = 79) -> str:
    text = to_text(value)
    lines: list[str] = []
    current_budget().spend(PER_ITEM * len(text))
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return "\n".join(lines)


def _int(value: Any, default: Any = 0, base: int = 10) -> Any:
    try:
        number = int(value, base) if isinstance(value, str) and base != 10 else int(value)
    except (TypeError, ValueError, OverflowError):
        try:
            number = int(float(value))
        except (TypeError, ValueError, OverflowError):
            return default
    check_bits(number)
    return number


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > 20:
        raise RenderLimit("'round' takes a precision of at most 20")
    return _JINJA_FILTERS["round"](value, precision, method)


def _pieces(name: str) -> Callable[..., Any]:
    original = do_batch if name == "batch" else sync_do_slice

    def batch_or_slice(value: Any, count: int, fill_with: Any = None) -> Any:
        check_width(count)
        pay_deep(value)
        if count < 1:
            raise ValueError(f"{name!r} takes a number of at least 1")
        current_budget().spend(8 * count)
        return original(value, count, fill_with)

    return batch_or_slice


def _priced(name: str, function: Callable[..., Any], factor: int, *, deep: bool) -> Callable[..., Any]:
    """`factor` is the work for each item or character of the value; `deep` counts all that the arguments hold."""
    passes_context = hasattr(function, "jinja_pass_arg")

    @functools.wraps(function)
    def priced(*args: Any, **kwargs: Any) -> Any:
        budget = current_budget()
        values = args[1:] if passes_context else args
        if values and isinstance(values[0], SIZED):
            budget.spend(factor * len(cast("list[Any]", values[0])))
        if deep:
            for value in (*values, *kwargs.values()):
                pay_deep(value)
        result = function(*args, **kwargs)
        if isinstance(result, Iterator):
            return Ticking(cast("Iterator[Any]", result))
        budget.spend(weight(result))
        return result

    priced.__name__ = name
    return priced


def prompt_filters() -> dict[str, Callable[..., Any]]:
    own: dict[str, Callable[..., Any]] = {
        "batch": _pieces("batch"),
        "center": _center,
        "e": _escape,
        "escape": _escape,
        "format": _format_filter,
        "indent": _indent,
        "int": _int,
        "join": _join,
        "replace": _replace,
        "round": _round,
        "slice": _pieces("slice"),
        "string": to_text,
        "sum": _sum,
        "tojson": _to_json,
        "wordwrap": _wordwrap,
    }
    free = ("abs", "d", "default", "float", "first", "last", "length", "count")
    lazy = ("items", "map", "select", "reject", "selectattr", "rejectattr")
    copying = ("list", "reverse")
    textual = ("capitalize", "lower", "upper", "trim", "truncate")
    costly_text = ("title", "urlencode", "wordcount")
    costly = ("dictsort", "groupby", "max", "min", "sort", "unique")
    found = {name: _priced(name, function, 1, deep=False) for name, function in own.items()}
    found |= {name: _priced(name, _JINJA_FILTERS[name], 0, deep=False) for name in (*free, *lazy)}
    found |= {name: _priced(name, _JINJA_FILTERS[name], 16, deep=False) for name in copying}
    found |= {name: _priced(name, _JINJA_FILTERS[name], 1, deep=True) for name in textual}
    found |= {name: _priced(name, _JINJA_FILTERS[name], PER_ITEM, deep=True) for name in (*costly_text, *costly)}
    return found
