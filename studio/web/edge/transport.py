"""uvicorn's HTTP/1.1 protocol with what a gateway in front would do: limits and deadlines of requests.

uvicorn itself takes headers of any size and number, and waits for the rest of a request for ever.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers; what comes in one read with their end may be more by as much as that read (256 KiB). Also
what comes in a row in a body and is none of it: trailers and extensions of chunks.
"""
MAX_HEADERS = 200
HEAD_SECONDS = 20.0
"""From a request's first byte, or the connection's, to the end of its headers."""
BODY_GRACE_SECONDS = 30.0
BODY_BYTES_A_SECOND = 1024
"""What a body must come with, on average, once the grace is over."""
LINGER_SECONDS = 1.0
_TOO_LARGE = b"431 Request Header Fields Too Large"
_TOO_SLOW = b"408 Request Timeout"


class BoundedProtocol(HttpToolsProtocol):
    """Answers 431 to headers that are too large or too many, and 408 to a request that does not come."""

    _reading: str | None = "head"
    """What of a request is still to come: its `head`, its `body`, or None."""
    _bytes = 0
    """Received of it."""
    _fruitless = 0
    """Received since the last byte of a body."""
    _since = 0.0
    _deadline: asyncio.TimerHandle | None = None
    _too_many = False
    _refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # pyright: ignore[reportArgumentType] - as uvicorn narrows it
        self._expect("head")
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._bytes += len(data)
        self._fruitless += len(data)
        super().data_received(data)
        if self._refused:
            return
        if self._reading is None or self.transport.is_closing():
            self._rest()
        elif (self._bytes if self._reading == "head" else self._fruitless) > MAX_HEAD_BYTES:
            self._refuse(_TOO_LARGE)
        elif self._deadline is None:
            self._watch()

    def handle_websocket_upgrade(self) -> None:
        self._reading = None
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        if self._too_many:
            self._refuse(_TOO_LARGE)
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect("head")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading == "head":  # else it is a trailer, which is no header (RFC 9110 section 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.headers) > MAX_HEADERS:
            self._too_many = True
            raise ValueError  # ends the parser's work; `send_400_response` is what follows
        super().on_headers_complete()
        self._expect("body")

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._reading = None

    def _expect(self, part: str) -> None:
        self._reading, self._bytes, self._fruitless, self._since = part, 0, 0, self.loop.time()

    def _watch(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._check)

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _check(self) -> None:
        self._deadline = None
        if self._reading is None or self.transport.is_closing():
            return
        now = self.loop.time()
        if self.flow.read_paused:  # it is us who keep it waiting
            self._expect(self._reading)
        allowed = HEAD_SECONDS if self._reading == "head" else BODY_GRACE_SECONDS + self._bytes / BODY_BYTES_A_SECOND
        left = self._since + allowed - now
        if left > 0:
            self._deadline = self.loop.call_later(left, self._check)
        else:
            self._refuse(_TOO_SLOW)

    def _refuse(self, status: bytes) -> None:
        """What still comes is dropped for a moment: closed at once, the connection would lose the answer as well."""
        self._rest()
        self._refused = True
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete or not cycle.response_started:  # else it would be in the middle
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)
