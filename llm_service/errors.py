"""What the LLM engine itself refuses or cannot do, as problem+json that an OpenAI client understands too."""

from starlette.responses import Response

from studio.contracts.base import JsonObject
from studio.errors import DependencyUnavailable, InvalidInput, NotFound, StudioError, UnsupportedMediaType
from studio.web.problems import MEDIA_TYPE, problem_body


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
    if isinstance(error, InvalidInput | NotFound | UnsupportedMediaType):
        kind = "invalid_request_error"
    else:
        kind = "upstream_error" if isinstance(error, StreamBroken | UpstreamTimeout | UnreadableAnswer) else "api_error"
    param = ".".join(str(part) for part in error.errors[0].loc) if error.errors else None
    return {"message": error.detail, "type": kind, "param": param, "code": error.code.replace("-", "_")}


def problem_with_openai_error(error: StudioError, headers: dict[str, str]) -> Response:
    """problem+json with OpenAI's `error` beside it, so that the official client shows a useful message."""
    if isinstance(error, DependencyUnavailable):
        headers = headers | {"Retry-After": str(error.retry_after)}
    if isinstance(error, UnreadableAnswer):
        headers = headers | {"x-should-retry": "false"}  # OpenAI's clients heed it
    body = problem_body(
        error.code, error.title, error.status, error.detail, error.errors, error.extra | {"error": openai_error(error)}
    )
    return Response(body, error.status, headers, MEDIA_TYPE)
