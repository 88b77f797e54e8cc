"""One upstream at run time: its addresses, its credentials, its deadlines."""

import time

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from llm_service.settings import UpstreamConfig
from studio.clients.kept_connections import KeptConnections
from studio.masking import protect, protect_settings

MAX_HEADER_BYTES = 64 * 1024
"""Of one header, and of the status line."""
MAX_HEADERS = 512
REFUSAL_SECONDS = 3_600.0
MODELS_REMEMBERED = 10_000


class Upstream:
    """Prepared once, so that a call only copies headers."""

    def __init__(self, config: UpstreamConfig) -> None:
        self.config = config
        self.name = config.name
        self._base_url = config.base_url
        self._urls: dict[str, URL] = {}
        self._headers = CIMultiDict({"Content-Type": "application/json", "Accept-Encoding": "identity"})
        self._without_stream_options: dict[str, float] = {}
        """By model until when."""
        if config.api_key is not None:
            self._headers["Authorization"] = f"Bearer {config.api_key.get_secret_value()}"
        for name, value in config.headers.items():
            self._headers[name] = value.get_secret_value()
        protect_settings(config)
        protect([URL(config.base_url).password or ""])
        self.max_answer_bytes = config.max_answer_bytes
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

    def takes_stream_options(self, model: str) -> bool:
        """Whether the model has not lately refused the `stream_options` that we add."""
        return self._without_stream_options.get(model, 0.0) < time.monotonic()

    def refuses_stream_options(self, model: str) -> None:
        """Leave them out for an hour: the server behind an address may be replaced by one that takes them."""
        if len(self._without_stream_options) >= MODELS_REMEMBERED:  # their names come from callers
            self._without_stream_options.clear()
        self._without_stream_options[model] = time.monotonic() + REFUSAL_SECONDS


def open_connections() -> KeptConnections:
    """The pool to all upstreams. How many connections there are is the callers' choice, not a limit of ours."""
    return KeptConnections(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        keepalive_seconds=30,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
    )
