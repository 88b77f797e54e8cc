"""Asking the trace store."""

# ruff: noqa: S608 - the statements are put together from our own constants; every value is a parameter

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from prompt_service.traces.rows import in_utc, plain_cost, span_fields
from prompt_service.traces.store import TraceStore
from studio.contracts.spans import SpanKind, SpanStatus
from studio.contracts.traces import StoredRejection, TraceDetail, TraceSpan, TraceSummary, TraceTotals
from studio.errors import NotFound

MAX_DEPTH = 100
"""Of a trace's tree: JSON readers give up on deeper documents."""
_OF_TRACE = ("session_id", "user_id", "run_id", "workflow_name")
_OF_SPAN = ("agent", "model", "kind", "status")
_MICROS = "toUnixTimestamp64Micro"
_DURATION = f"({_MICROS}(max(greatest(started_at, ended_at))) - {_MICROS}(min(started_at))) / 1000"
_UNPRICED = "kind IN ('llm', 'embedding') AND cost_usd IS NULL"
_ONCE = "ORDER BY ingested_at DESC LIMIT 1 BY trace_id, span_id"
"""A span whose start moved between two sends has two keys; the later send is the one that counts."""
_TOTALS = f"""
  count() AS spans, countIf(status = 'error') AS errors, countIf(kind = 'llm') AS llm_calls,
  sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
  sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost, countIf({_UNPRICED}) AS unpriced_calls,
  min(started_at) AS first, max(greatest(started_at, ended_at)) AS last, {_DURATION} AS duration_ms
"""
_RANGE = (
    "started_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') "
    "AND started_at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')"
)
_ROOT = "tuple(parent_span_id IS NOT NULL, started_at, span_id)"


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """None asks for nothing. Session, user, run and workflow may be any span's of the trace; cost and duration are the
    whole trace's; one span must meet all others together.
    """

    project_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    run_id: str | None = None
    workflow_name: str | None = None
    min_cost: Decimal | None = None
    min_duration_ms: float | None = None
    agent: str | None = None
    prompts: tuple[str, ...] | None = None
    """Ids and names: senders know a prompt by either."""
    prompt_version: int | None = None
    model: str | None = None
    kind: SpanKind | None = None
    status: SpanStatus | None = None
    tag: str | None = None
    text: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


class ListedTrace(NamedTuple):
    """A trace in a list. Its place there is when its first span in the range started, in microseconds, and its id."""

    first_micros: int
    summary: TraceSummary


