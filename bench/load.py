"""A load generator that costs little: a protocol a connection, requests made beforehand, one at a time on each.

`python -m bench.load PORT CONCURRENCY SECONDS BODY [PATH]` prints `{"per_second", "p50_ms", "p99_ms", "first_p50_ms"}`;
`first` is the time to the first event of a stream.
"""

import asyncio
import gc
import sys
import time
from typing import cast

import orjson
import uvloop

from bench.harness import percentile

WARM_UP_SECONDS = 0.4


class _Client(asyncio.Protocol):
    """Sends the next request when an answer is whole; `latencies` and `firsts` are in seconds."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._head_seen = False
        self._needed = 0
        self._chunked = False
        self._buffer = b""
        self.latencies: list[float] = []
        self.firsts: list[float] = []
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._head_seen, self._buffer, self._first = False, b"", 0.0
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._head_seen:
            head_end = self._buffer.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = self._buffer[:head_end].lower()
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(self._buffer.decode())
            self._head_seen = True
            self._chunked = b"transfer-encoding: chunked" in head
            if not self._chunked:
                self._needed = head_end + 4 + int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        if self._chunked:
            if not self._first and b"data: " in self._buffer:
                self._first = time.perf_counter() - self._sent
            whole = self._buffer.endswith(b"0\r\n\r\n")
        else:
            whole = len(self._buffer) >= self._needed
        if whole:
            self.latencies.append(time.perf_counter() - self._sent)
            self.firsts.append(self._first)
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(exc)

    def stop(self) -> None:
        self._transport.abort()


async def _run(port: int, concurrency: int, seconds: float, body: bytes, path: str) -> dict[str, float]:
    headers = ("Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {len(body)}")
    head = "\r\n".join([f"POST {path} HTTP/1.1", *headers, "", ""])
    loop = asyncio.get_running_loop()
    clients: list[_Client] = []
    for _ in range(concurrency):
        _, client = await loop.create_connection(lambda: _Client(head.encode() + body), "127.0.0.1", port)
        clients.append(client)
    await asyncio.sleep(WARM_UP_SECONDS)
    before = [len(client.latencies) for client in clients]
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - started
    latencies: list[float] = []
    firsts: list[float] = []
    for client, skipped in zip(clients, before, strict=True):
        if client.closed.done():
            raise RuntimeError("the server closed a connection")
        latencies += client.latencies[skipped:]
        firsts += client.firsts[skipped:]
        client.stop()
    return {
        "per_second": len(latencies) / elapsed,
        "p50_ms": percentile(latencies, 50) * 1000,
        "p99_ms": percentile(latencies, 99) * 1000,
        "first_p50_ms": percentile(firsts, 50) * 1000,
    }


if __name__ == "__main__":
    gc.disable()
    port, concurrency, seconds, body = sys.argv[1:5]
    path = sys.argv[5] if len(sys.argv) > 5 else "/v1/chat/completions"
    print(orjson.dumps(uvloop.run(_run(int(port), int(concurrency), float(seconds), body.encode(), path))).decode())
