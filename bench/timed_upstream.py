"""An OpenAI-compatible upstream whose tokens say when they were sent: each caller gets `TOKENS`, `RATE` a second.

Also swallows spans at `/api/v1/traces`. Run as `python -m bench.timed_upstream PORT`.
"""

import asyncio
import sys
import time

import orjson
import uvloop

from bench.constant_upstream import MODELS, TRACES

TOKENS = 100
RATE = 20.0
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            if head.startswith(b"GET "):
                writer.write(MODELS)
            elif b"/traces" in lines[0]:
                writer.write(TRACES)
            else:
                await _stream(writer)
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _stream(writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD)
    began = time.monotonic()
    for number in range(TOKENS):
        await asyncio.sleep(max(began + number / RATE - time.monotonic(), 0))
        writer.write(_chunk({"content": f"{time.monotonic_ns()} "}, None))
    writer.write(_chunk({}, "stop") + b"data: [DONE]\n\n")
    await writer.drain()


def _chunk(delta: dict[str, str], finish_reason: str | None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return b"data: " + orjson.dumps(event) + b"\n\n"


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
