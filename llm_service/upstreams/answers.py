"""Answers of an upstream as they come in: bounded, and told apart by what they hold rather than by what they say."""

import asyncio
import contextlib
import re
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError, DecompressSizeError, LineTooLong
from multidict import CIMultiDictProxy

from llm_service.errors import UnreadableAnswer
from llm_service.upstreams.upstream import MAX_HEADER_BYTES, Upstream
from studio.contracts.base import Json, JsonObject
from studio.foreign_json import UnreadableJson, objects_in, read_foreign_json, write_storable
from studio.sse import EventSplitter, EventTooLarge, event_data, event_type

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data", b"event", b"id", b"retry", b":")
"""What the first line of an event stream begins with."""
_HEAD_BYTES = 64
_LONGEST_FIELD = max(map(len, _FIELDS))
DRAIN_SECONDS = 0.1
DRAIN_BYTES = 64 * 1024
_UNKNOWN_PARAMETER = re.compile(
    rb"stream_options|include_usage|unknown|unrecogni[sz]ed|unexpected|unsupported|extra|additional prop|not permitted",
    re.IGNORECASE,
)
_SEARCHED_BYTES = 64 * 1024
_STATUS_OF_TYPE = (("rate_limit", 429), ("overloaded", 503), ("unavailable", 503), ("authentication", 401))


