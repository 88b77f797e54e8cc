"""One pure ASGI middleware for what every request gets: id, log context, body limit, metrics."""

import contextlib
import re
import time
from secrets import token_hex

import structlog
from prometheus_client import Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.errors import PayloadTooLarge
from studio.web.problems import problem_response

REQUEST_SECONDS = Histogram(
    "studio_http_request_duration_seconds",
    "Time from the request's first byte to the answer's last.",
    ["service", "method", "route", "status"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60),
)
_SAFE_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:/+=-]{1,128}$")
_log = structlog.get_logger(__name__)


class RequestMiddleware:
    """Accepts or makes `X-Request-Id`, refuses bodies over the limit with 413, counts and logs each request."""

    def __init__(self, app: ASGIApp, *, service: str, max_body_bytes: int) -> None:
        self._app = app
        self._service = service
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        if not _SAFE_REQUEST_ID.match(request_id):
            request_id = "req_" + token_hex(12)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 500
        received = 0
        too_large = False
        answered = False

        async def limited_receive() -> Message:
            nonlocal received, too_large
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_body_bytes:
                    too_large = True
                    raise _too_large(self._max_body_bytes)
            return message

        async def observed_send(message: Message) -> None:
            nonlocal status, answered
            if too_large:
                return  # the framework's own answer to the broken read; ours follows below
            if message["type"] == "http.response.start":
                answered = True
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            declared = headers.get("content-length", "")
            if declared.isdigit() and int(declared) > self._max_body_bytes:
                too_large = True
            else:
                with contextlib.suppress(PayloadTooLarge):
                    await self._app(scope, limited_receive, observed_send)
            if too_large and not answered:
                status = 413
                await problem_response(_too_large(self._max_body_bytes))(scope, receive, send_with_id)
        finally:
            elapsed = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            REQUEST_SECONDS.labels(self._service, scope["method"], route, str(status)).observe(elapsed)
            _log.debug(
                "request", method=scope["method"], path=scope["path"], status=status, ms=round(elapsed * 1000, 1)
            )


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than the limit of {limit} bytes (STUDIO_MAX_BODY_BYTES).")
