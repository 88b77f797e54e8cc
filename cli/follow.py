"""The events of one run as they come, across lost connections."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from studio.clients.api import ApiClient
from studio.contracts.events import FINAL_EVENTS, RunEvent
from studio.contracts.runs import FINAL_STATUSES, Run
from studio.errors import DependencyUnavailable

GIVE_UP_SECONDS = 120.0
"""Without any contact. The run goes on all the same."""
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class ConnectionLost:
    """Stands between two events: the next one comes on a new connection."""

    reason: str


async def follow(
    api: ApiClient, run_id: str, *, retry: int = 0, again: bool = False, give_up_seconds: float = GIVE_UP_SECONDS
) -> AsyncGenerator[RunEvent | ConnectionLost, None]:
    """Yield each event once, in order, until the run's last; also a `ConnectionLost` whenever contact is lost.

    `retry` says how often the run was retried: its earlier ends are none. With `again` only the events since then.

    It may end without the run's last event, when the run has ended and its events are gone: `read_run` says how it
    ended. Raises `DependencyUnavailable` when contact was lost for `give_up_seconds`.
    """
    last: str | None = None
    over = ended = False
    told = not again
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            async with aclosing(api.stream_events(run_id, after=last)) as events:
                async for event in events:
                    if last is not None and _position(event.seq) <= _position(last):
                        continue
                    last, pause = event.seq, FIRST_PAUSE_SECONDS
                    told = told or (event.type == "run.retried" and event.attempt > retry)
                    # A run that was retried goes on after an earlier last event.
                    over = event.type in FINAL_EVENTS and event.attempt > retry
                    if told:
                        yield event
        except DependencyUnavailable as error:
            if not over:
                yield ConnectionLost(error.detail)
        if over or ended:
            return
        # A run that ended meanwhile may have told more, so the stream is asked once more.
        ended = (await read_run(api, run_id, give_up_seconds=give_up_seconds)).status in FINAL_STATUSES
        await asyncio.sleep(0 if ended else _jittered(pause))
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def read_run(api: ApiClient, run_id: str, *, give_up_seconds: float = GIVE_UP_SECONDS) -> Run:
    """The run as it stands; asked again while there is no contact."""
    began = time.monotonic()
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return await api.get_run(run_id)
        except DependencyUnavailable:
            if time.monotonic() - began > give_up_seconds:
                raise
        await asyncio.sleep(_jittered(pause))
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.75, 1.25)


def _position(seq: str) -> tuple[int, int]:
    milliseconds, _, number = seq.partition("-")
    return int(milliseconds), int(number or 0)
