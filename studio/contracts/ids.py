"""Prefixed ids that sort by creation time, and the ids of W3C trace context."""

import hashlib
import secrets
from datetime import datetime
from enum import StrEnum
from threading import Lock

from ulid import ULID


class IdPrefix(StrEnum):
    AGENT = "agt"
    WORKFLOW = "wf"
    PROMPT = "prm"
    PROMOTION = "pmt"
    RUN = "run"
    SCHEDULE = "sch"
    BATCH = "bat"


class _UlidClock:
    """Strictly increasing ULIDs within a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last = 0

    def next(self) -> str:
        with self._lock:
            self._last = max(int(ULID()), self._last + 1)
            return str(ULID.from_int(self._last)).lower()


_clock = _UlidClock()


def new_id(prefix: IdPrefix) -> str:
    """Return `prefix_` and a ULID (26 characters, Crockford base 32, lower case).

    Ids made by one process strictly increase, so a list ordered by id is ordered by creation.
    Source: https://github.com/ulid/spec (monotonicity).
    """
    return f"{prefix}_{_clock.next()}"


def id_at(prefix: IdPrefix, moment: datetime, entropy: bytes) -> str:
    """An id out of what is given, for code that must come to the same one when it runs again; `entropy` is 10 bytes."""
    milliseconds = int(moment.timestamp() * 1000)
    return f"{prefix}_{ULID.from_bytes(milliseconds.to_bytes(6, 'big') + entropy)}".lower()


def made_at(made: str) -> datetime:
    """When an id was made, in UTC, to the millisecond."""
    return ULID.from_str(made.partition("_")[2].upper()).datetime


def is_id(ref: str, prefix: IdPrefix) -> bool:
    """Whether `ref` has the form of an id of this prefix; anything else in a path is a name."""
    head, _, tail = ref.partition("_")
    return head == prefix and len(tail) == 26 and tail.isalnum()


def new_trace_id() -> str:
    """32 lower-case hex digits (W3C trace context)."""
    return secrets.token_hex(16)


def new_span_id() -> str:
    """16 lower-case hex digits (W3C trace context)."""
    return secrets.token_hex(8)


def derived_span_id(*parts: str) -> str:
    """A span id that a retry of the same work finds again, so that a span sent twice is one span."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]
