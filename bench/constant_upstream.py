"""The fastest OpenAI-compatible upstream that Python can be: an `asyncio.Protocol` with answers made beforehand.

Answers chat completions (a stream of 50 tokens for a body with `"stream":true`), `/v1/models`, and swallows spans at
`/api/v1/traces`. Run as `python -m bench.constant_upstream PORT`.
"""

import asyncio
import sys
from typing import cast

import orjson
import uvloop

TOKENS = 50
USAGE = {"prompt_tokens": 20, "completion_tokens": TOKENS, "total_tokens": 20 + TOKENS}


def _answer(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return _framed(b"data: " + orjson.dumps(event) + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_MESSAGE = {"role": "assistant", "content": "word " * TOKENS}
WHOLE = _answer(
    "200 OK",
    orjson.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    ),
)
STREAM = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    *[_chunk({"content": "word "}) for _ in range(TOKENS)],
    _chunk({}, "stop")
    + _framed(b'data: {"choices":[],"usage":' + orjson.dumps(USAGE) + b"}\n\n")
    + _framed(b"data: [DONE]\n\n")
    + b"0\r\n\r\n",
]
MODELS = _answer("200 OK", b'{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"bench"}]}')
TRACES = _answer("202 Accepted", b'{"accepted":0,"rejected":[]}')


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head_end = self._buffer.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = self._buffer[:head_end].lower()
            _, found, length = head.partition(b"content-length: ")
            end = head_end + 4 + (int(length.split(b"\r\n", 1)[0]) if found else 0)
            if len(self._buffer) < end:
                return
            body, self._buffer = self._buffer[head_end + 4 : end], self._buffer[end:]
            self._reply(head, body)

    def _reply(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"post /api/v1/traces"):
            self._transport.write(TRACES)
        elif head.startswith(b"get "):
            self._transport.write(MODELS)
        elif b'"stream":true' in body:
            for piece in STREAM:
                self._transport.write(piece)
        else:
            self._transport.write(WHOLE)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
