"""Sends spans to the prompt engine. Senders never wait for it and never fail because of it."""

import asyncio
import contextlib
import io
import random
import time
from collections import deque
from collections.abc import Iterable
from enum import Enum, auto
from typing import Self, assert_never

import aiohttp
import orjson
import structlog
from prometheus_client import Counter
from pydantic import ValidationError

from studio.contracts.base import JsonObject
from studio.contracts.spans import MAX_PAYLOAD_BYTES, IngestResult, Span, cut_payload
from studio.foreign_json import MAX_DEPTH, depth_exceeds, storable, write_storable
from studio.json_numbers import find_lost_number
from studio.masking import describe_fault, mask
from studio.span_content import CONTENT, without_content

BUFFERED_SPANS = 100_000
"""Ten minutes of an outage at 150 spans a second, if they take 2 KB each."""
BUFFERED_BYTES = 200_000_000
BATCH_SPANS = 500
BATCH_BYTES = 5_000_000
FLUSH_SECONDS = 0.5
"""A span must be visible within two seconds."""
MAX_BACKOFF_SECONDS = 10.0
SHUTDOWN_SECONDS = 5.0
CRASHES = 20
"""More tries than it takes to halve a batch down to one: after as many without any success, nothing is taken at all."""
CONTENT_FIELDS = {"input", "output"}

DROPPED = Counter("studio_spans_dropped_total", "Spans that could not be delivered.", ["reason"])
SENT = Counter("studio_spans_sent_total", "Spans that the trace store accepted.")
_log = structlog.get_logger(__name__)


def _fit(span: bytes) -> bytes:
    """The span without what its input and output hold past the limit."""
    if len(span) <= MAX_PAYLOAD_BYTES:
        return span
    document: JsonObject = orjson.loads(span)
    for name in CONTENT_FIELDS & document.keys():
        whole = orjson.dumps(document[name])
        if len(whole) > MAX_PAYLOAD_BYTES:
            document[name], cut = cut_payload(whole, MAX_PAYLOAD_BYTES)
            document[f"{name}_cut"] = cut.model_dump()
    return orjson.dumps(document)


def _is_deep(written: bytes, span: Span) -> bool:
    return written.count(b"[") + written.count(b"{") > MAX_DEPTH and depth_exceeds(dict(span), MAX_DEPTH)


class _Fate(Enum):
    """What became of spans that were sent together."""

    TAKEN = auto()
    """Stored, or given up."""
    REFUSED = auto()
    """As a whole; one of them alone may be the reason."""
    CRASHED = auto()
    """So may it be here, if others are taken."""
    AWAY = auto()
    """Nobody took them; all of them are sent again."""


