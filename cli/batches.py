"""What `studio run NAME --batch FILE` does."""

import asyncio
from pathlib import Path

import orjson
import typer
from rich.text import Text

from cli.output import cost_text, count_text, err, on_terminal, out, print_json
from cli.remote import FAILED, with_api
from studio.clients.api import ApiClient
from studio.contracts.base import Json
from studio.contracts.batches import MAX_ITEMS, Batch, BatchItem, StartBatch
from studio.contracts.runs import RunKind

POLL_SECONDS = 0.5


def read_inputs(path: Path) -> list[Json]:
    """One input a line, as JSON; empty lines are left out. Raises `typer.BadParameter`."""
    inputs: list[Json] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            inputs.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise _wrong(f"{path}:{number}:{error.colno}: {error.msg}") from None
    if not 1 <= len(inputs) <= MAX_ITEMS:
        raise _wrong(f"{path} holds {len(inputs)} inputs; a batch has 1 to {MAX_ITEMS}.")
    return inputs


def _wrong(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--batch")


def start_batch(
    kind: RunKind,
    ref: str,
    project_id: str,
    inputs: list[Json],
    metadata: dict[str, str],
    *,
    follow: bool,
    as_json: bool,
) -> None:
    """Ends with exit code 1 when a run did not succeed. Ctrl-C only stops watching."""
    body = StartBatch(items=[BatchItem(input=one) for one in inputs], metadata=metadata)

    async def work(api: ApiClient) -> Batch:
        batch = await api.start_batch(kind, ref, body, project_id=project_id)
        while follow and not batch.ended:
            if on_terminal():
                err().print(Text(_line(batch), no_wrap=True), end="\r")
            await asyncio.sleep(POLL_SECONDS)
            batch = await api.get_batch(batch.id)
        return batch

    batch = with_api(work)
    if as_json:
        print_json(batch)
    else:
        out().print(Text(f"{_line(batch)}. `studio runs --batch {batch.id}` lists them."))
    if follow and batch.counts["succeeded"] < batch.total:
        raise typer.Exit(FAILED)


def _line(batch: Batch) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in batch.counts.items() if count)
    cost = "" if batch.cost_usd is None else f", {cost_text(batch.cost_usd)}"
    return f"{batch.id}: {count_text(batch.total, 'run')}: {counts}{cost}"
