"""`${{ … }}`: CEL inside JSON values.

A value that is one whole expression keeps its type; inside longer text the result is put in as text (JSON for lists
and maps). CEL ends, has no side effects and no attribute access. Source: https://github.com/google/cel-spec.
"""

import base64
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, cast

import orjson

from studio.cel_engine import cel
from studio.contracts.base import Json, format_timestamp
from studio.expression_limits import MAX_DEPTH, MAX_RESULT_BYTES, Budget, is_too_deep
from studio.expression_source import (
    STRING,
    Mentions,
    bodies_in,
    bound_in,
    called_in,
    count_comprehensions,
    mentions_in,
    metered,
    paths_in,
    without_comments,
)

MAX_EXPRESSION_LENGTH = 8_000
MAX_COMPREHENSIONS = 3
"""Of `map`, `filter`, `all`, `exists`, each of which the rewriting reads anew. What they cost, `Budget` bounds."""
OPEN, CLOSE = "${{", "}}"
FUNCTIONS = frozenset({
    *("size", "contains", "startsWith", "endsWith", "matches", "has", "type", "dyn"),
    *("string", "int", "uint", "double", "bytes", "timestamp", "duration"),
    *("map", "filter", "all", "exists", "exists_one", "existsOne"),
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfYear", "getDayOfWeek"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
})  # fmt: skip

_PATH = re.compile(r"""[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*|\s*\[\s*(?:"[^"\\]*"|'[^'\\]*'|\d{1,9})\s*\])*""")
_PART = re.compile(r"""([A-Za-z_]\w*)|"([^"]*)"|'([^']*)'|(\d+)""")
_INDEX = 4  # the group of `_PART` that is a number
_SYNTAX = re.compile(r"ERROR: <input>:\d+:(\d+): (?:Syntax error: )?(.*)")
_UNDEFINED = re.compile(r"Undefined variable or function: '(\w+)'")
_MAX_MESSAGE = 300
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"