class SpanSender:
    """A bounded buffer and one task that empties it in batches.

    `send` never blocks. When the buffer is full the oldest span goes; drops are counted in `/metrics` and logged once
    a minute. Use as `async with SpanSender(url) as spans`: leaving flushes for up to five seconds.
    """

    def __init__(self, prompt_url: str, *, content: bool = True) -> None:
        self._url = prompt_url.rstrip("/") + "/api/v1/traces"
        self._content = content
        self._buffer: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._dropped = 0
        self._last_warning = 0.0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        self._task = asyncio.create_task(self._run(), name="span-sender")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._closing = True
        self._wake.set()
        if self._task is not None:
            try:
                async with asyncio.timeout(SHUTDOWN_SECONDS):
                    await self._task
            except TimeoutError:
                self._drop(len(self._buffer), "shutdown")
            except asyncio.CancelledError:
                self._task.cancel()
                raise
        await self._session.close()

    def send(self, span: Span) -> None:
        """Queue one finished span; without content when `STUDIO_TRACE_CONTENT=off`."""
        self._put(self._written(span))

    async def send_large(self, spans: Iterable[Span]) -> None:
        """As `send`, of spans that may hold much: they are made and written in a thread, and nothing else waits."""
        for body in await asyncio.to_thread(lambda: [self._written(span) for span in spans]):
            self._put(body)

    def send_document(self, document: JsonObject) -> None:
        """Queue a span that is JSON already, for the hot path of the LLM engine: building and dumping a `Span` costs
        as much there as passing a call on. The caller answers for its shape (`studio.contracts.spans.Span`)."""
        if not self._content:
            document = without_content(document)
        try:
            written = write_storable(document)
        except Exception as error:  # noqa: BLE001 - it holds what others sent: a call never fails for its span
            _log.error("span.not_written", error=describe_fault(error))
            self._drop(1, "not_written")
            return
        self._put(_fit(written))

    def _written(self, span: Span) -> bytes:
        if not self._content:
            return write_storable(without_content(span.model_dump(mode="json", exclude_defaults=True, exclude=CONTENT)))
        try:
            written = span.__pydantic_serializer__.to_json(span, exclude_defaults=True)
            taken = find_lost_number(written) is None and not _is_deep(written, span)
        except (ValueError, RecursionError):  # half an emoji, or nested too deep
            written, taken = b"", False
        if not taken:
            texts = (name for name, value in span if isinstance(value, str | dict | list))
            held = {name: storable(getattr(span, name)) for name in {*CONTENT_FIELDS, *texts}}
            span = span.model_copy(update=held)
            written = span.__pydantic_serializer__.to_json(span, exclude_defaults=True)
        return _fit(written)

    def _put(self, body: bytes) -> None:
        body = mask(body)
        self._buffer.append(body)
        self._bytes += len(body)
        self._make_room()
        if len(self._buffer) >= BATCH_SPANS:
            self._wake.set()

    def _make_room(self) -> None:
        dropped = 0
        while len(self._buffer) > BUFFERED_SPANS or self._bytes > BUFFERED_BYTES:
            self._bytes -= len(self._buffer.popleft())
            dropped += 1
        self._drop(dropped, "buffer_full")

    def _drop(self, count: int, reason: str) -> None:
        if count == 0:
            return
        DROPPED.labels(reason).inc(count)
        self._dropped += count
        now = time.monotonic()
        if now - self._last_warning > 60:
            _log.warning("spans.dropped", count=self._dropped, reason=reason)
            self._dropped, self._last_warning = 0, now

    async def _run(self) -> None:
        failures = 0
        while not (self._closing and not self._buffer):
            if len(self._buffer) < BATCH_SPANS and not self._closing:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_SECONDS):
                        await self._wake.wait()
                self._wake.clear()
            batch = self._take()
            if not batch:
                continue
            again = await self._deliver(batch)
            if not again:
                failures = 0
                continue
            self._give_back(again)
            failures += 1
            await asyncio.sleep(random.uniform(0.5, 1) * min(MAX_BACKOFF_SECONDS, 0.2 * 2**failures))

    def _take(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._buffer and len(batch) < BATCH_SPANS and (size == 0 or size + len(self._buffer[0]) < BATCH_BYTES):
            span = self._buffer.popleft()
            size += len(span)
            batch.append(span)
        self._bytes -= size
        return batch

    def _give_back(self, batch: list[bytes]) -> None:
        self._buffer.extendleft(reversed(batch))
        self._bytes += sum(map(len, batch))
        self._make_room()

    async def _deliver(self, batch: list[bytes]) -> list[bytes]:
        """Returns what must be sent again. One span that cannot be stored costs no other: a batch that is refused is
        halved until that span stands alone.
        """
        pending, away, crashed, taken, tries = [batch], list[bytes](), list[bytes](), 0, 0
        while pending:
            some = pending.pop()
            fate = _Fate.AWAY if away or (tries > CRASHES and not taken) else await self._post(some)
            tries += 1
            match fate:
                case _Fate.TAKEN:
                    taken += len(some)
                case _Fate.AWAY:
                    away += some
                case _Fate.REFUSED | _Fate.CRASHED if len(some) > 1:
                    half = len(some) // 2
                    pending += [some[half:], some[:half]]
                case _Fate.REFUSED:
                    self._drop(1, "refused")
                case _Fate.CRASHED:
                    crashed += some
                case _:
                    assert_never(fate)
        if not taken:
            return crashed + away
        for span in crashed:  # once more, now that others were taken: the store may just have come back
            fate = _Fate.AWAY if away else await self._post([span])
            if fate is _Fate.AWAY:
                away.append(span)
            elif fate is not _Fate.TAKEN:
                self._drop(1, "refused")
        return away

    async def _post(self, batch: list[bytes]) -> _Fate:
        try:
            return await self._send(batch)
        except (aiohttp.ClientError, TimeoutError):
            return _Fate.AWAY
        except Exception:  # noqa: BLE001 - the one task of this process that sends spans must outlive what nobody foresaw
            _log.exception("spans.sending_failed", count=len(batch))
            self._drop(len(batch), "sending_failed")
            return _Fate.TAKEN

    async def _send(self, batch: list[bytes]) -> _Fate:
        body = b'{"spans":[' + b",".join(batch) + b"]}"
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._url, data=io.BytesIO(body), headers=headers) as answer:
            if answer.status == 202:
                self._count(await answer.read(), len(batch))
                return _Fate.TAKEN
            if answer.status == 500:
                return _Fate.CRASHED
            if answer.status > 500 or answer.status == 429:
                return _Fate.AWAY
            if answer.status in {400, 413, 422}:
                return _Fate.REFUSED
            self._drop(len(batch), f"http_{answer.status}")
            return _Fate.TAKEN

    def _count(self, answer: bytes, sent: int) -> None:
        try:
            result = IngestResult.model_validate_json(answer)
        except ValidationError:  # somebody between us and the prompt engine answered; nothing says that spans arrived
            self._drop(sent, "answer_unreadable")
            return
        SENT.inc(result.accepted)
        self._drop(len(result.rejected), "rejected")
