"""Spans as the trace store takes them. Names follow OpenTelemetry's GenAI conventions where one exists."""

import hashlib
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, StringConstraints

from studio.contracts.base import Json, JsonObject, Timestamp, Wire

TraceId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
SpanId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
SpanKind = Literal[
    "workflow", "step", "agent", "llm", "embedding", "tool", "prompt", "guardrail", "retrieval", "judge", "http"
]
SpanStatus = Literal["ok", "error", "cancelled", "incomplete"]
UsageSource = Literal["provider", "estimated", "partial", "none"]
CostSource = Literal["provider", "computed", "estimated", "unpriced"]
Tokens = Annotated[int, Field(ge=0)]
Cost = Annotated[Decimal, PlainSerializer(lambda cost: format(cost, "f"), return_type=str, when_used="json")]
"""US dollars; in JSON a plain decimal string, never a float."""


MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
"""Of the JSON of an input or output: past it its sender cuts it."""
SPANS_BODY_BYTES = 34 * 1024 * 1024
"""Of a request that sends spans: one span with an input and an output of that size, each as JSON inside JSON."""


class CutPayload(Wire):
    """A payload past the limit: the value holds the beginning of its JSON as text."""

    length: Annotated[int, Field(ge=0)]
    """Bytes of the whole JSON."""
    sha256: str


def cut_payload(written: bytes, limit: int) -> tuple[str, CutPayload]:
    """The beginning of a payload's JSON, and what is told of the whole."""
    cut = CutPayload(length=len(written), sha256=hashlib.sha256(written).hexdigest())
    return written[:limit].decode(errors="ignore"), cut


class Span(Wire):
    """One finished piece of work.

    `prompt_tokens` and `completion_tokens` are inclusive totals; cached, cache-write, audio and reasoning tokens are
    subsets of them. `cost_usd` is null when the model has no price, never 0.
    """

    trace_id: TraceId
    span_id: SpanId
    parent_span_id: SpanId | None = None
    name: str
    kind: SpanKind
    project_id: str = "default"
    session_id: str | None = None
    user_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    workflow_name: str | None = None
    workflow_version: int | None = None
    agent: str | None = None
    prompt_id: str | None = None
    prompt_version: int | None = None
    model: str | None = None
    upstream: str | None = None
    params: JsonObject | None = None
    input: Json = None
    input_cut: CutPayload | None = None
    """Of an input that its sender cut."""
    output: Json = None
    output_cut: CutPayload | None = None
    status: SpanStatus = "ok"
    error_type: str | None = None
    error_message: str | None = None
    started_at: Timestamp
    ended_at: Timestamp
    ttft_ms: Annotated[float, Field(ge=0)] | None = None
    overhead_ms: Annotated[float, Field(ge=0)] | None = None
    experiment: str | None = None
    arm: str | None = None
    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    cached_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0
    audio_tokens: Tokens = 0
    reasoning_tokens: Tokens = 0
    usage_source: UsageSource = "none"
    cost_usd: Annotated[Cost, Field(ge=0)] | None = None
    cost_source: CostSource = "unpriced"
    price_revision: str | None = None
    tags: list[str] = []
    metadata: dict[str, str] = {}


class RejectedSpan(Wire):
    index: int
    error: str


class IngestResult(Wire):
    accepted: int
    rejected: list[RejectedSpan] = []
