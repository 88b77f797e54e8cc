"""What the endpoints share in the OpenAPI document."""

from typing import Any

from studio.contracts.base import Contract, Json
from studio.errors import FieldError
from studio.web.problems import MEDIA_TYPE

_MEANINGS = {
    400: "The request is malformed",
    404: "There is no such thing",
    409: "It contradicts what is stored",
    412: "`If-Match` names a state that is gone",
    413: "The body is larger than the limit",
    415: "The body's media type is not understood",
    422: "The input is wrong; `errors` has each place",
    503: "A dependency does not answer; `dependency` names it",
}


class Problem(Contract):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []
    dependency: str | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of an endpoint that may answer with these problems."""
    schema: Json = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _MEANINGS[status], "model": Problem, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }
