"""Request bodies through orjson: strict JSON, bounded in depth, and text that every store can hold."""

import asyncio
import re
from collections.abc import Callable, Collection, Coroutine
from json import JSONDecodeError
from typing import Any, cast

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from studio.contracts.base import Json
from studio.errors import BadRequest, FieldError, InvalidInput, UnsupportedMediaType
from studio.json_numbers import LostNumber, find_lost_number
from studio.web.query import DeclaredQuery

MAX_DEPTH = 100
LARGE_BYTES = 512 * 1024
"""From here on a body is read in a thread: one that holds nothing but numbers takes a second."""
Loc = tuple[str | int, ...]
_CONTAINERS = (dict, list)
_NUL = ("text holds the character U+0000", "nul_character")
_INFINITE = "number is infinity when parsed as double"
_BAD_UTF8 = "str is not valid UTF-8: surrogates not allowed"
_DEEP = "depth limit exceeded"
_HALF = "text holds half a character, such as `\\ud83d` without its other half"
HALF_CHARACTER = "half_character"
"""The type of that fault."""
_EMPTY = "it is empty"
_PLAIN = {
    "UTF-8 byte order mark (BOM) is not supported": "it begins with a byte order mark (BOM); send it without",
    _BAD_UTF8: "the text is not UTF-8",
    _DEEP: f"nested more than {MAX_DEPTH} deep",
    "no low surrogate in string": _HALF,
    "invalid high surrogate in string": _HALF,
    "invalid low surrogate in string": _HALF,
    "Input is a zero-length, empty document": _EMPTY,
    "input data is empty": _EMPTY,
}
"""orjson's messages that say less than they should. The others are kept."""
_CONSTANT = re.compile(r"-?(?:NaN|Infinity)")


def parse_json(body: bytes, *, nul: bool = False) -> Json:
    """Read a body. Raises `InvalidInput` with the place of what is wrong.

    Duplicate keys keep the last value, as in most readers. Numbers that would be rounded are refused, and U+0000
    unless `nul`, since PostgreSQL cannot search it.
    """
    try:
        value = orjson.loads(body)
    except JSONDecodeError as error:
        raise _not_json(body, error) from None
    text = not nul and b"\\u0000" in body
    if text or body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        check_storable(value, text=text)
    if (lost := find_lost_number(body)) is not None:
        raise _lost_number(body, lost)
    return value


def _not_json(body: bytes, error: JSONDecodeError) -> InvalidInput:
    """In plain words, with line and column."""
    if error.msg == _INFINITE and (lost := find_lost_number(body, near=True)) is not None:
        return _lost_number(body, lost)
    line, column, message, kind = error.lineno, error.colno, _PLAIN.get(error.msg, error.msg), "json_invalid"
    if error.msg == _BAD_UTF8:
        line, column = _bad_utf8(body)
    elif constant := _CONSTANT.match(error.doc, error.pos):
        message = f"{constant[0]} is no JSON number; write null, or leave it out"
    elif message == _HALF:
        kind = HALF_CHARACTER
    elif error.msg == _DEEP:
        kind = "too_deep"
    fault = FieldError(loc=["body"], msg=message, type=kind, line=line, column=column)
    return InvalidInput(f"The body is not JSON: {message} (line {line}, column {column})", errors=[fault])


def _bad_utf8(body: bytes) -> tuple[int, int]:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return _position(body, error.start)
    return 1, 1


def _lost_number(body: bytes, lost: LostNumber) -> InvalidInput:
    line, column = _position(body, lost.offset)
    fault = FieldError(loc=["body", *lost.loc], msg=lost.message, type=lost.type, line=line, column=column)
    place = ".".join(map(str, fault.loc))
    return InvalidInput(f"{place}: {lost.message} (line {line}, column {column})", errors=[fault])


def _position(body: bytes, offset: int) -> tuple[int, int]:
    """Line and column of a byte, from 1; columns count characters."""
    before = body[:offset]
    return before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1


def check_storable(value: Json, *, text: bool = True) -> None:
    """Refuse JSON nested deeper than `MAX_DEPTH` and, unless `text` is false, text with U+0000.

    Level by level, without a note of where a value is: only one that is refused is searched for the place.
    """
    if text and isinstance(value, str) and "\0" in value:
        _refuse(("body",), *_NUL)
    level: list[Any] = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(MAX_DEPTH - 1):
        if not level:
            return
        below: list[Any] = []
        for container in level:
            values = _values(container)
            kinds = set(map(type, values))
            if text and _holds_nul(container, values, kinds):
                _refuse_first(value)
            if not kinds.isdisjoint(_CONTAINERS):
                below += [inner for inner in values if type(inner) in _CONTAINERS]
        level = below
    if any(level):
        _refuse_first(value)


def _values(container: Any) -> Collection[Json]:
    return cast("dict[str, Json]", container).values() if isinstance(container, dict) else container


def _holds_nul(container: Any, values: Collection[Json], kinds: set[type]) -> bool:
    if isinstance(container, dict) and any("\0" in key for key in cast("dict[str, Json]", container)):
        return True
    return str in kinds and any("\0" in inner for inner in values if isinstance(inner, str))


def _refuse_first(item: Json, loc: Loc = ("body",)) -> None:
    """Raises for the first fault inside `item`; no deeper than it may be."""
    if len(loc) > MAX_DEPTH:
        _refuse(loc[:10], f"nested more than {MAX_DEPTH} deep", "too_deep")
    if isinstance(item, str) and "\0" in item:
        _refuse(loc, *_NUL)
    elif isinstance(item, list):
        for index, inner in enumerate(cast("list[Json]", item)):
            _refuse_first(inner, (*loc, index))
    elif isinstance(item, dict):
        for key, inner in cast("dict[str, Json]", item).items():
            if "\0" in key:
                _refuse(loc, "a key holds the character U+0000", "nul_character")
            _refuse_first(inner, (*loc, key))


def _refuse(loc: Loc, message: str, kind: str) -> None:
    place = ".".join(map(str, loc))
    raise InvalidInput(f"{place}: {message}", errors=[FieldError(loc=list(loc), msg=message, type=kind)])


async def read_json(request: Request, *, without: Json = None) -> Json:
    """The body; `without` stands for one that is not there. Raises as `parse_json`, and `UnsupportedMediaType`."""
    body = await request.body()
    if not body:
        return without
    check_json_type(request)
    return parse_json(body) if len(body) < LARGE_BYTES else await asyncio.to_thread(parse_json, body)


class _JsonRequest(Request):
    _value: Json

    async def json(self) -> Json:
        return self._value

    async def parse(self) -> None:
        self._value = await read_json(self)


class JsonRoute(APIRoute):
    """The route of a router made with `route_class=JsonRoute`.

    Answers 415 to a body that does not call itself JSON, and 422 to a query parameter that the route does not declare.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_body = self.body_field is not None
        query = DeclaredQuery.of(self)

        async def handle_json(request: Request) -> Response:
            check_address(request)
            query.check(request)
            if not takes_body:
                return await handle(request)
            parsed = _JsonRequest(request.scope, request.receive)
            await parsed.parse()
            return await handle(parsed)

        return handle_json


def check_address(request: Request) -> None:
    if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise BadRequest("The address holds the character U+0000.")


def check_json_type(request: Request) -> None:
    if not is_json(request.headers.get("content-type", "")):
        raise UnsupportedMediaType("Send the body as JSON, with Content-Type: application/json.")


def is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
