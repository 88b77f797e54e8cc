"""Reading a request's spans: each by itself where the body as a whole is not what our reader takes."""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import orjson

from studio.contracts.base import Json, JsonObject
from studio.errors import FieldError, InvalidInput
from studio.foreign_json import storable
from studio.json_numbers import find_lost_number
from studio.web.json_route import HALF_CHARACTER, check_storable, parse_json

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},"]', re.DOTALL)
MAX_SPANS = 50_000
"""Of one request: more would wait for ever, since no more than twice as many may wait to be stored."""
_OPENING, _CLOSING = (b"[", b"{"), (b"]", b"}")


@dataclass(frozen=True, slots=True)
class UnreadableSpan:
    """One of a request's spans as it came, and why it cannot be read."""

    raw: bytes
    error: str


async def read_spans(body: bytes) -> list[Json]:
    """The items of `{"spans": […]}`; one that cannot be read is an `UnreadableSpan`.

    Half a character, which is no fault of JSON, becomes U+FFFD. Raises `InvalidInput` when the body is no such object.
    """
    try:
        spans = _spans_of(orjson.loads(body))
        for span in spans:
            check_storable(span, text=False)
        if find_lost_number(body) is None:
            return spans
    except (orjson.JSONDecodeError, InvalidInput):
        pass
    return await asyncio.to_thread(_read_apart, body)


def _read_apart(body: bytes) -> list[Json]:
    found = _split(body)
    if found is None:
        return _spans_of(parse_json(body, nul=True))  # which says what is wrong, and where
    around, parts = found
    _spans_of(parse_json(around, nul=True))
    return [_read_one(part) for part in _countable(parts)]


def _split(body: bytes) -> tuple[bytes, list[bytes]] | None:
    """The body without its spans, and each span; None when it is not put together as it should be."""
    depth, key, begin, start, end = 0, b"", -1, -1, -1
    parts: list[bytes] = []
    for token in _TOKEN.finditer(body):
        mark = token[0]
        if mark in _OPENING:
            depth += 1
            if depth == 2 and mark == b"[" and key == b'"spans"':
                parts, begin, start, end = [], token.end(), token.end(), -1
        elif mark in _CLOSING:
            depth -= 1
            if depth == 1 and begin >= 0 and end < 0:
                end = token.start()
                parts.append(body[start:end])
        elif mark == b",":
            if depth == 2 and begin >= 0 and end < 0:
                parts.append(body[start : token.start()])
                start = token.end()
        elif mark == b'"':
            return None  # a text without its end
        elif depth == 1:
            key = mark
    if depth != 0 or end < 0:
        return None
    return body[:begin] + body[end:], [] if parts == [b""] else parts


def _read_one(raw: bytes) -> Json:
    try:
        return parse_json(raw, nul=True)
    except InvalidInput as error:
        fault = error.errors[0]
        told = UnreadableSpan(raw, _described(fault))
    if fault.type != HALF_CHARACTER or find_lost_number(raw, near=True) is not None:
        return told
    try:
        return parse_json(orjson.dumps(storable(json.loads(raw, parse_constant=_no_constant))), nul=True)
    except (ValueError, TypeError, RecursionError, InvalidInput):
        return told  # it has that fault and another


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _described(fault: FieldError) -> str:
    """The fault, its place seen from the span."""
    place = ".".join(map(str, fault.loc[1:]))
    return f"{place}: {fault.msg}" if place else f"not readable: {fault.msg}"


def _spans_of(document: Json) -> list[Json]:
    if not isinstance(document, dict) or not isinstance(cast("JsonObject", document).get("spans"), list):
        raise _wrong_body(["spans"], "an object with a list 'spans' is expected")
    fields = cast("JsonObject", document)
    for name in fields.keys() - {"spans"}:
        raise _wrong_body([name], "there is no such field")
    return _countable(cast("list[Any]", fields["spans"]))


def _countable(spans: list[Any]) -> list[Any]:
    if len(spans) > MAX_SPANS:
        raise _wrong_body(["spans"], f"may have at most {MAX_SPANS} items")
    return spans


def _wrong_body(place: list[str | int], message: str) -> InvalidInput:
    loc: list[str | int] = ["body", *place]
    detail = f"{'.'.join(map(str, loc))}: {message}"
    return InvalidInput(detail, errors=[FieldError(loc=loc, msg=message, type="body")])
