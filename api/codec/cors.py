"""Lets the Temporal UI's pages, which come from another origin, ask the codec."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

HEADERS = ("Content-Type", "X-Namespace", "Authorization", "Authorization-Extras")
"""What the Temporal UI sends."""
PREFLIGHT_SECONDS = 600
_LOOPBACK = ("localhost", "127.0.0.1")


class CodecCors:
    """CORS for the paths below `prefix`, and for the Temporal UI at `ui_url` alone."""

    def __init__(self, app: ASGIApp, *, prefix: str, ui_url: str) -> None:
        self._app = app
        self._prefix = f"{prefix}/"
        self._cors = CORSMiddleware(
            app,
            allow_origins=origins(ui_url),
            allow_methods=["POST"],
            allow_headers=HEADERS,
            allow_credentials=True,
            max_age=PREFLIGHT_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answered = scope["type"] == "http" and scope["path"].startswith(self._prefix)
        await (self._cors if answered else self._app)(scope, receive, send)


def origins(ui_url: str) -> Sequence[str]:
    """What a browser calls the origin of pages from `ui_url`: on loopback people type either name."""
    address = urlsplit(ui_url)
    hosts = _LOOPBACK if address.hostname in _LOOPBACK else (address.hostname or "",)
    port = f":{address.port}" if address.port else ""
    return [f"{address.scheme}://{host}{port}" for host in hosts]
