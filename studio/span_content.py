"""The one place that says what a span holds with `STUDIO_TRACE_CONTENT=off`: who, when, how much and how it ended.

Applied by whoever sends spans and by the trace store itself. It lets through what it knows, so that a new member of a
span, or a new parameter of a model, holds no content before somebody has looked at it.
"""

import re
from collections.abc import Mapping
from typing import cast

from studio.contracts.base import Json, JsonObject
from studio.contracts.spans import Span

CONTENT = {"input", "input_cut", "output", "output_cut", "error_message", "tags"}
"""Errors repeat what was asked: a provider's refusal quotes the prompt, an expression's failure its values."""
_MEMBERS = Span.model_fields.keys() - CONTENT
_NUMBERS = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "n", "best_of", "seed", "logprobs", "top_logprobs"),
        *("max_tokens", "max_completion_tokens", "frequency_penalty", "presence_penalty", "repetition_penalty"),
        *("parallel_tool_calls", "echo", "store", "dimensions"),
    }
)
"""Parameters of a model that are numbers or switches."""
_WORDS: Mapping[str, frozenset[str]] = {
    "reasoning_effort": frozenset({"none", "minimal", "low", "medium", "high", "xhigh"}),
    "service_tier": frozenset({"auto", "default", "flex", "priority"}),
    "verbosity": frozenset({"low", "medium", "high"}),
    "encoding_format": frozenset({"float", "base64"}),
}
_FINISH_REASONS = frozenset(
    {"stop", "length", "tool_calls", "function_call", "content_filter", "error", "end_turn", "max_tokens", "tool_use"}
)
_TOKEN = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def without_content(span: JsonObject) -> JsonObject:
    """The span, a `Span` as JSON, without anything of what was said."""
    kept = {name: value for name, value in span.items() if name in _MEMBERS}
    if not _TOKEN.fullmatch(str(kept.get("error_type", "-"))):
        del kept["error_type"]
    params, metadata = kept.pop("params", None), kept.pop("metadata", None)
    if isinstance(params, dict):
        kept["params"] = _plain_params(cast("JsonObject", params))
    if isinstance(metadata, dict):
        labels = cast("JsonObject", metadata)
        kept["metadata"] = {name: value for name, value in labels.items() if _is_fact(name, value)}
    if kept.get("kind") in {"llm", "embedding"} and kept.get("upstream") is None:
        kept.pop("model", None)  # no model of ours, so it may be any text, which the name repeats
        kept["name"] = str(kept.get("name")).partition(" ")[0]
    return kept


def _plain_params(params: Mapping[str, Json]) -> JsonObject:
    return {
        name: value
        for name, value in params.items()
        if (name in _NUMBERS and isinstance(value, int | float))
        or (isinstance(value, str) and value in _WORDS.get(name, ()))
    }


def _is_fact(name: str, value: Json) -> bool:
    """Whether a label is the caller's own, or a word that an upstream may not choose freely."""
    match name:
        case "finish_reason":
            return value in _FINISH_REASONS
        case "upstream_request_id":
            return isinstance(value, str) and _TOKEN.fullmatch(value) is not None
        case _:
            return True
