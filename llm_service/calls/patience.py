"""How long a call may take, and the end of it when nobody waits for it any more."""

import asyncio
from types import TracebackType
from typing import Self, cast

from starlette.types import Receive

from llm_service.errors import CallerLeft, StreamBroken, UpstreamTimeout
from llm_service.settings import Timeouts
from studio.errors import StudioError

WATCH_AFTER_SECONDS = 0.05
"""Most short calls are over by then and never pay for being watched; who left earlier is noticed at this moment."""


class Patience:
    """Ends what runs inside it when the caller leaves, the total deadline passes or a stream goes idle.

    Raises `CallerLeft`, `UpstreamTimeout` or `StreamBroken` from the block; whatever the block awaited (the upstream
    request above all) is cancelled first. The request's body must have been read: `receive` then only tells of the
    caller's leaving.
    """

    def __init__(self, receive: Receive, upstream: str, timeouts: Timeouts) -> None:
        self._receive = receive
        self._upstream = upstream
        self._timeouts = timeouts
        self._reason: StudioError | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._waiting_since: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = cast("asyncio.Task[None]", asyncio.current_task(self._loop))
        self._timer = self._loop.call_later(min(WATCH_AFTER_SECONDS, self._timeouts.total), self._begin_watch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None  # its cancellation holds a frame that holds us: without this a cycle would stay
        if self._reason is not None and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise self._reason from None

    def waiting(self) -> None:
        """The next chunk of the stream is awaited from now on; `received` ends the wait."""
        self._waiting_since = self._loop.time()
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._timeouts.idle, self._check_idle)

    def received(self) -> None:
        self._waiting_since = None

    def _begin_watch(self) -> None:
        self._watcher = self._loop.create_task(self._watch_caller())
        self._timer = self._loop.call_later(max(0.0, self._timeouts.total - WATCH_AFTER_SECONDS), self._end_total)

    def _end_total(self) -> None:
        total = self._timeouts.total
        self._end(
            UpstreamTimeout(f"The upstream {self._upstream!r} did not finish within {total:g} s (timeouts.total).")
        )

    def _check_idle(self) -> None:
        """One timer a deadline rather than one a chunk."""
        now = self._loop.time()
        due = (self._waiting_since if self._waiting_since is not None else now) + self._timeouts.idle
        if due <= now:
            idle = self._timeouts.idle
            self._end(StreamBroken(f"The upstream {self._upstream!r} sent nothing for {idle:g} s (timeouts.idle)."))
        else:
            self._idle_timer = self._loop.call_at(due, self._check_idle)

    async def _watch_caller(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end(CallerLeft("The caller left before the answer was complete."))

    def _end(self, reason: StudioError) -> None:
        if self._reason is None:
            self._reason = reason
            self._task.cancel()
