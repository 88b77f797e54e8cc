"""A server that ends a kept connection: at once it has not taken the request up, later it may have."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from studio.clients import kept_connections
from studio.clients.kept_connections import KeptConnections

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Server:
    """Answers the first request of a connection, and ends it after the second has come and `work_seconds` are over."""

    def __init__(self, work_seconds: float) -> None:
        self.requests = 0
        self._work_seconds = work_seconds

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answers in (True, False):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = _LENGTH.search(head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            self.requests += 1
            if answers:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()
            else:
                await asyncio.sleep(self._work_seconds)
        writer.close()


@asynccontextmanager
async def posting(server: Server) -> AsyncGenerator[tuple[KeptConnections, str]]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    async with listening, KeptConnections(timeout=aiohttp.ClientTimeout(total=20)) as connections:
        yield connections, f"http://{host}:{port}/"


async def post(connections: KeptConnections, url: str) -> bytes:
    async with await connections.post(url, b"call") as answer:
        return await answer.read()


async def test_a_connection_that_ends_at_once_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_connections, "CROSSING_SECONDS", 10)  # however busy the machine is
    server = Server(work_seconds=0)
    async with posting(server) as (connections, url):
        assert [await post(connections, url) for _ in range(2)] == [b"{}", b"{}"]
    assert server.requests == 3


async def test_a_call_that_the_server_has_worked_on_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_connections, "CROSSING_SECONDS", 0.05)
    server = Server(work_seconds=0.2)
    async with posting(server) as (connections, url):
        await post(connections, url)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(connections, url)
    assert server.requests == 2
