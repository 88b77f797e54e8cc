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
from studio.expression_limits import MAX_DEPTH, MAX_RESULT_BYTES, Budget, is_too_deep

MAX_EXPRESSION_LENGTH = 8_000
MAX_COMPREHENSIONS = 3
"""Of `map`, `filter`, `all`, `exists`, each of which the rewriting reads anew. What they cost, `Budget` bounds."""
OPEN, CLOSE = "${{", "}}"

_STRING = re.compile(
    r"""[rRbB]{0,2}(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""",
    re.DOTALL,
)
_STEP = re.compile(r"(?<![\w.])steps\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*\"([^\"]*)\"\s*\])")
_STEPS = re.compile(r"(?<![\w.])steps(?!\w)")
_PATH = re.compile(r"""[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*|\s*\[\s*(?:"[^"\\]*"|'[^'\\]*'|\d{1,9})\s*\])*""")
_PART = re.compile(r"""([A-Za-z_]\w*)|"([^"]*)"|'([^']*)'|(\d+)""")
_INDEX = 4  # the group of `_PART` that is a number
_BOUND = re.compile(r"\.\s*(?:map|filter|all|exists|exists_one)\s*\(\s*([A-Za-z_]\w*)\s*,")
_COMPREHENSION = re.compile(r"\.\s*(map|filter|all|exists|exists_one)\s*\(")
_COMMENT = re.compile(f"({_STRING.pattern})|//[^\n]*", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_]+$")
_IN = re.compile(r"(?:[0-9][0-9A-Fa-fxu]*)?in")  # the operator, also right after a number
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_ORDERED, _MADE, _KEPT = "_ordered", "_made", "_kept"


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
    walks: bool
    """Whether it has comprehensions."""
    whole_steps: bool
    """Whether `steps` is used other than by naming one of them."""

    def evaluate(self, scope: Mapping[str, Json]) -> Json:
        """Run it; the result is JSON, maps that CEL made in the order of their keys. Raises `ExpressionError`."""
        budget = Budget()
        try:
            if self.path is not None:
                return _select(scope, self.path)
            result: Json = to_json(self.program.execute(self._context(scope, budget)))
            _check_size(result)
        except ExpressionError as error:
            raise ExpressionError(budget.refused or error.message, self.source) from None
        except Exception as error:  # noqa: BLE001 - the library raises KeyError, TypeError, ValueError, RuntimeError ...
            raise ExpressionError(budget.refused or _describe(error), self.source) from None
        if budget.refused:
            raise ExpressionError(budget.refused, self.source)
        return result

    def _context(self, scope: Mapping[str, Json], budget: Budget) -> cel.Context:
        held = {root: scope[root] for root in sorted(self.roots & scope.keys())}
        for root, value in held.items():
            if is_too_deep(value):
                raise ExpressionError(f"{root!r} is nested deeper than {MAX_DEPTH} levels", self.source)
        context = cel.Context(held)
        if self.walks:
            context.add_function(_ORDERED, budget.ordered)
            context.add_function(_MADE, budget.made)
            context.add_function(_KEPT, budget.kept)
        return context


def _check_size(result: Json) -> None:
    if isinstance(result, str | list | dict) and len(orjson.dumps(result)) > MAX_RESULT_BYTES:
        raise ExpressionError(f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB", "")


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
    code = _COMMENT.sub(lambda match: match.group(1) or " ", source)
    bare = _STRING.sub(lambda match: '""', code)
    comprehensions = len(_COMPREHENSION.findall(bare))
    if comprehensions > MAX_COMPREHENSIONS:
        raise ExpressionError(f"more than {MAX_COMPREHENSIONS} of map, filter, all and exists", source)
    try:
        program = cel.compile(_meter(code))
        names = set(program.variables()) - {match.group(1) for match in _BOUND.finditer(bare)}
    except Exception as error:  # noqa: BLE001 - the parser raises ValueError and RuntimeError, on garbage also others
        raise ExpressionError(_describe(error), source) from None
    named = [match.group(1) or match.group(2) for match in _STEP.finditer(_keep_keys(code))]
    mentions = len(_STEPS.findall(bare))
    return Expression(
        source,
        program,
        path=_path_of(source),
        roots=frozenset(names),
        steps=frozenset(named),
        walks=comprehensions > 0,
        whole_steps=mentions > len(named),
    )


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
            held = "null" if value is None else type(cast("object", value)).__name__
            raise TypeError(f"{part!r} of {held}: only maps and lists have parts")
    return value


def _meter(source: str) -> str:
    """Put receiver and results of every comprehension through the functions of `Budget`."""
    position = place = 0
    while match := _COMPREHENSION.search(text := _same_length_without_strings(source), position):
        source = _meter_body(source, text, match, place)
        start = _receiver_start(text, match.start())
        opening = f" {_ORDERED}({place}, "
        source = f"{source[:start]}{opening}{source[start : match.start()]}){source[match.start() :]}"
        position = match.end() + len(opening) + 1
        place += 1
    return source


def _meter_body(source: str, text: str, match: re.Match[str], place: int) -> str:
    commas, end = _arguments(text, match.end())
    if not commas:
        return source  # the compiler says what is wrong
    body = source[commas[-1] + 1 : end]
    match match.group(1):
        case "map":
            wrapped = f"{_MADE}({place}, {body})"
        case "filter":
            wrapped = f"{_KEPT}({place}, {source[match.end() : commas[0]]}, {body})"
        case _:
            wrapped = body
    return f"{source[: commas[-1] + 1]}{wrapped}{source[end:]}"


def _arguments(text: str, start: int) -> tuple[list[int], int]:
    """The commas of the argument list that begins at `start`, and its end."""
    depth = 0
    commas: list[int] = []
    for position in range(start, len(text)):
        if text[position] in "([{":
            depth += 1
        elif text[position] in ")]}":
            if depth == 0:
                return commas, position
            depth -= 1
        elif text[position] == "," and depth == 0:
            commas.append(position)
    return [], len(text)


def _same_length_without_strings(source: str) -> str:
    return _STRING.sub(lambda match: "'" * len(match.group()), source)


def _receiver_start(text: str, end: int) -> int:
    """Where the member expression that ends before `end` begins: names, calls, indexes and literals."""
    position = end
    while True:
        position = len(text[:position].rstrip())
        closing = text[position - 1 : position]
        if closing and closing in ")]}":
            position = _opening(text, position - 1)
            name = _name_before(text, position) if closing != "}" else None
            if name is None and closing == "]" and text[:position].rstrip()[-1:] in {")", "]", "}"}:
                continue  # an index into the result of a call or an index, or into a literal
            position = name.start() if name else position
        else:
            name = _name_before(text, position)
            position = name.start() if name else position
        before = text[:position].rstrip()
        if not before.endswith("."):
            return position
        position = len(before) - 1


def _name_before(text: str, position: int) -> re.Match[str] | None:
    name = _NAME.search(text[:position])
    return None if name and _IN.fullmatch(name.group()) else name


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
    limit = start + MAX_EXPRESSION_LENGTH + len(CLOSE)
    while position < len(text):
        if position > limit:
            raise ExpressionError(f"longer than {MAX_EXPRESSION_LENGTH} characters", text[start:][:80] + "…")
        if match := _STRING.match(text, position, limit):
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
