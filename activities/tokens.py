"""Puts a model's tokens on the run's stream while they come."""

import asyncio
from typing import Literal, Self

from studio.contracts.base import utc_now
from studio.contracts.events import NewEvent
from studio.store.event_stream import EventStream


class TokenPublisher:
    """`token` and `thinking` events in order. What comes while Redis takes the last batch goes with the next one, so a
    fast model never waits for Redis and a slow one is seen at once.
    """

    def __init__(self, stream: EventStream, run_id: str, path: str, attempt: int) -> None:
        self._stream = stream
        self._run_id = run_id
        self._path = path
        self._attempt = attempt
        self._index = 0
        self._pending: list[NewEvent] = []
        self._wake = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="token-publisher")
        return self

    async def __aexit__(self, error_type: type[BaseException] | None, *_rest: object) -> None:
        if error_type is not None:
            self._pending.clear()  # nothing of a failed or cancelled call appears afterwards
        self._closing = True
        self._wake.set()
        await self._task

    def add(self, kind: Literal["token", "thinking"], text: str) -> None:
        data: dict[str, str | int] = {"text": text}
        if kind == "token":
            data["index"] = self._index
            self._index += 1
        event = NewEvent(ts=utc_now(), step_id=self._path, attempt=self._attempt, type=kind, data=data)
        self._pending.append(event)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._pending = self._pending, []
            await self._stream.publish(self._run_id, batch)
            if self._closing and not self._pending:
                return
