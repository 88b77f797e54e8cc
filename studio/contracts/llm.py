"""Model calls in OpenAI's shapes: what the LLM engine passes on and what its callers send and get."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, cast

import orjson
from pydantic import ConfigDict, Field

from studio.contracts.base import Contract, Json, JsonObject
from studio.foreign_json import write_storable

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class OpenContract(Contract):
    """A shape that OpenAI may widen at any time: fields that we do not know are kept and passed on."""

    model_config = ConfigDict(extra="allow")


class FunctionCall(OpenContract):
    name: str
    arguments: str = ""
    """JSON text as the model wrote it: it may be invalid."""

    def model_post_init(self, _context: Any) -> None:
        self.model_fields_set.add("arguments")  # OpenAI demands it, so it counts as given


class ToolCall(OpenContract):
    id: str
    type: str = "function"
    function: FunctionCall

    def model_post_init(self, _context: Any) -> None:
        self.model_fields_set.add("type")


class Message(OpenContract):
    """One message of a conversation; `content` is text, a list of parts (text, image_url, ...) or null."""

    role: Role
    content: str | list[JsonObject] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class Usage(Contract):
    """Tokens of one call. `prompt_tokens` and `completion_tokens` are inclusive; the others are subsets of them."""

    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    total_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)
    audio_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)
    reported_cost_usd: Decimal | None = None
    """What the provider says that it charged."""


_TOTALS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
MAX_REPORTED_USD = Decimal(1_000_000)
USD_DIGITS = 12


def read_usage(raw: Json) -> Usage | None:
    """Read a `usage` object in either spelling of its field names; None when it names no tokens at all.

    `prompt_tokens`/`completion_tokens` (chat completions) or `input_tokens`/`output_tokens` (responses), with their
    `..._details`; cached tokens also where DeepSeek and Anthropic put them. Providers that count cached input or
    reasoning beside the prompt or the completion are read as if they had counted it inside.
    """
    if not isinstance(raw, dict):
        return None
    usage = cast("JsonObject", raw)
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    completion = _count(usage, "completion_tokens", "output_tokens")
    total = _count(usage, "total_tokens")
    if prompt is None and completion is None and total is None:
        return None
    prompt = prompt if prompt is not None else max(0, (total or 0) - (completion or 0))
    completion = completion or 0
    if usage.keys() <= _TOTALS:
        total = max(total or 0, prompt + completion)
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total)
    inside_prompt = _details(usage, "prompt_tokens_details", "input_tokens_details")
    inside_completion = _details(usage, "completion_tokens_details", "output_tokens_details")
    cached = _count(inside_prompt, "cached_tokens")
    if cached is None:
        cached = _count(usage, "cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens") or 0
    cache_write = _count(inside_prompt, "cache_write_tokens", "cache_creation_tokens")
    if cache_write is None:
        cache_write = _count(usage, "cache_creation_input_tokens") or 0
    reasoning = _count(inside_completion, "reasoning_tokens") or _count(usage, "reasoning_tokens") or 0
    is_anthropic = not inside_prompt and not _CACHED_BESIDE.isdisjoint(usage)
    if _is_beside(cached + cache_write, prompt, completion, total, assumed=is_anthropic):
        prompt += cached + cache_write
    if _is_beside(reasoning, completion, prompt, total, assumed=False):
        completion += reasoning
    audio = (_count(inside_prompt, "audio_tokens") or 0) + (_count(inside_completion, "audio_tokens") or 0)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=max(total or 0, prompt + completion),
        cached_tokens=cached,
        cache_write_tokens=cache_write,
        audio_tokens=audio,
        reasoning_tokens=reasoning,
        reported_cost_usd=_reported_cost(usage.get("cost")),
    )


_CACHED_BESIDE = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"})
"""Anthropic's names: counts that it leaves out of `input_tokens`; LiteLLM sends them too and counts them in."""


def _is_beside(part: int, whole: int, other: int, total: int | None, *, assumed: bool) -> bool:
    """Whether `part` is not counted in `whole`: what is larger cannot be inside, else the total tells, if it can."""
    if part == 0 or part > whole:
        return part > whole
    if total == whole + other:
        return False
    return assumed or total == whole + other + part


