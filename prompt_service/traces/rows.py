"""Spans as rows, and rows as spans."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from studio.contracts.base import Json
from studio.contracts.spans import CutPayload, Span, cut_payload

PREVIEW_CHARACTERS = 200
COST_STEP = Decimal("0.000000000001")
MAX_COST = Decimal(10) ** 15
"""With the column's twelve places a decimal of 28 digits holds it exactly."""
MAX_INTEGER = 2**53
"""Of a count of tokens: sums stay within 64 bits."""
FIRST_YEAR, LAST_YEAR = 2000, 2200

_NOT_PLAIN = {"params", "input", "input_cut", "output", "output_cut", "cost_usd"}
_PLAIN_FIELDS = tuple(name for name in Span.model_fields if name not in _NOT_PLAIN)
_LIMITS = {name: MAX_INTEGER for name in Span.model_fields if name.endswith("_tokens")} | dict.fromkeys(
    ("workflow_version", "prompt_version"), 2**63 - 1
)
SPAN_COLUMNS = (*_PLAIN_FIELDS, "params", "cost_usd", "input_preview", "output_preview", "ingested_at")
PAYLOAD_COLUMNS = (
    *("trace_id", "span_id", "started_at"),
    *("input", "input_cut_length", "input_cut_sha256"),
    *("output", "output_cut_length", "output_cut_sha256"),
    "ingested_at",
)


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One span's row and its payload's, without the time of ingestion, which comes last in both."""

    span: list[Any]
    payload: list[Any] | None
    size: int
    """Bytes of the payload, roughly what the row costs."""


def to_row(span: Span, payload_bytes: int) -> SpanRow:
    """Raises `ValueError` for what the tables cannot hold."""
    for name in ("started_at", "ended_at"):
        if not FIRST_YEAR <= getattr(span, name).year < LAST_YEAR:
            raise ValueError(f"{name}: the year must be from {FIRST_YEAR} to {LAST_YEAR - 1}")
    for name, limit in _LIMITS.items():
        if not -limit <= (getattr(span, name) or 0) <= limit:
            raise ValueError(f"{name}: larger than {limit}")
    cost = span.cost_usd
    if cost is not None:
        if not cost.is_finite() or cost >= MAX_COST:
            raise ValueError(f"cost_usd: must be less than {MAX_COST}")
        cost = cost.quantize(COST_STEP)
    fields = [getattr(span, name) for name in _PLAIN_FIELDS]
    params = None if span.params is None else orjson.dumps(span.params).decode()
    row = [*fields, params, cost, _preview(span.input), _preview(span.output)]
    if span.input is None and span.output is None:
        return SpanRow(row, None, 0)
    given = _payload(span.input, span.input_cut, payload_bytes)
    made = _payload(span.output, span.output_cut, payload_bytes)
    payload = [span.trace_id, span.span_id, span.started_at, *given, *made]
    return SpanRow(row, payload, len(given[0] or "") + len(made[0] or ""))


def _preview(value: Json) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value[:PREVIEW_CHARACTERS]
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()[:PREVIEW_CHARACTERS]


def _payload(value: Json, cut: CutPayload | None, limit: int) -> tuple[str | None, int | None, str | None]:
    """The JSON, or its beginning with the whole one's length and SHA-256."""
    if value is None:
        return None, None, None
    if cut is not None and isinstance(value, str):
        return value.encode()[:limit].decode(errors="ignore"), cut.length, cut.sha256
    whole = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    if len(whole) <= limit:
        return whole.decode(), None, None
    text, cut = cut_payload(whole, limit)
    return text, cut.length, cut.sha256


def span_fields(row: dict[str, Any]) -> dict[str, Any]:
    """A stored row as fields of a `TraceSpan`."""
    fields = {name: row[name] for name in _PLAIN_FIELDS}
    fields["started_at"], fields["ended_at"] = in_utc(row["started_at"]), in_utc(row["ended_at"])
    fields["params"] = None if row["params"] is None else orjson.loads(row["params"])
    fields["cost_usd"] = None if row["cost_usd"] is None else plain_cost(row["cost_usd"])
    for name in ("input", "output"):
        text, length = row[name], row[f"{name}_cut_length"]
        fields[name] = text if text is None or length is not None else orjson.loads(text)
        if length is not None:
            fields[f"{name}_cut"] = {"length": length, "sha256": row[f"{name}_cut_sha256"]}
    return fields


def plain_cost(cost: Decimal | None) -> Decimal:
    """Without the zeros that the column's scale adds; nothing is 0."""
    if not cost:
        return Decimal(0)
    exact = cost.normalize()
    return exact.quantize(Decimal(1)) if exact == exact.to_integral_value() else exact


def in_utc(moment: datetime) -> datetime:
    """The driver gives moments of a UTC column without their zone."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
