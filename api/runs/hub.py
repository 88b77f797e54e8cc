"""Live events of runs: one reader of a run's Redis stream in a process, however many clients watch the run."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from api.runs.story import Identity, Seq, identity, read_seq, whole_story
from studio.contracts.events import FINAL_EVENTS, RunEvent
from studio.contracts.runs import FINAL_STATUSES, Run
from studio.errors import DependencyUnavailable
from studio.store.event_stream import EventStream
from studio.tasks import end_tasks
from studio.web.responses import dump_json

BLOCK_MS = 3000
"""How long the reader waits for an event before it asks whether the run has ended unheard."""
READ_SECONDS = 5.0
PAGE = 1000
BUFFERED = 5000
"""Frames that a client may be behind before it is closed; a fast model gives 100 a second."""
RETRY_SECONDS = 0.5

_log = structlog.get_logger(__name__)


class TooSlow(Exception):
    """The client reads slower than the run speaks. It can go on from the last event it got."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event, encoded once for all who watch."""

    seq: Seq
    data: bytes
    """As server-sent event."""
    final: bool
    identity: Identity


def frame_of(event: RunEvent) -> Frame:
    body = dump_json(event.model_dump(mode="json"))
    data = b"id: %b\nevent: %b\ndata: %b\n\n" % (event.seq.encode(), event.type.encode(), body)
    return Frame(read_seq(event.seq), data, event.type in FINAL_EVENTS, identity(event))


def _frames(events: Sequence[RunEvent], seen: set[Identity]) -> list[Frame]:
    frames = [frame_of(event) for event in events]
    seen.update(frame.identity for frame in frames)
    return frames


class Watcher:
    """One client's place in line. Never blocks the reader."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._arrived = asyncio.Event()
        self._too_slow = False
        self._over = False
        self.gaps = False
        """Whether Redis was away meanwhile, so that events may be missing in the middle."""

    def give(self, frames: Sequence[Frame]) -> None:
        if len(self._frames) + len(frames) > BUFFERED:
            self._too_slow = True
        else:
            self._frames.extend(frames)
        self._arrived.set()

    def end(self) -> None:
        """The run has ended, and the stream does not say so."""
        self._over = True
        self._arrived.set()

    @property
    def over(self) -> bool:
        return self._over and not self._frames

    async def take(self) -> list[Frame]:
        """What has come, waiting for it; empty only when there will be no more. Raises `TooSlow`."""
        while not self._frames:
            if self._too_slow:
                raise TooSlow
            if self._over:
                return []
            self._arrived.clear()
            await self._arrived.wait()
        frames = list(self._frames)
        self._frames.clear()
        return frames


class _Reader:
    """Follows one run's stream for its watchers until the run has ended or nobody watches."""

    def __init__(
        self, run_id: str, after: str, stream: EventStream, refreshed: Callable[[str], Awaitable[Run]]
    ) -> None:
        self._run_id = run_id
        self._after = after
        self._stream = stream
        self._refreshed = refreshed
        self.watchers: set[Watcher] = set()
        self.task = asyncio.create_task(self._run(), name=f"events {run_id}")

    async def _run(self) -> None:
        try:
            while self.watchers and not await self._step():  # Redis' client may lose the cancel when the last one left
                pass
        finally:
            for watcher in self.watchers:
                watcher.end()

    async def _step(self) -> bool:
        """Whether the run's story is over."""
        try:
            events = await self._read(BLOCK_MS)
            if events:
                return self._deliver(events)
            if not await self._has_ended():
                return False
            while events := await self._read(None):  # what came between the read and the end
                if self._deliver(events):
                    break
        except (RedisError, OSError, TimeoutError) as error:
            _log.warning("events.reader_lost_redis", run_id=self._run_id, error=type(error).__name__)
            for watcher in self.watchers:
                watcher.gaps = True
            await asyncio.sleep(RETRY_SECONDS)
            return await self._has_ended()
        return True

    async def _read(self, block_ms: int | None) -> list[RunEvent]:
        async with asyncio.timeout(READ_SECONDS + (block_ms or 0) / 1000):
            return await self._stream.read(self._run_id, self._after, block_ms=block_ms, count=PAGE)

    def _deliver(self, events: Sequence[RunEvent]) -> bool:
        frames = [frame_of(event) for event in events]
        self._after = events[-1].seq
        for watcher in self.watchers:
            watcher.give(frames)
        return frames[-1].final

    async def _has_ended(self) -> bool:
        try:
            run = await self._refreshed(self._run_id)
        except Exception as error:  # noqa: BLE001 - the database may be away for a moment; the reader asks again
            _log.warning("events.run_not_read", run_id=self._run_id, error=type(error).__name__)
            return False
        return run.status in FINAL_STATUSES