class TraceQueries:
    def __init__(self, store: TraceStore) -> None:
        self._store = store

    async def list_traces(
        self,
        wanted: TraceFilter,
        *,
        start: datetime,
        end: datetime,
        before: tuple[int, str] | None,
        limit: int,
    ) -> list[ListedTrace]:
        """Newest first, of those with a span that started in [start, end); `before` is the key of the trace before.

        A span that was sent again under another project or start may still have its row of before: what a filter
        finds is asked for again among the rows that count.
        """
        conditions, parameters = _conditions(wanted)
        parameters |= {"start": _micros(start), "end": _micros(end), "limit": limit}
        scope = _RANGE
        if wanted.project_id is not None:
            scope += " AND project_id = {project_id:String}"
            parameters["project_id"] = wanted.project_id
        having = [f"countIf({' AND '.join(conditions)}) > 0"] if conditions else []
        for name in _OF_TRACE:
            value = getattr(wanted, name)
            if value is not None:
                having.append(f"countIf({name} = {{{name}:String}}) > 0")
                parameters[name] = value
        if wanted.min_cost is not None:
            having.append("sum(ifNull(cost_usd, toDecimal128(0, 12))) >= toDecimal128({min_cost:String}, 12)")
            parameters["min_cost"] = format(wanted.min_cost, "f")
        if wanted.min_duration_ms is not None:
            having.append(f"{_DURATION} >= {{min_duration:Float64}}")
            parameters["min_duration"] = wanted.min_duration_ms

        def select(source: str, *further: str) -> str:
            only = " AND ".join([*having, *further])
            return (
                f"SELECT trace_id, {_MICROS}(min(started_at)) AS first_micros FROM {source} WHERE {scope} "
                f"GROUP BY trace_id {'HAVING ' + only if only else ''}"
            )

        newest = "ORDER BY first_micros DESC, trace_id DESC LIMIT {limit:UInt32}"
        older = "(first_micros, trace_id) < ({before_micros:Int64}, {before_id:String})"
        filtered = bool(having) or wanted.project_id is not None
        listed: list[ListedTrace] = []
        while len(listed) < limit:
            if before is not None:
                parameters |= {"before_micros": before[0], "before_id": before[1]}
            chosen = select("spans FINAL", *([] if before is None else [older]))
            page = [
                (row["first_micros"], row["trace_id"])
                for row in await self._store.query(f"{chosen} {newest}", parameters)
            ]
            ids = [trace_id for _, trace_id in page]
            if filtered and ids:
                latest = select(f"(SELECT * FROM spans WHERE trace_id IN {{ids:Array(String)}} {_ONCE})")
                kept = {row["trace_id"] for row in await self._store.query(latest, parameters | {"ids": ids})}
                ids = [trace_id for trace_id in ids if trace_id in kept]
            summaries = await self._summaries(ids)
            listed += [ListedTrace(micros, summaries[one]) for micros, one in page if one in summaries]
            if len(page) < limit:
                break
            before = page[-1]
        return listed[:limit]

    async def _summaries(self, trace_ids: list[str]) -> dict[str, TraceSummary]:
        if not trace_ids:
            return {}
        rows = await self._store.query(
            f"""
SELECT trace_id, {_TOTALS},
  argMin(tuple(name, kind, status, project_id, session_id, user_id, run_id, workflow_name, workflow_version,
    tags, metadata, input_preview, output_preview), {_ROOT}) AS root,
  arraySort(groupUniqArrayIf(100)(assumeNotNull(model), model IS NOT NULL)) AS models,
  arraySort(groupUniqArrayIf(100)(assumeNotNull(agent), agent IS NOT NULL)) AS agents
FROM (SELECT * FROM spans WHERE trace_id IN {{ids:Array(String)}} {_ONCE}) GROUP BY trace_id""",
            {"ids": trace_ids},
        )
        return {row["trace_id"]: _summary(row) for row in rows}

    async def get_trace(self, trace_id: str) -> TraceDetail:
        """The whole trace. Raises `NotFound`."""
        rows = await self._store.query(
            f"""
SELECT s.*, p.input AS input, p.input_cut_length AS input_cut_length, p.input_cut_sha256 AS input_cut_sha256,
  p.output AS output, p.output_cut_length AS output_cut_length, p.output_cut_sha256 AS output_cut_sha256
FROM (SELECT * FROM spans WHERE trace_id = {{id:String}} {_ONCE}) AS s
LEFT JOIN (SELECT * FROM span_payloads WHERE trace_id = {{id:String}}) AS p
  ON s.trace_id = p.trace_id AND s.span_id = p.span_id AND s.ingested_at = p.ingested_at
ORDER BY s.started_at, s.span_id SETTINGS join_use_nulls = 1""",
            {"id": trace_id},
        )
        summary = (await self._summaries([trace_id])).get(trace_id)
        if not rows or summary is None:
            raise NotFound(f"There is no trace {trace_id!r}, or none of its spans is stored yet.")
        spans = {row["span_id"]: _span(row) for row in rows}
        return TraceDetail(
            trace_id=trace_id,
            project_id=summary.project_id,
            session_id=summary.session_id,
            user_id=summary.user_id,
            run_id=summary.run_id,
            started_at=summary.started_at,
            ended_at=summary.ended_at,
            totals=summary.totals,
            spans=_tree(spans),
        )

    async def list_rejected(self, *, before: int | None, limit: int) -> list[StoredRejection]:
        """Newest first; `before` in microseconds."""
        where = "" if before is None else f"WHERE {_MICROS}(rejected_at) < {{before:Int64}}"
        rows = await self._store.query(
            f"SELECT * FROM rejected_spans {where} ORDER BY rejected_at DESC LIMIT {{limit:UInt32}}",
            {"limit": limit} | ({} if before is None else {"before": before}),
        )
        return [
            StoredRejection(rejected_at=in_utc(row["rejected_at"]), error=row["error"], span=row["span"])
            for row in rows
        ]


