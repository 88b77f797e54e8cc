"""POST over connections that are kept, without paying for the moment in which a server closes an idle one."""

import io
import time
from contextvars import ContextVar
from typing import Any, Self

import aiohttp
from yarl import URL

LARGE_BODY_BYTES = 1 << 20
"""From here on aiohttp wants a file, which it writes in pieces."""
CROSSING_SECONDS = 1.0
"""A request and the server's close that cross on their way are known of after about one round trip."""


_is_kept: ContextVar[bool] = ContextVar("is_kept")
"""Whether the task's last request went out on a connection that was there before."""


class _Connector(aiohttp.TCPConnector):
    """Notes when it opens a connection: aiohttp's own way, tracing, costs each request a tenth of a gateway's time."""

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> Any:
        _is_kept.set(False)
        return await super()._create_connection(req, traces, timeout)


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
        self._kept = self._session(_Connector(limit=0, ttl_dns_cache=60, keepalive_timeout=self._keepalive_seconds))
        self._new = self._session(aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, force_close=True))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._kept.close()
        await self._new.close()

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **self._options)

    async def get(self, url: URL, **options: Any) -> aiohttp.ClientResponse:
        """The options are aiohttp's."""
        return await self._kept.get(url, **options)

    async def post(self, url: str | URL, body: bytes, **options: Any) -> aiohttp.ClientResponse:
        """The head of the answer; whoever reads the rest also releases it. Raises what aiohttp raises."""
        began = time.monotonic()
        _is_kept.set(True)
        try:
            return await self._kept.post(url, data=_data(body), **options)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as error:
            if not _is_kept.get() or _has_begun(error) or time.monotonic() > began + CROSSING_SECONDS:
                raise
        return await self._new.post(url, data=_data(body), **options)


def _has_begun(error: Exception) -> bool:
    """Whether a part of the answer's head had come: aiohttp gives it in place of the message."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)


def _data(body: bytes) -> bytes | io.BytesIO:
    return body if len(body) < LARGE_BODY_BYTES else io.BytesIO(body)
