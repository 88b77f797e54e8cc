"""Request bodies through orjson: strict JSON, bounded in depth, and text that every store can hold."""

from collections.abc import Callable, Collection, Coroutine
from json import JSONDecodeError
from typing import Any, cast
from urllib.parse import unquote

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from studio.contracts.base import Json
from studio.errors import BadRequest, FieldError, InvalidInput, UnsupportedMediaType

MAX_DEPTH = 100
Loc = tuple[str | int, ...]
_CONTAINERS = (dict, list)
_NUL = ("text holds the character U+0000", "nul_character")


def parse_json(body: bytes) -> Json:
    """Read a body. Raises `InvalidInput` with the place of what is wrong.

    Duplicate keys keep the last value, as in most readers. U+0000 is refused, since PostgreSQL cannot search it.
    """
    try:
        value = orjson.loads(body)
    except JSONDecodeError as error:
        fault = FieldError(loc=["body"], msg=error.msg, type="json_invalid", line=error.lineno, column=error.colno)
        detail = f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        raise InvalidInput(detail, errors=[fault]) from None
    text = b"\\u0000" in body
    if text or body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        check_storable(value, text=text)
    return value


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


class _JsonRequest(Request):
    _value: Json

    async def json(self) -> Json:
        return self._value

    async def parse(self) -> None:
        self._value = parse_json(await self.body())


class JsonRoute(APIRoute):
    """Routes of a router made with `route_class=JsonRoute` answer 415 to a body that does not call itself JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_body = self.body_field is not None

        async def handle_json(request: Request) -> Response:
            if "\0" in unquote(f"{request.url.path}?{request.url.query}"):
                raise BadRequest("The address holds the character U+0000.")
            if not takes_body:
                return await handle(request)
            parsed = _JsonRequest(request.scope, request.receive)
            if await parsed.body():
                if not is_json(request.headers.get("content-type", "")):
                    raise UnsupportedMediaType("Send the body as JSON, with Content-Type: application/json.")
                await parsed.parse()
            return await handle(parsed)

        return handle_json


def is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
