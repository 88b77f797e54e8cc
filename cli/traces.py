"""What `studio traces` does."""

from collections.abc import Iterator, Mapping, Sequence

import typer
from rich.text import Text

from cli.output import cost_text, duration_text, err, out, print_json, print_table, safe, time_text
from cli.remote import with_prompts
from studio.contracts.traces import TraceSpan, TraceTotals

_FIELDS = ("span", "kind", "status", "duration", "tokens", "cost")


def show_traces(filters: Mapping[str, str | None], *, limit: int, as_json: bool) -> None:
    page = with_prompts(lambda prompts: prompts.list_traces(**filters, limit=limit))
    if as_json:
        print_json(page)
        return
    print_table(
        ("trace", "name", "status", "started", "duration", "calls", "tokens", "cost", "run"),
        [
            (
                trace.trace_id,
                safe(trace.name),
                trace.status,
                time_text(trace.started_at),
                duration_text(trace.totals.duration_ms),
                str(trace.totals.llm_calls),
                f"{trace.totals.total_tokens:,}",
                _total_cost(trace.totals),
                trace.run_id or "",
            )
            for trace in page.items
        ],
        right=("duration", "calls", "tokens", "cost"),
    )
    if page.next_cursor is not None:
        err().print(Text("There are more; a higher --limit shows them.", "dim"))


def show_trace(trace_id: str, *, as_json: bool) -> None:
    if len(trace_id) != 32 or not set(trace_id) <= set("0123456789abcdef"):
        raise typer.BadParameter("a trace id is 32 hex digits; --run finds the traces of a run.", param_hint="TRACE_ID")
    trace = with_prompts(lambda prompts: prompts.get_trace(trace_id))
    if as_json:
        print_json(trace)
        return
    totals = trace.totals
    facts = [duration_text(totals.duration_ms), f"{totals.llm_calls} model calls", f"{totals.total_tokens:,} tokens"]
    out().print(Text(" · ".join([trace.trace_id, time_text(trace.started_at), *facts, _total_cost(totals)]), "bold"))
    print_table(_FIELDS, list(_rows(trace.spans, 0)), right=("duration", "tokens", "cost"))


def _rows(spans: Sequence[TraceSpan], depth: int) -> Iterator[tuple[str, ...]]:
    for span in spans:
        tokens = span.prompt_tokens + span.completion_tokens
        yield (
            "  " * depth + safe(span.name),
            span.kind,
            span.status if span.error_type is None else f"{span.status}: {span.error_type}",
            duration_text(span.duration_ms),
            f"{tokens:,}" if tokens else "",
            cost_text(span.cost_usd) if span.kind in {"llm", "embedding"} else "",
        )
        yield from _rows(span.children, depth + 1)


def _total_cost(totals: TraceTotals) -> str:
    cost = cost_text(totals.cost_usd)
    return f"{cost} + {totals.unpriced_calls} unpriced" if totals.unpriced_calls else cost
