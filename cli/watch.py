"""Watching a run until it ends or its watcher has had enough."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Literal, NoReturn, Protocol

import typer
from rich.console import Console
from rich.text import Text

from cli.follow import ConnectionLost, follow, read_run
from cli.live import LiveView
from cli.output import err, on_terminal, out, print_json
from cli.plain import PlainView, WaitsView
from cli.remote import FAILED, INTERRUPTED
from cli.summary import print_end
from studio.clients.api import ApiClient
from studio.contracts.events import RunEvent
from studio.contracts.runs import FINAL_STATUSES, Run
from studio.errors import DependencyUnavailable

Watched = Literal["ended", "detached", "timed out"]


class View(AbstractAsyncContextManager["View"], Protocol):
    """Shows a run while it is open."""

    def take(self, news: RunEvent | ConnectionLost) -> None: ...


def open_view(*, as_json: bool = False) -> View:
    """With `as_json` standard output is left to the data."""
    if as_json:
        return WaitsView()
    return LiveView(Console(highlight=False)) if on_terminal() else PlainView()


def announce(run: Run) -> None:
    name = f"{run.workflow.name} v{run.workflow.version}"
    out().print(Text.assemble((name, "bold"), (f"  {run.id}", "dim")))


async def watch(
    api: ApiClient, run: Run, view: View, limit: timedelta | None = None, *, again: bool = False
) -> tuple[Run, Watched]:
    """Show a run's events until it ends, until Ctrl-C or for `limit`; then also the run as it stands. With `again` only
    those since it was retried.
    """
    run_id = run.id
    try:
        async with asyncio.timeout(limit.total_seconds() if limit else None), view:
            async for news in follow(api, run_id, retry=run.retry_count, again=again):
                view.take(news)
        return await read_run(api, run_id), "ended"
    except TimeoutError:
        return await _stopped(api, run_id, "timed out")
    except DependencyUnavailable:
        err().print(
            Text(f"Connection lost. The run continues; `studio events {run_id} -f` watches it again.", "yellow")
        )
        raise
    except asyncio.CancelledError:  # Ctrl-C ends the watching, not the run
        return await _stopped(api, run_id, "detached")


async def _stopped(api: ApiClient, run_id: str, why: Watched) -> tuple[Run, Watched]:
    run = await api.get_run(run_id)
    return run, "ended" if run.status in FINAL_STATUSES else why


def show_outcome(run: Run, watched: Watched, *, followed: bool, as_json: bool) -> None:
    """Of a run that this command began; ends the command with it when it was followed."""
    if as_json:
        print_json(run)
    elif not followed:
        out().print(Text(f"{run.id} {run.status}. Watch it with `studio events {run.id} -f`."))
    elif watched == "ended":
        print_end(run)
    if followed:
        exit_as(run, watched)


def exit_as(run: Run, watched: Watched) -> NoReturn:
    """End the command with the run's outcome."""
    if watched == "ended":
        raise typer.Exit(0 if run.status == "succeeded" else FAILED)
    reason = "Detached" if watched == "detached" else "Watched long enough"
    console = err()
    console.print(Text(f"{reason}. The run continues ({run.status}).", "yellow"))
    console.print(Text(f"  watch it   studio events {run.id} -f"))
    console.print(Text(f"  look at it studio get {run.id}"))
    if run.status == "paused":
        console.print(Text(f"  resume it  studio resume {run.id}"))
    console.print(Text(f"  cancel it  studio cancel {run.id}"))
    raise typer.Exit(INTERRUPTED if watched == "detached" else FAILED)
