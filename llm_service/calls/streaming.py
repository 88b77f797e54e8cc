"""Passes a stream on: pings until it begins, then the upstream's bytes, then its end or an in-band error."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, cast

import aiohttp
from starlette.types import Send

from llm_service.calls.passing import RawHeaders, passed_headers, raw_studio_headers
from llm_service.calls.patience import Patience
from llm_service.calls.record import CallRecord, upstream_message
from llm_service.calls.stream_events import DONE, StreamReader, error_event
from llm_service.errors import StreamBroken, UnreadableAnswer, openai_error
from llm_service.upstreams.answers import Answer
from llm_service.upstreams.upstream import Upstream
from studio.contracts.base import JsonObject
from studio.errors import StudioError
from studio.foreign_json import UnreadableJson, read_foreign_json
from studio.masking import mask
from studio.sse import EventTooLarge

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
PING = b": ping\n\n"


class StreamPassage:
    """One streamed answer on its way to the caller."""

    def __init__(
        self, record: CallRecord, upstream: Upstream, reader: StreamReader, send: Send, *, ping_seconds: float
    ) -> None:
        self._record = record
        self._upstream = upstream.name
        self._send = send
        self._ping_seconds = ping_seconds
        self._reader = reader
        self._headers: RawHeaders = []
        self._ping_timer: asyncio.TimerHandle | None = None
        self._ping: asyncio.Task[None] | None = None
        self.started = False
        """Whether the answer's head, with status 200, is out."""

    @contextlib.asynccontextmanager
    async def pinging(self) -> AsyncGenerator[None]:
        """Comments go to the caller inside this block until the first event has come."""
        self._schedule_ping()
        try:
            yield
        finally:
            await self._stop_pinging()

    async def run(self, answer: Answer, patience: Patience) -> None:
        """Pass the answer on until it is over, which its transport need not be.

        Raises `StreamBroken` when the upstream stops before the answer is whole, and `UnreadableAnswer`.
        """
        self.take_headers(answer)
        rest = cast("aiohttp.StreamReader", answer.rest)
        chunk = answer.body
        while chunk:
            if await self._pass(self._feed(chunk)):
                return
            patience.waiting()
            try:
                chunk = await rest.readany()
            except (aiohttp.ClientError, ConnectionError) as error:
                if self._reader.whole:
                    break
                raise self._broken() from error
            patience.received()
        if not await self._pass(self._reader.end()):
            await self.complete()

    async def run_whole(self, events: bytes, answer: Answer) -> None:
        """Pass on the stream that a whole answer stands for."""
        self.take_headers(answer)
        if not await self._pass(self._feed(events)):
            await self.complete()

    def take_headers(self, answer: Answer) -> None:
        """Those of the upstream's headers that a whole answer would have; not after pings."""
        self._headers = [(name, value) for name, value in passed_headers(answer) if name != b"content-type"]

    @property
    def whole(self) -> bool:
        """Whether what has come is a complete answer."""
        return self._reader.whole

    async def complete(self) -> None:
        """End an answer behind which nothing more is awaited. Raises `StreamBroken` unless it is whole."""
        if not self._reader.whole:
            raise self._broken()
        if not self._reader.done:
            await self._write(DONE)
        await self._finish()

    def _feed(self, chunk: bytes) -> bytes:
        try:
            return self._reader.feed(chunk)
        except EventTooLarge:
            raise UnreadableAnswer(f"The upstream {self._upstream!r} sent an event that is too large.") from None

    async def _pass(self, passed: bytes) -> bool:
        """True when the stream is over with it."""
        reader = self._reader
        if self._ping_timer is not None and reader.begun:
            await self._stop_pinging()
        if passed:
            await self._write(passed)
        if reader.error is not None:
            await self._finish()
            self._record.failed("incomplete", "upstream-stream-error", reader.error["message"])
            return True
        if reader.done:
            await self.complete()
        return reader.done

    async def fail(self, error: StudioError) -> None:
        """End the stream with an error of ours and without `[DONE]`; its `status` is there when only pings came before
        and the caller may take it as the answer's."""
        begun = self._reader.begun
        self._record.failed_by(error, "incomplete" if begun else "error")
        await self._write(error_event(openai_error(error) | ({} if begun else {"status": error.status})))
        await self._finish()

    async def refuse(self, status: int, body: bytes) -> None:
        """End a stream that had begun with pings with the upstream's own (redacted) error."""
        self._record.refused_by_upstream(status, body)
        message = upstream_message(body) or f"The upstream answered {status}."
        await self._write(error_event(_members(body) | {"message": message, "status": status}))
        await self._finish()

    def into_record(self) -> None:
        """Hand over what was read, however the stream ended."""
        self._record.usage = self._reader.usage
        self._record.first_token_at = self._reader.first_token_at
        self._record.output = self._reader.output()
        self._record.finished(self._reader.finish_reason)
        if self._reader.cut:
            self._record.caller.metadata.setdefault("output", "only the beginning was kept")

    def _broken(self) -> StreamBroken:
        return StreamBroken(f"The upstream {self._upstream!r} stopped before the answer was complete.")

    async def _write(self, body: bytes) -> None:
        if not self.started:
            self.started = True
            headers = [*_STREAM_HEADERS, *self._headers, *raw_studio_headers(self._record)]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": mask(body), "more_body": True})

    async def _finish(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _schedule_ping(self) -> None:
        self._ping_timer = asyncio.get_running_loop().call_later(self._ping_seconds, self._start_ping)

    def _start_ping(self) -> None:
        self._ping = asyncio.create_task(self._write(PING))
        self._schedule_ping()

    async def _stop_pinging(self) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
            self._ping_timer = None
        if self._ping is not None:
            ping, self._ping = self._ping, None
            await ping


def _members(body: bytes) -> JsonObject:
    """The members of OpenAI's `error` in an error body; none when it has another shape."""
    try:
        document = read_foreign_json(body)
    except UnreadableJson:
        return {}
    error: Any = cast("JsonObject", document).get("error") if isinstance(document, dict) else None
    return cast("JsonObject", error) if isinstance(error, dict) else {}
