"""Answers that came in the other form than was asked for: a whole one for a stream, a stream for a whole one."""

from typing import Any, cast

from llm_service.calls.request import Operation
from llm_service.calls.stream_events import DONE, StreamReader
from llm_service.errors import StreamBroken, UnreadableAnswer
from llm_service.upstreams.answers import Answer, refused
from studio.contracts.base import Json, JsonObject
from studio.contracts.llm import ChatAssembly
from studio.foreign_json import UnreadableJson, objects_in, read_foreign_json, write_storable
from studio.sse import EventSplitter, EventTooLarge, event_data

_SHOWN_TYPE = 60


def as_events(operation: Operation, answer: Answer, upstream: str) -> bytes:
    """The stream that a whole answer stands for. Raises `UnreadableAnswer` for what is no answer of a model."""
    document = _read(answer.body)
    choices = objects_in(document.get("choices"))
    if not choices:
        kind = answer.headers.get("Content-Type", "no content type")[:_SHOWN_TYPE]
        raise UnreadableAnswer(
            f"The upstream {upstream!r} answered a streamed call with {kind!r} that is neither a stream nor an answer "
            "of a model; check its base_url."
        )
    usage = document.pop("usage", None)
    if operation.name == "chat":
        document["object"] = "chat.completion.chunk"
    chunk: JsonObject = {**document, "choices": [_as_chunk(choice) for choice in choices]}
    events: list[JsonObject] = [chunk]
    if usage is not None:
        events.append({**document, "choices": [], "usage": usage})
    return b"".join([b"data: " + write_storable(event) + b"\n\n" for event in events]) + DONE


def _as_chunk(choice: JsonObject) -> JsonObject:
    message: Any = choice.pop("message", None)
    if isinstance(message, dict):
        delta = cast("JsonObject", message)
        for index, call in enumerate(objects_in(delta.get("tool_calls"))):
            call.setdefault("index", index)
        choice["delta"] = delta
    return {"index": 0, **choice, "finish_reason": choice.get("finish_reason") or "stop"}


def as_whole(operation: Operation, answer: Answer, reader: StreamReader, upstream: str) -> Answer:
    """The whole answer that a stream stands for; an answer with the stream's error when it ended with one.

    Raises `StreamBroken` when it ended before it was complete, and `UnreadableAnswer`.
    """
    try:
        reader.feed(answer.body)
    except EventTooLarge:
        raise UnreadableAnswer(f"The upstream {upstream!r} sent an event that is too large.") from None
    reader.end()
    if reader.error is not None:
        return refused(answer, reader.error)
    if not reader.whole:
        raise StreamBroken(f"The upstream {upstream!r} stopped before the answer was complete.")
    chunks = [_read(data) for data in _data_of(answer.body)]
    begun = [chunk for chunk in chunks if chunk.get("choices")]
    document = {name: value for name, value in begun[0].items() if name not in {"choices", "usage"}}
    if operation.name == "chat":
        document["object"] = "chat.completion"
    document["choices"] = [_as_choice(operation, index, choice) for index, choice in reader.choices()]
    usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    if usages:
        document["usage"] = usages[-1]
    return answer.with_json(write_storable(document))


def _as_choice(operation: Operation, index: int, choice: ChatAssembly) -> JsonObject:
    said: JsonObject = (
        {"text": choice.text}
        if operation.name == "text_completion"
        else {"message": choice.message().model_dump(mode="json", exclude_unset=True)}
    )
    return {"index": index, **said, "finish_reason": choice.finish_reason}


def _data_of(body: bytes) -> list[bytes]:
    splitter = EventSplitter(len(body))
    found = [event_data(event) for event in (*splitter.feed(body), splitter.rest)]
    return [data for data in found if data is not None]


def _read(data: bytes) -> JsonObject:
    try:
        document: Json = read_foreign_json(data)
    except UnreadableJson:
        return {}
    return cast("JsonObject", document) if isinstance(document, dict) else {}
