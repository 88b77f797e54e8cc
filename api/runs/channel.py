"""What one run tells while somebody in this process watches it, encoded once for all who do."""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from api.runs.story import Identity, Seq, identity, read_seq
from studio.contracts.events import FINAL_EVENTS, RunEvent
from studio.web.responses import dump_json

PING_SECONDS = 10.0
"""A client that hears nothing for so long gets a ping, at the latest a few seconds later."""
BUFFERED = 5000
"""Frames that a client may be behind before it is closed; a fast model gives 100 a second."""
RECENT = 1000
"""Frames that are kept for clients that come later, or come back: they need not ask Redis."""


class TooSlow(Exception):
    """The client reads slower than the run speaks. It can go on from the last event it got."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event, encoded once for all who watch."""

    seq: Seq
    text: str
    """As JSON: a WebSocket frame."""
    data: bytes
    """As server-sent event."""
    final: bool
    identity: Identity
    key: str | None
    """`NewEvent.key`."""


def frame_of(event: RunEvent) -> Frame:
    body = dump_json(event.model_dump(mode="json"))
    data = b"id: %b\nevent: %b\ndata: %b\n\n" % (event.seq.encode(), event.type.encode(), body)
    is_final = event.type in FINAL_EVENTS
    return Frame(read_seq(event.seq), body.decode(), data, is_final, identity(event), event.key())


def renumbered(frame: Frame, seq: Seq) -> Frame:
    return frame_of(RunEvent.model_validate(orjson.loads(frame.text) | {"seq": f"{seq[0]}-{seq[1]}"}))


class Watcher:
    """One client's place in line. Never blocks the channel."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._waits_since = 0.0
        self._too_slow = False
        self._over = False

    def give(self, frames: Sequence[Frame]) -> None:
        if len(self._frames) + len(frames) > BUFFERED:
            self._too_slow = True
            self._frames.clear()
        elif not self._too_slow:
            self._frames.extend(frames)
        self._wake()

    def begin_with(self, frames: Sequence[Frame]) -> None:
        """Forget what came while the client caught up: `frames` is all of it, and what was before."""
        self._too_slow = False
        self._frames = deque(frames)

    def end(self) -> None:
        """There will be no more."""
        self._over = True
        self._wake()

    def ping(self, now: float) -> None:
        """Let a client hear something that waits for long. Asked of all now and then: a timer for each costs more."""
        if now - self._waits_since >= PING_SECONDS:
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def take(self) -> list[Frame] | None:
        """What has come; empty when it is time for a ping, None when no more will. Raises `TooSlow`."""
        if not (self._frames or self._too_slow or self._over):
            self._waits_since = time.monotonic()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._too_slow:
            raise TooSlow
        if self._over and not self._frames:
            return None
        frames = list(self._frames)
        self._frames.clear()
        return frames


class Channel:
    """Holds everything that the run told after `start`, which moves on."""

    def __init__(self, run_id: str, start: str, frames: Sequence[Frame], position: str) -> None:
        """`frames` came after `start`, and `position` is the last one's."""
        self.run_id = run_id
        self.position = position
        self.heard_at = time.monotonic()
        """When the run last told something, or was last asked whether it has ended."""
        self.watchers: set[Watcher] = set()
        self.began = read_seq(start)
        self.known = {frame.identity for frame in frames}
        """What happened after `began`."""
        self._start = self.began
        self._last = read_seq(position)
        self._recent = list(frames)
        self._keys = {frame.key for frame in frames}

    @property
    def start(self) -> Seq:
        return self._start

    @property
    def last(self) -> Seq:
        return self._last

    def since(self, position: Seq) -> list[Frame]:
        """The frames after `position`, which is not before `start`."""
        return self._recent[bisect_right(self._recent, position, key=_seq) :]

    def deliver(self, events: Sequence[RunEvent], position: str) -> bool:
        """Give the events up to `position` to all who watch; True when the run has ended with them."""
        self.heard_at = time.monotonic()
        self.position = position
        frames = [frame_of(event) for event in events if self._is_news(event)]
        if not frames:
            return False
        self.known.update(frame.identity for frame in frames)
        self._recent += frames
        if len(self._recent) > 2 * RECENT:
            self._start = self._recent[-RECENT - 1].seq
            del self._recent[:-RECENT]
        for watcher in self.watchers:
            watcher.give(frames)
        return frames[-1].final

    def _is_news(self, event: RunEvent) -> bool:
        seq = read_seq(event.seq)
        if seq <= self._last:
            return False
        self._last = seq
        # What a retried activity publishes again is known to Redis, unless Redis lost its data meanwhile.
        key = event.key()
        if key is not None and key in self._keys:
            return False
        self._keys.add(key)
        return True

    def ping(self, now: float) -> None:
        for watcher in self.watchers:
            watcher.ping(now)

    def end(self) -> None:
        for watcher in self.watchers:
            watcher.end()


def _seq(frame: Frame) -> Seq:
    return frame.seq
