"""RFC 9457 `application/problem+json`: the one place where errors become HTTP answers."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from studio.contracts.base import Json
from studio.contracts.steps import UNION_TAGS
from studio.errors import DependencyUnavailable, FieldError, InvalidInput, StudioError
from studio.web.field_messages import hint_of, message_of
from studio.web.responses import dump_json
from studio.web.shapes import fields_at

MEDIA_TYPE = "application/problem+json"
_KEY = "[key]"
"""Pydantic's own end of a place that is an object's key, not its value."""
BodyT = TypeVar("BodyT")
_log = structlog.get_logger(__name__)

_TITLES = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    415: "unsupported-media-type",
}


class _Body(BaseModel, Generic[BodyT]):
    """What FastAPI checks a request as, with the names that its places begin with."""

    body: BodyT


def problem_body(
    code: str,
    title: str,
    status: int,
    detail: str,
    errors: Sequence[FieldError] = (),
    extra: dict[str, Json] | None = None,
) -> bytes:
    """The problem document; `extra` are further members (RFC 9457 section 3.2)."""
    body: dict[str, Json] = {"type": f"urn:studio:{code}", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = [error.model_dump(exclude_none=True) for error in errors]
    return dump_json(body | (extra or {}))


def problem_response(error: StudioError) -> Response:
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, DependencyUnavailable) else None
    body = problem_body(error.code, error.title, error.status, error.detail, error.errors, error.extra)
    return Response(body, error.status, headers, MEDIA_TYPE)


def field_errors(
    error: ValidationError | RequestValidationError, *, prefix: Sequence[str | int] = (), shape: Any = None
) -> list[FieldError]:
    """Pydantic's findings in the contract's shape. The offending input is left out: it may hold a secret.

    `shape` is the type that was asked for, where that is known: then a field that there is not comes with those that
    there are. A union's tags are written `<tag>` in our contracts; they are no part of the place. An error of ours
    says in its context which field it is `at`, and its `hint`.
    """
    problems = error.errors()
    misspelt = {(*problem["loc"][:-1], near) for problem in problems if (near := _meant(problem, shape)) is not None}
    found: list[FieldError] = []
    for problem in problems:
        if problem["type"] == "missing" and tuple(problem["loc"]) in misspelt:
            continue  # it is there under another name
        loc = [part for part in problem["loc"] if part not in UNION_TAGS and part != _KEY]
        told = {**problem, "loc": loc}
        hint = hint_of(told, _siblings(problem, shape))
        at = (problem.get("ctx") or {}).get("at")
        place = [*prefix, *loc, *([] if at is None else [at])]
        found.append(FieldError(loc=place, msg=message_of(told), type=problem["type"], hint=hint))
    return found


def _siblings(problem: Mapping[str, Any], shape: Any) -> list[str]:
    return fields_at(shape, problem["loc"][:-1]) if shape is not None and problem["type"] == "extra_forbidden" else []


def _meant(problem: Mapping[str, Any], shape: Any) -> str | None:
    close = difflib.get_close_matches(str(problem["loc"][-1]), _siblings(problem, shape), 1) if problem["loc"] else []
    return close[0] if close else None


def invalid_input(
    error: ValidationError | RequestValidationError, *, prefix: Sequence[str | int] = (), shape: Any = None
) -> InvalidInput:
    """Summarise in `detail`, so that a log line or a terminal is enough to see what is wrong."""
    errors = field_errors(error, prefix=prefix, shape=shape)
    first = errors[0]
    place = ".".join(str(part) for part in first.loc)
    hint = f" ({first.hint})" if first.hint else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return InvalidInput(f"{place}: {first.msg}{hint}{more}", errors=errors)


async def _render_studio_error(_request: Request, error: Any) -> Response:
    if error.status >= 500:
        _log.warning("request.failed", code=error.code, detail=error.detail)
    return problem_response(error)


async def _render_validation_error(request: Request, error: Any) -> Response:
    body = getattr(request.scope.get("route"), "body_field", None)
    shape = None if body is None else _Body[body.field_info.annotation]
    return problem_response(invalid_input(error, shape=shape))


async def _render_http_exception(_request: Request, error: Any) -> Response:
    code = _TITLES.get(error.status_code, "http-error")
    body = problem_body(code, code.replace("-", " ").capitalize(), error.status_code, str(error.detail))
    return Response(body, error.status_code, error.headers, MEDIA_TYPE)


def bug_response() -> Response:
    """What an exception that nobody foresaw becomes; the caller logs it."""
    return problem_response(StudioError("Something went wrong on our side. The request id finds it in the logs."))


def add_problem_handlers(app: FastAPI) -> None:
    app.add_exception_handler(StudioError, _render_studio_error)
    app.add_exception_handler(RequestValidationError, _render_validation_error)
    app.add_exception_handler(HTTPException, _render_http_exception)
