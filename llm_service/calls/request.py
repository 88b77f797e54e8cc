"""What a call asks for: its body, as far as the gateway must look at it, and what its headers say for the span."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import orjson
from starlette.types import Receive, Scope

from llm_service.errors import CallerLeft
from studio.contracts.base import JsonObject
from studio.contracts.ids import new_span_id, new_trace_id
from studio.errors import FieldError, InvalidInput, UnsupportedMediaType
from studio.foreign_json import depth_exceeds
from studio.json_numbers import find_lost_number
from studio.web.headers import header_text
from studio.web.json_route import MAX_DEPTH, is_json, parse_json

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_RETRIES = re.compile(r"^[0-9]{1,2}$", re.ASCII)
_METADATA_HEADER = "X-Studio-Metadata"
MAX_VERSION_DIGITS = 9
"""Of a prompt's version; what is longer belongs to its name."""
_RETRIES_HEADER = "X-Studio-Retries"


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint of the OpenAI API."""

    name: Literal["chat", "text_completion", "embeddings"]
    """As in OpenTelemetry's `gen_ai.operation.name`."""
    path: str
    content: Literal["messages", "prompt", "input"]
    """The field that the model reads; it must be there."""
    span_kind: Literal["llm", "embedding"]
    streams: bool


CHAT = Operation("chat", "/chat/completions", "messages", "llm", streams=True)
TEXT = Operation("text_completion", "/completions", "prompt", "llm", streams=True)
EMBEDDINGS = Operation("embeddings", "/embeddings", "input", "embedding", streams=False)


@dataclass(slots=True)
class Caller:
    """What the headers say about a call."""

    trace_id: str
    request_id: str
    span_id: str = field(default_factory=new_span_id)
    parent_span_id: str | None = None
    trace_flags: str = "01"
    project_id: str = "default"
    session_id: str | None = None
    user_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    prompt_id: str | None = None
    prompt_version: int | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    metadata_problem: str | None = None
    content_type: str = ""
    asked_retries: str | None = None
    """How often the gateway may repeat the call, as the caller wrote it."""

    @property
    def retries(self) -> int | None:
        return None if self.asked_retries is None else int(self.asked_retries)

    @property
    def traceparent(self) -> str:
        """For the upstream: our span is the parent of what it does."""
        return f"00-{self.trace_id}-{self.span_id}-{self.trace_flags}"


def read_caller(scope: Scope) -> Caller:
    """Read the headers of the contract. What is wrong in the metadata is kept for `check_caller`: the span of a
    refused call has the rest."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    caller = _traced(headers.get(b"traceparent"), scope["state"]["request_id"])
    caller.content_type = headers.get(b"content-type", b"").decode("latin-1")
    for name, value in headers.items():
        attribute = _CALLER_HEADERS.get(name)
        if attribute is not None and value:
            setattr(caller, attribute, header_text(value))
    prompt = headers.get(b"x-studio-prompt")
    if prompt:
        name, _, version = header_text(prompt).rpartition("@")
        is_version = version.isdecimal() and len(version) <= MAX_VERSION_DIGITS
        caller.prompt_id = name if name and (is_version or not version.isdecimal()) else header_text(prompt)
        caller.prompt_version = int(version) if name and is_version else None
    raw_metadata = headers.get(_METADATA_HEADER.lower().encode())
    if raw_metadata:
        _read_metadata(raw_metadata, caller)
    caller.metadata.setdefault("request_id", caller.request_id)
    return caller


_CALLER_HEADERS = {
    b"x-studio-project": "project_id",
    b"x-session-id": "session_id",
    b"x-user-id": "user_id",
    b"x-studio-run": "run_id",
    b"x-studio-step": "step_id",
    _RETRIES_HEADER.lower().encode(): "asked_retries",
}


def _traced(traceparent: bytes | None, request_id: str) -> Caller:
    found = _TRACEPARENT.match(traceparent.decode("latin-1")) if traceparent else None
    if found is None or not found[1].strip("0") or not found[2].strip("0"):
        return Caller(new_trace_id(), request_id)
    return Caller(found[1], request_id, parent_span_id=found[2], trace_flags=found[3])


def _read_metadata(raw: bytes, caller: Caller) -> None:
    try:
        metadata: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict):
        caller.metadata_problem = "must be a JSON object"
        return
    if depth_exceeds(metadata, MAX_DEPTH) or find_lost_number(raw) is not None:
        caller.metadata_problem = f"must be nested at most {MAX_DEPTH} deep, with numbers of 64 bits"
        return
    for name, value in cast("JsonObject", metadata).items():
        caller.metadata[name] = value if isinstance(value, str) else orjson.dumps(value).decode()


async def read_body(receive: Receive) -> bytes:
    """Raises `CallerLeft` when the caller goes before the body is whole."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft("The caller left before the request was complete.")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


