"""What our HTTP clients share: problem+json answers become the errors that the server raised."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import orjson
from pydantic import ValidationError

from studio.contracts.base import JsonObject
from studio.errors import (
    BadRequest,
    Conflict,
    DependencyUnavailable,
    FieldError,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
    StudioError,
    UnsupportedMediaType,
)

_BY_STATUS: dict[int, type[StudioError]] = {
    error.status: error
    for error in (
        *(BadRequest, InvalidInput, NotFound, Conflict, PreconditionFailed),
        *(PayloadTooLarge, UnsupportedMediaType),
    )
}
_STANDARD_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "errors"})
_GATEWAY_STATUSES = frozenset({502, 503, 504})


async def raise_for_problem(response: aiohttp.ClientResponse, part: str) -> None:
    """Raise what an answer of 400 or above says; `part` names the server for people, as in 'prompt engine'.

    502, 503 and 504 become `DependencyUnavailable` (of the dependency that the answer names, else of `part`); other
    statuses the error of `studio.errors` with that status, with its fields and further members.
    """
    if response.status < 400:
        return
    problem = _problem(await response.read())
    detail = str(problem.get("detail") or f"{part} answered {response.status}.")
    if response.status in _GATEWAY_STATUSES:
        raise DependencyUnavailable(
            str(problem.get("dependency") or part),
            str(problem["detail"]) if problem.get("detail") else None,
            retry_after=_seconds(response.headers.get("Retry-After")),
        )
    error = _BY_STATUS.get(response.status, StudioError if response.status >= 500 else BadRequest)
    extra = {name: value for name, value in problem.items() if name not in _STANDARD_MEMBERS}
    raise error(detail, errors=_field_errors(problem.get("errors")), extra=extra)


@asynccontextmanager
async def connection_faults(part: str) -> AsyncGenerator[None]:
    """Turn what the network does into `DependencyUnavailable(part)`."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DependencyUnavailable(part) from error


def _problem(body: bytes) -> JsonObject:
    try:
        problem: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast("JsonObject", problem) if isinstance(problem, dict) else {}


def _field_errors(errors: Any) -> list[FieldError]:
    found: list[FieldError] = []
    for error in cast("list[Any]", errors) if isinstance(errors, list) else []:
        try:
            found.append(FieldError.model_validate(error))
        except ValidationError:
            continue  # a server newer than this client may say more; `detail` holds the gist
    return found


def _seconds(retry_after: str | None) -> int:
    return int(retry_after) if retry_after is not None and retry_after.isdigit() else 2
