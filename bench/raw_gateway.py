"""The floor of a Python gateway: raw ASGI that passes bytes on with the aiohttp client, and does nothing else.

Run as `python -m bench.raw_gateway PORT UPSTREAM_PORT`; served exactly as our services are.
"""

import sys

import aiohttp
from starlette.types import Message, Receive, Scope, Send

from studio.web.serve import serve


class RawGateway:
    def __init__(self, upstream: str) -> None:
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {"Content-Type": "application/json"}
        async with self._session.request(
            scope["method"], self._upstream + scope["path"], data=body or None, headers=headers
        ) as answer:
            content_type = answer.headers["Content-Type"].encode()
            headers_out = [(b"content-type", content_type)]
            head: Message = {"type": "http.response.start", "status": answer.status, "headers": headers_out}
            if answer.content_type != "text/event-stream":
                whole = await answer.read()
                headers_out.append((b"content-length", str(len(whole)).encode()))
                await send(head)
                await send({"type": "http.response.body", "body": whole})
                return
            await send(head)
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._session.close()
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    serve(RawGateway(f"http://127.0.0.1:{sys.argv[2]}"), "127.0.0.1", int(sys.argv[1]))
