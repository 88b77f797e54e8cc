"""`studio run`, `runs`, `get`, `events` and `cancel`."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Protocol, cast, get_args

import typer
from rich.console import Console
from rich.text import Text

from cli.definitions import AsJson, Project, apply_sources, print_report, rejections_reported
from cli.files import SUFFIXES, Sources, read_sources
from cli.follow import ConnectionLost, follow, read_run
from cli.inputs import parse_input, parse_metadata
from cli.live import LiveView
from cli.output import err, on_terminal, out, plain, print_json, print_json_line
from cli.plain import PlainView
from cli.remote import FAILED, INTERRUPTED, with_api
from cli.summary import print_end, print_run, print_runs
from studio.clients.api import ApiClient
from studio.contracts.base import JsonObject, Page
from studio.contracts.durations import parse_duration
from studio.contracts.events import RunEvent
from studio.contracts.runs import FINAL_STATUSES, Run, RunKind, RunStatus, StartRun
from studio.errors import DependencyUnavailable

commands = typer.Typer()
PANEL = "Runs"
LONGEST_PAGE = 200
STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
Watched = Literal["ended", "detached", "timed out"]


class View(AbstractAsyncContextManager["View"], Protocol):
    """Shows a run while it is open."""

    def take(self, news: RunEvent | ConnectionLost) -> None: ...


@dataclass(frozen=True)
class Target:
    """What `studio run` starts."""

    kind: RunKind
    ref: str
    project_id: str


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(float(text) if text.replace(".", "", 1).isdigit() else text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _status(text: str) -> str:
    if text not in STATUSES:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(STATUSES)}.")
    return text


@commands.command("run", rich_help_panel=PANEL)
def run_definition(
    target: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A stored definition, or a file to apply first.")],
    fields: Annotated[
        list[str] | None, typer.Argument(metavar="[K=V]...", help="Fields of the input, as in --input.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="JSON|@FILE|K=V",
            help="The input: JSON, @FILE (JSON or YAML; @- reads standard input), or fields as key=value. A value is "
            "JSON if it reads as JSON, @FILE is the file's text, and everything else is text.",
        ),
    ] = None,
    session: Annotated[str | None, typer.Option("--session", help="The session that the run belongs to.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="The user on whose behalf it runs.")] = None,
    metadata: Annotated[list[str] | None, typer.Option("--metadata", metavar="K=V", help="To find it by.")] = None,
    agent: Annotated[bool, typer.Option("--agent", help="Run an agent instead of a workflow.")] = False,
    project: Annotated[str, typer.Option("--project", help="Where a name is looked up.")] = "default",
    follow_run: Annotated[bool, typer.Option("--follow/--no-follow", help="Watch it, or only start it.")] = True,
    timeout: Annotated[
        timedelta | None,
        typer.Option("--timeout", parser=_duration, metavar="DURATION", help="Watch at most so long: 90, 30s, 5m."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start a run and watch it live.

    The exit code is 0 when it succeeded and 1 when it did not. Ctrl-C only stops watching.

    Example: studio run research-brief topic="heat pumps"
    """
    values = [*(given or ()), *(fields or ())]
    if values_without_key := [value for value in fields or () if "=" not in value]:
        raise typer.BadParameter(f"{values_without_key[0]!r} is not key=value.", param_hint="[K=V]...")
    start = _start(parse_input(values), session, user, parse_metadata(metadata or ()))
    with rejections_reported(as_json=as_json):
        sources = read_sources([Path(target)]) if _is_path(target) else None
        chosen = Target("agent" if agent else "workflow", target, project)
        if sources is not None:
            chosen = _last_target(sources, target, agent=agent)

        async def work(api: ApiClient) -> tuple[Run, Watched]:
            if sources is not None:
                report = await apply_sources(api, sources)
                if not as_json:
                    print_report(report, sources)
            started = await api.start_run(chosen.kind, chosen.ref, start, project_id=chosen.project_id)
            if not follow_run:
                return started, "ended"
            if not as_json:
                _announce(started)
            return await _watch(api, started.id, None if as_json else _view(), timeout)

        run, watched = with_api(work)
    if as_json:
        print_json(run)
    if not follow_run:
        if not as_json:
            out().print(Text(f"{run.id} {run.status}. Watch it with `studio events {run.id} -f`."))
        return
    if not as_json and watched == "ended":
        print_end(run)
    _exit_as(run, watched)


def _start(given: object, session: str | None, user: str | None, metadata: dict[str, str]) -> StartRun:
    values: JsonObject = {"input": given, "session_id": session, "user_id": user, "metadata": metadata or None}
    return StartRun.model_validate({name: value for name, value in values.items() if value is not None})


def _is_path(target: str) -> bool:
    looks_like = target.endswith(SUFFIXES) or "/" in target
    if looks_like and not Path(target).exists():
        raise typer.BadParameter(f"there is no file {target!r}.", param_hint="NAME|PATH")
    return looks_like


def _last_target(sources: Sources, path: str, *, agent: bool) -> Target:
    """The last workflow of the documents, else the last agent."""
    kinds: tuple[RunKind, ...] = ("agent",) if agent else ("workflow", "agent")
    for kind in kinds:
        for value in reversed(sources.values):
            document = cast("JsonObject", value) if isinstance(value, dict) else {}
            if document.get("kind") == kind:
                return Target(kind, str(document.get("name")), str(document.get("project_id", "default")))
    raise typer.BadParameter(f"{path} holds no {' and no '.join(kinds)} to run.", param_hint="NAME|PATH")


