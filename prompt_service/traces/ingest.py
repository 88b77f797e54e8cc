"""Taking spans in: each is checked alone, rows of concurrent requests are written together."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self, cast

import orjson
import structlog
from prometheus_client import Counter, Histogram
from pydantic import ValidationError

from prompt_service.traces.reading import UnreadableSpan
from prompt_service.traces.rows import PAYLOAD_COLUMNS, SPAN_COLUMNS, SpanRow, to_row
from prompt_service.traces.schema import PAYLOADS, REJECTED, SPANS
from prompt_service.traces.store import DEPENDENCY, Insert, RefusedRows, TraceStore
from studio.contracts.base import Json, JsonObject
from studio.contracts.spans import IngestResult, RejectedSpan, Span
from studio.errors import DependencyUnavailable
from studio.span_content import without_content

BATCH_ROWS = 10_000
BATCH_BYTES = 32 * 1024 * 1024
WAITING_ROWS = 100_000
WAITING_BYTES = 256 * 1024 * 1024
"""Past either, senders are told to come back."""
REJECTED_BYTES = 65_536

INGESTED = Counter("studio_spans_ingested_total", "Spans by what became of them.", ["outcome"])
BATCH = Histogram("studio_span_batch_rows", "Rows written in one insert.", buckets=(1, 10, 100, 1000, 10_000))
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    """A row on its way. `error` is set when the store refused this row."""

    row: SpanRow
    raw: Json
    error: str | None = None


@dataclass(slots=True)
class _Group:
    """The rows of one request."""

    entries: list[_Entry]
    rejected: list[list[Any]]
    done: asyncio.Future[None]

    @property
    def size(self) -> int:
        return sum(entry.row.size for entry in self.entries)


class SpanWriter:
    """Group commit: while one insert runs, what arrives waits and goes into the next, together.

    Use as `async with SpanWriter(…) as writer`; leaving writes what is still waiting.
    """

    def __init__(self, store: TraceStore, payload_bytes: int, retention_days: int, *, content: bool = True) -> None:
        self._store = store
        self._retention = timedelta(days=retention_days)
        self._payload_bytes = payload_bytes
        self._content = content
        self._waiting: list[_Group] = []
        self._rows = 0
        self._bytes = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._last_moment = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="span-writer")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._closing = True
        self._wake.set()
        await self._task

    async def ingest(self, spans: Sequence[Json]) -> IngestResult:
        """Store what can be stored; the rest goes to the rejected spans, as does every `UnreadableSpan` among them.

        Returns when the store has both.

        Raises `DependencyUnavailable` when nothing of this is known to be stored; sending it all again does no harm.
        """
        if self._rows + len(spans) > WAITING_ROWS or self._bytes > WAITING_BYTES:
            raise DependencyUnavailable(DEPENDENCY, "Too many spans wait to be stored. Try again shortly.")
        if not self._content:
            spans = [_silent(raw) for raw in spans]
        entries: list[tuple[int, _Entry]] = []
        rejected: list[RejectedSpan] = []
        for index, raw in enumerate(spans):
            try:
                entries.append((index, _Entry(self._row(raw), raw)))
            except ValidationError as error:
                rejected.append(RejectedSpan(index=index, error=_described(error)))
            except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
                rejected.append(RejectedSpan(index=index, error=str(error)))
        group = _Group(
            [entry for _, entry in entries],
            [[found.error, _kept(spans[found.index])] for found in rejected],
            asyncio.get_running_loop().create_future(),
        )
        if group.entries or group.rejected:
            await self._write(group)
        rejected += [RejectedSpan(index=index, error=entry.error) for index, entry in entries if entry.error]
        INGESTED.labels("accepted").inc(len(spans) - len(rejected))
        INGESTED.labels("rejected").inc(len(rejected))
        return IngestResult(accepted=len(spans) - len(rejected), rejected=sorted(rejected, key=lambda one: one.index))

    def _row(self, raw: Json) -> SpanRow:
        """Raises `ValueError`, and whatever else a value causes that nobody foresaw: it costs this span alone."""
        if isinstance(raw, UnreadableSpan):
            raise ValueError(raw.error)  # noqa: TRY004 - its value is wrong, as with every other span that is refused
        span = Span.model_validate(raw)
        row = to_row(span, self._payload_bytes)
        if span.started_at + self._retention <= datetime.now(UTC):
            raise ValueError(f"started_at: older than the retention of {self._retention.days} days")
        return row

    async def _write(self, group: _Group) -> None:
        self._waiting.append(group)
        self._rows += len(group.entries)
        self._bytes += group.size
        self._wake.set()
        await asyncio.shield(group.done)

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._commit(self._take())

    def _take(self) -> list[_Group]:
        rows = size = count = 0
        for group in self._waiting:
            if count and (rows + len(group.entries) > BATCH_ROWS or size + group.size > BATCH_BYTES):
                break
            rows += len(group.entries)
            size += group.size
            count += 1
        groups, self._waiting = self._waiting[:count], self._waiting[count:]
        self._rows -= rows
        self._bytes -= size
        return groups

    async def _commit(self, groups: list[_Group]) -> None:
        entries = [entry for group in groups for entry in group.entries]
        failure: BaseException | None = None
        try:
            await self._insert(entries)
            refused = [[entry.error, _kept(entry.raw)] for entry in entries if entry.error]
            await self._bury([*refused, *(row for group in groups for row in group.rejected)])
            BATCH.observe(len(entries))
        except DependencyUnavailable as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the senders must hear of it and the task live
            _log.error("spans.not_stored", exc_info=error)
            failure = DependencyUnavailable(DEPENDENCY, "The trace store could not take the spans. Try again shortly.")
        for group in groups:
            if group.done.done():
                continue
            if failure is None:
                group.done.set_result(None)
            else:
                group.done.set_exception(failure)
                with contextlib.suppress(BaseException):
                    group.done.exception()  # read here too: its sender may have gone

    async def _insert(self, entries: Sequence[_Entry]) -> None:
        """Write the rows; when the store refuses a batch, halve it until the row it means stands alone."""
        if not entries:
            return
        moments = [self._moment() for _ in entries]
        spans = [[*entry.row.span, moment] for entry, moment in zip(entries, moments, strict=True)]
        payloads = [
            [*entry.row.payload, moment]
            for entry, moment in zip(entries, moments, strict=True)
            if entry.row.payload is not None
        ]
        try:
            await self._store.insert([Insert(PAYLOADS, PAYLOAD_COLUMNS, payloads), Insert(SPANS, SPAN_COLUMNS, spans)])
        except RefusedRows as error:
            if len(entries) == 1:
                _log.warning("span.refused", error=str(error)[:500])
                entries[0].error = "the trace store refused it"
                return
            half = len(entries) // 2
            await self._insert(entries[:half])
            await self._insert(entries[half:])

    async def _bury(self, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            dated = [[self._moment(), *row] for row in rows]
            await self._store.insert([Insert(REJECTED, ("rejected_at", "error", "span"), dated)])

    def _moment(self) -> datetime:
        """The time in microseconds, strictly increasing: of two writes of one span the later one wins."""
        self._last_moment = max(time.time_ns() // 1000, self._last_moment + 1)
        seconds, micros = divmod(self._last_moment, 1_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def _described(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def _silent(raw: Json) -> Json:
    """Without content, also where it is no span."""
    if isinstance(raw, UnreadableSpan):
        return UnreadableSpan(b"", raw.error)
    return without_content(cast("JsonObject", raw)) if isinstance(raw, dict) else None


def _kept(raw: Json) -> str:
    if isinstance(raw, UnreadableSpan):
        return raw.raw[:REJECTED_BYTES].decode(errors="replace")
    return orjson.dumps(raw, option=orjson.OPT_NON_STR_KEYS)[:REJECTED_BYTES].decode(errors="ignore")
