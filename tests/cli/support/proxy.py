"""A TCP proxy whose connections a test can cut."""

import asyncio
import contextlib
from typing import Self, cast
from urllib.parse import urlsplit


class Proxy:
    """Passes bytes on to `target`, an HTTP address; `url` is its own."""

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        self._host, self._port = address.hostname, address.port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.connections = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = cast("tuple[str, int]", self._server.sockets[0].getsockname())[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        self.thaw()
        self.cut()
        await asyncio.gather(*self._tasks)

    def cut(self) -> None:
        """Reset every open connection."""
        for writer in self._open:
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset every open connection, and every new one until `accept`."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        self._refusing = False

    def freeze(self) -> None:
        """Keep every connection and pass nothing on, as a process that was stopped does, until `thaw`."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        if self._refusing:
            writer.transport.abort()
            return
        with contextlib.suppress(ConnectionError):
            their_reader, their_writer = await asyncio.open_connection(self._host, self._port)
            pair = {writer, their_writer}
            self._open |= pair
            try:
                await asyncio.gather(self._pass(reader, their_writer), self._pass(their_reader, writer))
            finally:
                self._open -= pair
                for one in pair:
                    one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        writer.close()