@dataclass(slots=True)
class Call:
    """A body that can be passed on: fields that are not named here are not looked at."""

    body: JsonObject
    model: str
    stream: bool
    wants_usage: bool
    """Whether a streaming caller asked for usage."""

    def upstream_body(self, model: str, params: JsonObject, *, asks_usage: bool) -> bytes:
        """The body for the upstream: its name of the model, the alias's params where the caller said nothing, and when
        streaming a question for usage, unless `asks_usage` is false: what the caller sees of usage is ours to say."""
        body = {**params, **self.body, "model": model}
        if self.stream:
            given = cast("JsonObject | None", self.body.get("stream_options")) or {}
            options = {name: value for name, value in given.items() if name != "include_usage"}
            if asks_usage:
                options["include_usage"] = True
            body["stream_options"] = options
            if not options:
                del body["stream_options"]
        return orjson.dumps(body)

    def params(self, operation: Operation) -> JsonObject:
        """Everything but the content and how it is transported."""
        hidden = {"model", "stream", "stream_options", operation.content}
        return {name: value for name, value in self.body.items() if name not in hidden}


def parse_call(operation: Operation, raw: bytes, caller: Caller) -> Call:
    """Raises `InvalidInput` naming the place, and `UnsupportedMediaType` for what a page could send without asking."""
    if not is_json(caller.content_type):
        raise UnsupportedMediaType("Send the body as JSON, with Content-Type: application/json.")
    if caller.metadata_problem is not None:
        raise _invalid(["header", _METADATA_HEADER], caller.metadata_problem, "header")
    if caller.asked_retries is not None and not _RETRIES.match(caller.asked_retries):
        raise _invalid(["header", _RETRIES_HEADER], "must be a number from 0 to 99", "header")
    body: Any = parse_json(raw, nul=True)
    if not isinstance(body, dict):
        raise _invalid(["body"], "must be a JSON object", "dict_type")
    fields = cast("JsonObject", body)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise _invalid(["body", "model"], "must be the name of a model", "missing" if model is None else "string_type")
    _check_content(operation, fields)
    stream = fields.get("stream")
    if not isinstance(stream, bool | None):
        raise _invalid(["body", "stream"], "must be true or false", "bool_type")
    options = fields.get("stream_options")
    if not isinstance(options, dict | None):
        raise _invalid(["body", "stream_options"], "must be an object", "dict_type")
    wants_usage = options is not None and cast("JsonObject", options).get("include_usage") is True
    return Call(fields, model, stream is True and operation.streams, wants_usage)


def _check_content(operation: Operation, body: JsonObject) -> None:
    content = body.get(operation.content)
    if content is None:
        raise _invalid(["body", operation.content], "is required", "missing")
    if operation.content == "messages" and not (isinstance(content, list) and content):
        raise _invalid(["body", "messages"], "must be a list with at least one message", "list_type")


def _invalid(loc: list[str | int], message: str, kind: str) -> InvalidInput:
    place = ".".join(str(part) for part in loc)
    return InvalidInput(f"{place}: {message}", errors=[FieldError(loc=loc, msg=message, type=kind)])