def _reported_cost(raw: Json) -> Decimal | None:
    """What the provider charged: OpenRouter's number, or the total of Perplexity's object."""
    value: Any = cast("JsonObject", raw).get("total_cost") if isinstance(raw, dict) else raw
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return round(Decimal(str(value)), USD_DIGITS) if 0 <= value <= MAX_REPORTED_USD else None


class UsageReader:
    """Puts the usage of one answer together: cumulative on every chunk, split over several, zeros in a last one."""

    def __init__(self) -> None:
        self._members: JsonObject = {}

    def read(self, raw: Json) -> Usage | None:
        """The usage known after this chunk; None for a chunk without any."""
        if not isinstance(raw, dict):
            return None
        self._members = _merged(self._members, cast("JsonObject", raw), levels=2)
        return read_usage(self._members)


def _merged(before: JsonObject, after: JsonObject, levels: int) -> JsonObject:
    """What `after` does not count stays as it was before; the counts and their details, nothing deeper."""
    merged = dict(before)
    for name, value in after.items():
        known = merged.get(name)
        if isinstance(known, dict) and isinstance(value, dict) and levels > 1:
            merged[name] = _merged(cast("JsonObject", known), cast("JsonObject", value), levels - 1)
        elif value or known is None:
            merged[name] = value
    return merged


MAX_TOKENS = 1_000_000_000
"""Of one call, far above what any model takes: a larger number is none of tokens, and no store must hold it."""


def _count(raw: JsonObject, *names: str) -> int | None:
    for name in names:
        value = raw.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS:
            return int(value)
    return None


def _details(usage: JsonObject, *names: str) -> JsonObject:
    for name in names:
        value = usage.get(name)
        if isinstance(value, dict):
            return cast("JsonObject", value)
    return {}


class ChatRequest(OpenContract):
    """A chat completion; further parameters (`temperature`, `response_format`, ...) are fields of their own name."""

    model: str
    messages: list[Message]
    tools: list[JsonObject] | None = None
    tool_choice: str | JsonObject | None = None

    def body(self) -> JsonObject:
        """The JSON body: what was left out stays out."""
        return self.model_dump(mode="json", exclude_unset=True)


class CallContext(Contract):
    """What a caller of the LLM engine says about a call, for its span."""

    project_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    prompt: str | None = None
    """`name@version`"""
    traceparent: str | None = None
    """W3C trace context: the trace and the span under which the call's span goes."""
    metadata: dict[str, str] = {}

    def headers(self) -> dict[str, str]:
        named = {
            "X-Studio-Project": self.project_id,
            "X-Session-Id": self.session_id,
            "X-User-Id": self.user_id,
            "X-Studio-Run": self.run_id,
            "X-Studio-Step": self.step_id,
            "X-Studio-Prompt": self.prompt,
            "traceparent": self.traceparent,
        }
        headers = {name: value for name, value in named.items() if value is not None}
        if self.metadata:
            headers["X-Studio-Metadata"] = orjson.dumps(self.metadata).decode()
        return headers


@dataclass(slots=True)
class ToolCallFragment:
    """A piece of a tool call: `id` and `name` come with its first piece, `arguments` grow piece by piece."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(slots=True)  # not frozen: that would triple the cost of making one, and there is one a token
class ChatDelta:
    """One event of a streamed answer (its first choice). Usage and cost come with one of the last events."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallFragment, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    """None until known, and for a model without a price."""
    model: str | None = None
    upstream: str | None = None
    trace_id: str | None = None


LONGEST_NAME = 200
"""Characters of a finish reason, a model's or a function's name."""


def read_choice(choice: JsonObject) -> ChatDelta:
    """The delta inside one element of a chunk's `choices` (chat or text completion), whatever its members hold."""
    raw_delta: Any = choice.get("delta")
    delta = cast("JsonObject", raw_delta) if isinstance(raw_delta, dict) else {}
    content = delta.get("content")
    text, thoughts = _text_of_parts(cast("list[Any]", content)) if isinstance(content, list) else (content, "")
    text = text or delta.get("refusal") or choice.get("text")
    reasoning = thoughts or delta.get("reasoning_content") or delta.get("reasoning")
    fragments = delta.get("tool_calls")
    return ChatDelta(
        text=text if isinstance(text, str) else "",
        reasoning=reasoning if isinstance(reasoning, str) else "",
        tool_calls=_fragments(cast("list[Any]", fragments)) if isinstance(fragments, list) else (),
        finish_reason=read_finish_reason(choice.get("finish_reason")),
    )


