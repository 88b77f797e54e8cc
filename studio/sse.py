"""Server-sent events on the reading side (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import re

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""Of one event, unless its reader says otherwise."""
_END_OF_EVENT = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LONGEST_END = 4
_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event has begun that is larger than its reader takes."""


class EventSplitter:
    """Cuts a byte stream into whole events, each with the blank line that ends it, in time linear in the bytes."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._held: list[bytes] = []
        """An event's pieces, none of which ends it."""
        self._size = 0
        self._overlap = b""
        """The last bytes of what is held: an event's end may have begun there."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes; what is left waits for the next one. Raises `EventTooLarge`."""
        if self._held and _END_OF_EVENT.search(self._overlap + chunk) is None:
            self._hold(chunk)
            return []
        buffer = b"".join([*self._held, chunk]) if self._held else chunk
        self._held, self._size, self._overlap = [], 0, b""
        if b"\r" not in buffer:  # lines end with a bare newline, as nearly everybody sends them
            *parts, rest = buffer.split(b"\n\n")
            events = [part + b"\n\n" for part in parts]
        else:
            events, start = [], 0
            for match in _END_OF_EVENT.finditer(buffer):
                events.append(buffer[start : match.end()])
                start = match.end()
            rest = buffer[start:]
        if len(buffer) > self._limit and any(len(event) > self._limit for event in events):
            raise EventTooLarge
        if rest:
            self._hold(rest)
        return events

    def _hold(self, piece: bytes) -> None:
        self._held.append(piece)
        self._size += len(piece)
        self._overlap = (self._overlap + piece[-_LONGEST_END:])[-_LONGEST_END + 1 :]
        if self._size > self._limit:
            raise EventTooLarge

    @property
    def rest(self) -> bytes:
        """An event that has begun and not ended: when the stream is over, it was cut, or its end was left out."""
        return b"".join(self._held)


def event_data(event: bytes) -> bytes | None:
    """The `data` of one event, its lines joined by newlines; None for a comment (a ping)."""
    if event.startswith(b"data: ") and event.find(b"\n") >= len(event) - 2:
        return event[6:].rstrip(b"\r\n")
    lines = [line[5:].removeprefix(b" ") for line in event.removeprefix(_BOM).splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def event_type(event: bytes) -> bytes | None:
    """The `event` field: the kind of an event, where its sender names one."""
    if event.startswith(b"data: ") and event.find(b"\n") >= len(event) - 2:
        return None
    for line in event.removeprefix(_BOM).splitlines():
        if line.startswith(b"event:"):
            return line[6:].strip()
    return None
