"""Reads a streamed answer while it passes through: text for the span, usage for the cost, and the end."""

import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import orjson

from llm_service.calls.request import Operation
from llm_service.pricing import format_usd
from studio.contracts.base import Json, JsonObject
from studio.contracts.llm import ChatAssembly, ChatDelta, Usage, UsageReader, read_choice
from studio.sse import EventSplitter, event_data

_NULL_USAGE = re.compile(rb',\s*"usage"\s*:\s*null')
"""Cannot match inside a JSON string, where its quotes would be escaped."""


class StreamReader:
    """`feed` takes what the upstream sent and returns what the caller gets of it.

    Bytes come back as they were, but for usage: a caller who did not ask for it sees none, one who did also sees
    `cost_usd` (a decimal as a string, or null) in it.
    """

    def __init__(
        self, operation: Operation, *, wants_usage: bool, price: Callable[[Usage], Decimal | None], content: bool
    ) -> None:
        self._operation = operation
        self._wants_usage = wants_usage
        self._price = price
        self._content = content
        self._splitter = EventSplitter()
        self._choices: dict[int, ChatAssembly] = {}
        self._usage = UsageReader()
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        """`time.perf_counter()` when the first text, reasoning or tool call came."""
        self.begun = False
        """Whether any event has come."""
        self.done = False
        """Whether `[DONE]` has come."""
        self.error: JsonObject | None = None
        """The upstream's own in-band error; it has been passed on."""

    def feed(self, chunk: bytes) -> bytes:
        return b"".join([self._read(event) for event in self._splitter.feed(chunk)])

    @property
    def whole(self) -> bool:
        """Whether a stream that has ended here ended properly: with `[DONE]`, or with every choice finished."""
        finished = bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())
        return self.error is None and not self._splitter.rest.strip() and (self.done or finished)

    def _read(self, event: bytes) -> bytes:
        data = event_data(event)
        if data is None:
            return event
        self.begun = True
        if data == b"[DONE]":
            self.done = True
            return event
        try:
            chunk: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            return event
        if not isinstance(chunk, dict):
            return event
        return self._read_chunk(event, cast("JsonObject", chunk))

    def _read_chunk(self, event: bytes, chunk: JsonObject) -> bytes:
        raw_error: Any = chunk.get("error")
        if raw_error:
            self.error = cast("JsonObject", raw_error) if isinstance(raw_error, dict) else {"message": str(raw_error)}
            return event
        choices: list[JsonObject | str] = chunk.get("choices") or []
        for choice in choices:
            if isinstance(choice, dict):
                self._add(choice)
        return self._with_usage_shown(event, chunk) if "usage" in chunk else event

    def _add(self, choice: JsonObject) -> None:
        index = choice.get("index", 0)
        assembly = self._choices.get(index)
        if assembly is None:
            assembly = self._choices[index] = ChatAssembly()
        elif self.first_token_at is not None and choice.get("finish_reason") is None:
            delta: JsonObject | str | None = choice.get("delta")
            if isinstance(delta, dict) and len(delta) == 1:
                text = delta.get("content")
                if isinstance(text, str):  # one more piece of text: nearly every event
                    if self._content:
                        assembly.add_text(text)
                    return
        self._add_any(assembly, read_choice(choice))

    def _add_any(self, assembly: ChatAssembly, delta: ChatDelta) -> None:
        if self.first_token_at is None and (delta.text or delta.reasoning or delta.tool_calls):
            self.first_token_at = time.perf_counter()
        if self._content:
            assembly.add(delta)
        else:
            assembly.finish_reason = delta.finish_reason or assembly.finish_reason

    def _with_usage_shown(self, event: bytes, chunk: JsonObject) -> bytes:
        usage = self._usage.read(chunk["usage"])
        if usage is not None:
            self.usage = usage
        if not self._wants_usage:
            if chunk["usage"] is None:
                return _NULL_USAGE.sub(b"", event, count=1)
            if not chunk.get("choices"):
                return b""
            del chunk["usage"]
            return _event(chunk)
        if usage is None:
            return event
        cost = self._price(usage)
        chunk["usage"]["cost_usd"] = None if cost is None else format_usd(cost)
        return _event(chunk)

    def output(self) -> Json:
        """The text or the message that an unstreamed call would have given; a list when there are several choices."""
        written: list[Json] = [
            choice.text
            if self._operation.name == "text_completion"
            else choice.message().model_dump(mode="json", exclude_unset=True)
            for _, choice in sorted(self._choices.items())
        ]
        return written[0] if len(written) == 1 else written or None

    @property
    def finish_reason(self) -> str | None:
        return next((choice.finish_reason for choice in self._choices.values()), None)


def _event(chunk: JsonObject) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def error_event(error: JsonObject) -> bytes:
    """In-band error, in the form that OpenAI's clients raise."""
    return _event({"error": error})
