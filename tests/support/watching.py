"""Clients that watch a run, over server-sent events and over a WebSocket."""

import socket
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import orjson

from studio.contracts.base import Json, JsonObject
from studio.sse import EventSplitter, event_data
from tests.support.services import RunningApi


class Watch:
    """One SSE connection."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.raw = b""
        self._splitter = EventSplitter()
        self._ready: list[JsonObject] = []

    async def next(self) -> JsonObject | None:
        """The next event; None when the stream has ended."""
        while not self._ready:
            chunk = await self.answer.content.readany()
            if not chunk:
                return None
            self.raw += chunk
            found = [event_data(event) for event in self._splitter.feed(chunk)]
            self._ready += [orjson.loads(data) for data in found if data is not None]
        return self._ready.pop(0)

    async def until(self, event_type: str) -> list[JsonObject]:
        events: list[JsonObject] = []
        while not events or events[-1]["type"] != event_type:
            event = await self.next()
            assert event is not None, f"the stream ended before {event_type}"
            events.append(event)
        return events

    async def rest(self) -> list[JsonObject]:
        return [event async for event in self]

    async def __aiter__(self) -> AsyncGenerator[JsonObject]:
        while (event := await self.next()) is not None:
            yield event


async def so_far(api: RunningApi, run_id: str, **query: Any) -> JsonObject:
    """The page of events that there are."""
    return (await api.request("GET", f"/runs/{run_id}/events", headers={"Accept": "application/json"}, **query)).ok()


async def watch(
    api: RunningApi, run_id: str, after: str | None = None, http: aiohttp.ClientSession | None = None
) -> Watch:
    headers = {"Last-Event-ID": after} if after else {}
    answer = await (http or api.http).get(f"/api/v1/runs/{run_id}/events", headers=headers)
    assert answer.status == 200, await answer.read()
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Accel-Buffering"] == "no"
    return Watch(answer)


class Socket:
    """One WebSocket. Events and answers come in one line; `answers` keeps those that are no events."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.answers: list[JsonObject] = []
        self.code: int | None = None
        """That the server closed the socket with."""

    async def frame(self) -> JsonObject | None:
        """The next frame; None when the server closed the socket."""
        message = await self.ws.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            # The client's own `close_code` is of its answer, which may find nobody.
            self.code = message.data if message.type is aiohttp.WSMsgType.CLOSE else self.ws.close_code
            return None
        return orjson.loads(message.data)

    async def next(self) -> JsonObject | None:
        """The next event; None when the socket is closed."""
        while (frame := await self.frame()) is not None:
            if "seq" in frame:
                return frame
            self.answers.append(frame)
        return None

    async def until(self, event_type: str) -> list[JsonObject]:
        events: list[JsonObject] = []
        while not events or events[-1]["type"] != event_type:
            event = await self.next()
            assert event is not None, f"the socket was closed ({self.code}) before {event_type}"
            events.append(event)
        return events

    async def rest(self) -> list[JsonObject]:
        events: list[JsonObject] = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events

    async def say(self, **action: Json) -> JsonObject:
        """Send an action; the answer, past events that come before it."""
        await self.ws.send_str(orjson.dumps(action).decode())
        return await self.answer()

    async def answer(self) -> JsonObject:
        while (frame := await self.frame()) is not None:
            if "seq" not in frame:
                return frame
        raise AssertionError(f"the socket was closed ({self.code}) instead of an answer")

    def refused(self, answer: JsonObject, status: int, code: str) -> JsonObject:
        """The problem of an `error` frame that must be this one."""
        assert answer["type"] == "error", answer
        problem: JsonObject = answer["error"]
        assert (problem["status"], problem["type"]) == (status, f"urn:studio:{code}"), problem
        assert problem["title"]
        assert problem["detail"]
        return problem


async def open_socket(
    api: RunningApi,
    run_id: str,
    after: str | None = None,
    *,
    actor: str | None = None,
    http: aiohttp.ClientSession | None = None,
) -> Socket:
    query = {"after": after} if after else {}
    headers = {"X-Studio-Actor": actor} if actor else {}
    ws = await (http or api.http).ws_connect(f"/api/v1/runs/{run_id}/ws", params=query, headers=headers)
    return Socket(ws)


def types(events: list[JsonObject]) -> list[tuple[str, str | None]]:
    return [(event["type"], event["step_id"]) for event in events]


def narrow_socket(address: tuple[Any, ...]) -> socket.socket:
    """The kernel would take 32 MiB for a reader that does not read; this one leaves them with the server."""
    family, kind, protocol = address[:3]
    narrow = socket.socket(family, kind, protocol)
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    return narrow
