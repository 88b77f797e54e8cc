"""What can be asked of the trace store."""

from studio.contracts.base import Timestamp, Wire
from studio.contracts.spans import Cost, Span, SpanKind, SpanStatus


class TraceTotals(Wire):
    """Sums over a trace's spans; each span counts once however often it was sent."""

    spans: int
    errors: int
    llm_calls: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Cost
    unpriced_calls: int
    """Model calls without a price: the cost is known to be too low when this is not 0."""
    duration_ms: float
    """From the first start to the last end."""


class TraceSummary(Wire):
    """One trace in a list. What is not summed is its root span's, or its earliest span's while the root is missing."""

    trace_id: str
    name: str
    kind: SpanKind
    status: SpanStatus
    project_id: str
    session_id: str | None
    user_id: str | None
    run_id: str | None
    workflow_name: str | None
    workflow_version: int | None
    models: list[str]
    agents: list[str]
    tags: list[str]
    metadata: dict[str, str]
    started_at: Timestamp
    ended_at: Timestamp
    input_preview: str | None
    """The first 200 characters of the input: text as it is, everything else as JSON."""
    output_preview: str | None
    totals: TraceTotals


class TraceSpan(Span):
    """A span with its children, in the order in which they started."""

    duration_ms: float
    children: list["TraceSpan"] = []


class TraceDetail(Wire):
    """A whole trace. Spans whose parent is not stored (yet) are roots."""

    trace_id: str
    project_id: str
    session_id: str | None
    user_id: str | None
    run_id: str | None
    started_at: Timestamp
    ended_at: Timestamp
    totals: TraceTotals
    spans: list[TraceSpan]


class StoredRejection(Wire):
    """A span that could not be stored, as it came."""

    rejected_at: Timestamp
    error: str
    span: str
    """The span's JSON, cut at 64 KiB."""
