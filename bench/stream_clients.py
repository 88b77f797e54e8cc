"""Readers of event streams that cost little: a protocol a connection, which looks for the times in the tokens only.

`python -m bench.stream_clients PORT READERS PATH...` opens READERS connections, in turns to each path, prints `ready`
when all of them are answered, and after the last run's end `{"p50_ms", "p99_ms", "tokens"}`: how long tokens were under
way that were sent since the reader was answered. A token's text is the moment it was sent, in nanoseconds of
`time.monotonic`, and a space.
"""

import asyncio
import gc
import re
import sys
import time
from typing import cast

import orjson
import uvloop

from bench.harness import percentile

_TOKEN = re.compile(rb'"text":"([0-9]+) "')
_END = b"event: run.succeeded"
BATCH = 50
"""Connections that are opened at once."""


class _Reader(asyncio.Protocol):
    def __init__(self, path: str) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n".encode()
        self._rest = b""
        self.answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.delays: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self.answered.done():
            if not data.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(data.decode())
            self.answered.set_result(now)
        whole, separator, self._rest = (self._rest + data).rpartition(b"\n\n")
        if separator:
            sent = map(int, _TOKEN.findall(whole))
            self.delays += [now - moment for moment in sent if moment > self.answered.result()]
            if _END in whole and not self.ended.done():
                self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("closed before the run's end"))


async def _run(port: int, count: int, paths: list[str]) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    readers: list[_Reader] = []
    for number in range(count):
        path = paths[number % len(paths)]
        _, reader = await loop.create_connection(lambda path=path: _Reader(path), "127.0.0.1", port)
        readers.append(reader)
        if len(readers) % BATCH == 0:
            await asyncio.gather(*(one.answered for one in readers))
    await asyncio.gather(*(one.answered for one in readers))
    print("ready", flush=True)
    await asyncio.gather(*(one.ended for one in readers))
    delays = [delay / 1e6 for reader in readers for delay in reader.delays]
    return {"p50_ms": percentile(delays, 50), "p99_ms": percentile(delays, 99), "tokens": len(delays)}


if __name__ == "__main__":
    gc.disable()
    print(orjson.dumps(uvloop.run(_run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))).decode(), flush=True)
