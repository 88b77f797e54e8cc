"""Server-sent events on the reading side (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import re
from collections.abc import Iterator

_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")


class EventSplitter:
    """Cuts a byte stream into whole events, each with the blank line that ends it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the events that `chunk` completes; what is left waits for the next one."""
        buffer = self._rest + chunk if self._rest else chunk
        start = 0
        for match in _END_OF_EVENT.finditer(buffer):
            yield buffer[start : match.end()]
            start = match.end()
        self._rest = buffer[start:]

    @property
    def rest(self) -> bytes:
        """An event that has begun and not ended: when the stream is over, it was cut."""
        return self._rest


def event_data(event: bytes) -> bytes | None:
    """The `data` of one event, its lines joined by newlines; None for a comment (a ping)."""
    if event.startswith(b"data: ") and event.find(b"\n") >= len(event) - 2:
        return event[6:].rstrip(b"\r\n")
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
