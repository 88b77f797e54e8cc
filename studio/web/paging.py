"""`?limit=` and `?cursor=`, alike in every list."""

import base64
import binascii
from typing import Annotated, Any, cast

import orjson
from fastapi import Query

from studio.errors import FieldError, InvalidInput

Limit = Annotated[int, Query(ge=1, le=200, description="How many items a page holds")]
Cursor = Annotated[str | None, Query(max_length=1024, description="`next_cursor` of the page before")]

DEFAULT_LIMIT = 50


def encode_cursor(*keys: str | int) -> str:
    """An opaque cursor out of the sort keys of a page's last item."""
    return base64.urlsafe_b64encode(orjson.dumps(keys)).decode().rstrip("=")


def decode_cursor(cursor: str, size: int) -> list[str | int]:
    """The `size` sort keys inside a cursor. Raises `InvalidInput` for anything that we did not make."""
    try:
        keys: Any = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        keys = None
    values = cast("list[Any]", keys) if isinstance(keys, list) else []
    if len(values) != size or not all(map(_is_key, values)):
        raise foreign_cursor()
    return values


def foreign_cursor() -> InvalidInput:
    error = FieldError(loc=["query", "cursor"], msg="not a cursor of this list", type="cursor")
    return InvalidInput("The cursor is not one of this list; use `next_cursor` as it came.", errors=[error])


def _is_key(value: Any) -> bool:
    """Text and numbers that every store can compare with: no U+0000, 64 bits."""
    if isinstance(value, str):
        return "\0" not in value
    return type(value) is int and -(2**63) <= value < 2**63
