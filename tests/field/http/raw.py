"""HTTP/1.1 by hand: what no client library would send."""

import asyncio
from urllib.parse import urlsplit


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(url)
    return await asyncio.open_connection(address.hostname, address.port)


async def ask(url: str, *lines: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send these lines and the body; the status and all that is answered until the service closes."""
    reader, writer = await connect(url)
    try:
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body)
        await writer.drain()
        return await answered(reader)
    finally:
        writer.close()


async def answered(reader: asyncio.StreamReader, seconds: float = 20) -> tuple[int, bytes]:
    async with asyncio.timeout(seconds):
        raw = await reader.read()
    return int(raw.split(b" ", 2)[1]) if raw else 0, raw
