"""Typed client of the LLM engine.

LlmError
├── LlmUnavailable   nothing answered, or a 5xx: try again
├── LlmRateLimited   429: try again after `retry_after`
├── LlmInterrupted   the stream broke after it had begun: try again from the start
└── LlmRefused       the request itself is at fault: trying again gives the same answer
"""

import io
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any, ClassVar, Self, cast

import aiohttp
import orjson

from studio.contracts.base import JsonObject
from studio.contracts.llm import CallContext, ChatDelta, ChatRequest, UsageReader, read_choice
from studio.errors import StudioError
from studio.sse import EventSplitter, event_data

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 180.0
"""The engine pings while it waits and ends a silent upstream itself; this is for an engine that has vanished."""
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


class LlmRateLimited(LlmError):
    code, title, status = "llm-rate-limited", "Model rate limited", 503


class LlmInterrupted(LlmError):
    code, title, status = "llm-interrupted", "Model answer interrupted", 502


class LlmRefused(LlmError):
    code, title, status = "llm-refused", "Model call refused", 422
    retryable = False


class LlmClient:
    """`async with LlmClient("http://127.0.0.1:8002") as llm: ...`: one connection pool, safe for concurrent use."""

    def __init__(self, base_url: str) -> None:
        self._url = base_url.rstrip("/") + "/v1/chat/completions"

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        self._session = aiohttp.ClientSession(
            timeout=timeout, connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._session.close()

    async def stream_chat(
        self, request: ChatRequest, context: CallContext | None = None
    ) -> AsyncGenerator[ChatDelta, None]:
        """Yield the answer as it comes; the last deltas carry finish reason, usage and cost.

        Cancelling the consuming task, or closing the generator (`contextlib.aclosing`), aborts the HTTP request and
        with it the upstream's work. Raises `LlmError`; once it returns, the answer was whole.
        """
        body = request.body() | {"stream": True, "stream_options": {"include_usage": True}}
        headers = {"Content-Type": "application/json"} | (context.headers() if context else {})
        begun = False
        try:
            async with self._session.post(self._url, data=io.BytesIO(orjson.dumps(body)), headers=headers) as answer:
                if answer.status != 200:
                    raise _refusal(answer, await answer.read())
                begun = True
                async for delta in _deltas(answer):
                    yield delta
        except (aiohttp.ClientError, TimeoutError) as error:
            if begun:
                raise LlmInterrupted("The LLM engine stopped answering in the middle of the answer.") from error
            raise LlmUnavailable("The LLM engine does not answer.") from error


async def _deltas(answer: aiohttp.ClientResponse) -> AsyncGenerator[ChatDelta, None]:
    upstream = answer.headers.get("X-Studio-Upstream")
    trace_id = answer.headers.get("X-Studio-Trace-Id")
    splitter, usage = EventSplitter(), UsageReader()
    done = False
    async for chunk in answer.content.iter_any():
        for event in splitter.feed(chunk):
            data = event_data(event)
            if data == b"[DONE]":
                done = True  # read on to the end, so that the connection can be used again
            elif data is not None and not done:
                yield _read_chunk(data, usage, upstream, trace_id)
    if not done:
        raise LlmInterrupted("The answer ended before it was complete.", upstream=upstream)


def _read_chunk(data: bytes, usage: UsageReader, upstream: str | None, trace_id: str | None) -> ChatDelta:
    try:
        chunk: JsonObject = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise LlmInterrupted("The answer holds an event that is not JSON.", upstream=upstream) from error
    if chunk.get("error"):
        raise _in_band_error(chunk["error"], upstream)
    choices = cast("list[JsonObject]", chunk.get("choices") or [])
    first = next((choice for choice in choices if choice.get("index", 0) == 0), None)
    delta = read_choice(first) if first is not None else ChatDelta()
    raw_usage: Any = chunk.get("usage")
    cost: Any = cast("JsonObject", raw_usage).get("cost_usd") if isinstance(raw_usage, dict) else None
    return ChatDelta(
        text=delta.text,
        reasoning=delta.reasoning,
        tool_calls=delta.tool_calls,
        finish_reason=delta.finish_reason,
        usage=usage.read(raw_usage),
        cost_usd=Decimal(cost) if isinstance(cost, str) else None,
        model=chunk.get("model"),
        upstream=upstream,
        trace_id=trace_id,
    )


def _in_band_error(raw: Any, upstream: str | None) -> LlmError:
    error = cast("JsonObject", raw) if isinstance(raw, dict) else {"message": str(raw)}
    message = str(error.get("message") or "The upstream broke the stream.")
    raw_code = error.get("code") or error.get("type")
    code = str(raw_code) if raw_code is not None else None
    status = error.get("status")
    if isinstance(status, int):  # the answer had begun with pings when the upstream refused
        return _error_class(status, code)(message, upstream_status=status, error_code=code, upstream=upstream)
    return LlmInterrupted(message, error_code=code, upstream=upstream)


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
    if status == 429:
        return LlmRefused if code == "insufficient_quota" else LlmRateLimited
    return LlmUnavailable if status >= 500 or status in RETRYABLE_STATUSES else LlmRefused


def _explanation(body: bytes) -> tuple[str | None, str | None]:
    """Message and code out of OpenAI's `error` member or out of a problem document."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(document, dict):
        return None, None
    outer = cast("JsonObject", document)
    raw_error = outer.get("error")
    error = cast("JsonObject", raw_error) if isinstance(raw_error, dict) else {}
    message = error.get("message") or outer.get("detail")
    code = error.get("code") or error.get("type") or outer.get("type")
    return (str(message) if message else None), (str(code) if code else None)


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
