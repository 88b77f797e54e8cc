"""The floor of live events: one process, one Redis reader for all streams, each entry encoded once and written to all
who asked for its stream, and nothing else. `python -m bench.bare_fanout PORT REDIS_URL`; `GET /RUN` answers a stream.
"""

import asyncio
import sys
from collections import defaultdict
from typing import Any, cast

import orjson
import uvloop
from redis.asyncio import Redis

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n: ping\n\n\r\n"


class _Readers:
    def __init__(self) -> None:
        self.of: defaultdict[bytes, set[asyncio.Transport]] = defaultdict(set)
        self.changed = asyncio.Event()


class _Connection(asyncio.Protocol):
    def __init__(self, readers: _Readers) -> None:
        self._readers = readers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        run_id = data.split(b" ", 2)[1][1:]
        self._readers.of[b"studio:run:{%b}:events" % run_id].add(self._transport)
        self._readers.changed.set()
        self._transport.write(HEAD)


async def _read(redis: Any, readers: _Readers) -> None:
    await readers.changed.wait()
    positions: dict[bytes, bytes] = {}
    while True:
        positions = {stream: positions.get(stream, b"0") for stream in readers.of}
        answer = await redis.xread(positions, block=100)
        for stream, entries in cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", answer or []):
            positions[stream] = entries[-1][0]
            body = b"".join(_event(seq, fields[b"e"]) for seq, fields in entries)
            chunk = b"%x\r\n%b\r\n" % (len(body), body)
            for transport in readers.of[stream]:
                transport.write(chunk)


def _event(seq: bytes, stored: bytes) -> bytes:
    event = orjson.loads(stored)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        seq,
        event["type"].encode(),
        orjson.dumps(event | {"seq": seq.decode()}),
    )


async def _serve(port: int, redis_url: str) -> None:
    readers = _Readers()
    redis = cast("Any", Redis.from_url(redis_url, protocol=2))
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(readers), "127.0.0.1", port, backlog=1024
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve_forever())
        tasks.create_task(_read(redis, readers))


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
