"""`${{ … }}`: CEL inside JSON values.

A value that is one whole expression keeps its type; inside longer text the result is put in as text (JSON for lists
and maps). CEL ends, has no side effects and no attribute access. Source: https://github.com/google/cel-spec.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, cast

import cel
import orjson

from studio.contracts.base import Json, format_timestamp

MAX_EXPRESSION_LENGTH = 8_000
MAX_COMPREHENSIONS = 3
"""Nested `map`, `filter`, `all`, `exists` multiply: three over lists of a hundred items take about a second."""
OPEN, CLOSE = "${{", "}}"

_STRING = re.compile(
    r"""[rRbB]{0,2}(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""",
    re.DOTALL,
)
_STEP = re.compile(r"(?<![\w.])steps\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*\"([^\"]*)\"\s*\])")
_STEPS = re.compile(r"(?<![\w.])steps(?!\w)")
_PATH = re.compile(r"""[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*|\s*\[\s*(?:"[^"\\]*"|'[^'\\]*'|\d{1,9})\s*\])*""")
_PART = re.compile(r"""([A-Za-z_]\w*)|"([^"]*)"|'([^']*)'|(\d+)""")
_BOUND = re.compile(r"\.\s*(?:map|filter|all|exists|exists_one)\s*\(\s*([A-Za-z_]\w*)\s*,")
_ORDERED = "ordered"
_COMPREHENSION = re.compile(r"\.\s*(?:map|filter|all|exists|exists_one)\s*\(")


class ExpressionError(Exception):
    """An expression that cannot be read, or that failed when it ran. `expression` is its source."""

    def __init__(self, message: str, expression: str) -> None:
        super().__init__(message)
        self.message = message
        self.expression = expression


@dataclass(frozen=True)
class Expression:
    """A compiled expression and what it names."""

    source: str
    program: cel.Program
    path: tuple[str | int, ...] | None
    """For `input.questions[0]` and the like: the way to the value, which needs no evaluator and keeps its key order."""
    roots: frozenset[str]
    """Top-level names: `input`, `steps`, ..."""
    steps: frozenset[str]
    """The steps named as `steps.ID` or `steps["ID"]`."""
    whole_steps: bool
    """Whether `steps` is used other than by naming one of them."""

    def evaluate(self, scope: Mapping[str, Json]) -> Json:
        """Run it; the result is JSON, maps that CEL made in the order of their keys. Raises `ExpressionError`."""
        try:
            if self.path is not None:
                return _select(scope, self.path)
            context = cel.Context({root: scope[root] for root in sorted(self.roots & scope.keys())})
            context.add_function(_ORDERED, _ordered)
            return to_json(self.program.execute(context))
        except ExpressionError:
            raise
        except Exception as error:  # noqa: BLE001 - the library raises KeyError, TypeError, ValueError, RuntimeError ...
            raise ExpressionError(_describe(error), self.source) from None


def _describe(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no such key or variable: {error.args[0] if error.args else error}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@lru_cache(maxsize=10_000)
def compile_expression(source: str) -> Expression:
    """Compile CEL. Raises `ExpressionError` with what is wrong."""
    if len(source) > MAX_EXPRESSION_LENGTH:
        raise ExpressionError(f"longer than {MAX_EXPRESSION_LENGTH} characters", source[:80] + "…")
    # Strings keep their quotes: `steps["x"]` must stay readable, so only what looks like a reference inside is lost.
    bare = _STRING.sub(lambda match: '""', source)
    if len(_COMPREHENSION.findall(bare)) > MAX_COMPREHENSIONS:
        raise ExpressionError(f"more than {MAX_COMPREHENSIONS} of map, filter, all and exists", source)
    try:
        program = cel.compile(_order_maps(source))
        names = set(program.variables()) - {match.group(1) for match in _BOUND.finditer(bare)}
    except Exception as error:  # noqa: BLE001 - the parser raises ValueError and RuntimeError, on garbage also others
        raise ExpressionError(_describe(error), source) from None
    named = [match.group(1) or match.group(2) for match in _STEP.finditer(_keep_keys(source))]
    mentions = len(_STEPS.findall(bare))
    return Expression(source, program, _path_of(source), frozenset(names), frozenset(named), mentions > len(named))


def _path_of(source: str) -> tuple[str | int, ...] | None:
    if not _PATH.fullmatch(source) or source in {"true", "false", "null"}:
        return None
    parts = [
        match.group(1) or match.group(2) or match.group(3) or int(match.group(4)) for match in _PART.finditer(source)
    ]
    return tuple(parts)


def _select(scope: Mapping[str, Json], path: tuple[str | int, ...]) -> Json:
    value: Any = scope
    for part in path:
        if isinstance(value, list) and isinstance(part, int):
            items = cast("list[Json]", value)
            if part >= len(items):
                raise IndexError(f"index out of bounds: {part}")
            value = items[part]
        elif isinstance(value, Mapping):
            value = cast("Mapping[Any, Json]", value)[part]
        else:
            held = "null" if value is None else type(cast("object", value)).__name__
            raise TypeError(f"{part!r} of {held}: only maps and lists have parts")
    return value


def _ordered(value: Any) -> Any:
    """A map's keys in order: the library walks maps in a random one, which would break the replay of a workflow."""
    return sorted(cast("dict[str, Any]", value)) if isinstance(value, dict) else value


def _order_maps(source: str) -> str:
    """Put the receiver of every comprehension through `_ordered`."""
    position = 0
    while match := _COMPREHENSION.search(_same_length_without_strings(source), position):
        dot = match.start()
        start = _receiver_start(_same_length_without_strings(source), dot)
        source = f"{source[:start]}{_ORDERED}({source[start:dot]}){source[dot:]}"
        position = match.end() + len(_ORDERED) + 2
    return source


def _same_length_without_strings(source: str) -> str:
    return _STRING.sub(lambda match: "_" * len(match.group()), source)


def _receiver_start(text: str, end: int) -> int:
    """Where the member expression that ends before `end` begins: names, calls, indexes and literals."""
    position = end
    while True:
        position = len(text[:position].rstrip())
        closing = text[position - 1 : position]
        if closing and closing in ")]}":
            position = _opening(text, position - 1)
            name = re.search(r"[A-Za-z0-9_]+$", text[:position]) if closing != "}" else None
            if name is None and closing == "]" and text[:position].rstrip()[-1:] in {")", "]"}:
                continue  # an index into a call's or an index's result
            position = name.start() if name else position
        else:
            name = re.search(r"[A-Za-z0-9_]+$", text[:position])
            position = name.start() if name else position
        before = text[:position].rstrip()
        if not before.endswith("."):
            return position
        position = len(before) - 1


def _opening(text: str, closing: int) -> int:
    depth = 0
    for position in range(closing, -1, -1):
        if text[position] in ")]}":
            depth += 1
        elif text[position] in "([{":
            depth -= 1
            if depth == 0:
                return position
    return 0  # unbalanced: the compiler says so


def _keep_keys(source: str) -> str:
    """The source with every string blanked but those that are a key right after `[`."""

    def blank(match: re.Match[str]) -> str:
        before = source[: match.start()].rstrip()
        text = match.group()
        if before.endswith("[") and re.fullmatch(r"""(['"])[A-Za-z_]\w*\1""", text):
            return f'"{text[1:-1]}"'
        return '""'

    return _STRING.sub(blank, source)


def split_template(text: str) -> list[str | Expression]:
    """Literal pieces and expressions in turn. Raises `ExpressionError` for an expression that does not close."""
    pieces: list[str | Expression] = []
    position = 0
    while (start := text.find(OPEN, position)) >= 0:
        if start > position:
            pieces.append(text[position:start])
        end = _find_close(text, start + len(OPEN))
        source = text[start + len(OPEN) : end].strip()
        if not source:
            raise ExpressionError("empty expression", text[start : end + len(CLOSE)])
        pieces.append(compile_expression(source))
        position = end + len(CLOSE)
    if position < len(text) or not pieces:
        pieces.append(text[position:])
    return pieces


def _find_close(text: str, position: int) -> int:
    """Where `}}` stands outside of strings and of the braces that the expression itself opened."""
    start, depth = position, 0
    while position < len(text):
        if match := _STRING.match(text, position):
            position = match.end()
            continue
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            if depth == 0 and text.startswith(CLOSE, position):
                return position
            depth -= 1
        position += 1
    raise ExpressionError(f"`{OPEN}` without `{CLOSE}`", text[start - len(OPEN) :][:80])


@lru_cache(maxsize=10_000)
def _split_cached(text: str) -> tuple[str | Expression, ...]:
    return tuple(split_template(text))


def evaluate(value: Json, scope: Mapping[str, Json]) -> Json:
    """Replace every expression inside a JSON value by its result. Raises `ExpressionError`."""
    match value:
        case str():
            if OPEN not in value:
                return value
            pieces = _split_cached(value)
            if len(pieces) == 1 and isinstance(pieces[0], Expression):
                return pieces[0].evaluate(scope)
            return "".join(piece if isinstance(piece, str) else as_text(piece.evaluate(scope)) for piece in pieces)
        case dict():
            return {key: evaluate(item, scope) for key, item in cast("dict[str, Json]", value).items()}
        case list():
            return [evaluate(item, scope) for item in cast("list[Json]", value)]
        case _:
            return value


def expressions_in(value: Json) -> list[Expression]:
    """Every expression inside a JSON value, in order. Raises `ExpressionError`."""
    match value:
        case str():
            return [piece for piece in _split_cached(value) if isinstance(piece, Expression)] if OPEN in value else []
        case dict():
            return [found for item in cast("dict[str, Json]", value).values() for found in expressions_in(item)]
        case list():
            return [found for item in cast("list[Json]", value) for found in expressions_in(item)]
        case _:
            return []


def as_text(value: Json) -> str:
    """Text stays, null is empty, everything else is its JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()


def to_json(value: Any) -> Json:  # noqa: PLR0911 - one line a type
    """CEL's timestamps, durations and bytes as RFC 3339, seconds with `s`, and base64."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            items = sorted((str(key), item) for key, item in cast("dict[Any, Any]", value).items())
            return {key: to_json(item) for key, item in items}
        case list() | tuple():
            return [to_json(item) for item in cast("list[Any]", value)]
        case datetime():
            return format_timestamp(value.astimezone(UTC))
        case timedelta():
            return f"{value.total_seconds():g}s"
        case bytes():
            return base64.b64encode(value).decode()
        case cel.OptionalValue():
            return to_json(value.value()) if value.has_value() else None
        case _:
            raise ExpressionError(f"gives {type(value).__name__}, which is not JSON", "")
