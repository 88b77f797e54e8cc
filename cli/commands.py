"""The commands for definitions and runs. Each imports what it needs when it runs, so that `studio --help` is quick."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFINITIONS = "Definitions"
RUNS = "Runs"

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ProjectFilter = Annotated[str | None, typer.Option("--project", help="Only this project.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]


class Kind(StrEnum):
    AGENT = "agent"
    WORKFLOW = "workflow"
    SCHEDULE = "schedule"
    PROMPT = "prompt"


def register(app: typer.Typer) -> None:
    for name, command in {"apply": apply, "export": export, "validate": validate, "graph": graph}.items():
        app.command(name, rich_help_panel=DEFINITIONS)(command)
    for name, command in {"run": run, "runs": runs, "get": get, "events": events, "cancel": cancel}.items():
        app.command(name, rich_help_panel=RUNS)(command)


def _duration(text: str) -> timedelta:
    from studio.contracts.durations import parse_duration

    try:
        return parse_duration(float(text) if text.replace(".", "", 1).isdigit() else text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _statuses() -> list[str]:
    from typing import get_args

    from studio.contracts.runs import RunStatus

    return list(get_args(RunStatus))


def _status(text: str) -> str:
    if text not in _statuses():
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(_statuses())}.")
    return text


def apply(
    paths: Annotated[
        list[Path],
        typer.Option("--file", "-f", help="A file, or a folder with everything below it (*.yaml, *.yml).", exists=True),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create or update definitions: all of them, or none.

    Example: studio apply -f agents.yaml -f workflows/ --dry-run
    """
    from cli import definitions

    definitions.apply(paths, dry_run=dry_run, as_json=as_json)


def export(
    kinds: Annotated[list[Kind] | None, typer.Option("--kind", help="Only this kind; may be given again.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only this name.")] = None,
    project: ProjectFilter = None,
    as_json: JsonOption = False,
) -> None:
    """Print stored definitions as YAML that `apply` takes back.

    Example: studio export --kind workflow > workflows.yaml
    """
    from cli import definitions

    definitions.export(kinds or [], name=name, project=project, as_json=as_json)


def validate(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders with everything below them.", exists=True)],
    online: Annotated[
        bool, typer.Option("--online", help="Ask the stack, which also looks for what the files name.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with definitions; nothing is stored. Exit code 1 when something is.

    Needs no running stack, except for --online.

    Example: studio validate examples/
    """
    from cli import definitions

    definitions.validate(paths, online=online, as_json=as_json)


def graph(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file that holds a workflow.", exists=True)],
    name: Annotated[str | None, typer.Option("--name", help="Which one of the file's; default the last.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a workflow as a Mermaid flowchart. Needs no running stack.

    Example: studio graph examples/research-brief.yaml > research-brief.mmd
    """
    from cli import definitions

    definitions.graph(path, name=name, as_json=as_json)


def run(
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
    batch: Annotated[
        Path | None,
        typer.Option("--batch", help="Start one run a line of this file, each line an input as JSON.", exists=True),
    ] = None,
    project: Annotated[str, typer.Option("--project", help="Where a name is looked up.")] = "default",
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Watch it, or only start it.")] = True,
    timeout: Annotated[
        timedelta | None,
        typer.Option("--timeout", parser=_duration, metavar="DURATION", help="Watch at most so long: 90, 30s, 5m."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a run and watch it live.

    The exit code is 0 when it succeeded and 1 when it did not. Ctrl-C only stops watching.

    Example: studio run research-brief topic="heat pumps"
    """
    from cli.inputs import parse_input, parse_metadata
    from cli.starts import RunOptions, start_and_watch

    if batch is not None:
        from cli.batches import read_inputs, start_batch

        if given or fields or session or user or timeout:
            raise typer.BadParameter(
                "goes with --metadata, --agent, --project and --no-follow only.", param_hint="--batch"
            )
        start_batch(
            "agent" if agent else "workflow",
            target,
            project,
            read_inputs(batch),
            parse_metadata(metadata or ()),
            follow=follow,
            as_json=as_json,
        )
        return
    if wrong := [value for value in fields or () if "=" not in value]:
        raise typer.BadParameter(f"{wrong[0]!r} is not key=value.", param_hint="[K=V]...")
    options = RunOptions(
        input=parse_input([*(given or ()), *(fields or ())]),
        session_id=session,
        user_id=user,
        metadata=parse_metadata(metadata or ()),
        agent=agent,
        project_id=project,
        follow=follow,
        limit=timeout,
        as_json=as_json,
    )
    start_and_watch(target, options)


def runs(
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only of this workflow (name or id).")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only of this agent (name or id).")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            parser=_status,
            autocompletion=_statuses,
            metavar="STATUS",
            help="Only these: running, succeeded, failed, cancelled, …; may be given again.",
        ),
    ] = None,
    session: Annotated[str | None, typer.Option("--session", help="Only of this session.")] = None,
    schedule: Annotated[str | None, typer.Option("--schedule", help="Only of this schedule (name or id).")] = None,
    batch: Annotated[str | None, typer.Option("--batch", help="Only of this batch.")] = None,
    project: ProjectFilter = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first.

    Example: studio runs --workflow research-brief --status failed
    """
    from cli.runs import show_runs

    filters = {"workflow": workflow, "agent": agent, "status": status, "session_id": session, "project_id": project}
    filters |= {"schedule": schedule, "batch": batch}
    show_runs(filters, limit=limit, as_json=as_json)


def get(run_id: RunId, as_json: JsonOption = False) -> None:
    """Show one run: its status, steps, usage, cost and output.

    Example: studio get run_01k8x3v5c0000000000000000
    """
    from cli.runs import show_run

    show_run(run_id, as_json=as_json)


def events(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until the run ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: a list, or with -f an event a line.")] = False,
) -> None:
    """Show what happened in a run.

    Example: studio events run_01k8x3v5c0000000000000000 -f
    """
    from cli.runs import follow_events, show_events

    if follow:
        follow_events(run_id, as_json=as_json)
    else:
        show_events(run_id, as_json=as_json)


def cancel(run_id: RunId, as_json: JsonOption = False) -> None:
    """Ask a run to stop; its running steps clean up first.

    Example: studio cancel run_01k8x3v5c0000000000000000
    """
    from cli.runs import cancel_run

    cancel_run(run_id, as_json=as_json)
