"""Readers whose connections break again and again, over an API that is killed, an approval and a retried step."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import cycle
from pathlib import Path
from random import Random

import aiohttp
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from cli.story import RunStory
from studio.contracts.base import JsonObject
from studio.contracts.events import FINAL_EVENTS, RunEvent
from tests.api.conftest import Live, open_live
from tests.support.api_process import api_process
from tests.support.databases import sqlite_database
from tests.support.ports import free_port
from tests.support.scripted_upstream import Reply
from tests.support.watching import Watch

CUTS = 50
SEED = 20261124
Events = AsyncGenerator[JsonObject]
Connect = Callable[[str, str | None], Events]


async def over_sse(path: str, after: str | None) -> Events:
    async with aiohttp.ClientSession() as http:
        answer = await http.get(f"http://{path}/events", headers={"Last-Event-ID": after} if after else {})
        answer.raise_for_status()
        try:
            async for event in Watch(answer):
                yield event
        finally:
            answer.close()  # whatever has come on it


async def over_websocket(path: str, after: str | None) -> Events:
    async with connect(f"ws://{path}/ws" + (f"?after={after}" if after else "")) as socket:
        try:
            async for frame in socket:
                yield orjson.loads(frame)
        finally:
            socket.transport.abort()


class CutReader:
    """Reads a few events, drops its connection whatever has come on it, and goes on after the last one it took."""

    def __init__(self, paths: Sequence[str], open_events: Connect, random: Random) -> None:
        """`paths` are the run's at each API; when one does not answer, the next is asked."""
        self._paths = cycle(paths)
        self._path = next(self._paths)
        self._open = open_events
        self._random = random
        self.events: list[JsonObject] = []
        self.cuts = 0
        self.refused = 0
        """Connections that the API did not take, or that broke by themselves."""
        self._changed = asyncio.Event()

    async def read(self) -> None:
        while not self.events or self.events[-1]["type"] not in FINAL_EVENTS:
            try:
                await self._read_some()
            except (aiohttp.ClientError, OSError, WebSocketException):
                self.refused += 1
                self._path = next(self._paths)

    async def _read_some(self) -> None:
        some = self._random.randint(1, 4) if self.cuts < CUTS else None
        events = self._open(self._path, self.events[-1]["seq"] if self.events else None)
        async with contextlib.aclosing(events):
            async for event in events:
                self.events.append(event)
                self._changed.set()
                some = None if some is None else some - 1
                if some == 0:
                    self.cuts += 1
                    return

    async def until(self, holds: Callable[[JsonObject], bool]) -> None:
        while not any(holds(event) for event in self.events):
            self._changed.clear()
            await self._changed.wait()

    def texts(self) -> dict[str, str]:
        story = RunStory()
        for event in self.events:
            story.take(RunEvent.model_validate(event))
        return {path: step.text for path, step in story.steps.items() if step.text}


async def test_rebuild_the_same_events_and_text(tmp_path: Path, temporal_address: str, redis_url: str) -> None:
    words = [f"w{n} " for n in range(80)]
    async with (
        open_live(tmp_path, temporal_address, redis_url, sqlite_database(tmp_path)) as live,
        contextlib.AsyncExitStack() as first,
    ):
        await _define(live, words)
        url = await first.enter_async_context(api_process(live.api.settings, free_port()))
        run_id = await live.start()
        paths = [f"{address.removeprefix('http://')}/api/v1/runs/{run_id}" for address in (url, live.api.url)]
        random = Random(SEED)
        readers = [CutReader(paths, events, Random(random.random())) for events in (over_sse, over_websocket)]
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for reader in readers:
                tasks.create_task(reader.read())
            for reader in readers:
                await reader.until(lambda event: event["type"] == "token" and event["attempt"] == 2)
            await first.aclose()
            await live.upstream.wait_for_calls(1, "held")
            live.upstream.release()
            await readers[0].until(lambda event: event["type"] == "step.waiting")
            (await live.api.post(f"/runs/{run_id}/approvals/review", {"decision": "approve"})).ok()

        sse, ws = readers
        assert (sse.cuts, ws.cuts) == (CUTS, CUTS)
        assert sse.refused > 0
        assert ws.refused > 0
        assert sse.events == ws.events
        whole = (await live.api.request("GET", f"/runs/{run_id}/events", headers={"Accept": "application/json"})).ok()
        assert sse.events == whole["items"]
        kinds = Counter((event["type"], event["step_id"], event["attempt"]) for event in sse.events)
        assert (kinds["step.retrying", "ask", 2], kinds["token", "ask", 1] > 0) == (1, True)
        assert sse.texts() == ws.texts() == {"ask": "".join(words), "tell": "".join(words)}
        outputs = {step["id"]: step["output"] for step in (await live.api.get(f"/runs/{run_id}")).ok()["steps"]}
        assert sse.texts() == {path: outputs[path] for path in ("ask", "tell")}


async def _define(live: Live, words: list[str]) -> None:
    retry: JsonObject = {"max_attempts": 3, "initial_interval": "50ms"}
    await live.workflow(
        {"id": "ask", "agent": {"message": "first"}, "retry": retry},
        {"id": "review", "approval": {"message": "Go on?"}},
        {"id": "tell", "agent": {"message": "second"}},
    )
    broken = Reply(tokens=words, token_delay=0.002, break_after=40)
    live.upstream.when("first", broken, Reply(tokens=words, token_delay=0.002, hold_after=40))
    live.upstream.when("second", Reply(tokens=words, token_delay=0.002))
