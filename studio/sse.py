"""Server-sent events on the reading side (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import re

_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")


class EventSplitter:
    """Cuts a byte stream into whole events, each with the blank line that ends it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes; what is left waits for the next one."""
        buffer = self._rest + chunk if self._rest else chunk
        if b"\r" not in buffer:  # lines end with a bare newline, as nearly everybody sends them
            *events, self._rest = buffer.split(b"\n\n")
            return [event + b"\n\n" for event in events]
        events: list[bytes] = []
        start = 0
        for match in _END_OF_EVENT.finditer(buffer):
            events.append(buffer[start : match.end()])
            start = match.end()
        self._rest = buffer[start:]
        return events

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