def _announce(run: Run) -> None:
    name = f"{run.workflow.name} v{run.workflow.version}"
    out().print(Text.assemble((name, "bold"), (f"  {run.id}", "dim")))


def _view() -> View:
    return LiveView(Console(highlight=False)) if on_terminal() else PlainView()


async def _watch(api: ApiClient, run_id: str, view: View | None, limit: timedelta | None = None) -> tuple[Run, Watched]:
    """Show a run's events until it ends, until Ctrl-C or for `limit`; then also the run as it stands."""
    try:
        async with asyncio.timeout(limit.total_seconds() if limit else None), view or AsyncExitStack():
            async for news in follow(api, run_id):
                if view is not None:
                    view.take(news)
        return await read_run(api, run_id), "ended"
    except TimeoutError:
        return await _stopped(api, run_id, "timed out")
    except DependencyUnavailable:
        err().print(Text(f"Contact is lost. The run goes on; `studio events {run_id} -f` watches it again.", "yellow"))
        raise
    except asyncio.CancelledError:  # Ctrl-C ends the watching, not the run
        return await _stopped(api, run_id, "detached")


async def _stopped(api: ApiClient, run_id: str, why: Watched) -> tuple[Run, Watched]:
    run = await api.get_run(run_id)
    return run, "ended" if run.status in FINAL_STATUSES else why


def _exit_as(run: Run, watched: Watched) -> None:
    """End the command with the run's outcome."""
    if watched == "ended":
        raise typer.Exit(0 if run.status == "succeeded" else FAILED)
    reason = "Detached" if watched == "detached" else "Watched long enough"
    console = err()
    console.print(Text(f"{reason}. The run goes on ({run.status}).", "yellow"))
    console.print(Text(f"  watch it   studio events {run.id} -f"))
    console.print(Text(f"  look at it studio get {run.id}"))
    console.print(Text(f"  cancel it  studio cancel {run.id}"))
    raise typer.Exit(INTERRUPTED if watched == "detached" else FAILED)


@commands.command("runs", rich_help_panel=PANEL)
def list_runs(
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only of this workflow (name or id).")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only of this agent (name or id).")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            parser=_status,
            autocompletion=lambda: list(STATUSES),
            metavar="STATUS",
            help=f"Only these: {', '.join(STATUSES)}. May be given again.",
        ),
    ] = None,
    session: Annotated[str | None, typer.Option("--session", help="Only of this session.")] = None,
    project: Project = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first.

    Example: studio runs --workflow research-brief --status failed
    """

    async def work(api: ApiClient) -> Page[Run]:
        found: list[Run] = []
        cursor: str | None = None
        while True:
            page = await api.list_runs(
                workflow=workflow,
                agent=agent,
                status=status,
                session_id=session,
                project_id=project,
                limit=min(limit - len(found), LONGEST_PAGE),
                cursor=cursor,
            )
            found += page.items
            cursor = page.next_cursor
            if cursor is None or len(found) >= limit:
                return Page(items=found, next_cursor=cursor)

    page = with_api(work)
    if as_json:
        print_json(page)
    elif page.items:
        print_runs(page.items)
        if page.next_cursor is not None:
            err().print(Text(f"There are more; --limit {limit * 2} shows them.", "dim"))
    else:
        err().print(Text("No runs.", "dim"))


@commands.command("get", rich_help_panel=PANEL)
def get_run(run_id: RunId, as_json: AsJson = False) -> None:
    """Show one run: its status, steps, usage, cost and output.

    Example: studio get run_01k8x3v5c0000000000000000
    """
    run = with_api(lambda api: api.get_run(run_id))
    if as_json:
        print_json(run)
    else:
        print_run(run)


@commands.command("events", rich_help_panel=PANEL)
def show_events(
    run_id: RunId,
    follow_run: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until the run ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: a list, or with -f an event a line.")] = False,
) -> None:
    """Show what happened in a run.

    Example: studio events run_01k8x3v5c0000000000000000 -f
    """

    async def work(api: ApiClient) -> None:
        if not follow_run:
            events = await api.list_events(run_id)
            if as_json:
                print_json([plain(event) for event in events])
                return
            async with PlainView() as view:
                for event in events:
                    view.take(event)
            return
        run = await api.get_run(run_id)
        if as_json:
            async for news in follow(api, run_id):
                if not isinstance(news, ConnectionLost):
                    print_json_line(news)
            return
        _announce(run)
        run, watched = await _watch(api, run_id, _view())
        if watched == "ended":
            print_end(run)

    with_api(work)


@commands.command("cancel", rich_help_panel=PANEL)
def cancel_run(run_id: RunId, as_json: AsJson = False) -> None:
    """Ask a run to stop; its running steps clean up first.

    Example: studio cancel run_01k8x3v5c0000000000000000
    """
    run = with_api(lambda api: api.cancel_run(run_id))
    if as_json:
        print_json(run)
    else:
        out().print(Text(f"{run.id} is asked to stop. `studio get {run.id}` shows how it ended."))
