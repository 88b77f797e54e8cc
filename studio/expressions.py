"""`${{ … }}`: CEL inside JSON values.

A value that is one whole expression keeps its type; inside longer text the result is put in as text (JSON for lists
and maps). CEL ends, has no side effects and no attribute access. Source: https://github.com/google/cel-spec.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import orjson

from studio.cel.budget import MAX_RESULT_BYTES, Budget, check_result
from studio.cel.errors import EvaluationFault, LimitFault, SyntaxFault
from studio.cel.lexer import STRING
from studio.cel.names import Names, Path, names_of, plain_path
from studio.cel.parser import parse
from studio.cel.program import Run, compile_node
from studio.cel.times import duration_text, moment_text
from studio.cel.values import MAX_DEPTH, Duration, Moment, field_of, in_order, item_of, shown, type_word
from studio.contracts.base import Json

__all__ = ["type_word"]

MAX_EXPRESSION_LENGTH = 8_000
_SHORT = 500
"""Characters: compiled, an expression takes some 50 bytes for each, so only few long ones are kept."""
OPEN, CLOSE = "${{", "}}"
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_AS_THEY_ARE = {type(None), bool, str, int}
_MICROSECONDS = 6
"""Digits of the broken seconds in JSON, as everywhere in the product; more where there are nanoseconds."""


class ExpressionError(Exception):
    """An expression that cannot be read, or that failed when it ran. `expression` is its source."""

    def __init__(self, message: str, expression: str, *, mistyped: bool = False, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.expression = expression
        self.mistyped = mistyped
        """Whether an operation or a function got values of types that it does not take."""
        self.hint = hint


@dataclass(frozen=True)
class Expression:
    """A compiled expression and what it names."""

    source: str
    program: Run
    path: tuple[str | int, ...] | None
    """For `input.questions[0]` and the like: the way to the value, whose maps keep the order of their keys."""
    names: Names

    @property
    def roots(self) -> frozenset[str]:
        """Top-level names: `input`, `steps`, ..."""
        return self.names.roots

    @property
    def paths(self) -> frozenset[Path]:
        """The names with the fields that follow them: `("input", "rows")`. Shorter ones may hold longer ones."""
        return self.names.paths

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
        try:
            if self.path is not None:
                return _select(scope, self.path)
            result = self.program(scope, Budget())
            check_result(result)
            return to_json(result)
        except EvaluationFault as fault:
            raise ExpressionError(fault.message, self.source, mistyped=fault.mistyped) from None
        except LimitFault as fault:
            raise ExpressionError(fault.message, self.source) from None


def compile_expression(source: str) -> Expression:
    """Compile CEL. Raises `ExpressionError` with what is wrong."""
    return (_short if len(source) <= _SHORT else _long)(source)


def _compile(source: str) -> Expression:
    if len(source) > MAX_EXPRESSION_LENGTH:
        raise ExpressionError(f"longer than {MAX_EXPRESSION_LENGTH} characters", source[:80] + "…")
    try:
        node = parse(source)
    except SyntaxFault as fault:
        raise ExpressionError(fault.message, source, hint=fault.hint) from None
    return Expression(source, compile_node(node), plain_path(node), names_of(node))


_short, _long = lru_cache(10_000)(_compile), lru_cache(200)(_compile)


def _select(scope: Mapping[str, Json], path: tuple[str | int, ...]) -> Json:
    if path[0] not in scope:
        raise EvaluationFault(f"there is no {path[0]!r} here")
    value: Any = scope[cast("str", path[0])]
    for part in path[1:]:
        value = field_of(value, part) if isinstance(part, str) else item_of(value, part)
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
    hint = "put the whole expression in quotes if more of it stands there: YAML ends a plain text at ` #`"
    raise ExpressionError(f"`{OPEN}` without `{CLOSE}`", text[start - len(OPEN) :][:80], hint=hint)


def _split(text: str) -> tuple[str | Expression, ...]:
    return _split_short(text) if len(text) <= _SHORT else tuple(split_template(text))


@lru_cache(10_000)
def _split_short(text: str) -> tuple[str | Expression, ...]:
    return tuple(split_template(text))


def evaluate(value: Json, scope: Mapping[str, Json]) -> Json:
    """Replace every expression inside a JSON value by its result. Raises `ExpressionError`."""
    return _replace(value, scope, MAX_DEPTH)


def _replace(value: Json, scope: Mapping[str, Json], depth: int) -> Json:
    if depth < 0:
        raise ExpressionError(_TOO_DEEP, "")
    match value:
        case str():
            if OPEN not in value:
                return value
            pieces = _split(value)
            if len(pieces) == 1 and isinstance(pieces[0], Expression):
                return pieces[0].evaluate(scope)
            return _join(pieces, scope)
        case dict():
            return {key: _replace(item, scope, depth - 1) for key, item in cast("dict[str, Json]", value).items()}
        case list():
            return [_replace(item, scope, depth - 1) for item in cast("list[Json]", value)]
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
    return _find(value, MAX_DEPTH)


def _find(value: Json, depth: int) -> list[Expression]:
    if depth < 0:
        raise ExpressionError(_TOO_DEEP, "")
    match value:
        case str():
            return [piece for piece in _split(value) if isinstance(piece, Expression)] if OPEN in value else []
        case dict():
            return [found for item in cast("dict[str, Json]", value).values() for found in _find(item, depth - 1)]
        case list():
            return [found for item in cast("list[Json]", value) for found in _find(item, depth - 1)]
        case _:
            return []


def as_text(value: Json, source: str = "") -> str:
    """Text stays, null is empty, everything else is its JSON. Raises `ExpressionError` for what has no JSON."""
    if isinstance(value, str):
        return value
    try:
        return "" if value is None else orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise ExpressionError(f"cannot be put into text: {error}", source) from None


def to_json(value: Any) -> Json:  # noqa: PLR0911 - one line a type
    """CEL's timestamps, durations and bytes as RFC 3339, seconds with `s`, and base64. Raises `EvaluationFault`."""
    if type(value) in _AS_THEY_ARE:
        return value
    match value:
        case int():
            return int(value)
        case float():
            if value - value != 0:
                raise EvaluationFault(f"gives {shown(value)}, which is no number in JSON")
            return value
        case dict():
            items = cast("dict[Any, Any]", value)
            if not all(isinstance(key, str) for key in items):
                raise EvaluationFault("the keys of a map must be text; write string(key)")
            return {key: to_json(items[key]) for key in in_order(items)}
        case list():
            return [to_json(item) for item in cast("list[Any]", value)]
        case Moment():
            return moment_text(value, _MICROSECONDS)
        case Duration():
            return duration_text(value)
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            raise EvaluationFault("gives a type, which is not JSON; compare it: type(x) == int")
