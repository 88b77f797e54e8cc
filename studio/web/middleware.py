"""One pure ASGI middleware for what every request gets: id, log context, who may ask, body limit, `HEAD`, metrics."""

import re
import time
from collections.abc import Callable, Collection, Mapping
from secrets import token_hex
from types import MappingProxyType

import structlog
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.errors import PayloadTooLarge, StudioError, UnsupportedMediaType
from studio.settings import StudioSettings
from studio.web.edge.origins import OriginPolicy
from studio.web.problems import bug_response, problem_response

REQUEST_SECONDS = Histogram(
    "studio_http_request_duration_seconds",
    "Time from the request's first byte to the answer's last.",
    ["service", "method", "route", "status"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60),
)
_SAFE_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:/+=-]{1,128}$")
CALLER_LEFT = 499
"""nginx's status for a caller that goes before it is answered."""
_log = structlog.get_logger(__name__)


class RequestMiddleware:
    """Accepts or makes `X-Request-Id`, answers `HEAD` as `GET` without the body (RFC 9110 section 9.3.2), counts and
    logs each request.

    Refuses bodies over the limit with 413, compressed ones with 415, and pages of other sites.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: str,
        settings: StudioSettings,
        larger: Mapping[str, int] = MappingProxyType({}),
        pages: Mapping[str, Collection[str]] = MappingProxyType({}),
        render: Callable[[StudioError], Response] = problem_response,
        own_errors: bool = False,
    ) -> None:
        """`render` is how what is refused here is answered; with `own_errors` the app answers every error itself, that
        of a body too large included.
        `larger` has the limits of paths that take more, if the limit for all is not more still; `pages` the origins
        that may ask for paths that begin so.
        """
        self._app = app
        self._service = service
        self._max_body_bytes = settings.max_body_bytes
        self._origins = OriginPolicy(settings.host, settings.allowed_hosts, pages)
        self._larger = larger
        self._render = render
        self._own_errors = own_errors
        self._histograms: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._origins.refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal.title})
            return
        method: str = scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
        limit = max(self._max_body_bytes, self._larger.get(scope["path"], 0))
        exchange = _Exchange(
            scope, receive, send, limit, head=method == "HEAD", render=self._render, own_errors=self._own_errors
        )
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        started = time.perf_counter()
        try:
            if refusal is None:
                await exchange.run(self._app)
            else:
                await exchange.refuse(refusal)
        finally:
            elapsed = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            self._histogram(method, route, exchange.status).observe(elapsed)
            _log.debug("request", method=method, path=scope["path"], status=exchange.status, seconds=elapsed)

    def _histogram(self, method: str, route: str, status: int) -> Histogram:
        """Kept, since looking up a child takes a lock. `route` is a template, so there are few of them."""
        key = (method, route, status)
        known = self._histograms.get(key)
        if known is None:
            known = self._histograms[key] = REQUEST_SECONDS.labels(self._service, method, route, str(status))
        return known


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        max_body_bytes: int,
        *,
        head: bool,
        render: Callable[[StudioError], Response],
        own_errors: bool,
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = max_body_bytes
        self._head = head
        self._render = render
        self._own_errors = own_errors
        self._received = 0
        self._too_large = False
        self._whole = False
        self._left = False
        self._answered = False
        self.status = 500
        given = declared = encoding = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = value.decode("latin-1")
            elif name == b"content-length":
                declared = value.decode("latin-1")
            elif name == b"content-encoding":
                encoding = value.decode("latin-1").strip().lower()
        self.request_id = given if _SAFE_REQUEST_ID.match(given) else "req_" + token_hex(12)
        scope.setdefault("state", {})["request_id"] = self.request_id
        self._declared = declared
        self._encoding = "" if encoding == "identity" else encoding

    async def run(self, app: ASGIApp) -> None:
        if self._encoding:
            await self.refuse(_compressed(self._encoding))
            return
        if self._declared.isdigit() and int(self._declared) > self._limit:
            self._too_large = True
        if self._own_errors or not self._too_large:
            await self._run_app(app)
        if self._left:
            self.status = CALLER_LEFT
        if self._too_large and not self._answered:
            self._too_large = False
            await self.refuse(self._error())

    async def refuse(self, error: StudioError) -> None:
        await self._render(error)(self._scope, self._receive, self._observed_send)

    async def _run_app(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._limited_receive, self._observed_send)
        except PayloadTooLarge:
            return
        except ClientDisconnect:
            self._left = True
        except Exception:  # a bug; the framework would answer it without the request's id
            if (self._too_large or self._left) and not self._answered:
                return
            _log.exception("request.crashed")
            if self._answered:
                raise  # the connection must break, so that the caller does not take a part for the whole
            await bug_response()(self._scope, self._receive, self._observed_send)

    async def _limited_receive(self) -> Message:
        if self._too_large:
            raise self._error()
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                self._too_large = True
                raise self._error()
            self._whole = not message.get("more_body", False)
        elif not self._whole:  # it went while it sent: nobody is there to be answered, and nothing is wrong
            self._left = True
        return message

    async def _observed_send(self, message: Message) -> None:
        if self._too_large and not self._answered and not self._own_errors:
            return  # the framework's own answer to the broken read; ours follows
        if message["type"] == "http.response.start":
            self._answered = True
            self.status = message["status"]
            headers = message.setdefault("headers", [])
            if not any(name == b"x-request-id" for name, _ in headers):  # an upstream's error keeps the upstream's
                message["headers"] = [*headers, (b"x-request-id", self.request_id.encode())]
            if self._head:
                await self._send(message)
                await self._send({"type": "http.response.body"})
                return
        elif self._head:
            return
        await self._send(message)

    def _error(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body is larger than the limit of {self._limit} bytes (STUDIO_MAX_BODY_BYTES).")


def _compressed(encoding: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(f"Content-Encoding {encoding!r} is not taken; send the body as it is, without it.")
