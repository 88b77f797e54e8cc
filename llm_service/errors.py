"""What the LLM engine itself refuses or cannot do, as problem+json that an OpenAI client understands too."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from studio.contracts.base import JsonObject
from studio.errors import DependencyUnavailable, NotFound, StudioError
from studio.web.problems import MEDIA_TYPE, http_problem, problem_body


class ModelNotFound(NotFound):
    code, title = "model-not-found", "Model not found"


class UpstreamTimeout(StudioError):
    """The upstream is there and did not answer in time."""

    code, title, status = "upstream-timeout", "Upstream timed out", 504


class UpstreamUnreachable(DependencyUnavailable):
    """Carries the upstream's name, never its address."""


class UnreadableAnswer(StudioError):
    """The upstream has answered what we cannot take; the same request would be answered alike, and paid again."""

    code, title, status = "upstream-unreadable", "Unreadable answer", 502


class StreamBroken(StudioError):
    """The stream ended before the answer was whole; it is not started again."""

    code, title, status = "stream-broken", "Stream broken", 502


class CallerLeft(StudioError):
    """Nobody reads the answer any more; nginx's status for it keeps our own metrics honest."""

    code, title, status = "caller-left", "Caller left", 499


def openai_error(error: StudioError) -> JsonObject:
    """The `error` member of OpenAI's error bodies and of in-band error events."""
    if error.status < 500:
        kind = "invalid_request_error"
    else:
        kind = "upstream_error" if isinstance(error, StreamBroken | UpstreamTimeout | UnreadableAnswer) else "api_error"
    param = ".".join(str(part) for part in error.errors[0].loc) if error.errors else None
    return {"message": error.detail, "type": kind, "param": param, "code": error.code.replace("-", "_")}


def add_openai_errors(app: FastAPI, prefix: str) -> None:
    """What the framework refuses carries `error`, too. The commonest mistake is a base URL without `prefix`."""

    async def render(request: Request, error: Any) -> Response:
        detail = f"{error.detail}: {request.method} {request.url.path}"
        paths = {getattr(route, "path", "") for route in app.routes}
        if error.status_code == 404 and prefix + request.url.path in paths:
            detail += f". The base URL of an OpenAI client ends with {prefix}."
        kind = "invalid_request_error" if error.status_code < 500 else "api_error"
        member = {"message": detail, "type": kind, "param": None, "code": None}
        return http_problem(error, detail, {"error": member})

    app.add_exception_handler(HTTPException, render)


def problem_with_openai_error(error: StudioError, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    """problem+json with OpenAI's `error` beside it, so that the official client shows a useful message."""
    if isinstance(error, DependencyUnavailable):
        headers = {**headers, "Retry-After": str(error.retry_after)}
    if isinstance(error, UnreadableAnswer):
        headers = {**headers, "x-should-retry": "false"}  # OpenAI's clients heed it
    body = problem_body(
        error.code, error.title, error.status, error.detail, error.errors, error.extra | {"error": openai_error(error)}
    )
    return Response(body, error.status, headers, MEDIA_TYPE)
