"""One upstream at run time: its addresses, its credentials, its deadlines."""

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from llm_service.settings import UpstreamConfig

REDACTED = b"********"


class Upstream:
    """Prepared once, so that a call only copies headers."""

    def __init__(self, config: UpstreamConfig) -> None:
        self.config = config
        self.name = config.name
        self._base_url = config.base_url
        self._urls: dict[str, URL] = {}
        self._headers = CIMultiDict({"Content-Type": "application/json", "Accept-Encoding": "identity"})
        self._secrets: list[bytes] = []
        if config.api_key is not None:
            key = config.api_key.get_secret_value()
            self._headers["Authorization"] = f"Bearer {key}"
            self._secrets.append(key.encode())
        for name, value in config.headers.items():
            self._headers[name] = value.get_secret_value()
            self._secrets.append(value.get_secret_value().encode())
        self.connect_timeout = aiohttp.ClientTimeout(total=None, sock_connect=config.timeouts.connect)

    def url(self, path: str) -> URL:
        """`path` starts with a slash and follows the base URL."""
        known = self._urls.get(path)
        if known is None:
            known = self._urls[path] = URL(self._base_url + path)
        return known

    def headers(self) -> CIMultiDict[str]:
        """A copy to which a call adds its own."""
        return self._headers.copy()

    def redact(self, body: bytes) -> bytes:
        """An error body without our credentials: some upstreams repeat the key that they refuse."""
        for secret in self._secrets:
            if len(secret) >= 8:
                body = body.replace(secret, REDACTED)
        return body


def open_session() -> aiohttp.ClientSession:
    """The pool to all upstreams. How many connections there are is the callers' choice, not a limit of ours."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
    )
