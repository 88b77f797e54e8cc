"""What is wrong with a value, in the words of JSON."""

import json
from collections.abc import Collection, Iterable
from typing import cast

from studio.contracts.base import Json, JsonObject
from studio.schemas.kinds import is_array, is_object

MAX_SHOWN = 120
MAX_MESSAGE = 300
_LONG = 10**4_000
"""Python refuses to write integers that are not much longer."""


def shown(value: Json) -> str:
    """The value as JSON, its beginning when it is long."""
    text = _written(value, MAX_SHOWN + 1)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def _written(value: Json, room: int) -> str:
    """Its first `room` characters, perhaps with more: each list and object inside has less room than the one around."""
    if room <= 0:
        return "…"
    if isinstance(value, str):
        return json.dumps(value[:room], ensure_ascii=False)
    if isinstance(value, int) and abs(value) >= _LONG:
        return "a number of thousands of digits"
    if not isinstance(value, list | dict):
        return json.dumps(value)
    named = is_object(value)
    text = "{" if named else "["
    for held in cast("JsonObject | list[Json]", value):
        text += ", " if len(text) > 1 else ""
        text += f"{_written(held, room)}: " if named else ""
        text += _written(value[held] if named else held, room - len(text))
        if len(text) > room:
            return text
    return text + ("}" if named else "]")


def listed(values: Iterable[Json]) -> str:
    """As many as fit into a message."""
    text = ""
    for value in values:
        part = shown(value)
        if len(text) + len(part) > MAX_SHOWN:
            return f"{text}, …" if text else part
        text += f", {part}" if text else part
    return text


def shortened(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 1]}…"


def plural(count: int, noun: str) -> str:
    return (
        f"{count} {noun}" if count == 1 else f"{count} {noun.removesuffix('y')}{'ies' if noun.endswith('y') else 's'}"
    )


def wrong_type(value: Json, types: Json) -> str:
    allowed = types if is_array(types) else [types]
    return f"{shown(value)} is not of type {' or '.join(map(shown, allowed))}"


def surplus(names: Collection[str]) -> str:
    few = listed(sorted(names))
    return f"there is no property {few}" if len(names) == 1 else f"there are no properties {few}"
