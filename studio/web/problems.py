"""RFC 9457 `application/problem+json`: the one place where errors become HTTP answers."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from studio.contracts.base import Json
from studio.errors import DependencyUnavailable, FieldError, StudioError
from studio.web.field_errors import invalid_input
from studio.web.responses import dump_json

MEDIA_TYPE = "application/problem+json"
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


async def _render_studio_error(_request: Request, error: Any) -> Response:
    if error.status >= 500:
        _log.warning("request.failed", code=error.code, detail=error.detail)
    return problem_response(error)


async def _render_validation_error(request: Request, error: Any) -> Response:
    body = getattr(request.scope.get("route"), "body_field", None)
    shape = None if body is None else _Body[body.field_info.annotation]
    return problem_response(invalid_input(error, shape=shape))


async def _render_http_exception(_request: Request, error: Any) -> Response:
    return http_problem(error)


def http_problem(error: HTTPException, detail: str | None = None, extra: dict[str, Json] | None = None) -> Response:
    """What the framework itself refuses, such as a path that nobody serves."""
    code = _TITLES.get(error.status_code, "http-error")
    title, said = code.replace("-", " ").capitalize(), detail or str(error.detail)
    body = problem_body(code, title, error.status_code, said, extra=extra)
    return Response(body, error.status_code, error.headers, MEDIA_TYPE)


def bug_response() -> Response:
    """What an exception that nobody foresaw becomes; the caller logs it."""
    return problem_response(StudioError("Something went wrong on our side. The request id finds it in the logs."))


def add_problem_handlers(app: FastAPI) -> None:
    app.add_exception_handler(StudioError, _render_studio_error)
    app.add_exception_handler(RequestValidationError, _render_validation_error)
    app.add_exception_handler(HTTPException, _render_http_exception)