def read_finish_reason(raw: Json) -> str | None:
    """The reason that a choice ended with; `unknown` when it has one in a shape that OpenAI does not know."""
    if isinstance(raw, str):
        return raw[:LONGEST_NAME] or None
    return "unknown" if raw else None


def read_index(raw: Json) -> int:
    """The `index` of a choice; the first one's when it is missing or no index."""
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else 0


def _text_of_parts(parts: list[Any]) -> tuple[str, str]:
    """Text and reasoning out of `content` that comes as parts."""
    text: list[str] = []
    reasoning: list[str] = []
    for part in parts:
        members = cast("JsonObject", part) if isinstance(part, dict) else {"text": part}
        said, thought = members.get("text"), members.get("thinking")
        if isinstance(said, str):
            text.append(said)
        if isinstance(thought, list):
            thought = _text_of_parts(cast("list[Any]", thought))[0]
        if isinstance(thought, str):
            reasoning.append(thought)
    return "".join(text), "".join(reasoning)


def _fragments(raw: list[Any]) -> tuple[ToolCallFragment, ...]:
    found: list[ToolCallFragment] = []
    for position, item in enumerate(raw):
        call = cast("JsonObject", item) if isinstance(item, dict) else {}
        raw_function = call.get("function")
        function = cast("JsonObject", raw_function) if isinstance(raw_function, dict) else {}
        index = call.get("index")
        found.append(
            ToolCallFragment(
                index=index if isinstance(index, int) and not isinstance(index, bool) else position,
                id=_as_text(call.get("id"))[:LONGEST_NAME] or None,
                name=_as_text(function.get("name"))[:LONGEST_NAME] or None,
                arguments=_as_text(function.get("arguments")),
            )
        )
    return tuple(found)


def _as_text(value: Json) -> str:
    """Text as it is, nothing as none, and anything else as its JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else write_storable(value).decode()


@dataclass(slots=True)
class _GrowingCall:
    index: int
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])


class ChatAssembly:
    """Puts the deltas of one choice together into the message that an unstreamed call would have given."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[_GrowingCall] = []
        self._growing: dict[int, _GrowingCall] = {}
        """By index the call that its next piece belongs to."""
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.cost_usd: Decimal | None = None
        self.model: str | None = None

    def add_text(self, text: str) -> None:
        self._text.append(text)

    def add(self, delta: ChatDelta) -> None:
        if delta.text:
            self._text.append(delta.text)
        if delta.reasoning:
            self._reasoning.append(delta.reasoning)
        for fragment in delta.tool_calls:
            call = self._call_of(fragment)
            call.id = fragment.id or call.id
            call.name = fragment.name or call.name
            call.arguments.append(fragment.arguments)
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.model = delta.model or self.model
        if delta.usage is not None:
            self.usage, self.cost_usd = delta.usage, delta.cost_usd

    def _call_of(self, fragment: ToolCallFragment) -> _GrowingCall:
        """The call that the piece belongs to. One with another id and a name begins a call, though its index says
        otherwise: some servers give each call the index 0."""
        call = self._growing.get(fragment.index)
        another = call is not None and fragment.name and call.id and fragment.id not in {None, call.id}
        if call is None or another:
            call = self._growing[fragment.index] = _GrowingCall(fragment.index)
            self._calls.append(call)
        return call

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def started(self) -> bool:
        """Whether the model has written anything yet."""
        return bool(self._text or self._reasoning or self._calls)

    def message(self) -> Message:
        """The assistant's message; `content` is null when there are only tool calls."""
        calls = [
            ToolCall(id=call.id, function=FunctionCall(name=call.name, arguments="".join(call.arguments)))
            for call in sorted(self._calls, key=lambda call: call.index)
        ]
        fields: dict[str, Any] = {"role": "assistant", "content": self.text or (None if calls else "")}
        if calls:
            fields["tool_calls"] = calls
        if self._reasoning:
            fields["reasoning_content"] = self.reasoning
        return Message(**fields)
