"""An OpenAI-compatible server whose answers a test writes beforehand, with a ledger of the calls it received.

In a test's own loop:

    async with ScriptedUpstream() as upstream:
        upstream.when("weather", Reply(status=503), Reply(text="Sunny."))   # in order; the last one repeats
        ...
        assert [call.outcome for call in upstream.calls] == ["answered", "answered"]

As a process of its own (`python -m tests.support.scripted_upstream --port N`, address on stdout) the same is steered
over HTTP: `POST /control/script {"match": "weather", "replies": [...]}`, `GET /control/calls[?held=N]` (waits until N
calls are held), `POST /control/release`, `POST /control/reset`.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import re
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, cast

from aiohttp import web

from studio.contracts.base import Contract, JsonObject

MODELS = ("scripted", "gpt-4o-mini", "text-embedding-3-small")
Outcome = Literal["open", "held", "answered", "broken", "abandoned"]


class ScriptedTool(Contract):
    id: str = "call_1"
    name: str
    arguments: str = "{}"


class Reply(Contract):
    """One answer. Numbers of tokens count the pieces of a stream."""

    text: str = "Hello from the script."
    tokens: list[str] | None = None
    """The pieces of a stream; by default `text` word by word."""
    reasoning: list[str] = []
    tool_calls: list[ScriptedTool] = []
    finish_reason: str | None = None
    """By default `stop`, or `tool_calls`."""
    usage: JsonObject | None = None
    """By default 10 prompt tokens and one completion token a piece."""
    usage_shape: Literal["last", "beside", "cumulative", "never"] = "last"
    """In a chunk of its own at the end, beside the last choice, on every chunk, or not at all (not even unstreamed)."""
    status: int = 200
    error: JsonObject | None = None
    headers: dict[str, str] = {}
    delay: float = 0.0
    """Seconds before the answer's head."""
    token_delay: float = 0.0
    hold_after: int | None = None
    """Wait for `release` after so many tokens; 0: before the head."""
    break_after: int | None = None
    """Cut the connection after so many tokens; 0: before the head."""
    endless: bool = False
    """Repeat the tokens until the caller leaves."""
    done: bool = True
    """Whether the stream ends with its finish reason and `[DONE]`."""
    raw: list[str] | None = None
    """The stream as it is, instead of all of the above."""

    def pieces(self) -> list[str]:
        return self.tokens if self.tokens is not None else re.findall(r"\S+\s*", self.text)

    def ending(self) -> str:
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    def usage_object(self, produced: int) -> JsonObject:
        counted = {"prompt_tokens": 10, "completion_tokens": produced, "total_tokens": 10 + produced}
        return self.usage if self.usage is not None else counted


@dataclass
class ReceivedCall:
    """A call as it came in and how it ended; times are of `time.monotonic`."""

    path: str
    text: str
    """Of the last user message, the prompt or the input: what the script matches."""
    body: JsonObject
    headers: dict[str, str]
    """Names in lower case."""
    began: float
    outcome: Outcome = "open"
    ended: float | None = None
    tokens_sent: int = 0


@dataclass
class _Rule:
    match: str
    replies: list[Reply]
    used: int = 0

    def next(self) -> Reply:
        reply = self.replies[min(self.used, len(self.replies) - 1)]
        self.used += 1
        return reply


@dataclass
class _Exchange:
    request: web.Request
    call: ReceivedCall
    reply: Reply
    held: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{time.monotonic_ns()}")

    @property
    def chat(self) -> bool:
        return self.call.path.endswith("/chat/completions")


class _Cut(Exception):
    """The script says to cut the connection here."""


