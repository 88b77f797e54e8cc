"""Typed client of the LLM engine.

LlmError
├── LlmUnavailable   nothing answered, or a 5xx: try again
│   └── LlmUnreached the LLM engine cannot be reached: nobody was asked
├── LlmRateLimited   429: try again after `retry_after`
├── LlmInterrupted   the stream broke after it had begun: try again from the start
├── LlmUnreadable    the upstream's answer cannot be taken: trying again is answered, and paid for, alike
└── LlmRefused       the request itself is at fault: trying again gives the same answer
"""

import asyncio
import contextlib
import math
import re
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any, ClassVar, Self, cast

import aiohttp
import orjson

from studio.clients.kept_connections import KeptConnections
from studio.contracts.base import JsonObject
from studio.contracts.llm import (
    LONGEST_NAME,
    CallContext,
    ChatDelta,
    ChatRequest,
    UsageReader,
    read_choice,
    read_index,
)
from studio.errors import StudioError
from studio.foreign_json import UnreadableJson, find_usage, objects_in, read_foreign_json
from studio.sse import EventSplitter, EventTooLarge, event_data

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 180.0
"""The engine pings while it waits and ends a silent upstream itself; this is for an engine that has vanished."""
_HEADERS = {"Content-Type": "application/json", "X-Studio-Retries": "0"}
"""Who uses this client retries by himself: one call here is one at the provider."""
MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Of all events of one answer: what a run may hold."""
MESSAGE_CHARACTERS = 2_000
"""Of an upstream's own words in an error: it becomes part of a run's history."""
DRAIN_SECONDS = 1.0
_UNREADABLE = "upstream_unreadable"
_COST = re.compile(r"[0-9]{1,12}(\.[0-9]{1,30})?")
RETRYABLE_STATUSES = frozenset({408, 409, 425})


class LlmError(StudioError):
    """A model call that gave no whole answer. `retryable` says whether trying again can help."""

    code, title, status = "llm-error", "Model call failed", 502
    retryable: ClassVar[bool] = True

    def __init__(
        self,
        detail: str,
        *,
        upstream_status: int | None = None,
        error_code: str | None = None,
        retry_after: float | None = None,
        upstream: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.upstream_status = upstream_status
        """HTTP status of the answer; None when there was none."""
        self.error_code = error_code
        """`error.code` or `error.type` of the answer, such as `context_length_exceeded`."""
        self.retry_after = retry_after
        """Seconds after which to try again, when the answer said so."""
        self.upstream = upstream


class LlmUnavailable(LlmError):
    code, title, status = "llm-unavailable", "Model unavailable", 503


class LlmUnreached(LlmUnavailable):
    pass


class LlmRateLimited(LlmError):
    code, title, status = "llm-rate-limited", "Model rate limited", 503


class LlmInterrupted(LlmError):
    code, title, status = "llm-interrupted", "Model answer interrupted", 502


class LlmUnreadable(LlmError):
    code, title, status = "llm-unreadable", "Model answer unreadable", 502
    retryable = False


class LlmRefused(LlmError):
    code, title, status = "llm-refused", "Model call refused", 422
    retryable = False


class LlmClient:
    """`async with LlmClient("http://127.0.0.1:8002") as llm: ...`: one connection pool, safe for concurrent use."""

    def __init__(self, base_url: str) -> None:
        self._url = base_url.rstrip("/") + "/v1/chat/completions"

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        self._connections = await KeptConnections(timeout=timeout).__aenter__()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._connections.__aexit__()

    async def stream_chat(
        self, request: ChatRequest, context: CallContext | None = None
    ) -> AsyncGenerator[ChatDelta, None]:
        """Yield the answer as it comes; the last deltas carry finish reason, usage and cost.

        Cancelling the consuming task, or closing the generator (`contextlib.aclosing`), aborts the HTTP request and
        with it the upstream's work. Raises `LlmError`; once it returns, the answer was whole.
        """
        body = request.body() | {"stream": True, "stream_options": {"include_usage": True}}
        headers = _HEADERS | (context.headers() if context else {})
        begun = False
        try:
            async with await self._connections.post(self._url, orjson.dumps(body), headers=headers) as answer:
                if answer.status != 200:
                    raise _refusal(answer, await answer.read())
                begun = True
                async for delta in _deltas(answer):
                    yield delta
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise LlmUnreached("The LLM engine does not answer.") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            if begun:
                raise LlmInterrupted("The LLM engine stopped answering in the middle of the answer.") from error
            raise LlmUnavailable("The LLM engine does not answer.") from error


async def _deltas(answer: aiohttp.ClientResponse) -> AsyncGenerator[ChatDelta, None]:
    """Raises `LlmError` unless the first choice finishes; what follows `[DONE]` is no part of the answer."""
    reader = _StreamedAnswer(answer.headers.get("X-Studio-Upstream"), answer.headers.get("X-Studio-Trace-Id"))
    splitter = EventSplitter(MAX_ANSWER_BYTES)
    async for chunk in answer.content.iter_any():
        for event in _events(splitter, chunk):
            delta = reader.read(event)
            if delta is not None:
                yield delta
        if reader.done:
            break
    delta = None if reader.done else reader.read(splitter.rest)
    if delta is not None:
        yield delta
    reader.check_whole()
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):  # so that the connection can be used again
        async with asyncio.timeout(DRAIN_SECONDS):
            await answer.content.read()


def _events(splitter: EventSplitter, chunk: bytes) -> list[bytes]:
    try:
        return splitter.feed(chunk)
    except EventTooLarge:
        raise LlmUnreadable(f"The answer holds an event of more than {MAX_ANSWER_BYTES} bytes.") from None


class _StreamedAnswer:
    """Reads the events of one answer, whatever they hold."""

    def __init__(self, upstream: str | None, trace_id: str | None) -> None:
        self._upstream = upstream
        self._trace_id = trace_id
        self._usage = UsageReader()
        self._size = 0
        self._finished = False
        self._begun = False
        self.done = False

    def read(self, event: bytes) -> ChatDelta | None:
        """None for what is no chunk of an answer."""
        data = event_data(event)
        if data is None or self.done:
            return None
        if data.strip() == b"[DONE]":
            self.done = True
            return None
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES:
            raise LlmUnreadable(f"The answer is larger than {MAX_ANSWER_BYTES} bytes.", upstream=self._upstream)
        try:
            chunk = read_foreign_json(data)
        except UnreadableJson:
            return self._count(data)
        return self._read_chunk(cast("JsonObject", chunk)) if isinstance(chunk, dict) else None

    def _count(self, data: bytes) -> ChatDelta | None:
        """Tokens are counted also where the event as a whole cannot be read."""
        usage = None
        for found in find_usage(data):
            usage = self._usage.read(found) or usage
        return None if usage is None else ChatDelta(usage=usage, upstream=self._upstream, trace_id=self._trace_id)

    def check_whole(self) -> None:
        if not self._finished:
            raise LlmInterrupted("The answer ended before it was complete.", upstream=self._upstream)

    def _read_chunk(self, chunk: JsonObject) -> ChatDelta:
        if chunk.get("error"):
            raise _in_band_error(chunk["error"], self._upstream, begun=self._begun)
        self._begun = True
        choices = objects_in(chunk.get("choices"))
        first = next((choice for choice in choices if read_index(choice.get("index")) == 0), None)
        delta = read_choice(first) if first is not None else ChatDelta()
        if delta.finish_reason == "error":
            raise LlmInterrupted("The upstream broke off.", upstream=self._upstream)
        self._finished = self._finished or delta.finish_reason is not None
        raw_usage: Any = chunk.get("usage")
        model: Any = chunk.get("model")
        delta.usage = self._usage.read(raw_usage)
        delta.cost_usd = _cost(raw_usage)
        delta.model = model[:LONGEST_NAME] if isinstance(model, str) else None
        delta.upstream, delta.trace_id = self._upstream, self._trace_id
        return delta


def _cost(raw_usage: Any) -> Decimal | None:
    cost: Any = cast("JsonObject", raw_usage).get("cost_usd") if isinstance(raw_usage, dict) else None
    return Decimal(cost) if isinstance(cost, str) and _COST.fullmatch(cost) else None


def _in_band_error(raw: Any, upstream: str | None, *, begun: bool) -> LlmError:
    error = cast("JsonObject", raw) if isinstance(raw, dict) else {"message": str(raw)}
    message = str(error.get("message") or "The upstream broke the stream.")[:MESSAGE_CHARACTERS]
    raw_code = error.get("code") or error.get("type")
    code = str(raw_code)[:LONGEST_NAME] if raw_code is not None else None
    status = error.get("status")
    if isinstance(status, int) and not begun:  # the answer had begun with pings when the upstream refused
        return _error_class(status, code)(message, upstream_status=status, error_code=code, upstream=upstream)
    kind = LlmUnreadable if code == _UNREADABLE else LlmInterrupted
    return kind(message, error_code=code, upstream=upstream)


def _refusal(answer: aiohttp.ClientResponse, body: bytes) -> LlmError:
    message, code = _explanation(body)
    return _error_class(answer.status, code)(
        message or f"The model call was answered with status {answer.status}.",
        upstream_status=answer.status,
        error_code=code,
        retry_after=_seconds(answer.headers.get("Retry-After")),
        upstream=answer.headers.get("X-Studio-Upstream"),
    )


def _error_class(status: int, code: str | None) -> type[LlmError]:
    if code == _UNREADABLE:
        return LlmUnreadable
    if status == 429:
        return LlmRefused if code == "insufficient_quota" else LlmRateLimited
    return LlmUnavailable if status >= 500 or status in RETRYABLE_STATUSES else LlmRefused


def _explanation(body: bytes) -> tuple[str | None, str | None]:
    """Message and code out of OpenAI's `error` member or out of a problem document."""
    try:
        document = read_foreign_json(body)
    except UnreadableJson:
        return None, None
    if not isinstance(document, dict):
        return None, None
    outer = cast("JsonObject", document)
    raw_error = outer.get("error")
    error = cast("JsonObject", raw_error) if isinstance(raw_error, dict) else {}
    message = error.get("message") or outer.get("detail")
    code = error.get("code") or error.get("type") or outer.get("type")
    return (str(message)[:MESSAGE_CHARACTERS] if message else None), (str(code)[:LONGEST_NAME] if code else None)


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