class EventHub:
    def __init__(self, stream: EventStream, refreshed: Callable[[str], Awaitable[Run]]) -> None:
        self._stream = stream
        self._refreshed = refreshed
        self._readers: dict[str, _Reader] = {}

    async def close(self) -> None:
        await end_tasks(*(reader.task for reader in self._readers.values()))

    async def so_far(self, run: Run, after: str, *, limit: int) -> list[RunEvent]:
        """Events after `after`; of a finished run the whole story, whatever became of its stream."""
        if run.status not in FINAL_STATUSES:
            return await self._page(run.id, after, limit)
        streamed: list[RunEvent] = []
        with contextlib.suppress(DependencyUnavailable):  # the row tells it then, without tokens
            while events := await self._page(run.id, streamed[-1].seq if streamed else "0-0", PAGE):
                streamed += events
        position = read_seq(after)
        return [event for event in whole_story(run, streamed) if read_seq(event.seq) > position][:limit]

    async def _page(self, run_id: str, after: str, limit: int) -> list[RunEvent]:
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._stream.read(run_id, after, count=limit)
        except (RedisError, OSError, TimeoutError) as error:
            raise DependencyUnavailable("redis", "The run's events cannot be read now. The run goes on.") from error

    async def follow(self, run_id: str, after: str, first: Sequence[RunEvent]) -> AsyncGenerator[list[Frame]]:
        """Frames of a run that goes on, from `first` (which came after `after`) to its last event. Raises `TooSlow`.

        `first` is what the caller read to see that Redis is there.
        """
        seen: set[Identity] = set()
        position = after
        page = list(first)
        while page:
            frames = _frames(page, seen)
            yield frames
            if frames[-1].final:
                return
            position = page[-1].seq
            page = await self._page(run_id, position, PAGE)
        with self._watching(run_id, position) as watcher:
            # Between the last page and now the reader may have given others what this client has not seen.
            while page := await self._page(run_id, position, PAGE):
                frames = _frames(page, seen)
                yield frames
                if frames[-1].final:
                    return
                position = page[-1].seq
            last = read_seq(position)
            while frames := await watcher.take():
                unseen = [frame for frame in frames if frame.seq > last]
                if not unseen:
                    continue
                seen.update(frame.identity for frame in unseen)
                last = unseen[-1].seq
                if unseen[-1].final and watcher.gaps:
                    unseen[-1:-1] = await self._missed(run_id, after, seen)
                yield unseen
                if unseen[-1].final:
                    return
        rest = await self._missed(run_id, after, seen)
        if rest:
            yield rest

    async def _missed(self, run_id: str, after: str, seen: set[Identity]) -> list[Frame]:
        """What a finished run's row tells and the live stream did not."""
        run = await self._refreshed(run_id)
        events = await self.so_far(run, after, limit=BUFFERED)
        return [frame_of(event) for event in events if identity(event) not in seen | {None}]

    @contextlib.contextmanager
    def _watching(self, run_id: str, after: str):
        reader = self._readers.get(run_id)
        if reader is None or reader.task.done():
            reader = self._readers[run_id] = _Reader(run_id, after, self._stream, self._refreshed)
        watcher = Watcher()
        reader.watchers.add(watcher)
        try:
            yield watcher
        finally:
            reader.watchers.discard(watcher)
            if not reader.watchers:
                reader.task.cancel()
                if self._readers.get(run_id) is reader:
                    del self._readers[run_id]