def _conditions(wanted: TraceFilter) -> tuple[list[str], dict[str, Any]]:
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    for name in _OF_SPAN:
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(f"{name} = {{{name}:String}}")
            parameters[name] = value
    if wanted.prompts is not None:
        conditions.append("prompt_id IN {prompts:Array(String)}")
        parameters["prompts"] = list(wanted.prompts)
    if wanted.prompt_version is not None:
        conditions.append("prompt_version = {prompt_version:Int64}")
        parameters["prompt_version"] = wanted.prompt_version
    if wanted.tag is not None:
        conditions.append("has(tags, {tag:String})")
        parameters["tag"] = wanted.tag
    for index, (key, value) in enumerate(wanted.metadata.items()):
        place = f"{{key{index}:String}}"
        conditions.append(f"mapContains(metadata, {place}) AND metadata[{place}] = {{value{index}:String}}")
        parameters |= {f"key{index}": key, f"value{index}": value}
    if wanted.text is not None:
        conditions.append(
            f"(trace_id, span_id, ingested_at) IN (SELECT trace_id, span_id, ingested_at FROM span_payloads "
            f"WHERE {_RANGE} AND (positionCaseInsensitiveUTF8(ifNull(input, ''), {{text:String}}) > 0 "
            "OR positionCaseInsensitiveUTF8(ifNull(output, ''), {text:String}) > 0))"
        )
        parameters["text"] = orjson.dumps(wanted.text).decode()[1:-1]  # as it stands within JSON
    return conditions, parameters


def _summary(row: dict[str, Any]) -> TraceSummary:
    root: tuple[Any, ...] = row["root"]
    name, kind, status, project_id, session_id, user_id, run_id, workflow, version, tags, metadata, *previews = root
    return TraceSummary(
        trace_id=row["trace_id"],
        name=name,
        kind=kind,
        status=status,
        project_id=project_id,
        session_id=session_id,
        user_id=user_id,
        run_id=run_id,
        workflow_name=workflow,
        workflow_version=version,
        models=row["models"],
        agents=row["agents"],
        tags=tags,
        metadata=metadata,
        started_at=in_utc(row["first"]),
        ended_at=in_utc(row["last"]),
        input_preview=previews[0],
        output_preview=previews[1],
        totals=TraceTotals(
            spans=row["spans"],
            errors=row["errors"],
            llm_calls=row["llm_calls"],
            prompt_tokens=row["prompt_tokens"],
            completion_tokens=row["completion_tokens"],
            total_tokens=row["prompt_tokens"] + row["completion_tokens"],
            cost_usd=plain_cost(row["cost"]),
            unpriced_calls=row["unpriced_calls"],
            duration_ms=row["duration_ms"],
        ),
    )


def _span(row: dict[str, Any]) -> TraceSpan:
    fields = span_fields(row)
    duration = (fields["ended_at"] - fields["started_at"]).total_seconds() * 1000
    return TraceSpan(**fields, duration_ms=max(0.0, duration))


def _tree(spans: dict[str, TraceSpan]) -> list[TraceSpan]:
    """Children under their parents; below `MAX_DEPTH` they stay on that level. Spans whose ancestors form a circle
    start a tree of their own: no sender's mistake hides a span.
    """
    children: dict[str | None, list[TraceSpan]] = {}
    for span in spans.values():
        parent = span.parent_span_id if span.parent_span_id in spans else None
        children.setdefault(parent, []).append(span)
    placed: set[str] = set()
    roots: list[TraceSpan] = []

    def grow(root: TraceSpan) -> None:
        roots.append(root)
        placed.add(root.span_id)
        pending = [(root, root, 1)]
        while pending:
            span, shelf, depth = pending.pop()
            for child in children.get(span.span_id, ()):
                if child.span_id not in placed:
                    placed.add(child.span_id)
                    shelf.children.append(child)
                    deeper = depth < MAX_DEPTH
                    pending.append((child, child if deeper else shelf, depth + deeper))

    for root in children.get(None, ()):
        grow(root)
    for span in spans.values():
        if span.span_id not in placed:
            grow(span)
    return roots


def _micros(moment: datetime) -> int:
    return round(in_utc(moment).timestamp() * 1_000_000)
