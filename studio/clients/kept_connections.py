"""POST over connections that are kept, without paying for the moment in which a server closes an idle one."""

import io
import time
from types import SimpleNamespace
from typing import Any, Self

import aiohttp
from yarl import URL

LARGE_BODY_BYTES = 1 << 20
"""From here on aiohttp wants a file, which it writes in pieces."""
CROSSING_SECONDS = 1.0
"""A request and the server's close that cross on their way are known of after about one round trip."""


class _Way:
    """On what connection a request went out."""

    is_kept = False


async def _on_reuse(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
    way: _Way = context.trace_request_ctx
    way.is_kept = True


class KeptConnections:
    """`async with KeptConnections(...) as connections`: a pool of as many connections as its callers need.

    A server may close an idle connection just when the next request goes out on it. Such a request, of whose answer not
    a byte has come, is sent once more on a new connection, if the old one ends at once: the server has not taken it up,
    so that this is no retry of a call (RFC 9112 section 9.3.1). One that ends later may have been taken up, and is not.
    """

    def __init__(self, *, timeout: aiohttp.ClientTimeout, keepalive_seconds: float = 15.0, **limits: int) -> None:
        """`limits` are those of aiohttp's sessions, such as `max_field_size`."""
        self._keepalive_seconds = keepalive_seconds
        self._options: dict[str, Any] = {"timeout": timeout, **limits}

    async def __aenter__(self) -> Self:
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_on_reuse)
        kept = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=self._keepalive_seconds)
        self._kept = self._session(kept, trace_configs=[tracing])
        self._new = self._session(aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, force_close=True))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._kept.close()
        await self._new.close()

    def _session(self, connector: aiohttp.TCPConnector, **options: Any) -> aiohttp.ClientSession:
        cookies = aiohttp.DummyCookieJar()
        return aiohttp.ClientSession(connector=connector, cookie_jar=cookies, **self._options, **options)

    async def get(self, url: URL, **options: Any) -> aiohttp.ClientResponse:
        """The options are aiohttp's."""
        return await self._kept.get(url, trace_request_ctx=_Way(), **options)

    async def post(self, url: str | URL, body: bytes, **options: Any) -> aiohttp.ClientResponse:
        """The head of the answer; whoever reads the rest also releases it. Raises what aiohttp raises."""
        way, began = _Way(), time.monotonic()
        try:
            return await self._kept.post(url, data=_data(body), trace_request_ctx=way, **options)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as error:
            if not way.is_kept or _has_begun(error) or time.monotonic() > began + CROSSING_SECONDS:
                raise
        return await self._new.post(url, data=_data(body), **options)


def _has_begun(error: Exception) -> bool:
    """Whether a part of the answer's head had come: aiohttp gives it in place of the message."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)


def _data(body: bytes) -> bytes | io.BytesIO:
    return body if len(body) < LARGE_BODY_BYTES else io.BytesIO(body)
