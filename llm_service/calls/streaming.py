"""Passes a stream on: pings until it begins, then the upstream's bytes, then its end or an in-band error."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, cast

import aiohttp
import orjson
from starlette.types import Send

from llm_service.calls.passing import raw_studio_headers
from llm_service.calls.patience import Patience
from llm_service.calls.record import CallRecord, upstream_message
from llm_service.calls.request import Call
from llm_service.calls.stream_events import StreamReader, error_event
from llm_service.errors import StreamBroken, openai_error
from studio.contracts.base import JsonObject
from studio.errors import StudioError

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
PING = b": ping\n\n"


class StreamPassage:
    """One streamed answer on its way to the caller."""

    def __init__(self, record: CallRecord, call: Call, send: Send, *, ping_seconds: float, content: bool) -> None:
        self._record = record
        self._send = send
        self._ping_seconds = ping_seconds
        self._reader = StreamReader(record.operation, wants_usage=call.wants_usage, price=record.price, content=content)
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

    async def run(self, first: bytes, rest: aiohttp.StreamReader, patience: Patience) -> None:
        """Raises `StreamBroken` when the upstream stops before the answer is whole."""
        reader = self._reader
        chunk = first
        while chunk:
            passed = reader.feed(chunk)
            if self._ping_timer is not None and reader.begun:
                await self._stop_pinging()
            if passed:
                await self._write(passed)
            if reader.error is not None:
                await self._finish()
                message = reader.error.get("message")
                self._record.failed("incomplete", "upstream-stream-error", str(message or "The upstream broke off."))
                return
            patience.waiting()
            try:
                chunk = await rest.readany()
            except (aiohttp.ClientError, ConnectionError) as error:
                raise self._broken() from error
            patience.received()
        if not reader.whole:
            raise self._broken()
        await self._finish()

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

    def _broken(self) -> StreamBroken:
        upstream = self._record.target.upstream if self._record.target else ""
        return StreamBroken(f"The upstream {upstream!r} stopped before the answer was complete.")

    async def _write(self, body: bytes) -> None:
        if not self.started:
            self.started = True
            headers = [*_STREAM_HEADERS, *raw_studio_headers(self._record)]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

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
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    error: Any = cast("JsonObject", document).get("error") if isinstance(document, dict) else None
    return cast("JsonObject", error) if isinstance(error, dict) else {}
