"""JSON answers through orjson."""

from typing import Any

import orjson
from pydantic import BaseModel
from starlette.responses import JSONResponse as _JSONResponse

from studio.contracts.base import Json
from studio.foreign_json import write_any_json


def _default(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON serialisable")


def dump_json(value: Json) -> bytes:
    """Compact UTF-8 JSON; contracts inside the value are dumped as they are in HTTP bodies.

    What a row holds can be read, whatever came into it: numbers past 64 bits with all their digits, half an emoji as
    U+FFFD, `NaN` as null.
    """
    try:
        return orjson.dumps(value, default=_default, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return write_any_json(value, default=_default)


class JSONResponse(_JSONResponse):
    """Like Starlette's, through orjson; takes contracts anywhere inside the value."""

    def render(self, content: Json) -> bytes:
        return dump_json(content)