@dataclass(slots=True)
class Answer:
    """`body` is the whole answer, or the beginning of a stream that goes on in `rest`."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    rest: aiohttp.StreamReader | None
    response: aiohttp.ClientResponse

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_event_stream(self) -> bool:
        """Whether it is one by its content: of a whole answer that was not asked for as one."""
        return _begins_stream(self.body[:_HEAD_BYTES]) is True

    def with_json(self, body: bytes) -> "Answer":
        """The same answer with another body."""
        return Answer(self.status, _as_json(self.headers), body, None, self.response)

    async def drain(self) -> None:
        """Wait for a moment for the transport's end behind the answer's: the connection can then be used again."""
        if self.rest is None or self.rest.at_eof():
            return
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, ConnectionError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self.rest.read(DRAIN_BYTES)

    def close(self) -> None:
        """Give the connection back, or cut it when the stream has not ended: the upstream then stops its work."""
        if self.rest is not None and not self.rest.at_eof():
            self.response.close()
        else:
            self.response.release()


def _as_json(headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
    changed = headers.copy()
    changed["Content-Type"] = "application/json"
    return CIMultiDictProxy(changed)


async def read_whole_body(response: aiohttp.ClientResponse, upstream: Upstream, begun: bytes = b"") -> Answer:
    """Raises `UnreadableAnswer` past the limit; what was compressed counts as it is unpacked."""
    parts, size = [begun], len(begun)
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > upstream.max_answer_bytes:
            raise _too_large(upstream)
    return Answer(response.status, response.headers, b"".join(parts), None, response)


async def read_stream_start(response: aiohttp.ClientResponse, upstream: Upstream, deadline: asyncio.Timeout) -> Answer:
    """Read a streamed answer up to its first event, whatever its content type says.

    `deadline` is the one for the first event: comments do not meet it, they only keep the connection from being idle.
    A whole answer is read to its end, without that deadline; one that is an error, or an error as the first event,
    gets that error's status. Raises `UnreadableAnswer`, `TimeoutError`, `aiohttp.ClientError`.
    """
    idle = upstream.config.timeouts.idle
    splitter = EventSplitter(upstream.max_answer_bytes)
    begun: list[bytes] = []
    size, head = 0, b""
    is_stream: bool | None = None
    while True:
        async with asyncio.timeout(idle):
            chunk = await response.content.readany()
        if not chunk:
            break
        begun.append(chunk)
        size += len(chunk)
        if size > upstream.max_answer_bytes:
            raise _too_large(upstream)
        if is_stream is None:
            chunk = head = (head + chunk).lstrip()
            is_stream = _begins_stream(head)
            if is_stream is None:
                continue
        if not is_stream:
            break
        try:
            events = splitter.feed(chunk)
        except EventTooLarge:
            raise _too_large(upstream) from None
        first = next((event for event in events if event_data(event) is not None), None)
        if first is not None:
            return _started(response, b"".join(begun), first)
    deadline.reschedule(None)
    if is_stream and event_data(splitter.rest) is not None:  # its only event, and the end of it was left out
        return _started(response, b"".join(begun), splitter.rest)
    answer = await read_whole_body(response, upstream, b"".join(begun))
    if is_stream or not answer.body.strip():
        raise aiohttp.ServerDisconnectedError("the stream ended before it began")
    error = error_in(_parsed(answer.body))
    return answer if error is None else refused(answer, error)


def _started(response: aiohttp.ClientResponse, begun: bytes, first: bytes) -> Answer:
    error = error_of_event(first)
    if error is not None:
        response.close()
        return refused(Answer(response.status, response.headers, b"", None, response), error)
    return Answer(response.status, response.headers, begun, response.content, response)


def refused(answer: Answer, error: JsonObject) -> Answer:
    """An error on a 200, as the answer that the upstream should have given."""
    told = answer.with_json(write_storable({"error": error}))
    told.status = _status_of(error)
    return told


def may_refuse_stream_options(answer: Answer) -> bool:
    """Whether the upstream may have refused the call for a parameter that it does not know."""
    return answer.status in {400, 422} and _UNKNOWN_PARAMETER.search(answer.body[:_SEARCHED_BYTES]) is not None


def _begins_stream(head: bytes) -> bool | None:
    """None while there is too little to say."""
    text = head.removeprefix(_BOM).lstrip()
    if text.startswith(_FIELDS):
        return True
    return None if len(text) < _LONGEST_FIELD and any(field.startswith(text) for field in _FIELDS) else False


def _parsed(body: bytes) -> Json:
    try:
        return read_foreign_json(body)
    except UnreadableJson:
        return None


def error_of_event(event: bytes) -> JsonObject | None:
    """The error that one event of a stream reports."""
    data = event_data(event)
    if data is None or data == b"[DONE]":
        return None
    document = _parsed(data)
    return error_in(document, named=event_type(event) == b"error")


def error_in(document: Json, *, named: bool = False) -> JsonObject | None:
    """The error in an answer or an event that has succeeded by its status; `named`: it is called one from outside.

    OpenAI's `error` member, an object that says it is an error (vLLM, Anthropic), or a choice that ended with one
    (OpenRouter).
    """
    if not isinstance(document, dict):
        return {"message": str(document)} if named and document else None
    members = cast("JsonObject", document)
    raw: Any = members.get("error")
    if not raw and (named or members.get("object") == "error" or members.get("type") == "error"):
        raw = members
    if not raw:
        errors = [_error_of_choice(choice) for choice in objects_in(members.get("choices"))]
        raw = next((error for error in errors if error), None)
    if not raw:
        return None
    error = cast("JsonObject", raw) if isinstance(raw, dict) else {"message": raw if isinstance(raw, str) else str(raw)}
    message: Any = error.get("message")
    return error | {"message": message if isinstance(message, str) and message else "The upstream failed."}


def _error_of_choice(choice: JsonObject) -> Any:
    return choice.get("error") or (choice.get("finish_reason") == "error" and "The upstream broke off.")


def _status_of(error: JsonObject) -> int:
    """The HTTP status that an error names; 502 when it names none, or 500, which would say that we have failed."""
    for name in ("status", "code", "status_code"):
        code: Any = error.get(name)
        if isinstance(code, str) and len(code) == 3 and code.isdecimal():
            code = int(code)
        if isinstance(code, int) and 400 <= code < 600 and code != 500:
            return code
    named = f"{error.get('type')} {error.get('code')}"[:200]
    return next((status for word, status in _STATUS_OF_TYPE if word in named), 502)


def _too_large(upstream: Upstream) -> UnreadableAnswer:
    return UnreadableAnswer(
        f"The upstream {upstream.name!r} sent an answer that is larger than {upstream.max_answer_bytes} bytes "
        "(max_answer_bytes)."
    )


def unreadable_reason(error: aiohttp.ClientError) -> str:
    """What our HTTP parser refused, in words of ours: the library's own repeat what was sent."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, LineTooLong) or "Got more than" in str(error):
        return f"a header longer than {MAX_HEADER_BYTES} bytes"
    if isinstance(cause, ContentEncodingError | DecompressSizeError) or "decode" in str(error).lower():
        return "its Content-Encoding does not decode"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "its body is cut off or broken"
    return "it is not valid HTTP"