class ScriptedUpstream:
    """A real HTTP server on loopback; `url` has no `/v1`."""

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._rules: list[_Rule] = []
        self._released = asyncio.Event()
        self._changed = asyncio.Event()
        self.calls: list[ReceivedCall] = []
        self.default = Reply()
        """For calls that no rule matches."""
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        for prefix in ("", "/v1"):
            app.router.add_get(f"{prefix}/models", self._models)
            app.router.add_post(f"{prefix}/chat/completions", self._answer)
            app.router.add_post(f"{prefix}/completions", self._answer)
            app.router.add_post(f"{prefix}/embeddings", self._answer)
        app.router.add_post("/control/script", self._control_script)
        app.router.add_get("/control/calls", self._control_calls)
        app.router.add_post("/control/release", self._control_release)
        app.router.add_post("/control/reset", self._control_reset)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = cast("tuple[str, int]", self._runner.addresses[0])[1]
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._released.set()
        await self._runner.cleanup()

    def when(self, match: str, *replies: Reply) -> None:
        """Calls whose text contains `match` get these replies in order, and the last one from then on. The newest
        rule that matches counts."""
        self._rules.insert(0, _Rule(match, list(replies)))

    def release(self) -> None:
        """Let every held call go on; later ones are held again."""
        self._released.set()
        self._released = asyncio.Event()

    async def wait_for_calls(self, count: int, outcome: Outcome | None = None) -> list[ReceivedCall]:
        """Wait until `count` calls have come in (and are in this state); they are returned."""

        def found() -> list[ReceivedCall]:
            return [call for call in self.calls if outcome is None or call.outcome == outcome]

        while len(found()) < count:
            await self._changed.wait()
        return found()

    async def _models(self, _request: web.Request) -> web.Response:
        data = [{"id": name, "object": "model", "created": 1, "owned_by": "script"} for name in MODELS]
        return web.json_response({"object": "list", "data": data})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body: JsonObject = await request.json()
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = ReceivedCall(request.path, _text_of(body), body, headers, time.monotonic())
        self.calls.append(call)
        rule = next((rule for rule in self._rules if rule.match in call.text), None)
        exchange = _Exchange(request, call, rule.next() if rule else self.default)
        self._set(call, "open")
        try:
            response = await self._play(exchange)
        except _Cut:
            self._set(call, "broken")
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # goes nowhere: the connection is gone
        except (asyncio.CancelledError, ConnectionError):
            self._set(call, "abandoned")
            raise
        self._set(call, "answered")
        return response

    async def _play(self, exchange: _Exchange) -> web.StreamResponse:
        reply, call = exchange.reply, exchange.call
        await asyncio.sleep(reply.delay)
        await self._before_token(exchange, 0)
        if reply.status != 200:
            error = {"error": {"message": f"scripted {reply.status}", "type": "scripted", "code": None}}
            return web.json_response(reply.error or error, status=reply.status, headers=reply.headers)
        if call.path.endswith("/embeddings"):
            return web.json_response(_embeddings(reply, call.body), headers=reply.headers)
        if call.body.get("stream") is True:
            return await self._stream(exchange)
        return web.json_response(_whole(exchange), headers=reply.headers)

    async def _stream(self, exchange: _Exchange) -> web.StreamResponse:
        reply = exchange.reply
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **reply.headers})
        await response.prepare(exchange.request)
        if reply.raw is not None:
            for piece in reply.raw:
                await response.write(piece.encode())
            return response
        async for event in self._events(exchange):
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        if reply.done:
            await response.write(b"data: [DONE]\n\n")
        return response

    async def _events(self, exchange: _Exchange) -> AsyncGenerator[JsonObject]:
        reply, call = exchange.reply, exchange.call
        for thought in reply.reasoning:
            yield _chunk(exchange, {"reasoning_content": thought})
        pieces = reply.pieces()
        while True:
            for piece in pieces:
                await self._before_token(exchange, call.tokens_sent)
                yield _chunk(exchange, {"content": piece})
                call.tokens_sent += 1
                await asyncio.sleep(reply.token_delay)
            if not reply.endless:
                break
        await self._before_token(exchange, call.tokens_sent)
        for index, tool in enumerate(reply.tool_calls):
            head = {"index": index, "id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": ""}}
            yield _chunk(exchange, {"tool_calls": [head]})
            for start in range(0, len(tool.arguments), 5):
                piece = {"index": index, "function": {"arguments": tool.arguments[start : start + 5]}}
                yield _chunk(exchange, {"tool_calls": [piece]})
        if not reply.done:
            return
        last = _chunk(exchange, {}, reply.ending())
        if reply.usage_shape == "beside":
            last["usage"] = reply.usage_object(call.tokens_sent)
        yield last
        if reply.usage_shape == "last" and _asks_for_usage(call.body):
            yield {**_chunk(exchange, {}), "choices": [], "usage": reply.usage_object(call.tokens_sent)}

    async def _before_token(self, exchange: _Exchange, position: int) -> None:
        """Hold or cut here when the script says so."""
        reply, call = exchange.reply, exchange.call
        if reply.hold_after == position and not exchange.held:
            exchange.held = True
            released = self._released
            self._set(call, "held")
            await released.wait()
            self._set(call, "open")
        if reply.break_after == position:
            raise _Cut

    def _set(self, call: ReceivedCall, outcome: Outcome) -> None:
        call.outcome = outcome
        if outcome not in {"open", "held"}:
            call.ended = time.monotonic()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _control_script(self, request: web.Request) -> web.Response:
        script = await request.json()
        self.when(script["match"], *(Reply.model_validate(reply) for reply in script["replies"]))
        return web.json_response({})

    async def _control_calls(self, request: web.Request) -> web.Response:
        if "held" in request.query:
            await self.wait_for_calls(int(request.query["held"]), "held")
        return web.json_response([asdict(call) for call in self.calls])

    async def _control_release(self, _request: web.Request) -> web.Response:
        self.release()
        return web.json_response({})

    async def _control_reset(self, _request: web.Request) -> web.Response:
        self.release()
        self.calls.clear()
        self._rules.clear()
        return web.json_response({})


