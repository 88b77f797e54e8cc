"""Reads a streamed answer while it passes through: text for the span, usage for the cost, and the end."""

import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import cast

import structlog

from llm_service.calls.request import Operation
from llm_service.calls.usage_member import with_cost, without_usage
from llm_service.pricing import format_usd
from llm_service.upstreams.answers import error_in
from studio.contracts.base import Json, JsonObject
from studio.contracts.llm import (
    ChatAssembly,
    ChatDelta,
    Usage,
    UsageReader,
    read_choice,
    read_finish_reason,
    read_index,
)
from studio.foreign_json import UnreadableJson, find_usage, objects_in, read_foreign_json, write_storable
from studio.masking import describe_fault
from studio.sse import EventSplitter, event_data, event_type

_NULL_USAGE = re.compile(rb',\s*"usage"\s*:\s*null')
"""Cannot match inside a JSON string, where its quotes would be escaped."""
DONE = b"data: [DONE]\n\n"
_log = structlog.get_logger(__name__)


class StreamReader:
    """`feed` takes what the upstream sent and returns what the caller gets of it; `end` does so at the bytes' end.

    Bytes come back as they were, but for usage: a caller who did not ask for it sees none, one who did also sees
    `cost_usd` (a decimal as a string, or null) in it. What an event holds never decides whether it is passed on.
    """

    def __init__(
        self,
        operation: Operation,
        *,
        wants_usage: bool,
        price: Callable[[Usage], Decimal | None],
        content: bool,
        max_event_bytes: int,
    ) -> None:
        self._operation = operation
        self._wants_usage = wants_usage
        self._price = price
        self._content = content
        self._splitter = EventSplitter(max_event_bytes)
        self._room = max_event_bytes
        """Bytes of events whose text is still kept."""
        self._choices: dict[int, ChatAssembly] = {}
        self._usage = UsageReader()
        self._unread = 0
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        """`time.perf_counter()` when the first text, reasoning or tool call came."""
        self.begun = False
        """Whether any event has come."""
        self.done = False
        """Whether `[DONE]` has come: what follows it is no part of the answer."""
        self.error: JsonObject | None = None
        """The upstream's own in-band error; it has been passed on."""

    def feed(self, chunk: bytes) -> bytes:
        """Raises `EventTooLarge`."""
        return b"".join([self._read(event) for event in self._splitter.feed(chunk)])

    def end(self) -> bytes:
        """What the caller still gets when no more bytes come: a last event without a blank line behind it is one."""
        rest = self._splitter.rest
        data = event_data(rest)
        if data is None:
            return b""
        try:
            if data.strip() != b"[DONE]":
                read_foreign_json(data)
        except UnreadableJson:  # cut in the middle
            self._find_usage(data)
            return b""
        return self._read(rest.rstrip(b"\r\n") + b"\n\n")

    @property
    def whole(self) -> bool:
        """Whether the answer is complete, however its transport ends: every choice finished, or `[DONE]` says so of
        one of which at least one did."""
        finished = [choice.finish_reason is not None for choice in self._choices.values()]
        return self.error is None and (any(finished) if self.done else bool(finished) and all(finished))

    @property
    def cut(self) -> bool:
        """Whether the output holds only the beginning of what was said."""
        return self._room <= 0

    def _read(self, event: bytes) -> bytes:
        if self.done or self.error is not None:
            return b""
        data = event_data(event)
        if data is None:
            return event
        self.begun = True
        if data.strip() == b"[DONE]":
            self.done = True
            told = event if data == b"[DONE]" else DONE  # not every client strips what surrounds it
            return told if self.whole else b""
        try:
            chunk = read_foreign_json(data)
        except UnreadableJson:
            self._find_usage(data)
            return event
        try:
            return self._read_chunk(event, data, chunk)
        except Exception as error:  # noqa: BLE001 - foreign data: what we cannot read of it is the caller's all the same
            if self._unread == 0:
                _log.warning("stream.event_not_read", error=describe_fault(error))
            self._unread += 1
            return event

    def _read_chunk(self, event: bytes, data: bytes, chunk: Json) -> bytes:
        if b"error" in event or b"\\u" in event:  # nearly no event is one, and to look takes as long as all the rest
            self.error = error_in(chunk, named=event_type(event) == b"error")
        if not isinstance(chunk, dict):
            return event if self.error is None else error_event(self.error)
        members = cast("JsonObject", chunk)
        if self.error is not None:
            self.usage = self._usage.read(members.get("usage")) or self.usage
            return event if members.get("error") else error_event(self.error)
        self._room -= len(data)
        for choice in objects_in(members.get("choices")):
            self._add(choice)
        return self._with_usage_shown(event, data, members) if "usage" in members else event

    def _add(self, choice: JsonObject) -> None:
        index = read_index(choice.get("index"))
        assembly = self._choices.get(index)
        if assembly is None:
            assembly = self._choices[index] = ChatAssembly()
        elif self.first_token_at is not None and choice.get("finish_reason") is None:
            delta: JsonObject | str | None = choice.get("delta")
            if isinstance(delta, dict) and len(delta) == 1:
                text = delta.get("content")
                if isinstance(text, str):  # one more piece of text: nearly every event
                    if self._content and self._room > 0:
                        assembly.add_text(text)
                    return
        assembly.finish_reason = read_finish_reason(choice.get("finish_reason")) or assembly.finish_reason
        self._add_any(assembly, read_choice(choice))

    def _add_any(self, assembly: ChatAssembly, delta: ChatDelta) -> None:
        if self.first_token_at is None and (delta.text or delta.reasoning or delta.tool_calls):
            self.first_token_at = time.perf_counter()
        if self._content and self._room > 0:
            assembly.add(delta)

    def _with_usage_shown(self, event: bytes, data: bytes, chunk: JsonObject) -> bytes:
        usage = self._usage.read(chunk["usage"])
        if usage is not None:
            self.usage = usage
        if not self._wants_usage:
            if chunk["usage"] is None:
                return _NULL_USAGE.sub(b"", event, count=1)
            if not chunk.get("choices"):
                return b""
            return _as_event(event, without_usage(data))
        if usage is None:
            return event
        cost = self._price(usage)
        return _as_event(event, with_cost(data, chunk["usage"], None if cost is None else format_usd(cost)))

    def _find_usage(self, data: bytes) -> None:
        """Tokens are counted also where the event as a whole cannot be read."""
        for found in find_usage(data):
            self.usage = self._usage.read(found) or self.usage

    def output(self) -> Json:
        """The text or the message that an unstreamed call would have given; a list when there are several choices."""
        written: list[Json] = [
            choice.text
            if self._operation.name == "text_completion"
            else choice.message().model_dump(mode="json", exclude_unset=True)
            for _, choice in self.choices()
        ]
        return written[0] if len(written) == 1 else written or None

    def choices(self) -> list[tuple[int, ChatAssembly]]:
        """What has come of each choice, by its index."""
        return sorted(self._choices.items(), key=lambda item: item[0])

    @property
    def finish_reason(self) -> str | None:
        return next((choice.finish_reason for choice in self._choices.values()), None)


def _as_event(event: bytes, data: bytes | None) -> bytes:
    """An event with this data; the event as it was when there is none."""
    if data is None:
        return event
    return b"".join([b"data: " + line + b"\n" for line in data.split(b"\n")]) + b"\n"


def error_event(error: JsonObject) -> bytes:
    """In-band error, in the form that OpenAI's clients raise."""
    return b"data: " + write_storable({"error": error}) + b"\n\n"