class ExpressionError(Exception):
    """An expression that cannot be read, or that failed when it ran. `expression` is its source."""

    def __init__(self, message: str, expression: str, *, mistyped: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.expression = expression
        self.mistyped = mistyped
        """Whether an operation or a function got values of types that it does not take."""


@dataclass(frozen=True)
class Expression:
    """A compiled expression and what it names."""

    source: str
    program: cel.Program
    path: tuple[str | int, ...] | None
    """For `input.questions[0]` and the like: the way to the value, which needs no evaluator and keeps its key order."""
    roots: frozenset[str]
    """Top-level names: `input`, `steps`, ..."""
    paths: frozenset[tuple[str, ...]]
    """The names with the fields that follow them: `("input", "rows")`. Shorter ones may hold longer ones."""
    mentions: Mentions
    bodies: tuple[Mentions, ...]
    """Of its comprehensions."""

    @property
    def walks(self) -> bool:
        """Whether it has comprehensions."""
        return bool(self.bodies)

    @property
    def steps(self) -> frozenset[str]:
        """The steps named as `steps.ID` or `steps["ID"]`."""
        return frozenset(path[1] for path in self.paths if path[0] == "steps" and len(path) > 1)

    @property
    def whole_steps(self) -> bool:
        """Whether `steps` is used other than by naming one of them."""
        return ("steps",) in self.paths

    def evaluate(self, scope: Mapping[str, Json]) -> Json:
        """Run it; the result is JSON, maps that CEL made in the order of their keys. Raises `ExpressionError`."""
        budget = Budget(self.bodies)
        try:
            if self.path is not None:
                return _select(scope, self.path)
            result: Json = to_json(self.program.execute(self._context(scope, budget)))
            _check_size(result)
        except ExpressionError as error:
            raise ExpressionError(budget.refused or error.message, self.source) from None
        except Exception as error:  # noqa: BLE001 - the library raises KeyError, TypeError, ValueError, RuntimeError ...
            mistyped = budget.refused is None and _is_mistyped(error)
            raise ExpressionError(budget.refused or _describe(error), self.source, mistyped=mistyped) from None
        if budget.refused:
            raise ExpressionError(budget.refused, self.source)
        return result

    def _context(self, scope: Mapping[str, Json], budget: Budget) -> cel.Context:
        held = {root: _narrowed(scope[root], self._inside(root)) for root in sorted(self.roots & scope.keys())}
        budget.hand_over(held, self.mentions)
        for root, value in held.items():
            if is_too_deep(value):
                raise ExpressionError(f"{root!r} is nested deeper than {MAX_DEPTH} levels", self.source)
        context = cel.Context(held)
        for name in ("ordered", "made", "kept", "matches"):
            context.add_function(f"_{name}", getattr(budget, name))
        return context

    def _inside(self, root: str) -> list[tuple[str, ...]]:
        return sorted(path[1:] for path in self.paths if path[0] == root)


def type_word(value: Json) -> str:
    """What a value is, as people who write YAML call it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _narrowed(value: Json, paths: Sequence[tuple[str, ...]]) -> Json:
    """The value with only the fields that the paths lead to."""
    if () in paths or not isinstance(value, dict):
        return value
    held = cast("dict[str, Json]", value)
    fields = sorted({path[0] for path in paths} & held.keys())
    return {field: _narrowed(held[field], [path[1:] for path in paths if path[0] == field]) for field in fields}


def _check_size(result: Json) -> None:
    if isinstance(result, str | list | dict) and len(orjson.dumps(result)) > MAX_RESULT_BYTES:
        raise ExpressionError(f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB", "")


def _is_mistyped(error: Exception) -> bool:
    """The library reports a function that does not take a value's type as one that does not exist."""
    undefined = _UNDEFINED.match(str(error))
    return isinstance(error, TypeError) or (undefined is not None and undefined.group(1) in FUNCTIONS)


def _describe(error: Exception) -> str:
    text = str(error)
    if isinstance(error, KeyError):
        return f"no such key or variable: {error.args[0] if error.args else error}"
    if "Recursion limit" in text:
        return "nested too deeply"
    if syntax := _SYNTAX.search(text):
        problem = syntax.group(2).partition(" expecting ")[0].replace("'<EOF>'", "its end")
        return f"character {syntax.group(1)}: {problem}"[:_MAX_MESSAGE]
    if undefined := _UNDEFINED.match(text):
        name = undefined.group(1)
        return f"`{name}` does not take values of these types" if name in FUNCTIONS else f"there is no {name!r} here"
    if text.startswith("No such overload"):
        return "the types do not go together: CEL converts none by itself; write int(x), double(x) or string(x)"
    return text.splitlines()[0][:_MAX_MESSAGE] if text else type(error).__name__


@lru_cache(maxsize=10_000)
def compile_expression(source: str) -> Expression:
    """Compile CEL. Raises `ExpressionError` with what is wrong."""
    if len(source) > MAX_EXPRESSION_LENGTH:
        raise ExpressionError(f"longer than {MAX_EXPRESSION_LENGTH} characters", source[:80] + "…")
    code = without_comments(source)
    if count_comprehensions(code) > MAX_COMPREHENSIONS:
        raise ExpressionError(f"more than {MAX_COMPREHENSIONS} of map, filter, all and exists", source)
    _check_calls(code, source)
    try:
        cel.compile(code)  # so that what is wrong is told of the source, not of what becomes of it
        program = cel.compile(metered(code))
    except Exception as error:  # noqa: BLE001 - the parser raises ValueError and RuntimeError, on garbage also others
        raise ExpressionError(_describe(error), source) from None
    names = frozenset(program.variables()) - bound_in(code)
    return Expression(
        source,
        program,
        path=_path_of(source),
        roots=names,
        paths=frozenset(path for path in paths_in(code) if path[0] in names),
        mentions=mentions_in(code),
        bodies=bodies_in(code),
    )


def _check_calls(code: str, source: str) -> None:
    for name in sorted(called_in(code) - FUNCTIONS):
        close = difflib.get_close_matches(name, FUNCTIONS, 1)
        also = f"; did you mean {close[0]!r}?" if close else ""
        raise ExpressionError(f"there is no function {name!r}{also}", source)


def _path_of(source: str) -> tuple[str | int, ...] | None:
    if not _PATH.fullmatch(source) or source in {"true", "false", "null"}:
        return None
    parts = ((match.group(match.lastindex or 0), match.lastindex) for match in _PART.finditer(source))
    return tuple(int(part) if kind == _INDEX else part for part, kind in parts)


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
            raise TypeError(f"{part!r} of {type_word(value)}: only objects and lists have parts")
    return value


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
    limit = start + MAX_EXPRESSION_LENGTH + len(CLOSE)
    while position < len(text):
        if position > limit:
            raise ExpressionError(f"longer than {MAX_EXPRESSION_LENGTH} characters", text[start:][:80] + "…")
        if match := STRING.match(text, position, limit):
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
    if is_too_deep(value):
        raise ExpressionError(_TOO_DEEP, "")
    return _replace(value, scope)


def _replace(value: Json, scope: Mapping[str, Json]) -> Json:
    match value:
        case str():
            if OPEN not in value:
                return value
            pieces = _split_cached(value)
            if len(pieces) == 1 and isinstance(pieces[0], Expression):
                return pieces[0].evaluate(scope)
            return _join(pieces, scope)
        case dict():
            return {key: _replace(item, scope) for key, item in cast("dict[str, Json]", value).items()}
        case list():
            return [_replace(item, scope) for item in cast("list[Json]", value)]
        case _:
            return value


def _join(pieces: tuple[str | Expression, ...], scope: Mapping[str, Json]) -> str:
    texts: list[str] = []
    length = 0
    for piece in pieces:
        text = piece if isinstance(piece, str) else as_text(piece.evaluate(scope), piece.source)
        length += len(text)
        if length > MAX_RESULT_BYTES and isinstance(piece, Expression):
            raise ExpressionError(f"the text becomes larger than {MAX_RESULT_BYTES >> 20} MiB", piece.source)
        texts.append(text)
    return "".join(texts)


def expressions_in(value: Json) -> list[Expression]:
    """Every expression inside a JSON value, in order. Raises `ExpressionError`."""
    if is_too_deep(value):
        raise ExpressionError(_TOO_DEEP, "")
    return _find(value)


def _find(value: Json) -> list[Expression]:
    match value:
        case str():
            return [piece for piece in _split_cached(value) if isinstance(piece, Expression)] if OPEN in value else []
        case dict():
            return [found for item in cast("dict[str, Json]", value).values() for found in _find(item)]
        case list():
            return [found for item in cast("list[Json]", value) for found in _find(item)]
        case _:
            return []


def as_text(value: Json, source: str = "") -> str:
    """Text stays, null is empty, everything else is its JSON. Raises `ExpressionError` for what has no JSON."""
    if isinstance(value, str):
        return value
    try:
        return "" if value is None else orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise ExpressionError(f"cannot be put into text: {_describe(error)}", source) from None


def to_json(value: Any, depth: int = 0) -> Json:  # noqa: PLR0911 - one line a type
    """CEL's timestamps, durations and bytes as RFC 3339, seconds with `s`, and base64."""
    if depth > MAX_DEPTH:
        raise ExpressionError(f"the result is nested deeper than {MAX_DEPTH} levels", "")
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            items = cast("dict[Any, Any]", value)
            if not all(isinstance(key, str) for key in items):
                raise ExpressionError("the keys of a map must be text", "")
            return {key: to_json(items[key], depth + 1) for key in sorted(items)}
        case list() | tuple():
            return [to_json(item, depth + 1) for item in cast("list[Any]", value)]
        case datetime():
            return format_timestamp(value.astimezone(UTC))
        case timedelta():
            return _seconds(value)
        case bytes():
            return base64.b64encode(value).decode()
        case cel.OptionalValue():
            return to_json(value.value(), depth) if value.has_value() else None
        case _:
            raise ExpressionError(f"gives {type(value).__name__}, which is not JSON", "")


def _seconds(duration: timedelta) -> str:
    microseconds = duration // timedelta(microseconds=1)
    whole, rest = divmod(abs(microseconds), 1_000_000)
    text = f"{whole}.{rest:06}".rstrip("0").rstrip(".")
    return f"-{text}s" if microseconds < 0 else f"{text}s"