def _text_of(body: JsonObject) -> str:
    messages = cast("list[JsonObject]", body.get("messages") or [])
    last = next((message for message in reversed(messages) if message.get("role") == "user"), None)
    content: Any = last.get("content") if last else body.get("prompt", body.get("input"))
    return content if isinstance(content, str) else json.dumps(content)


def _asks_for_usage(body: JsonObject) -> bool:
    return bool(cast("JsonObject", body.get("stream_options") or {}).get("include_usage"))


def _chunk(exchange: _Exchange, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
    call, reply = exchange.call, exchange.reply
    choice: JsonObject = {"index": 0, "finish_reason": finish_reason}
    choice |= {"delta": delta} if exchange.chat else {"text": delta.get("content", "")}
    chunk: JsonObject = {
        "id": exchange.id,
        "object": "chat.completion.chunk" if exchange.chat else "text_completion",
        "created": 1,
        "model": call.body["model"],
        "choices": [choice],
    }
    if reply.usage_shape == "cumulative":
        chunk["usage"] = reply.usage_object(call.tokens_sent + (1 if delta.get("content") else 0))
    elif reply.usage_shape == "last" and _asks_for_usage(call.body):
        chunk["usage"] = None  # as OpenAI does
    return chunk


def _whole(exchange: _Exchange) -> JsonObject:
    reply, call = exchange.reply, exchange.call
    choice: JsonObject = {"index": 0, "finish_reason": reply.ending(), "logprobs": None}
    if exchange.chat:
        message: JsonObject = {"role": "assistant", "content": reply.text if not reply.tool_calls else None}
        if reply.tool_calls:
            message["tool_calls"] = [
                {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}
                for tool in reply.tool_calls
            ]
        choice["message"] = message
    else:
        choice["text"] = reply.text
    answer: JsonObject = {
        "id": exchange.id,
        "object": "chat.completion" if exchange.chat else "text_completion",
        "created": 1,
        "model": call.body["model"],
        "choices": [choice],
    }
    if reply.usage_shape != "never":
        answer["usage"] = reply.usage_object(len(reply.pieces()))
    return answer


def _embeddings(reply: Reply, body: JsonObject) -> JsonObject:
    """Eight numbers that depend on the text alone."""
    given: Any = body["input"]
    texts = cast("list[Any]", given) if isinstance(given, list) else [given]
    data = [
        {"object": "embedding", "index": index, "embedding": [byte / 255 for byte in _digest(text)]}
        for index, text in enumerate(texts)
    ]
    usage = (
        reply.usage if reply.usage is not None else {"prompt_tokens": 4 * len(texts), "total_tokens": 4 * len(texts)}
    )
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def _digest(text: object) -> bytes:
    return hashlib.sha256(str(text).encode()).digest()[:8]


async def _serve(port: int) -> None:
    async with ScriptedUpstream(port) as upstream:
        sys.stdout.write(upstream.url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
