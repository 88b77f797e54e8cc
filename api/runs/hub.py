"""Live events of runs: however many clients watch however many runs, a process reads each event once."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Sequence

import structlog
from redis.exceptions import RedisError

from api.runs.channel import Channel, Frame, Watcher, frame_of
from api.runs.reader import Reader
from api.runs.story import Identity, identity, read_seq, told_events, whole_story
from api.runs.tail import READ_SECONDS, Tail
from studio.contracts.events import NewEvent, RunEvent
from studio.contracts.runs import FINAL_STATUSES, Run
from studio.errors import DependencyUnavailable
from studio.store.event_stream import EventStream
from studio.tasks import Flights

PAGE = 1000
BEGINNING = "0-0"
Frames = AsyncGenerator[list[Frame]]
Ended = tuple[Run, list[NewEvent]] | None
"""A run that has ended, and what its row tells."""
_NOTHING: frozenset[Identity] = frozenset()

_log = structlog.get_logger(__name__)


class EventHub:
    def __init__(self, stream: EventStream, refreshed: Callable[[str], Awaitable[Run]]) -> None:
        self._stream = stream
        self._refreshed = refreshed
        self._tail = Tail(stream, refreshed)
        self._runs = Flights[Run]()
        self._ends = Flights[Ended]()
        self._stories = Flights[list[RunEvent]]()

    async def close(self) -> None:
        await self._tail.close()
        for flights in (self._runs, self._ends, self._stories):
            await flights.close()

    async def so_far(self, run_id: str, after: str, *, limit: int) -> list[RunEvent]:
        """Events after `after`; of a finished run the whole story, whatever became of its stream."""
        run = await self._run(run_id)
        if run.status not in FINAL_STATUSES:
            return await self._page(run_id, after, limit)
        return _after(await self._story(run), after)[:limit]

    async def open(self, run_id: str, after: str) -> Frames | None:
        """The run's frames after `after`, up to the last event; an empty list whenever nothing came for a while.

        None when the run has ended and `after` is its last event. What is returned raises `TooSlow` for a client that
        is too far behind, and `DependencyUnavailable` when Redis goes away before the client has caught up. Raises
        `NotFound`, and `DependencyUnavailable` when Redis is away.
        """
        channel = self._tail.get(run_id)
        if channel is not None and self._tail.is_well and channel.start <= read_seq(after):
            return self._follow(run_id, after, [])
        run = await self._run(run_id)
        if run.status not in FINAL_STATUSES:
            return self._follow(run_id, after, await self._page(run_id, after))
        rest = _after(await self._story(run), after)
        return None if not rest and after != BEGINNING else _tell(rest)

    async def _follow(self, run_id: str, after: str, first: Sequence[RunEvent]) -> Frames:
        """`first` is the first page after `after`."""
        reader = Reader(run_id, after)
        page = first
        while page:
            frames = reader.take_page(page)
            page = await self._page(run_id, reader.position)
            if page or not frames[-1].final:
                yield frames
                continue
            ended = await self._ended(run_id)
            if ended is not None:
                yield await self._ending(reader, ended, frames)
                return
            yield frames  # the run has been retried
            page = await self._page(run_id, reader.position)
        channel = self._tail.get(run_id)
        if reader.position == after and (channel is None or channel.last < reader.last):
            reader.come_back_to(await self._newest(run_id))
        with self._watching(reader) as (channel, watcher):
            while reader.last < channel.start:  # the channel holds only what came since somebody else came
                if not (page := await self._page(run_id, reader.position)):
                    break  # Redis lost what is between
                yield reader.take_page(page)
            watcher.begin_with(channel.since(max(reader.last, channel.start)))
            if channel.began <= reader.after:
                reader.own = set()  # all of it is known to the channel
            while (given := await watcher.take()) is not None:
                frames = reader.unseen(given)
                if given and not frames:
                    continue
                if frames and frames[-1].final:
                    yield await self._ending(reader, await self._ended(run_id), frames, channel.known)
                    return
                reader.take(frames)
                yield frames
            # The run has ended, and the stream does not say so.
            yield await self._ending(reader, await self._ended(run_id), [], channel.known)

    @contextlib.contextmanager
    def _watching(self, reader: Reader) -> Generator[tuple[Channel, Watcher]]:
        channel = self._tail.get(reader.run_id)
        if channel is None:
            channel = Channel(reader.run_id, reader.start, reader.caught, reader.position)
            self._tail.add(channel)
        watcher = Watcher()
        channel.watchers.add(watcher)
        try:
            yield channel, watcher
        finally:
            channel.watchers.discard(watcher)
            if not channel.watchers:
                self._tail.remove(channel)

    async def _ending(
        self, reader: Reader, ended: Ended, frames: list[Frame], known: Collection[Identity] = _NOTHING
    ) -> list[Frame]:
        """The last frames, and what the run's row tells and the stream did not, because Redis was away meanwhile."""
        if ended is None:
            return frames
        run, told = ended
        missing = reader.missing(told, known)
        if not missing:
            return frames
        return reader.ending(frames, [event for event in await self._story(run) if identity(event) in missing])

    async def _run(self, run_id: str) -> Run:
        async def read() -> Run:
            return await self._refreshed(run_id)

        return await self._runs.get(run_id, read)

    async def _ended(self, run_id: str) -> Ended:
        """None when the run goes on (again), or cannot be read: the client has heard of the end all the same."""

        async def read() -> Ended:
            try:
                run = await self._refreshed(run_id)
            except Exception as error:  # noqa: BLE001 - the database may be away for a moment
                _log.warning("events.run_not_read", run_id=run_id, error=type(error).__name__)
                return None
            return (run, told_events(run)) if run.status in FINAL_STATUSES else None

        return await self._ends.get(run_id, read)

    async def _story(self, run: Run) -> list[RunEvent]:
        async def read() -> list[RunEvent]:
            streamed: list[RunEvent] = []
            with contextlib.suppress(DependencyUnavailable):  # the row tells it then, without tokens
                while events := await self._page(run.id, streamed[-1].seq if streamed else BEGINNING):
                    streamed += events
            return whole_story(run, streamed)

        return await self._stories.get(f"{run.id} {run.retry_count}", read)

    async def _newest(self, run_id: str) -> str:
        async with self._asking_redis():
            return await self._stream.newest(run_id)

    async def _page(self, run_id: str, after: str, limit: int = PAGE) -> list[RunEvent]:
        async with self._asking_redis():
            return await self._stream.read(run_id, after, count=limit)

    @contextlib.asynccontextmanager
    async def _asking_redis(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(READ_SECONDS):
                yield
        except (RedisError, OSError, TimeoutError) as error:
            raise DependencyUnavailable("redis", "The run's events cannot be read now. The run goes on.") from error


def _after(events: Sequence[RunEvent], position: str) -> list[RunEvent]:
    last = read_seq(position)
    return [event for event in events if read_seq(event.seq) > last]


async def _tell(events: Sequence[RunEvent]) -> Frames:
    """In pieces, so that what waits to be sent stays small."""
    for start in range(0, len(events), PAGE):
        yield [frame_of(event) for event in events[start : start + PAGE]]
