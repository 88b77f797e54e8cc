"""What every command prints with: data as JSON, tables, and numbers as people read them."""

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
import typer
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from studio.contracts.base import Json
from studio.contracts.runs import RunUsage
from studio.document_writer import dump_document

# Everything that could move the cursor or change colours when a model writes it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
STATUS_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "timed_out": "red",
    "terminated": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "waiting": "magenta",
}


def on_terminal() -> bool:
    """Whether a person sees standard output as it comes. (`Console.is_terminal` also says so under FORCE_COLOR.)"""
    return sys.stdout.isatty() and not Console().is_dumb_terminal


def out() -> Console:
    """Standard output; highlighting of our own only."""
    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(data: Json | BaseModel) -> None:
    """Write one JSON document, indented."""
    typer.echo(orjson.dumps(plain(data), option=orjson.OPT_INDENT_2).decode())


def print_json_line(data: Json | BaseModel) -> None:
    """Write one JSON document on one line, at once."""
    typer.echo(orjson.dumps(plain(data)).decode())
    sys.stdout.flush()


def plain(data: Any) -> Json:
    return data.model_dump(mode="json") if isinstance(data, BaseModel) else data


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Aligned columns, nothing cut, so that ids can be copied. `right` names the columns that align right.

    On a terminal columns without content are left out.
    """
    lines = [list(row) for row in rows]
    shown = [column for column in range(len(head)) if not on_terminal() or any(line[column] for line in lines)]
    widths = {column: max(len(line[column]) for line in [list(head), *lines]) for column in shown}
    console = out()
    for number, line in enumerate([list(head), *lines]):
        row = Text(style="bold" if number == 0 else "")
        for column in shown:
            cell, width = line[column], widths[column]
            padded = cell.rjust(width) if head[column] in right else cell.ljust(width)
            row.append(padded, STATUS_STYLES.get(cell, "")).append("  ")
        row.rstrip()
        console.print(row)


def print_text(text: str, style: str = "") -> None:
    """Text that may come from a model or a document, never read as markup."""
    out().print(Text(safe(text), style))


def safe(text: str) -> str:
    """Text without the control characters that a terminal would obey."""
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def as_text(value: Json) -> str:
    """An input or output as people read it: text as it is, everything else as YAML."""
    return value if isinstance(value, str) else dump_document(value)


def duration_text(milliseconds: float) -> str:
    """`840ms`, `12.3s`, `2m04s`, `1h02m`."""
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{round(milliseconds)}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def cost_text(cost: Decimal | None) -> str:
    """US dollars; `unpriced` when no price is known, which is not the same as free."""
    if cost is None:
        return "unpriced"
    if cost == 0:
        return "$0"
    if cost < Decimal("0.000001"):
        return "<$0.000001"
    return f"${cost:.4f}" if cost >= Decimal("0.01") else f"${cost:.6f}".rstrip("0")


def count_text(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def usage_text(usage: RunUsage) -> str:
    """`3 model calls, 512 tokens (400 in, 112 out)`."""
    calls = count_text(usage.llm_calls, "model call")
    tokens = count_text(usage.total_tokens, "token")
    return f"{calls}, {tokens} ({usage.prompt_tokens:,} in, {usage.completion_tokens:,} out)"


def time_text(moment: datetime | None) -> str:
    """Local time, to the second; on a terminal without the date when that is today."""
    if moment is None:
        return ""
    local = moment.astimezone()
    today = on_terminal() and local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")
